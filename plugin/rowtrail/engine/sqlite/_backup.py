"""A copy of a journal, while agents go on writing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from rowtrail.engine.sqlite._attached import JOURNAL, attach
from rowtrail.engine.sqlite._faults import named_errors
from rowtrail.engine.sqlite._inspect import inspect_file
from rowtrail.engine.sqlite._whole_file import beside, give_name, refuse_existing
from rowtrail.errors import DamagedError

PAGES_AT_ONCE = 2_000
"""16 MB a step: a writer waits for no more than one."""


def back_up(path: str, target: str, progress: Callable[[int, int], None]) -> int:
    """Copy a journal into a new file of mode 0600, check it, and return its size in bytes.

    What is copied is one snapshot; commits that others make meanwhile are not in it and do not
    disturb it. `target` exists once the copy is whole, checked and on disk; it needs no WAL beside.

    Args:
        path: The journal.
        target: A file that does not exist yet.
        progress: Called with the pages that are copied, and with how many there are.

    Raises:
        StorageError: Either file cannot be used; the leaf and the message say why.
        DamagedError: The copy did not pass SQLite's check.
    """
    refuse_existing(target)
    with beside(target) as part:
        _copy(path, part, progress)
        found = inspect_file(part, check="quick")
        if found.faults:
            raise DamagedError(
                f"the copy of {path!r} did not pass the check ({'; '.join(found.faults)}), and was "
                "removed: run `rowtrail doctor --full` on the journal",
                path=path,
            )
        give_name(part, target)
    return found.file_bytes


def _copy(path: str, part: str, progress: Callable[[int, int], None]) -> None:
    source = sqlite3.connect(":memory:", uri=True, isolation_level=None)
    copy = sqlite3.connect(part, isolation_level=None)

    def tell(status: int, remaining: int, total: int) -> None:
        progress(total - remaining, total)

    try:
        with named_errors(path):
            attach(source, path, JOURNAL)
            # The snapshot is held throughout: else every commit of others would begin it anew.
            source.execute("BEGIN")
            source.execute(f"SELECT count(*) FROM {JOURNAL}.sqlite_master").fetchone()
        with named_errors(part):
            source.backup(copy, pages=PAGES_AT_ONCE, progress=tell, name=JOURNAL, sleep=0)
            copy.execute("PRAGMA journal_mode = DELETE").fetchone()  # one file, nothing beside it
    finally:
        copy.close()
        source.close()
