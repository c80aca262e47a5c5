"""Taking over the threads of LangGraph's SQLite savers, checked against the original."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Literal

from langgraph.checkpoint.serde.base import SerializerProtocol

from rowtrail import Journal
from rowtrail.checkpoint import threads_among
from rowtrail.engine import Tx
from rowtrail.errors import CorruptRowError, ImportMismatchError, ThreadsExistError
from rowtrail_langgraph.importing._file import Original, SqliteSaverFile
from rowtrail_langgraph.importing._lossless import lossless
from rowtrail_langgraph.importing._sameness import Comparison
from rowtrail_langgraph.importing._target import ImportTarget
from rowtrail_langgraph.saver import RowtrailSaver

MAX_DIFFERENCES = 100
"""A person looks at the first; after so many the thread is wrong as a whole."""

SHOWN = 5
"""How many names a message lists."""

Phase = Literal["check", "import", "verify"]


@dataclass(frozen=True)
class ImportProgress:
    """How far an import is: `done` of `total` checkpoints in this phase; the last is `verify`."""

    phase: Phase
    thread_id: str
    done: int
    total: int


@dataclass(frozen=True)
class ImportedThread:
    """One thread that was imported, or would be: how many checkpoints and pending writes."""

    thread_id: str
    checkpoints: int
    writes: int


@dataclass(frozen=True)
class ImportReport:
    """What an import did, or what a dry run found. Sizes are bytes of the file and its WAL."""

    source: str
    journal: str
    dry_run: bool
    threads: tuple[ImportedThread, ...]
    skipped: tuple[str, ...]
    """Threads left out because the journal had them already."""
    orphan_writes: int
    """Writes of checkpoints that never arrived, left out: no saver ever returns them."""
    kept_types: tuple[str, ...]
    """Classes whose objects cannot be rebuilt here, and were kept as LangGraph stored them."""
    source_bytes: int
    journal_bytes_before: int
    journal_bytes: int

    @property
    def checkpoints(self) -> int:
        """Return how many checkpoints that is."""
        return sum(thread.checkpoints for thread in self.threads)

    @property
    def writes(self) -> int:
        """Return how many pending writes that is."""
        return sum(thread.writes for thread in self.threads)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return {**asdict(self), "checkpoints": self.checkpoints, "writes": self.writes}


Progress = Callable[[ImportProgress], object]
"""Called after each checkpoint; while a thread is written, on the journal's own thread."""


def import_sqlite_saver(
    source: str | os.PathLike[str],
    saver: RowtrailSaver,
    *,
    thread_ids: Iterable[str] | None = None,
    skip_existing: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Take over the threads of a `SqliteSaver` or `AsyncSqliteSaver` file, ready to be resumed.

    The file is only read, over one snapshot, also while others use it. All of it is checked before
    anything is written; each thread is one transaction, committed once every checkpoint read back
    equals the original. The journal takes no other write meanwhile.

    Args:
        source: The file.
        saver: The saver on the journal; its serializer must be able to read the file.
        thread_ids: The threads; all by default.
        skip_existing: Leave out threads that the journal has, instead of refusing them.
        dry_run: Check the file, and write nothing.
        progress: Called after each checkpoint.

    Raises:
        ImportSourceError: It is not such a file, or a row of it is damaged; nothing was written.
        UnknownIdError: A thread is not in the file; nothing was written.
        ThreadsExistError: The journal has threads of these ids; nothing was written.
        ImportMismatchError: A thread did not read back equal, and was not kept.
        StorageError: The journal cannot be written.
    """
    serde, kept_types = lossless(saver.serde)
    with SqliteSaverFile(os.fspath(source), serde) as original:
        plan = Plan(original, kept_types, progress or no_progress)
        plan.choose(thread_ids, partial(among, saver.journal), skip_existing=skip_existing)
        plan.check()
        path = saver.journal.path
        before = size_of(path)
        if not dry_run:
            plan.carry_out(saver.journal, saver.serde)
        return plan.report(path, dry_run=dry_run, bytes_before=before, bytes_after=size_of(path))


def among(journal: Journal, thread_ids: Sequence[str]) -> list[str]:
    """Return which of these threads the journal has."""
    return journal.store.read(partial(threads_among, thread_ids=thread_ids))


def no_progress(progress: ImportProgress) -> None:
    """Report no progress."""


@dataclass
class Plan:
    """One import: chosen, checked, carried out, in this order."""

    original: SqliteSaverFile
    kept_types: set[str]
    progress: Progress
    threads: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    writes: dict[str, int] = field(default_factory=dict)
    orphan_writes: int = 0
    _total: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def choose(
        self,
        thread_ids: Iterable[str] | None,
        existing: Callable[[Sequence[str]], list[str]],
        *,
        skip_existing: bool,
    ) -> None:
        """Settle which threads are taken.

        Raises:
            UnknownIdError: The file has no such thread.
            ThreadsExistError: The journal has them already.
        """
        self.threads = self.original.threads(thread_ids)
        self.skipped = existing(list(self.threads))
        if self.skipped and not skip_existing:
            raise threads_exist(self.skipped)
        for thread_id in self.skipped:
            del self.threads[thread_id]
        self._total = sum(self.threads.values())

    def check(self) -> None:
        """Read everything that will be imported.

        Raises:
            ImportSourceError: Something cannot be read.
        """
        for thread_id in list(self.threads)[:1]:
            self._report("check", thread_id, 0)  # the next line takes long for a large file
        self.original.check()
        done = 0
        for thread_id in self.threads:
            writes = 0
            for original in self.original.iter_thread(thread_id):
                writes += len(original.writes)
                done += 1
                self._report("check", thread_id, done)
            self.writes[thread_id] = writes
            self.orphan_writes += self.original.count_writes(thread_id) - writes

    def carry_out(self, journal: Journal, serde: SerializerProtocol) -> None:
        """Write the threads, one transaction each, with the serializer of the journal's saver."""
        target = ImportTarget(journal, lossless(serde)[0])
        done = 0
        for thread_id, count in self.threads.items():
            target.run(partial(self._import, target, thread_id, done), self._stop)
            done += count

    def report(
        self, journal: str, *, dry_run: bool, bytes_before: int, bytes_after: int
    ) -> ImportReport:
        """Return what was done."""
        return ImportReport(
            source=self.original.path,
            journal=journal,
            dry_run=dry_run,
            threads=tuple(
                ImportedThread(thread_id, count, self.writes[thread_id])
                for thread_id, count in self.threads.items()
            ),
            skipped=tuple(self.skipped),
            orphan_writes=self.orphan_writes,
            kept_types=tuple(sorted(self.kept_types)),
            source_bytes=self.original.size_bytes,
            journal_bytes_before=bytes_before,
            journal_bytes=bytes_after,
        )

    def _import(self, target: ImportTarget, thread_id: str, done: int, tx: Tx) -> None:
        if threads_among(tx, [thread_id]):  # another process may have been first
            raise threads_exist([thread_id])
        for n, original in enumerate(self._going_on(thread_id), start=1):
            target.put(tx, original)
            self._report("import", thread_id, done + n)
        wrong = list(islice(self._verified(target, thread_id, done, tx), MAX_DIFFERENCES))
        if wrong:
            raise ImportMismatchError(
                f"thread {thread_id!r} did not read back as it was, and was not imported: "
                f"{_listed(wrong)}; please report this with the versions of rowtrail and langgraph",
                thread_id=thread_id,
                differences=tuple(wrong),
            )

    def _verified(self, target: ImportTarget, thread_id: str, done: int, tx: Tx) -> Iterator[str]:
        """Yield where the thread in the journal differs from the original."""
        comparison = Comparison()
        for ns in self.original.namespaces(thread_id):
            found = target.read_back(tx, thread_id, ns)
            newest: str | None = None
            for original in self._going_on(thread_id, ns, newest_first=True):
                newest = newest or original.checkpoint_id
                expected = original.as_tuple()
                try:
                    copy = next(found, None)
                except CorruptRowError as error:
                    yield f"{original.label}, or one near it, cannot be read ({error})"
                    return
                if copy is None or copy.config != expected.config:
                    yield f"{original.label} is not in its place"
                    return
                names = comparison.differences(copy, expected)
                yield from (f"{name} of {original.label}" for name in names)
                done += 1
                self._report("verify", thread_id, done)
            if next(found, None) is not None or target.newest_id(tx, thread_id, ns) != newest:
                yield f"the newest of namespace {ns!r} is not {newest}"

    def _going_on(
        self, thread_id: str, ns: str | None = None, *, newest_first: bool = False
    ) -> Iterator[Original]:
        for original in self.original.iter_thread(thread_id, ns, newest_first=newest_first):
            if self._stop.is_set():  # the caller was interrupted
                raise InterruptedError("the import was interrupted")
            yield original

    def _report(self, phase: Phase, thread_id: str, done: int) -> None:
        self.progress(ImportProgress(phase, thread_id, done, self._total))


def threads_exist(thread_ids: Sequence[str]) -> ThreadsExistError:
    """Return the error of importing threads that the journal has already."""
    return ThreadsExistError(
        f"the journal has the threads {_listed(list(map(repr, thread_ids)))} already, and "
        "two histories cannot be one: skip them (--skip-existing, skip_existing=True), or delete "
        "them from the journal first",
        thread_ids=tuple(thread_ids),
    )


def size_of(path: str) -> int:
    """Return how many bytes a journal takes with its WAL; 0 where there is none."""
    return sum(os.path.getsize(p) for p in (path, f"{path}-wal") if os.path.exists(p))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
