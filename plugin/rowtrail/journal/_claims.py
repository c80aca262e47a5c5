"""Which recorded calls that change the world the requests of one attempt stand for."""

from __future__ import annotations

from array import array
from itertools import count

from rowtrail.engine import Row
from rowtrail.journal._request import Key

Generation = tuple[int, ...]
"""Which execution of a scope inside one attempt: a retry of each task around it counts one."""

Execution = tuple[str, Generation]
"""Name and try of a scope."""

Claimant = tuple[str, Generation, Key]
"""Name and try of a scope, and which of its requests."""

_PAGE_ROWS = 4
"""Rows of one array: those of one run mostly follow each other, and take 60 B each. Where they do
not, an array with one claim takes 240 B, as the claim would as an object."""


class Claims:
    """Which of the calls that change the world are taken, and by which request.

    Where a run re-executes, the model may ask again with other ids, or another task may make the
    call: so such a call is matched against all that are recorded in the part that re-executes, and
    each of these is taken once.
    """

    def __init__(self) -> None:
        # By row two numbers: of the execution that took it, 0 for none, and the hash of the key.
        # Both are set by one C call, without a lock: other threads and signal handlers take too.
        self._pages: dict[int, array[int]] = {}
        self._numbers: dict[Execution, int] = {}
        self._executions: dict[int, Execution] = {}
        self._unused = count(1)
        self._newest_try: dict[str, Generation] = {}
        self._decided: set[int] = set()
        """Calls in doubt of which somebody has decided for one request."""

    @property
    def is_empty(self) -> bool:
        """Return whether no call that changes the world was begun or replayed."""
        return not self._pages

    def take(self, row: int, claimant: Claimant) -> None:
        """Note that a request stands for a row."""
        name, generation, key = claimant
        page, place = divmod(row, _PAGE_ROWS)
        claims = self._pages.get(page)
        if claims is None:
            claims = self._pages.setdefault(page, array("q", bytes(16 * _PAGE_ROWS)))
        number = self._number((name, generation))
        claims[2 * place : 2 * place + 2] = array("q", (number, hash(key)))
        self.begin_try(claimant)

    def decide(self, row: int, claimant: Claimant) -> None:
        """Note that what was decided of a call in doubt is for one request, and for no other."""
        self.take(row, claimant)
        self._decided.add(row)

    def free(self, rows: list[Row], claimant: Claimant) -> list[Row]:
        """Return the rows that no other request stands for; calls that only read are all free."""
        if not self._pages:
            return rows
        self.begin_try(claimant)
        return [row for row in rows if row["effect"] == "read" or self._is_free(row, claimant)]

    def begin_try(self, claimant: Claimant) -> None:
        """Note that a scope is executed in this try: what an earlier one took is free again."""
        name, generation, _ = claimant
        self._newest_try[name] = max(self._newest_try.get(name, ()), generation)

    def _is_free(self, row: Row, claimant: Claimant) -> bool:
        """Return whether no other request stands for a row, or only one of a try that was given up.

        A call in doubt stands for every call like it until somebody has decided.
        """
        taken = self._taker(row["id"])
        if taken is None or (row["status"] == "in_doubt" and row["id"] not in self._decided):
            return True
        name, generation, _ = taken
        return taken == (*claimant[:2], hash(claimant[2])) or any(
            generation[: len(newest)] < newest
            for around, newest in self._newest_try.items()
            if name == around or name.startswith((f"{around}|", f"{around}>"))
        )

    def _taker(self, row: int) -> tuple[str, Generation, int] | None:
        """Return name and try of the scope that took a row, and the hash of the request's key."""
        page, place = divmod(row, _PAGE_ROWS)
        claims = self._pages.get(page)
        if claims is None:
            return None
        number, hashed = claims[2 * place : 2 * place + 2]
        return (*self._executions[number], hashed) if number else None

    def _number(self, execution: Execution) -> int:
        """Return the number that stands for an execution of a scope."""
        number = self._numbers.get(execution)
        if number is None:
            number = next(self._unused)
            self._executions[number] = execution  # before another thread can find the number
            number = self._numbers.setdefault(execution, number)
        return number
