"""What a database must offer to be a journal's engine: the protocols are the contract.

An engine is a package beside `rowtrail.engine.sqlite` with the functions of `Engine`. The rooms
above know these protocols only: no file, no dialect, no row numbers of a database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

    from rowtrail._clock import Clock
    from rowtrail.engine._asking import Found, Only, Params
    from rowtrail.engine._steps import NewResult, NewStep, NoteResult, NoteStep

T = TypeVar("T")

Durability = Literal["full", "normal"]
"""`full`: a commit is on disk before its caller goes on; `normal`: a power cut may take some."""

NORMAL = "normal/"
"""In `meta`, before the row of a process that has the journal open with `durability="normal"`."""

WriteKey = tuple[str, int | str]
"""What a transaction belongs to, as a kind and an id: `("thread", "support-7")`."""


class Row(Protocol):
    """One row of an answer: columns by name and by position."""

    def __getitem__(self, key: str | int, /) -> Any:
        """Return a column."""
        ...

    def keys(self) -> Sequence[str]:
        """Return the names of the columns, in order."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...


class Tx(Protocol):
    """One transaction: it runs the statements of `rowtrail/schema/statements` by name.

    A statement gets each of its parameters, and no other, as None, int, float, str, bytes, or what
    `array` and `id` return. A text that the database cannot hold (half of a surrogate pair) is
    escaped, the same way every time.
    """

    def one(self, name: str, /, **params: Any) -> Row | None:
        """Return the first row of the named query, or None."""
        ...

    def value(self, name: str, /, **params: Any) -> Any:
        """Return the first column of the first row, or None."""
        ...

    def all(self, name: str, /, **params: Any) -> list[Row]:
        """Return every row of the named query."""
        ...

    def iter(self, name: str, /, **params: Any) -> Iterator[Row]:
        """Yield the rows of the named query without collecting them; the snapshot stays open."""
        ...

    def run(self, name: str, /, **params: Any) -> None:
        """Run the named statement; an engine may send it later, but before the commit."""
        ...

    def changed(self, name: str, /, **params: Any) -> int:
        """Run the named statement and return how many rows it changed."""
        ...

    def insert(self, name: str, /, **params: Any) -> int:
        """Run the named `INSERT` of one row and return its id."""
        ...

    def insert_absent(self, name: str, /, **params: Any) -> int | None:
        """Run the named `INSERT` that may add no row, and return the new id, None without one."""
        ...

    def many(self, name: str, /, rows: Iterable[Mapping[str, Any]]) -> None:
        """Run the named statement once for each row of parameters; none that changes steps."""
        ...

    def array(self, values: Iterable[int | str], /) -> object:
        """Return a parameter that stands for a list, read by `@each(:name)` in a statement."""
        ...

    def id(self, text: str | None, /) -> object:
        """Return the form in which the database keeps an id of a checkpoint or a task.

        `id_text` is the way back; the order is that of the texts.
        """
        ...

    @property
    def last_id(self) -> object:
        """Return a parameter that sorts behind every id."""
        ...

    def now_ms(self) -> int:
        """Return the time, in UTC milliseconds, by the clock that all rows go by."""
        ...

    def after_commit(self, call: Callable[[], object], /) -> None:
        """Call a function once the transaction is committed, before its caller goes on.

        What is remembered of rows is kept by this: inside a transaction it may still be undone.
        Not called after a rollback; it must not raise.
        """
        ...

    def after_rollback(self, call: Callable[[], object], /) -> None:
        """Call a function if what was done until now is undone; it must not raise."""
        ...


class Source(Protocol):
    """A journal that can be read: an open `Store`, or a `Reader`."""

    where: str
    """The path or URL of the journal, without a password: for people."""

    def read(self, work: Callable[[Tx], T]) -> T:
        """Run `work` over one consistent snapshot; it changes nothing.

        Raises:
            StorageError: The journal cannot be read; the leaf and the message say why.
        """
        ...

    def ask(
        self, sql: str, params: Params, *, rows: int, seconds: float, only: Only = ...
    ) -> Found:
        """Answer one `SELECT` of anybody over the public views, within limits.

        Args:
            sql: Anything at all.
            params: Its parameters.
            rows: How many rows are wanted at most.
            seconds: After this time the query is stopped.
            only: What it may see.

        Raises:
            UnknownIdError: The journal knows nothing of what `only` names.
            UnansweredError: It is refused, wrong, or out of time; its cause is the database's.
            StorageError: The journal cannot be read.
        """
        ...

    def is_alive(self, process: Row) -> bool:
        """Return whether the process in a row with the columns of `process` may still live."""
        ...

    def beside(self, suffix: str) -> str | None:
        """Return the path of a file of this machine that goes with the journal, None for one that
        ends with its process. Such a file may be deleted at any time.
        """
        ...


class Reader(Source, Protocol):
    """A journal for programs that only look at it; nothing is created, written or migrated."""

    def close(self) -> None:
        """Close it; a further `read` opens it again."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Store(Source, Protocol):
    """One open journal, shared by all who open it in this process.

    A transaction is a function of a `Tx`, called on any thread, and again where the database undid
    it for the sake of another. It either commits as a whole or leaves nothing. Transactions of one
    key run one after the other, in the order in which they were queued; an engine may run those of
    different keys at the same time, and those without a key as if each had one of its own.
    """

    clock: Clock
    journal_id: str
    """Random id of the journal, the same for all who open it."""
    hash_key: bytes
    """Secret of the journal, by which values are recognised and rows are sealed."""
    process_row: int
    """Row of this process in the table `process`."""
    shared: object | None
    """What the room above keeps once per store."""
    on_heartbeat: Callable[[Tx], object] | None
    """Run with every heartbeat, and before the store closes."""
    on_close: Callable[[Tx], object] | None
    """Run as the last work of the store, when it closes."""

    def write(
        self, work: Callable[[Tx], T], *, key: WriteKey | None = None, synced: bool | None = None
    ) -> T:
        """Run `work` in a transaction and return its result once it is committed.

        Args:
            work: The transaction.
            key: What it belongs to.
            synced: Have it on disk before this returns, whatever the durability. With False a power
                cut may take it, until something later is on disk: then all before it is too. None
                leaves it to the durability.

        Raises:
            StorageError: Nothing of it was stored; the leaf and the message say why.
            RuntimeError: The caller is itself the work of a transaction.
        """
        ...

    async def awrite(
        self, work: Callable[[Tx], T], *, key: WriteKey | None = None, synced: bool | None = None
    ) -> T:
        """As `write`, for coroutines; committed also when the awaiting task is cancelled."""
        ...

    def begin_step(self, step: NewStep, note: NoteStep, *, key: WriteKey | None = None) -> bool:
        """Write the row of a step where nothing recorded stands against it: one round trip.

        It is a transaction as those of `write` are, on disk before it returns where the step
        changes the world. The run counts it, and its idempotency key has its `n`.

        Args:
            step: The row.
            note: Called before another transaction of the key begins, also where the exception of
                a signal's handler is about to be raised here; again if it was undone meanwhile.
            key: What it belongs to.

        Returns:
            False where nothing was written, and a transaction has to decide: its run is gone, its
            scope has the request already or so many like it that it is another one, or the
            `thread` has one in doubt.

        Raises:
            StorageError: As `write`.
        """
        ...

    async def abegin_step(
        self, step: NewStep, note: NoteStep, *, key: WriteKey | None = None
    ) -> bool:
        """As `begin_step`, for coroutines; committed also when the task is cancelled."""
        ...

    def complete_step(
        self, result: NewResult, note: NoteResult, *, key: WriteKey | None = None
    ) -> bool:
        """Write what a step returned, where nobody has decided about it: one round trip.

        It is a transaction as those of `write` are; `note` as for `begin_step`.

        Returns:
            False where nothing was written, and a transaction has to decide: the step is neither
            running nor in doubt, or others were in doubt with it.

        Raises:
            StorageError: As `write`.
        """
        ...

    async def acomplete_step(
        self, result: NewResult, note: NoteResult, *, key: WriteKey | None = None
    ) -> bool:
        """As `complete_step`, for coroutines; committed also when the task is cancelled."""
        ...

    def submit(self, work: Callable[[Tx], T], *, key: WriteKey | None = None) -> Future[T]:
        """Queue `work` as a transaction and return at once.

        Raises:
            ClosedError: The store was closed.
            ForkedError: It was opened before a `fork()`.
        """
        ...

    async def aread(self, work: Callable[[Tx], T]) -> T:
        """As `read`, for coroutines."""
        ...

    @property
    def is_in_transaction(self) -> bool:
        """Return whether the caller runs inside a transaction of this store."""
        ...

    def verdict_in_s(self, process: Row) -> float | None:
        """Return in how many seconds a process counts as dead if it stays silent, 0.0 when it is.

        None when it lives for certain.
        """
        ...

    @property
    def is_in_memory(self) -> bool:
        """Return whether the journal ends with this process."""
        ...

    def file(self) -> str | None:
        """Return the path of the file that is open, None for a journal that is not one.

        Raises:
            ReplacedError: Another file, or none, is at that path now.
        """
        ...

    def unsynced_steps(self) -> frozenset[int]:
        """Return the steps whose newest change by this process may not be on disk yet."""
        ...

    def size(self) -> int:
        """Return how many bytes the journal takes on disk, 0 where that is unknown."""
        ...

    def shrink(self) -> None:
        """Give back what deleted rows took, a little at a time between the commits of others."""
        ...

    def close(self) -> None:
        """Release one owner; the last one commits what is queued and closes the journal."""
        ...

    def close_unowned(self) -> bool:
        """As `close`, for a finalizer: it waits for nothing, and may run anywhere.

        Returns:
            Whether the store was open here, and so nobody had closed it.
        """
        ...


class Engine(Protocol):
    """The module of an engine."""

    def open_store(self, target: str, durability: Durability, clock: Clock) -> Store:
        """Open a journal, made where there is none, or share what this process has open of it.

        Raises:
            StorageError: It cannot be opened; the leaf and the message say why.
        """
        ...

    def close_all(self) -> None:
        """Close what this process has open, at its end."""
        ...

    def open_reader(self, target: str) -> Reader:
        """Return a reader of a journal; it is opened at the first `read`."""
        ...

    def exists(self, target: str) -> bool:
        """Return whether there is something to open, as far as a look tells."""
        ...

    def is_lasting(self, target: str) -> bool:
        """Return whether a journal of this name outlives its process."""
        ...

    def absolute(self, target: str) -> str:
        """Return the target as it can be opened wherever this process, or a child, goes."""
        ...

    def refuse_unusable(self, target: str) -> None:
        """Report early, without opening anything, that a journal cannot be opened there.

        Raises:
            StorageError: So it is.
        """
        ...
