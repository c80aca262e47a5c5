"""Remembering what is stored already, so that an unchanged item is not encoded again."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage
from rowtrail.content import Prepared

MAX_LISTS = 128
_IMMUTABLE = (str, int, float, bool, bytes, type(None))


@dataclass(frozen=True)
class Kept:
    """An object, what it held when it was encoded, and its encoded form."""

    value: Any
    snapshot: Any
    prepared: Prepared

    def still_holds(self, value: Any) -> bool:
        """Tell whether `value` is the object, and holds what it held: it may have been mutated."""
        return value is self.value and contents(value) == self.snapshot


class Memo:
    """The items of the newest list of each channel, by identity."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lists: OrderedDict[object, dict[int, Kept]] = OrderedDict()

    def known(self, key: object) -> dict[int, Kept]:
        """Return what is remembered of a channel, by `id` of the object."""
        with self._lock:
            return self._lists.get(key, {})

    def keep(self, key: object, kept: dict[int, Kept]) -> None:
        """Remember the items of a channel's newest list."""
        with self._lock:
            self._lists[key] = kept
            self._lists.move_to_end(key)
            while len(self._lists) > MAX_LISTS:
                self._lists.popitem(last=False)


def contents(value: Any) -> Any:
    """Return what in-place mutation of a value would change."""
    if isinstance(value, BaseMessage):
        return value.__dict__
    return value


def remember(value: Any, prepared: Prepared) -> Kept | None:
    """Return a record of a value that can be told from a mutated one, None where it cannot."""
    if isinstance(value, BaseMessage) and not value.__pydantic_extra__:
        return Kept(value, {k: _copied(v) for k, v in value.__dict__.items()}, prepared)
    if type(value) in (dict, list) or type(value) in _IMMUTABLE:
        return Kept(value, _copied(value), prepared)
    return None


def _copied(value: Any) -> Any:
    return value if type(value) in _IMMUTABLE else copy.deepcopy(value)


