"""A request on its way to its call, and how it is taken back where the call is never made."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rowtrail.errors import StorageError
from rowtrail.journal._numbers import Key

if TYPE_CHECKING:
    from rowtrail.journal._scope import Scope
    from rowtrail.store import Tx


class Unmade:
    """The number that a request has taken, and the row that may be written for it.

    Both methods may be called by a finalizer: they take no lock and wait for nothing.
    """

    __slots__ = ("_numbered", "_scope", "key", "rows")

    def __init__(self, scope: Scope, key: Key) -> None:
        self.key = key
        self.rows: list[int] = []
        """The row of its step, once a transaction has written it."""
        self._scope = scope
        self._numbered = [key]

    def free_number(self) -> None:
        """Give the number to the next request like it, once."""
        while self._numbered:
            self._scope.free(self._numbered.pop())

    def take_back(self) -> None:
        """Queue the mark of a step whose caller will never make it."""
        self.free_number()
        attempt, rows, (fingerprint, _, n) = self._scope.attempt, self.rows, self.key
        for row in rows:
            attempt.recorder.calls.pop(row, None)

        def work(tx: Tx) -> None:
            for row in rows:
                tx.run("step_never_made", id=row, attempt=attempt.row, fingerprint=fingerprint, n=n)

        # Not waited for: the caller is being cancelled. Were it lost, the step would be in doubt.
        with contextlib.suppress(StorageError):
            attempt.recorder.store.submit(work)
