"""What the log says of attempts that wait, go on with an earlier run, or begin beside another."""

from __future__ import annotations

from rowtrail._clock import Clock
from rowtrail.journal._attempt import Attempt
from rowtrail.journal._beginning import Hold
from rowtrail.journal._log import log

TOLD_AFTER_S = 2.0
"""A wait that takes longer is said in the log: what is over sooner is nobody's concern."""


class Waiting:
    """Says once, after a while, what an attempt waits for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_s = clock.elapsed_s()
        self._is_told = False

    def tell(self, hold: Hold) -> None:
        """Note that it still waits."""
        if not self._is_told and self._clock.elapsed_s() - self._began_s > TOLD_AFTER_S:
            self._is_told = True
            log().warning("waiting for run %r: %s", hold.run_id, hold.says)


def tell_beginning(attempt: Attempt) -> None:
    """Say which run a request that was sent again continues, and which one it begins beside."""
    begun, beginning = attempt.begun, attempt.beginning
    if beginning.intent == "input" and attempt.continues:
        ago_s = 0.0
        if begun.ended_before is not None:
            ago_s = (attempt.recorder.store.clock.now_ms() - begun.ended_before) / 1000
        log().warning(
            "the same input was sent again: continues run %r, %s %.0f s ago "
            '(configurable={"rowtrail_replay": "never"} begins anew)',
            attempt.run_id,
            begun.status_before,
            max(ago_s, 0.0),
        )
    if begun.beside is not None:
        log().warning(
            "thread %r has run %r going on, and run %r begins beside it: of two states one may be "
            'lost; RowtrailSaver(multitask="enqueue") waits, "reject" refuses',
            attempt.thread_id,
            begun.beside,
            attempt.run_id,
        )
