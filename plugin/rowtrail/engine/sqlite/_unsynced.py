"""Which steps a power cut could still take."""

from __future__ import annotations

import os
import threading
from collections import deque

from rowtrail.engine.sqlite._home import wal_of

MAX_NOTED = 100_000
"""How many steps are remembered, the newest; nobody asks for so many."""

LOOK_EACH = 64
"""After so many unsynced commits the header of the WAL is read, which takes three system calls."""

_HEADER = slice(12, 24)
"""Where the header of a WAL has its number and salts: others after each reset."""


class Unsynced:
    """The steps that were changed since the WAL was last synced, as far as this process knows.

    A WAL begins anew only after a checkpoint, which syncs it and the file: what was written into
    one that is gone is on disk. Source: sqlite.org/wal.html and `walCheckpoint` in wal.c. Its
    header is read when somebody asks, and now and then. What was committed since the last look
    counts as not on disk, though it may be.
    """

    def __init__(self, path: str) -> None:
        self.changed: set[int] = set()
        """Steps that the transaction under way changes."""
        self.commits = 0
        """How many commits `note` was told of."""
        self._wal_path = wal_of(path)
        self._wal = b""
        self._lock = threading.Lock()
        self._seen: dict[int, int] = {}
        """Steps of commits before the last look at the WAL, and how many commits there were."""
        self._new: dict[int, int] = {}
        """Steps of commits since, likewise."""
        self._apart: deque[tuple[int, bool, int]] = deque(maxlen=MAX_NOTED)
        self._not_looked = 0

    def begin(self) -> None:
        """Take over what the main thread has noted: a commit that begins now syncs that, too."""
        if self._apart:
            with self._lock:
                self._take_apart()

    def note(self, *, is_synced: bool) -> None:
        """Note that what was changed is committed."""
        with self._lock:
            if is_synced:
                self._seen.clear()
                self._new.clear()
            else:
                self._new.update(dict.fromkeys(self.changed, self.commits))
                self._not_looked += 1
            self.commits += 1
            self.changed.clear()
            self._take_apart()  # what was committed beside this one may have come after its sync
            if self._not_looked >= LOOK_EACH:
                self._look()

    def note_apart(self, step: int, *, is_synced: bool, before: int) -> None:
        """Note a commit of the main thread, which takes no lock.

        Args:
            step: What it changed.
            is_synced: Whether it was.
            before: How many `commits` there were when it began: only those were synced with it.
        """
        self._apart.append((step, is_synced, before))

    def steps(self) -> frozenset[int]:
        """Return the steps whose newest change may not be on disk."""
        with self._lock:
            self._take_apart()
            self._look()
            return frozenset((*self._seen, *self._new, *self.changed))

    def _take_apart(self) -> None:
        for _ in range(len(self._apart)):
            step, is_synced, before = self._apart.popleft()
            if not is_synced:
                self._new[step] = before - 1
                self._not_looked += 1
            elif self._seen or self._new:
                self._seen = {step: at for step, at in self._seen.items() if at >= before}
                self._new = {step: at for step, at in self._new.items() if at >= before}

    def _look(self) -> None:
        self._not_looked = 0
        wal = self._header()
        if wal is None:
            return
        if wal != self._wal:
            self._seen.clear()
            self._wal = wal
        self._seen.update(self._new)
        self._new.clear()
        if len(self._seen) > MAX_NOTED:
            self._seen = dict(sorted(self._seen.items())[MAX_NOTED // 2 :])

    def _header(self) -> bytes | None:
        # SQLite holds no locks on the WAL itself, so that closing a handle of ours drops none.
        try:
            handle = os.open(self._wal_path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            try:
                return os.read(handle, 32)[_HEADER]
            finally:
                os.close(handle)
        except FileNotFoundError:
            return b""
        except OSError:  # out of descriptors, or a failing disk: nothing is known to be synced
            return None
