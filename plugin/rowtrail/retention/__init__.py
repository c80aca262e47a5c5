"""Retention: what may be deleted, and giving its space back while others go on writing.

Rows are deleted in short transactions. Then one snapshot shows which content nothing refers to, and
that is deleted in short transactions too; while this goes on, whoever stores a value that is there
already notes it, so that it is kept. Killed at any point, everything that is left is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, TypeVar

from rowtrail.checkpoint import delta_ancestors
from rowtrail.errors import BusyError, UnknownIdError, UsageError
from rowtrail.retention._marks import Bits, Doomed, Garbage, find_garbage

if TYPE_CHECKING:
    from rowtrail.checkpoint import Checkpoints
    from rowtrail.engine import Store, Tx

__all__ = ["Bits", "Policy", "Progress", "Pruned", "find_garbage", "plan_prune", "prune"]

T = TypeVar("T")

ROWS_PER_TRANSACTION = 500
"""Some milliseconds: an agent that writes meanwhile waits for no more."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Policy:
    """What to delete.

    Attributes:
        older_than_ms: Only what was last active, or made, that long ago; None for any age.
        thread_ids: Only these threads; None for all.
        keep: Keep the threads, and the newest `keep` checkpoints of each namespace; None deletes
            whole threads.
        keep_journal: Keep the runs and steps of deleted threads; those that wait are cancelled.
    """

    older_than_ms: int | None = None
    thread_ids: tuple[str, ...] | None = None
    keep: int | None = None
    keep_journal: bool = False

    def check(self) -> None:
        """Refuse a policy that deletes everything, or nothing that can be meant.

        Raises:
            UsageError: The policy makes no choice, or a number is negative.
        """
        if self.older_than_ms is None and self.thread_ids is None and self.keep is None:
            raise UsageError(
                "this would delete everything: say what, with older_than, thread_ids or keep"
            )
        for name in ("older_than_ms", "keep"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise UsageError(f"{name}={value!r} is negative")


@dataclass
class Pruned:
    """What was deleted, or would be.

    `bytes` is the content's own size: the file, without its WAL, shrinks by that and by the rows.
    """

    threads: int = 0
    checkpoints: int = 0
    runs: int = 0
    steps: int = 0
    items: int = 0
    bytes: int = 0
    file_bytes_before: int = 0
    file_bytes_after: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the figures by name."""
        return asdict(self)


@dataclass
class _Targets:
    """Rows that a policy dooms: by thread, and runs that belong to none."""

    threads: list[tuple[int, str]] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)


def plan_prune(store: Store, policy: Policy) -> Pruned:
    """Return what `prune` would delete, from one snapshot; nothing is changed.

    Raises:
        UsageError: The policy makes no choice.
        UnknownIdError: A thread does not exist.
    """
    policy.check()

    def work(tx: Tx) -> Pruned:
        targets = _targets(tx, store, policy)
        doomed_checkpoints: set[int] = set()
        doomed_steps: set[int] = set()
        runs = list(targets.runs)
        for thread, _ in targets.threads:
            doomed_checkpoints |= _doomed_checkpoints(tx, store, policy, thread)[0]
            if policy.keep is None and not policy.keep_journal:
                runs += [row["id"] for row in tx.all("runs_of_thread", thread=thread)]
        for run in runs:
            doomed_steps |= {row["id"] for row in tx.all("steps_of_run", run=run)}
        garbage = find_garbage(tx, Doomed(frozenset(doomed_checkpoints), frozenset(doomed_steps)))
        return Pruned(
            threads=len(targets.threads) if policy.keep is None else 0,
            checkpoints=len(doomed_checkpoints),
            runs=len(runs),
            steps=len(doomed_steps),
            items=len(garbage.items),
            bytes=garbage.item_bytes,
            file_bytes_before=store.size(),
            file_bytes_after=store.size(),
        )

    return store.read(work)


def prune(
    store: Store,
    checkpoints: Checkpoints,
    policy: Policy,
    progress: Progress | None = None,
) -> Pruned:
    """Delete what a policy names, and what nothing refers to any more; return what went.

    Runs with a live attempt, and the threads they belong to, are left alone.

    Raises:
        UsageError: The policy makes no choice.
        UnknownIdError: A thread does not exist.
        BusyError: Another process is pruning this journal.
    """
    policy.check()
    report_progress = progress or _no_progress
    report = Pruned(file_bytes_before=store.size())
    store.write(lambda tx: _begin(tx, store))
    try:
        _delete_rows(store, checkpoints, policy, report, report_progress)
        garbage = store.read(find_garbage)
        _sweep(store, garbage, report, report_progress)
    finally:
        store.write(_end)
    store.shrink()
    report.file_bytes_after = store.size()
    return report


def _no_progress(what: str, done: int, total: int) -> None:
    """Report no progress."""


def _begin(tx: Tx, store: Store) -> None:
    holder = tx.one("sweeper")
    if holder is not None and holder["process"] != store.process_row and store.is_alive(holder):
        raise BusyError(
            f"process {holder['pid']} on {holder['host']} is pruning {store.where!r}: wait for it",
            path=store.where,
        )
    tx.run("meta_set", key="sweeper", value=str(store.process_row))
    tx.run("touched_clear")
    tx.run("sweep_begin")


def _end(tx: Tx) -> None:
    tx.run("sweep_end")
    tx.run("touched_clear")
    tx.run("meta_set", key="sweeper", value="0")


def _targets(tx: Tx, store: Store, policy: Policy) -> _Targets:
    cutoff = _cutoff(tx, policy)
    found = _Targets()
    for thread_id in policy.thread_ids or (None,):
        if thread_id is not None and tx.value("thread_row", thread_id=thread_id) is None:
            raise UnknownIdError(
                f"no thread has the id {thread_id!r}", kind="thread", value=thread_id
            )
        for row in tx.all("idle_threads", thread_id=thread_id):
            # With `keep`, age is that of each checkpoint, not of the thread.
            if policy.keep is not None or cutoff is None or row["last_at"] <= cutoff:
                found.threads.append((row["id"], row["thread_id"]))
    whole = policy.keep is None and policy.thread_ids is None and not policy.keep_journal
    if whole and cutoff is not None:
        found.runs = [row["id"] for row in tx.all("loose_runs", cutoff=cutoff)]
    return found


def _cutoff(tx: Tx, policy: Policy) -> int | None:
    if policy.older_than_ms is None:
        return None
    return tx.now_ms() - policy.older_than_ms


def _doomed_checkpoints(
    tx: Tx, store: Store, policy: Policy, thread: int
) -> tuple[set[int], set[int]]:
    """Return the checkpoints of a thread to delete, and those to keep hidden."""
    if policy.keep is None:
        return {row["id"] for row in tx.all("checkpoint_ids_of_thread", thread=thread)}, set()
    cutoff = _cutoff(tx, policy)
    doomed = {
        row["id"]
        for row in tx.all("checkpoints_beyond", thread=thread, keep=policy.keep, cutoff=cutoff)
    }
    doomed |= {row["id"] for row in tx.all("checkpoints_hidden", thread=thread)}
    needed = delta_ancestors(tx, thread, doomed)
    return doomed - needed, doomed & needed


def _delete_rows(
    store: Store,
    checkpoints: Checkpoints,
    policy: Policy,
    report: Pruned,
    progress: Progress,
) -> None:
    targets = store.read(lambda tx: _targets(tx, store, policy))
    for number, (thread, thread_id) in enumerate(targets.threads):
        progress("threads", number, len(targets.threads))
        _delete_thread(store, checkpoints, policy, thread, thread_id, report)
    for number, run in enumerate(targets.runs):
        progress("runs", number, len(targets.runs))
        _delete_run(store, run, report)


def _delete_thread(
    store: Store,
    checkpoints: Checkpoints,
    policy: Policy,
    thread: int,
    thread_id: str,
    report: Pruned,
) -> None:
    def doom(tx: Tx) -> int:
        idle = tx.one("idle_threads", thread_id=thread_id)
        cutoff = _cutoff(tx, policy)
        if idle is None or idle["id"] != thread:
            return 0  # it came to life since
        if policy.keep is None and cutoff is not None and idle["last_at"] > cutoff:
            return 0
        doomed, hidden = _doomed_checkpoints(tx, store, policy, thread)
        tx.run("checkpoints_hide", checkpoints=tx.array(sorted(hidden)))
        _cancel_waiting(tx, checkpoints, policy, thread)
        some = sorted(doomed)[:ROWS_PER_TRANSACTION]  # the oldest first: a prefix of the history
        checkpoints.delete_rows(tx, some)
        return len(some)

    while deleted := store.write(doom):
        report.checkpoints += deleted
    if policy.keep is not None:
        return
    if not policy.keep_journal:
        for row in store.read(lambda tx: tx.all("runs_of_thread", thread=thread)):
            _delete_run(store, row["id"], report)

    def delete_bare(tx: Tx) -> int:
        gone = tx.changed("thread_delete_bare", thread=thread)
        if gone:
            tx.run("thread_questions_delete", thread=thread)
        return gone

    gone = store.write(delete_bare)
    report.threads += 1 if gone or policy.keep_journal else 0


def _cancel_waiting(tx: Tx, checkpoints: Checkpoints, policy: Policy, thread: int) -> None:
    """Cancel the runs of a thread that wait and are kept, while all its checkpoints go."""
    if policy.keep is None and policy.keep_journal:
        checkpoints.cancel_waiting(tx, thread)


def _delete_run(store: Store, run: int, report: Pruned) -> None:
    def delete_steps(tx: Tx) -> int:
        if tx.one("run_is_busy", run=run) is not None:
            return 0
        rows = [row["id"] for row in tx.all("steps_of_run", run=run)][:ROWS_PER_TRANSACTION]
        listed = tx.array(rows)
        tx.run("replays_delete", steps=listed)
        return tx.changed("steps_delete", steps=listed)

    def delete_run(tx: Tx) -> int:
        if tx.one("run_is_busy", run=run) is not None:
            return 0
        for statement in ("questions_of_run", "replays_of_run", "scopes_of_run", "attempts_of_run"):
            tx.run(f"{statement}_delete", run=run)
        return tx.changed("run_delete", run=run)

    while deleted := store.write(delete_steps):
        report.steps += deleted
    report.runs += store.write(delete_run)


def _sweep(store: Store, garbage: Garbage, report: Pruned, progress: Progress) -> None:
    """Delete what nothing referred to in the snapshot, except what was stored again since."""
    for lists in _chunks(garbage.lists):
        _delete_listed(store, "lists_delete", lists=lists)
    for positions in _chunks(garbage.positions):
        _delete_positions(store, positions)
    done = 0
    for items in _chunks(garbage.items):
        progress("items", done, len(garbage.items))
        done += len(items)
        report.items += _delete_listed(store, "items_delete", items=items)
    report.bytes += garbage.item_bytes
    store.write(lambda tx: tx.run("logs_delete_empty"))


def _delete_listed(store: Store, statement: str, **rows: Sequence[int]) -> int:
    def delete(tx: Tx) -> int:
        return tx.changed(statement, **{name: tx.array(found) for name, found in rows.items()})

    return store.write(delete)


def _delete_positions(store: Store, positions: Sequence[tuple[int, int]]) -> None:
    rows = [{"log": log, "pos": pos} for log, pos in positions]
    store.write(lambda tx: tx.many("log_item_delete", rows))


def _chunks(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), ROWS_PER_TRANSACTION):
        yield rows[start : start + ROWS_PER_TRANSACTION]
