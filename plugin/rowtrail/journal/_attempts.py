"""The active attempts of one journal, which this process is told of as they begin and end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rowtrail.journal._active import attempt_around
from rowtrail.journal._live import note_begun, note_ended
from rowtrail.journal._threads import hand_on_to_threads

if TYPE_CHECKING:
    from rowtrail.journal._attempt import Attempt


class ActiveAttempts:
    """Keeps the active attempts of a journal alive."""

    def __init__(self) -> None:
        self._attempts: set[Attempt] = set()

    def add(self, attempt: Attempt) -> None:
        """Keep an attempt that begins in the code here, whose threads are its own from now on."""
        self._attempts.add(attempt)
        note_begun(attempt, attempt_around())
        hand_on_to_threads()

    def discard(self, attempt: Attempt) -> None:
        """Forget an attempt that has ended."""
        self._attempts.discard(attempt)
        note_ended(attempt)

    def close(self) -> None:
        """Say that nothing can record for the attempts any more."""
        for attempt in list(self._attempts):
            note_ended(attempt)
