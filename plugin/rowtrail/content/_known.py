"""Plain values that were asked before: found by what they are, neither encoded nor hashed again."""

from __future__ import annotations

import marshal
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from rowtrail.content._codec import Codec
from rowtrail.content._plain import is_plain, write_sorted
from rowtrail.content._tagged import TAG, kind_of

MAX_KNOWN_BYTES = 8 * 2**20
"""Of what the values are found by; their texts take about as much again."""
MAX_KNOWN_VALUE_BYTES = 2**18
"""A longer value, an image say, would drive many others out."""

MAX_WALKED_LEVELS = 5
"""Arguments, one of them, a list in it, its objects: what is deeper is written whole."""
_IN_AN_ARGUMENT = 2
"""Below what is asked, and below its list of arguments."""

_MARSHAL_VERSION = 2  # later ones write down which objects are shared, and that may change


def _nothing(value: Any) -> None:
    return None


class Known(NamedTuple):
    """What was made of a plain value.

    Attributes:
        canonical: Its canonical text.
        made: Whatever the caller made of it.
    """

    canonical: str
    made: Any


class KnownValues:
    """What was made of plain values, the newest of them; safe to use from several threads.

    A value is found by bytes of all that is in it. So one that was changed in place is another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[Codec, str, bytes], Known] = {}
        self._size = 0

    def find(
        self, codec: Codec, purpose: str, value: Any, make: Callable[[Any], Any]
    ) -> Known | None:
        """Return what was made of an equal value, or make it; None where the value is not plain.

        Args:
            codec: What makes it.
            purpose: Distinguishes what different callers make of equal values.
            value: Of any type.
            make: Returns the same for equal values.
        """
        try:
            data = marshal.dumps(value, _MARSHAL_VERSION)
        except ValueError:
            return None
        key = (codec, purpose, data)
        # Two plain values that differ have different bytes, and no other value has those of one.
        known = self._known.get(key)
        if known is None and is_plain(value):
            known = Known(write_sorted(value), make(value))
            self._keep(key, known)
        return known

    def text(self, codec: Codec, value: Any, level: int = 0) -> str | None:
        """Return the canonical text of arguments among which are messages; None if not plain.

        So the objects of a list are found one by one, where the list is an argument or in one.
        """
        kind = kind_of(value)
        if kind is list and level < MAX_WALKED_LEVELS:
            parts = [
                self._text_inside(codec, item)
                if type(item) is dict and level >= _IN_AN_ARGUMENT
                else self.text(codec, item, level + 1)
                for item in value
            ]
            found = [part for part in parts if part is not None]
            return f"[{','.join(found)}]" if len(found) == len(parts) else None
        if kind is dict and level < MAX_WALKED_LEVELS:
            if TAG in value or not all(type(key) is str for key in value):
                return None
            pairs = [(key, self.text(codec, value[key], level + 1)) for key in sorted(value)]
            texts = [f"{write_sorted(key)}:{text}" for key, text in pairs if text is not None]
            return f"{{{','.join(texts)}}}" if len(texts) == len(pairs) else None
        return write_sorted(value) if is_plain(value) else None

    def _text_inside(self, codec: Codec, value: Any) -> str | None:
        known = self.find(codec, "argument", value, _nothing)
        return None if known is None else known.canonical

    def _keep(self, key: tuple[Codec, str, bytes], known: Known) -> None:
        if len(key[2]) > MAX_KNOWN_VALUE_BYTES:
            return
        with self._lock:
            if key in self._known:
                return
            self._known[key] = known
            self._size += len(key[2])
            while self._size > MAX_KNOWN_BYTES:
                oldest = next(iter(self._known))
                del self._known[oldest]
                self._size -= len(oldest[2])
