"""`Follower`: what was recorded since it was asked last."""

from __future__ import annotations

from typing import cast

from rowtrail._clock import iso_utc
from rowtrail.history._source import Row, Source, Tx, reader_of
from rowtrail.history.rows import Event

PAGE_ROWS = 500
"""A read of some milliseconds, after which a writer may go on."""


class Follower:
    """Follows the steps and replays of a journal, of one run or of one thread.

    Holds the ids of the steps that were running, and where it has read to; nothing is open between
    two calls of `news`.

    Args:
        recent: With how many of the steps that are there it begins.
    """

    def __init__(
        self,
        source: Source,
        *,
        run_id: str | None = None,
        thread_id: str | None = None,
        recent: int = 0,
    ) -> None:
        self._source = reader_of(source)
        self._run_id = run_id
        self._thread_id = thread_id
        self._running: set[int] = set()
        ends = self._source.read(lambda tx: tx.one("tail_ends"))
        assert ends is not None
        self._replay: int = ends["replays"]
        self._step: int = ends["steps"]
        self._first: set[int] = self._recent(recent)

    def _recent(self, count: int) -> set[int]:
        """Return the ids of the newest steps."""
        if not count:
            return set()
        if self._run_id is not None:
            last, of = "run_last_steps", {"run_id": self._run_id}
        elif self._thread_id is not None:
            last, of = "thread_last_steps", {"thread_id": self._thread_id}
        else:
            return set(range(max(self._step - count, 0) + 1, self._step + 1))
        rows = self._source.read(lambda tx: tx.all(last, limit=count, **of))
        return {row["id"] for row in rows}

    def news(self) -> list[Event]:
        """Return what happened since the last call, oldest first; at most a page of each kind."""
        while True:
            ends, steps, replays = self._source.read(self._read)
            found = [self._step_news(row) for row in steps if self._is_news(row)]
            found += [_event("replayed", row) for row in replays]
            self._note(steps)
            self._step, self._replay = ends["steps"] or self._step, ends["replays"] or self._replay
            if found or (ends["steps"] is None and ends["replays"] is None):
                return sorted(found, key=lambda event: event["at"])

    def _read(self, tx: Tx) -> tuple[Row, list[Row], list[Row]]:
        where = {"run_id": self._run_id, "thread_id": self._thread_id, "limit": PAGE_ROWS}
        ends = tx.one("tail_page_ends", step=self._step, replay=self._replay, limit=PAGE_ROWS)
        assert ends is not None
        watched = tx.array(sorted(self._running | self._first))
        steps = tx.all("tail_steps", after=self._step, open=watched, **where)
        return ends, steps, tx.all("tail_replays", after=self._replay, **where)

    def _note(self, steps: list[Row]) -> None:
        for row in steps:
            if row["status"] == "running":
                self._running.add(row["page"])
            else:
                self._running.discard(row["page"])
        self._first.clear()

    def _is_news(self, row: Row) -> bool:
        return row["status"] != "running" or row["page"] not in self._running

    def _step_news(self, row: Row) -> Event:
        return _event("begun" if row["status"] == "running" else "ended", row)


def _event(event: str, row: Row) -> Event:
    fields = dict(row)
    fields.pop("page")
    began = fields.pop("started_ms")
    at = began + int(fields["duration_ms"] or 0) if event == "ended" else began
    return cast("Event", {"event": event, "at": iso_utc(at), **fields})
