"""Which steps a power cut could still take, where commits are not synced one by one."""

from __future__ import annotations

import os
import threading

from rowtrail.engine.sqlite._home import wal_of

MAX_NOTED = 100_000
"""How many steps are remembered, the newest; nobody asks for so many."""

_HEADER = slice(12, 24)
"""Where the header of a WAL has its number and salts: others after each reset."""


class Unsynced:
    """The steps that were changed since the WAL was last synced, as far as this process knows.

    A WAL begins anew only after a checkpoint, which syncs it and the file: what was written into
    one that is gone is on disk. Source: sqlite.org/wal.html and `walCheckpoint` in wal.c.
    """

    def __init__(self, path: str) -> None:
        self.changed: set[int] = set()
        """Steps that the transaction under way changes."""
        self._wal_path = wal_of(path)
        self._wal = b""
        self._lock = threading.Lock()
        self._noted: set[int] = set()

    def note(self, *, is_synced: bool) -> None:
        """Note that what was changed is committed."""
        with self._lock:
            if is_synced:
                self._noted.clear()
            else:
                self._forget_reset()
                self._noted |= self.changed
                if len(self._noted) > MAX_NOTED:
                    self._noted = set(sorted(self._noted)[MAX_NOTED // 2 :])
            self.changed.clear()

    def steps(self) -> frozenset[int]:
        """Return the steps whose newest change may not be on disk."""
        with self._lock:
            self._forget_reset()
            return frozenset(self._noted | self.changed)

    def _forget_reset(self) -> None:
        wal = self._header()
        if wal != self._wal:
            self._noted.clear()
            self._wal = wal

    def _header(self) -> bytes:
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
            return self._wal
