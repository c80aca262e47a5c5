"""A live attempt of a run, and its scopes: what they know while they go on."""

from __future__ import annotations

import functools
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from rowtrail.content import Codec, Encoded, Prepared
from rowtrail.engine import Row, Tx, WriteKey
from rowtrail.journal._beginning import Beginning, Begun
from rowtrail.journal._claims import Claimant, Claims, Generation
from rowtrail.journal._masks import Masks
from rowtrail.journal._owners import Holder
from rowtrail.journal._prefetched import Prefetched
from rowtrail.journal._recorder import Recorder
from rowtrail.journal._request import Key, Numbers, Request, Step, text_in_row
from rowtrail.replay import scope_key

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop


class Interrupts(Protocol):
    """How a framework gives answers of people to the questions of a call: by position."""

    def counting(self) -> AbstractContextManager[Callable[[], int]]:
        """Count the questions of the code inside the block; what it gives returns how many."""
        ...

    def skip(self, count: int) -> None:
        """Take the positions of the questions that a call asked which is handed back now."""
        ...


MAX_FAILURES = 100
"""How many failures of steps are remembered, to tell them from those of the code around."""

MAX_KEPT_SCOPES = 1_000
"""How many tasks of a graph are remembered, the last ones: a retry follows at once."""


@dataclass(eq=False, slots=True)
class Warned:
    """A run, and the functions of which the log has said that their calls are not recorded.

    It may outlive the attempt: a thread that the run started, say, may live for ever.
    """

    run_id: str
    names: set[str] = field(default_factory=set[str])


class Attempt(Holder):
    """A live attempt of a run; safe to use from several threads and tasks."""

    is_over = False
    """Whether its end is written, or can be no more."""

    is_inherited = False
    """Whether it belongs to the process that this one was forked from."""

    at_end: Callable[[Tx], None] | None = None
    """What an adapter writes with its end."""

    def __init__(
        self,
        recorder: Recorder,
        beginning: Beginning,
        begun: Begun,
        codec: Codec,
        *,
        strict: bool = False,
        canonical: Masks | None = None,
        on_end: Callable[[Attempt], None],
        loop: AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(loop)
        self.recorder = recorder
        self.codec = codec
        self.strict = strict
        self.canonical = canonical
        self.on_end = on_end
        """Called once, before its end is written."""
        self.beginning = beginning
        self.begun = begun
        self.row = begun.attempt
        self.run = begun.run
        self.run_id = begun.run_id
        self.warned = Warned(begun.run_id)
        self.thread = begun.thread
        self.thread_id = beginning.thread_id
        self.n = begun.n
        self.base_step = begun.base_step
        self.continues = begun.n > 1
        self.replay_always = beginning.replay == "always"
        self.ask: Callable[[Step | None], Any] | None = None
        """Asks a person about a step in doubt; adapters set it where they can."""
        self.interrupts: Interrupts | None = None
        """Counts the questions that a call asks a person, and passes them by on replay."""
        self.re_executes: Callable[[str, bool], bool] = _all_of_it
        """Whether a scope, by its name and by whether it had finished, is executed again."""
        self.claims = Claims()
        self.replayed: set[int] = set()
        """Steps but those of models that were handed back, with all that was made inside them."""
        self.raises_handled = begun.before is not None and begun.before["outcome"] in _NOT_FAILED
        self.has_doubts = False
        """Whether a call that changes the world ended in doubt in this attempt."""
        self.is_rejected = False
        """Whether the framework refused what it was given, and nothing was executed."""
        self.is_resumed_done = beginning.intent == "resume" and begun.n == 1
        self._lock = threading.Lock()
        # Weak: a step's scope lasts as long as its frame or its task does, not as the run.
        self._scopes: weakref.WeakValueDictionary[tuple[str, Generation], Scope] = (
            weakref.WeakValueDictionary()
        )
        self._kept: dict[str, Scope] = {}
        # Bounded: an exception keeps alive what its frames hold.
        self.failures: deque[BaseException] = deque(maxlen=MAX_FAILURES)
        self.open: set[int] = set()
        """Steps whose ends are not on disk."""

    @functools.cached_property
    def unanswered(self) -> set[tuple[str, int]]:
        """Return what a person was asked in this attempt, as scopes and positions in them."""
        return set()

    @property
    def write_key(self) -> WriteKey:
        """Return what its transactions belong to."""
        return self.beginning.write_key or ("run", self.run_id)

    def scope(
        self,
        name: str,
        *,
        node: str | None = None,
        agent: str | None = None,
        generation: Generation = (0,),
        keep: bool = False,
    ) -> Scope:
        """Return the scope of this name; another generation numbers its requests anew.

        Args:
            name: What stays the same when it is executed again.
            node: The node of a graph that it is.
            agent: Who makes its calls, where that is not the agent of the run.
            generation: Which execution of it this is.
            keep: It is asked for again where nobody holds it meanwhile: a task of a graph.
        """
        with self._lock:
            found = self._scopes.get((name, generation))
            if found is None:
                found = Scope(self, name, node, generation, agent)
                self._scopes[name, generation] = found
            if keep:
                self._keep(found)
            return found

    def _keep(self, scope: Scope) -> None:
        """Keep a scope, and let the next try of its task see how this one ended."""
        before = self._kept.pop(scope.name, None)
        if before is not scope:
            scope.before = before
        self._kept[scope.name] = scope
        if len(self._kept) > MAX_KEPT_SCOPES:
            del self._kept[next(iter(self._kept))]

    def prepare(self, encoded: Encoded) -> Prepared:
        """Digest an encoded value for this journal."""
        return self.recorder.content.prepare(encoded)

    def prepare_arguments(self, encoded: Encoded) -> Prepared:
        """Return arguments, digested unless the row of their step keeps their text itself."""
        is_in_row = text_in_row(encoded) is not None
        return Prepared(encoded, None) if is_in_row else self.prepare(encoded)

    def idempotency_key(self, scope_key: str, fingerprint: bytes, key_n: int) -> str:
        """Return the key of a step, as the view `steps` shows it."""
        return f"{self.begun.nonce}-{scope_key}-{fingerprint.hex()}-{key_n}"

    def key_of(self, row: Row) -> str:
        """Return the idempotency key of a recorded step."""
        return self.idempotency_key(row["key_scope"], row["fingerprint"], row["key_n"])


class Asked:
    """What a person was asked about the steps in doubt of one scope.

    A framework matches answers to questions by position. The order in which steps were first asked
    about is on disk, and every call takes the positions of the questions up to its own in this
    order, answered or not: so parallel calls, which come in any order, get their own answers, and
    what is asked after them does not get theirs.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.answers: dict[int, tuple[Any, int]] = {}
        """By step, the answer and how many were given until one was valid."""
        self.passed: set[int] = set()


class Scope:
    """One scope in one attempt; its requests are numbered by fingerprint, as they are made."""

    def __init__(
        self,
        attempt: Attempt,
        name: str,
        node: str | None,
        generation: Generation,
        agent: str | None = None,
    ) -> None:
        self.attempt = attempt
        self.name = name
        self.node = node
        self.agent = agent
        """Who makes the calls; None: the agent of the run."""
        self.generation = generation
        self.parent_row: int | None = None
        """Row of the step whose code makes the calls of this scope, if there is one."""
        self.around: Scope | None = None
        """The scope whose code runs the graph that this one is a task of, if there is one."""
        self.outside: tuple[Scope | None, bool] = (None, False)
        """Of a `journal.run`: the scope in whose code it was entered, and whether that is one."""
        self.before: Scope | None = None
        """The same task's try before this one."""
        self.ended_with_failure = False
        """Whether the call that ended last in this scope raised."""
        self.recorded: Prefetched | None = None
        """What the scope had when this attempt came to it, once it was read."""
        self.raised: set[int] = set()
        """Steps whose recorded failures were raised again."""
        self.unreadable: set[int] = set()
        """Steps whose results are of classes that the program does not have any more."""
        self.is_retry_told = False
        """Whether it is committed that this is another try of its task."""
        self.is_retry_recorded = False
        """The same as the transaction under way has it."""
        self.known_row: int | None = None
        """The row of the scope, None where no transaction that found or made it was committed."""
        self._lock = threading.Lock()
        self._numbers = Numbers()
        self._freed: deque[Key] = deque()
        """What `_numbers` is to be given back: a finalizer must not wait for the lock."""

    @functools.cached_property
    def key(self) -> str:
        """Return what stands for the scope in the idempotency keys of its steps."""
        return scope_key(self.name)

    @functools.cached_property
    def asked(self) -> Asked:
        """Return what a person was asked about steps of this scope."""
        return Asked()

    def claimant(self, key: Key) -> Claimant:
        """Return how a request of this scope claims a recorded call."""
        return self.name, self.generation, key

    def number(self, request: Request) -> Key:
        """Number a request among its equals."""
        with self._lock:
            while self._freed:
                self._numbers.free(self._freed.popleft())
            return self._numbers.next(request)

    def free(self, key: Key) -> None:
        """Give back the number of a request that came to nothing, to the next one like it.

        So a call that is made again after it failed has the number of the first: on resume its
        answer stands where the failure was.
        """
        self._freed.append(key)

    def inside(self, place: str, parent_row: int) -> Scope:
        """Return the scope of the calls made inside a step of this scope."""
        scope = self.attempt.scope(
            f"{self.name}>{place}", node=self.node, agent=self.agent, generation=self.generation
        )
        scope.parent_row = parent_row
        return scope

    def of_agent(self, agent: str) -> Scope:
        """Return the scope of the calls that an agent makes here, itself where it is that one's."""
        if agent == self.agent:
            return self
        scope = self.attempt.scope(
            f"{self.name}|{agent}",
            node=self.node,
            agent=agent,
            generation=self.generation,
            keep=True,
        )
        scope.around, scope.parent_row = self, self.parent_row
        return scope

    def note_end(self, *, is_failure: bool) -> None:
        """Note how the call ended that was the last here, and in the scopes around."""
        scope: Scope | None = self
        while scope is not None:
            scope.ended_with_failure = is_failure
            scope = scope.around

    def row_in(self, tx: Tx) -> int:
        """Return the row of the scope, which is made when it is first needed."""
        row = self.known_row
        if row is None:
            found: int | None = tx.value("scope_row", run=self.attempt.run, name=self.name)
            row = self._new_row(tx) if found is None else found
            tx.after_commit(functools.partial(self.remember_row, row))
        return row

    def _new_row(self, tx: Tx) -> int:
        return tx.insert(
            "scope_insert",
            run=self.attempt.run,
            name=self.name,
            node=self.node,
            agent=self.agent,
            key=self.key,
        )

    def remember_row(self, row: int) -> None:
        """Keep the row of the scope, which is committed."""
        self.known_row = row

    @property
    def last_seq(self) -> Mapping[int, int]:
        """Return the number of the newest step that each attempt began in the scope."""
        return {} if self.recorded is None else self.recorded.last_seq

    def has_diverged(self, request: Request) -> bool:
        """Return whether the scope has recorded steps of this kind that no request has claimed."""
        if self.recorded is None or not self.recorded.rows:
            return False
        with self._lock:
            return any(
                not self._numbers.has(fingerprint, call)
                for (fingerprint, call, _), rows in self.recorded.rows.items()
                if any(row["kind"] == request.kind and row["status"] == "done" for row in rows)
            )

    def step_of(self, row: int, key: str, request: Request) -> Step:
        """Return what the code of a step, or its reconciling function, sees of it."""
        return Step(
            id=str(row),
            idempotency_key=key,
            attempt=self.attempt.n,
            name=request.name,
            input=request.arguments,
        )

    def codec_of(self, request: Request) -> Codec:
        """Return what reads and writes the results of a request."""
        return request.codec or self.attempt.codec

    def is_opaque(self, request: Request) -> bool:
        """Return whether nothing of what a request returns may be stored as text."""
        return self.codec_of(request).is_opaque


def _all_of_it(scope_name: str, finished: bool) -> bool:
    return True


_NOT_FAILED = ("crashed", "cancelled", "waiting")
