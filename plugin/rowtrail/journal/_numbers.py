"""Numbering the equal requests of a scope."""

from __future__ import annotations

from heapq import heappop, heappush

from rowtrail.journal._request import Request

Key = tuple[bytes, str | None, int]
"""What a step is found by: fingerprint, `tool_call_id`, and which of the equal ones it is."""


class Numbers:
    """Which of the equal requests of a scope the next one is, from 1.

    A run of a million steps keeps one entry for each: 8 bytes of the fingerprint stand for it.
    Requests that agree in them are numbered together, in every attempt alike.
    """

    def __init__(self) -> None:
        self._counts: dict[int | tuple[int, str], int] = {}
        self._freed: dict[int | tuple[int, str], list[int]] = {}

    def next(self, request: Request) -> Key:
        """Number a request."""
        fingerprint, call = request.fingerprint, request.tool_call_id
        kind = _short(fingerprint, call)
        freed = self._freed.get(kind)
        if freed:
            n = heappop(freed)
            if not freed:
                del self._freed[kind]
            return (fingerprint, call, n)
        n = self._counts.get(kind, 0) + 1
        self._counts[kind] = n
        return (fingerprint, call, n)

    def free(self, key: Key) -> None:
        """Give back a number, to the next request like it."""
        fingerprint, call, n = key
        heappush(self._freed.setdefault(_short(fingerprint, call), []), n)

    def has(self, fingerprint: bytes, call: str | None) -> bool:
        """Return whether a request like this was numbered."""
        return _short(fingerprint, call) in self._counts


def _short(fingerprint: bytes, call: str | None) -> int | tuple[int, str]:
    short = int.from_bytes(fingerprint[:8], "big")
    return short if call is None else (short, call)
