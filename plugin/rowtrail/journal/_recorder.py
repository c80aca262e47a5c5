"""What one store is written with: its content, who makes calls, and what is written late."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from rowtrail.content import Codec, Content
from rowtrail.engine import Row, Store, Tx
from rowtrail.journal._owners import Holder, Owner
from rowtrail.journal._replays import Replays

MAX_ERROR_CHARS = 20_000
"""A long traceback; a provider may quote a whole prompt in its error."""


class Recorder:
    """What all journals of one store in this process share."""

    def __init__(self, store: Store, content: Content) -> None:
        self.store = store
        self.content = content
        self.calls: weakref.WeakValueDictionary[int, Owner] = weakref.WeakValueDictionary()
        """By step, who makes the calls of this process that are being made."""
        self.attempts: weakref.WeakValueDictionary[int, Holder] = weakref.WeakValueDictionary()
        """The attempts of this process; one that nobody holds any more is over."""
        self.unwritten_ends: dict[int, Callable[[Tx], None]] = {}
        """By attempt, its end, where that could not be written: done before the next one begins."""
        self.replays = Replays(store)

    def goes_on(self, row: Row) -> bool:
        """Return whether an attempt, as a row with the columns of `process`, may still go on.

        Of this process it is known; another's process must be known dead first.
        """
        if row["process"] != self.store.process_row:
            return self.store.is_alive(row)
        attempt = self.attempts.get(row["id"])
        if attempt is not None and not attempt.is_left:
            return True
        return any(
            owner.attempt == row["id"] and self.call_goes_on(step)
            for step, owner in list(self.calls.items())
        )

    def verdict_in_s(self, row: Row) -> float | None:
        """Return after how many seconds of silence an owner counts as dead; None: it lives."""
        if row["process"] == self.store.process_row:
            return None
        return self.store.verdict_in_s(row)

    def step_goes_on(self, tx: Tx, step: int, attempt: int, asker: Owner) -> bool:
        """Return whether a step that is `running` may still be made by its owner."""
        row = tx.one("attempt_owner", attempt=attempt)
        if row is None:
            return False
        if row["process"] == self.store.process_row:
            return self.call_goes_on(step, asker)
        if row["ended_at"] is not None and not row["left_open"]:
            return False
        return self.store.is_alive(row)

    def call_goes_on(self, step: int, asker: Owner | None = None) -> bool:
        """Return whether a call of this process is still being made."""
        owner = self.calls.get(step)
        return owner is not None and not owner.is_gone(self.store.clock.elapsed_s(), step, asker)

    def describe(self, error: BaseException, codec: Codec | None = None) -> str:
        """Return the type and the message of an error, cut to a length that a row can bear.

        Where the codec encrypts, only the type: messages often quote what went wrong.
        """
        if codec is not None and codec.is_opaque:
            return type(error).__name__
        text = f"{type(error).__name__}: {error}"
        shown = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
        return shown[:MAX_ERROR_CHARS]
