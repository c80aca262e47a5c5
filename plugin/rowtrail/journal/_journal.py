"""One journal file as its users hold it: runs to enter, questions to ask, an end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from rowtrail._clock import Clock
from rowtrail.content import Codec, Content
from rowtrail.engine import Durability, Store, open_store, warn_unclosed
from rowtrail.errors import ClosedError, UsageError
from rowtrail.journal._attempts import ActiveAttempts, Attempts
from rowtrail.journal._beginning import Beginning
from rowtrail.journal._checks import Checks, check_durability
from rowtrail.journal._environment import (
    RUN_FROM_ENVIRONMENT,
    check_id,
    journal_path,
    take_run_id,
)
from rowtrail.journal._masks import Pattern, masks_of
from rowtrail.journal._recorder import Recorder
from rowtrail.journal._recovery import beat, record_abandoned
from rowtrail.journal._run import Run
from rowtrail.journal.decisions import settle_by_hand

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from rowtrail.history import Answer, Page
    from rowtrail.history.searching import EmbedderLike, Indexed, Kind, Mode
    from rowtrail.history.searching import Progress as IndexProgress
    from rowtrail.retention import Progress, Pruned

_UNSET: Any = object()


class Journal(Checks, Attempts):
    """One journal file: every LLM call, tool call and checkpoint as rows.

    Opening the same file again in this process shares one store. The file is created when it does
    not exist, readable by its owner only. Close it when done, or use it as a context manager; an
    unclosed journal warns, and loses nothing.

    Args:
        path: The file, or `":memory:"` for a journal that lives as long as the object; when None,
            what $ROWTRAIL_DB says, else `./agent.db`, as on the command line.
        durability: `full` (each result is synced to disk) or `normal` (a power cut may take the
            last commits; a crash of the process takes nothing). The row of a call with effect
            `write` or `idempotent` is on disk before the call is made with either, that of any
            other need not be: it is made again. `durability()` says which steps are on disk.
        strict: Raise `DivergedError` when a resumed run asks for something that is not recorded,
            instead of making the call.
        embedder: What `search` finds meanings with: a LangChain `Embeddings`, or a function that
            takes a list of texts and returns a list of vectors. Nothing else calls it.
        canonical: What programs put into prompts anew each time, such as uuids and times: regular
            expressions whose matches, and functions of a text whose changes, do not count where no
            recorded call is exactly the same. Never for the arguments of a `write`.
        clock: For tests.

    Raises:
        NotAJournalError: The file is something else.
        NewerSchemaError: A newer rowtrail wrote it.
        ReadOnlyError: It cannot be written.
        SecondNameError: It is in use under another name, a hard link of it, say.
        UnsupportedError: Python's SQLite is too old.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        durability: Durability = "full",
        strict: bool = False,
        embedder: EmbedderLike | None = None,
        canonical: Sequence[Pattern] | None = None,
        clock: Clock | None = None,
    ) -> None:
        check_durability(durability)
        self.path = journal_path(path)
        self.strict = strict
        self.embedder = embedder
        self.canonical = masks_of(canonical)
        self._codec = Codec()
        self.store: Store = open_store(self.path, durability, clock or Clock())
        self.recorder = _recorder_of(self.store)
        self._attempts = ActiveAttempts()
        self._finalizer = warn_unclosed(self, self.store)
        self._stop_filling: Callable[[], None] | None = None

    def run(
        self,
        run_id: str = RUN_FROM_ENVIRONMENT,
        *,
        thread_id: str | None = None,
        agent: str | None = None,
        fresh: bool = False,
    ) -> Run:
        """Return the run of this id, to be entered with `with` or `async with`.

        The id names the work: given again after a crash, the recorded steps are replayed and the
        rest is made; given again after it finished, all of it is replayed.

        Args:
            run_id: The id; when left out, that of the run which `rowtrail resume` continues with
                this program ($ROWTRAIL_RUN, which is taken once), else a new one.
            thread_id: The conversation that the run belongs to.
            agent: Name of the agent.
            fresh: Start over: the recorded steps are set aside, and stay readable.

        Raises:
            UsageError: An id is empty or no text.
            RunBusyError: On entering, when a live process or thread holds the run.
        """
        self._refuse_closed()
        if run_id == RUN_FROM_ENVIRONMENT:
            run_id = take_run_id() or self.store.clock.new_id()
        check_id("run_id", run_id)
        for name, value in (("thread_id", thread_id), ("agent", agent)):
            if value is not None:
                check_id(name, value)
        beginning = Beginning(
            "name", run_id, thread_id=thread_id, agent=agent, exclusive=True, fresh=fresh
        )
        return Run(self, beginning, self._codec)

    def settle(self, step_id: str, *, result: Any = _UNSET, happened: bool = True) -> None:
        """Say what became of a step in doubt; the next resume goes by it.

        Args:
            step_id: Id of a step whose status is `in_doubt`.
            result: What the step returned; it is handed back in place of a call.
            happened: False says that it did not happen: then it is made again.

        Raises:
            UnknownIdError: There is no such step.
            UsageError: The step is neither in doubt nor left by its attempt, or a result was given
                for one that did not happen.
            UnstorableError: The result has no stored form.
        """
        if happened == (result is _UNSET):
            raise UsageError(
                "settle() takes either result=... (it happened) or happened=False (it did not)"
            )
        self._refuse_closed()
        output = None
        if happened:
            output = self.recorder.content.prepare(self._codec.encode(result))
        self.store.write(lambda tx: settle_by_hand(tx, self.recorder, step_id, output))

    def prune(
        self,
        *,
        older_than: timedelta | None = None,
        thread_ids: Sequence[str] | None = None,
        keep: int | None = None,
        keep_journal: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Pruned:
        """Delete old threads, or old checkpoints, and whatever content nothing refers to any more.

        Others may go on writing meanwhile; runs with a live attempt, and their threads, are left
        alone. Killed in the middle, what is left is whole, and the next call finishes the rest.

        Args:
            older_than: Only threads without activity for so long; with `keep`, only checkpoints
                of that age.
            thread_ids: Only these threads.
            keep: Keep the threads, and of each namespace the newest `keep` checkpoints (and,
                hidden, what their delta channels are rebuilt from).
            keep_journal: Keep the runs and steps of the threads that are deleted. A run that waits
                for a person is cancelled, as nothing can take an answer without its checkpoints.
            dry_run: Change nothing; return what would go.
            progress: Called with what is done, how much of it, and of how much.

        Raises:
            UsageError: Nothing says what to delete.
            UnknownIdError: A thread does not exist.
            BusyError: Another process is pruning this journal.
        """
        from rowtrail.checkpoint import Checkpoints
        from rowtrail.retention import Policy, plan_prune, prune

        age = None if older_than is None else int(older_than.total_seconds() * 1000)
        threads = None if thread_ids is None else tuple(thread_ids)
        policy = Policy(age, threads, keep, keep_journal)
        if dry_run:
            return plan_prune(self.store, policy)
        checkpoints = Checkpoints(self.store, self.recorder.content)
        return prune(self.store, checkpoints, policy, progress)

    def sql(
        self,
        query: str,
        params: Sequence[Any] | dict[str, Any] = (),
        *,
        limit: int = 200,
        timeout: float = 2.0,
        max_tokens: int | None = None,
        thread_id: str | None = None,
        run_id: str | None = None,
        agent: str | None = None,
    ) -> Answer:
        """Answer one `SELECT` over the documented views; see `rowtrail.history.query`.

        With a `thread_id`, `run_id` or `agent`, it sees their rows only, whatever it contains. A
        query that is asked often has a name: `sql("@failures")`; `rowtrail sql --list` has them.
        """
        from rowtrail.history import Only
        from rowtrail.history import query as ask

        self._refuse_closed()
        only = Only(thread_id, run_id, agent)
        return ask(
            self.store,
            query,
            params,
            limit=limit,
            timeout=timeout,
            max_tokens=max_tokens,
            only=only,
        )

    def search(
        self,
        text: str,
        *,
        kind: Kind | None = None,
        thread_id: str | None = None,
        run_id: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        mode: Mode = "auto",
        limit: int = 10,
        chars: int = 240,
        max_tokens: int | None = None,
        embedder: EmbedderLike | None = None,
    ) -> Answer:
        """Find where words, or their meaning, came up; see `rowtrail.history.searching.search`.

        `journal.search("payment refused", kind="tool", max_tokens=500).text()` is an answer for a
        model. Without `embedder` that of the journal is used.
        """
        from rowtrail.history.searching import search

        self._refuse_closed()
        return search(
            self.store,
            text,
            kind=kind,
            thread_id=thread_id,
            run_id=run_id,
            since=since,
            until=until,
            mode=mode,
            limit=limit,
            chars=chars,
            max_tokens=max_tokens,
            embedder=self.embedder if embedder is None else embedder,
            go_on=self._fill_later,
        )

    def _fill_later(self, path: str) -> None:
        """Let a thread read what the search index lacks, until the journal is closed."""
        from rowtrail.history.searching import go_on_filling, stop_filling

        go_on_filling(path)
        self._stop_filling = partial(stop_filling, path)

    def index(
        self,
        *,
        embedder: EmbedderLike | None = None,
        rebuild: bool = False,
        progress: IndexProgress | None = None,
    ) -> Indexed:
        """Fill the search index now, so that the next `search` need not; see `build_index` of
        `rowtrail.history.searching`.
        """
        from rowtrail.history.searching import build_index

        self._refuse_closed()
        chosen = self.embedder if embedder is None else embedder
        return build_index(self.store, embedder=chosen, rebuild=rebuild, progress=progress)

    def runs(self, *, thread_id: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """Return the newest runs, newest first; `rowtrail.history.list_runs` has filters and pages.

        Raises:
            UsageError: The limit gives no rows.
        """
        from rowtrail.history import list_runs, pages

        self._refuse_closed()
        listing = partial(list_runs, self.store, thread_id=thread_id)
        found = pages(listing, limit=limit, first=limit)
        return [cast("dict[str, Any]", run) for page in found for run in page]

    def steps(self, run_id: str) -> list[dict[str, Any]]:
        """Return the steps of a run in order.

        Raises:
            UnknownIdError: There is no such run.
        """
        return list(self.iter_steps(run_id))

    def iter_steps(self, run_id: str, *, page: int = 500) -> Iterator[dict[str, Any]]:
        """Yield the steps of a run in order, reading a page at a time.

        Args:
            run_id: The run.
            page: How many steps the first page has; pages grow as long as their texts are short.

        Raises:
            UnknownIdError: There is no such run.
        """
        from rowtrail.history import list_steps, pages

        self._refuse_closed()
        for steps in pages(partial(list_steps, self.store, run_id), first=page):
            yield from cast("Page[dict[str, Any]]", steps)

    def close(self) -> None:
        """Commit what is queued and close the file; safe at any time, further calls do nothing."""
        if self._finalizer.detach() is not None:
            if self._stop_filling is not None:
                self._stop_filling()
            self._attempts.close()
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Journal({self.path!r})"

    def _refuse_closed(self) -> None:
        if not self._finalizer.alive:
            raise ClosedError(f"{self.path!r} was closed: open the journal again", path=self.path)


def _recorder_of(store: Store) -> Recorder:
    """Return the recorder of a store, which all journals of it share with what it remembers."""
    if store.shared is None:
        store.shared = recorder = Recorder(store, Content(store))
        store.on_heartbeat = partial(beat, recorder=recorder)
        store.on_close = partial(record_abandoned, recorder=recorder)
    assert isinstance(store.shared, Recorder)
    return store.shared
