"""Importing into a journal by its path; a new one appears whole, or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import stat
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from urllib.parse import quote, unquote

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from rowtrail import Journal
from rowtrail.checkpoint import threads_among
from rowtrail.engine import current_process
from rowtrail.engine.reading import open_reader
from rowtrail.errors import StorageError
from rowtrail_langgraph.importing._file import SqliteSaverFile
from rowtrail_langgraph.importing._lossless import lossless
from rowtrail_langgraph.importing._threads import (
    ImportReport,
    Plan,
    Progress,
    among,
    no_progress,
    size_of,
)

SUFFIX = ".tmp"
BESIDE = ("", "-wal", "-shm")
"""What SQLite keeps beside a file, and the file."""


def import_file(
    source: str,
    target: str,
    *,
    thread_ids: Iterable[str] | None = None,
    skip_existing: bool = False,
    dry_run: bool = False,
    progress: Progress = no_progress,
) -> ImportReport:
    """Take over the threads of a LangGraph SQLite file into the journal at a path.

    A journal that does not exist yet is built in a file beside it, and gets its name when it is
    complete; one that exists takes each thread in one transaction. A dry run opens it for reading.

    Raises:
        ImportSourceError: `source` is not such a file, or is damaged; nothing was written.
        UnknownIdError: A thread is not in the file; nothing was written.
        ThreadsExistError: The journal has threads of these ids; nothing was written.
        ImportMismatchError: A thread did not read back equal, and was not kept.
        StorageError: The journal cannot be written.
    """
    target = os.path.realpath(target)
    serde = JsonPlusSerializer()
    reading, kept_types = lossless(serde)
    with contextlib.ExitStack() as stack:
        plan = Plan(stack.enter_context(SqliteSaverFile(source, reading)), kept_types, progress)
        before = size_of(target)
        if dry_run:
            plan.choose(thread_ids, partial(_read_among, target), skip_existing=skip_existing)
            plan.check()
        elif os.path.exists(target):
            journal = stack.enter_context(Journal(target))
            plan.choose(thread_ids, partial(among, journal), skip_existing=skip_existing)
            plan.check()
            plan.carry_out(journal, serde)
        else:
            remove_abandoned(target)
            plan.choose(thread_ids, lambda _: [], skip_existing=skip_existing)
            plan.check()
            with (
                _built_beside(target) as unfinished,
                Journal(unfinished, durability="normal") as journal,
            ):
                plan.carry_out(journal, serde)
        report = plan.report(target, dry_run=dry_run, bytes_before=before, bytes_after=before)
    return replace(report, journal_bytes=size_of(target))


def _read_among(path: str, thread_ids: Sequence[str]) -> list[str]:
    if not size_of(path):
        return []
    with open_reader(path) as reader:
        return reader.read(partial(threads_among, thread_ids=thread_ids))


@contextlib.contextmanager
def _built_beside(target: str) -> Generator[str]:
    """Give the path of a new file that gets the target's name at the end, or is removed."""
    unfinished = f"{target}.import-{_mark()}{SUFFIX}"
    try:
        yield unfinished
        _publish(unfinished, target)
    finally:
        _remove(unfinished)


def _publish(unfinished: str, target: str) -> None:
    if size_of(unfinished) != os.path.getsize(unfinished):
        raise StorageError(
            f"{unfinished!r} still has a WAL, which a rename would lose: nothing was imported",
            path=target,
        )
    try:
        _name(unfinished, target)
    except FileExistsError as error:
        raise StorageError(
            f"{target!r} was made by another process during the import: nothing was imported; "
            "run it again",
            path=target,
        ) from error
    _sync_folder(os.path.dirname(target))


def _name(unfinished: str, target: str) -> None:
    """Rename a file, never over another one."""
    try:
        os.link(unfinished, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.exists(target):
            raise FileExistsError(target) from None
        os.rename(unfinished, target)


def _sync_folder(folder: str) -> None:
    with contextlib.suppress(OSError):  # Windows cannot open a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_abandoned(target: str) -> None:
    """Remove what imports to this journal left when they were killed."""
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise StorageError(f"there is no folder {folder!r} for the journal: make it", path=target)
    for path in glob.glob(f"{glob.escape(target)}.import-*{SUFFIX}"):
        mark = path[len(target) + len(".import-") : -len(SUFFIX)]
        if _is_abandoned(mark) and stat.S_ISREG(os.lstat(path).st_mode):
            _remove(path)


def _mark() -> str:
    """Return a name for this import that says whose it is."""
    me = current_process()
    parts = (_place(), str(me.pid), quote(me.pid_start, safe=""), secrets.token_hex(4))
    return "-".join(part.replace("-", "%2D") for part in parts)


def _is_abandoned(mark: str) -> bool:
    """Return whether an import was of a process of this host that is dead."""
    place, pid, pid_start, *_ = [*map(unquote, mark.split("-")), "", ""]
    if place != _place() or not pid.isdecimal():
        return False  # of another machine, or not ours at all
    owner = replace(current_process(), pid=int(pid), pid_start=pid_start)
    return not owner.is_alive(last_seen_at=0, now_ms=0)


def _place() -> str:
    """Return what distinguishes this host and its process ids from others."""
    me = current_process()
    return blake2b(f"{me.host}\0{me.pid_space}".encode(), digest_size=4).hexdigest()


def _remove(path: str) -> None:
    for suffix in BESIDE:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + suffix)
