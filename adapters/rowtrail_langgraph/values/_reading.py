"""What LangGraph's serializer gives back of what it has written: known before it is stored.

It writes objects that it cannot build again: of subclasses of datetime and the like, of classes
inside functions, of classes whose constructor takes other arguments than its fields.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel

from rowtrail_langgraph._private import extra_of, private_of
from rowtrail_langgraph.values._guard import Safe, being_checked, logger

MAX_REMEMBERED = 256
"""A thread that goes on asks for the same values; a server has a few hundred of them."""
MAX_REMEMBERED_BYTES = 16 * 2**20
"""Bounds the memory of a process, whatever the values are."""
MAX_SEARCHED = 100_000
"""Objects of a value among which classes are looked for."""

_SCALARS = frozenset({str, int, bool, bytes, type(None)})
_Difference = tuple[Any, Any]

_warned_lock = threading.Lock()
_warned: set[str] = set()


class Reading(NamedTuple):
    """What is read back of a value.

    Attributes:
        is_same: It is equal, and of the same types.
        is_lost: It, or a part of it, cannot be read at all.
        part: Class of the part of the value that differs.
        becomes: What is read in place of that part.
        nearest: What is to be stored in place of the value; `AS_IT_IS` is the value.
    """

    is_same: bool
    is_lost: bool = False
    part: type = object
    becomes: str = ""
    nearest: Any = None


AS_IT_IS = object()
_SAME = Reading(is_same=True, nearest=AS_IT_IS)


class _Known(NamedTuple):
    value: Any
    payload: bytes
    reading: Reading
    exact: bool

    def is_of(self, value: Any, payload: bytes, *, exact: bool) -> bool:
        is_it = self.value is value and self.payload == payload
        return is_it and (self.exact or not exact)


class Reader:
    """Finds out how values are read back, with the serializer that will read them."""

    def __init__(self, serde: JsonPlusSerializer) -> None:
        self._serde = serde
        self._lock = threading.Lock()
        self._known: OrderedDict[int, _Known] = OrderedDict()
        self._bytes = 0

    def read(self, value: Any, kind: str, payload: bytes, *, exact: bool = True) -> Reading:
        """Return what is read back of a value that was serialized to these bytes.

        Args:
            value: The value.
            kind: What the serializer calls the form of the bytes.
            payload: The bytes.
            exact: Whether types count where values say that they are equal.
        """
        known = self._known.get(id(value))
        if known is not None and known.is_of(value, payload, exact=exact):
            return known.reading
        changed: dict[tuple[str, str], str] = {}
        token = being_checked.set(changed)
        try:
            again = self._serde.loads_typed((kind, payload))
            if not exact and not changed and is_equal(value, again):
                found = _SAME
            else:
                found = self._compared(value, again, kind, payload)
        except Exception as error:  # whatever a constructor of the user's own raises
            found = self._compared(value, error, kind, payload)
        finally:
            being_checked.reset(token)
        self._remember(_Known(value, payload, found, exact))
        return found

    def _compared(self, value: Any, again: Any, kind: str, payload: bytes) -> Reading:
        """Compare a value with what was read, or with why it was not."""
        differing = difference(value, again)
        if differing is None:
            return _SAME
        classes = classes_in(value)
        safe = Safe(classes)
        rewritten = safe.rewritten(payload) if kind == "msgpack" else payload
        part, becomes = differing
        if safe.changed:
            nearest = self._serde.loads_typed((kind, rewritten))
            name, now = next(iter(safe.changed.items()))
            return Reading(
                is_same=False, part=classes.get(name, type(part)), becomes=now, nearest=nearest
            )
        if is_equal(value, again):
            return _SAME
        is_lost = becomes is None or isinstance(becomes, Exception) or _is_broken(part, becomes)
        return Reading(
            is_same=False,
            is_lost=is_lost,
            part=type(part),
            becomes=str(becomes) if is_lost else type(becomes).__name__,
            nearest=AS_IT_IS,
        )

    def _remember(self, known: _Known) -> None:
        """Remember the reading of an object: most channels hold the same one in every checkpoint.

        Not by its bytes, which are the same for a list and a tuple.
        """
        with self._lock:
            before = self._known.pop(id(known.value), None)
            self._bytes += len(known.payload) - (0 if before is None else len(before.payload))
            self._known[id(known.value)] = known
            while self._bytes > MAX_REMEMBERED_BYTES or len(self._known) > MAX_REMEMBERED:
                _, dropped = self._known.popitem(last=False)
                self._bytes -= len(dropped.payload)


def warn_once(reading: Reading) -> None:
    """Say what objects of a class become, the first time that one of them is stored.

    Of an exception LangGraph keeps the text, of a tuple the items: that is known.
    """
    if reading.part.__module__ == "builtins" or issubclass(reading.part, BaseException):
        return
    name = f"{reading.part.__module__}.{reading.part.__qualname__}"
    with _warned_lock:
        if name in _warned:
            return
        _warned.add(name)
    logger.warning(
        "objects of the class %s cannot be read back as what they are, and come back as %s: use "
        "the built-in type, or a dataclass, pydantic model or enum at the top of a module",
        name,
        reading.becomes,
    )


def is_equal(one: Any, other: Any) -> bool:
    """Return whether two values say that they are equal."""
    try:
        return bool(one == other)
    except Exception:  # arrays, and whatever else has no single answer
        return False


def difference(value: Any, again: Any) -> _Difference | None:
    """Return the first part of a value that was read back as something else, and as what.

    Types count, however deep, and a NaN is the same as another.
    """
    kind = type(value)
    if kind is not type(again):
        return value, again
    if kind in _SCALARS:
        return None if value == again else (value, again)
    if kind is float:
        is_same = value == again or (math.isnan(value) and math.isnan(again))
        return None if is_same else (value, again)
    if isinstance(value, Mapping):
        return _of_mappings(value, again)
    if isinstance(value, (list, tuple, deque)):
        return _first(value, again) if len(value) == len(again) else (value, again)
    if isinstance(value, (set, frozenset)):
        is_same = value == again and Counter(map(type, value)) == Counter(map(type, again))
        return None if is_same else (value, again)
    fields = _fields_of(value)
    if fields is not None:
        return _of_mappings(fields, _fields_of(again) or {}, value, again)
    return _of_leaves(value, again)


def _of_mappings(
    value: Mapping[Any, Any], again: Mapping[Any, Any], whole: Any = None, whole_again: Any = None
) -> _Difference | None:
    if value.keys() != again.keys():
        return (value, again) if whole is None else (whole, whole_again)
    return _first(value.values(), [again[key] for key in value])


def _first(values: Iterable[Any], again: Iterable[Any]) -> _Difference | None:
    found = (difference(one, other) for one, other in zip(values, again, strict=True))
    return next((each for each in found if each is not None), None)


def _fields_of(value: Any) -> Mapping[str, Any] | None:
    """Return what an object is made of, None for one that has to be compared as it is."""
    if isinstance(value, BaseModel):
        parts = (value.__dict__, extra_of(value), private_of(value))
        return {str(at): part for at, part in enumerate(parts)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name, None) for f in dataclasses.fields(value)}
    slots = getattr(type(value), "__slots__", ())
    if type(value).__module__.startswith("langgraph.") and slots:  # Send, Item
        return {name: getattr(value, name, None) for name in slots}
    return None


def _is_broken(value: Any, again: Any) -> bool:
    """Return whether an array came back without its mask, or without the names of its fields."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.ndarray):
        return False
    is_masked = isinstance(value, numpy.ma.MaskedArray)
    return is_masked or value.dtype != getattr(again, "dtype", None)


def _of_leaves(value: Any, again: Any) -> _Difference | None:
    if _is_broken(value, again):
        return value, again
    if is_equal(value, again):
        return None
    try:  # a NaN of some kind, or an array
        is_same = _SERDE.dumps_typed(value) == _SERDE.dumps_typed(again)
    except Exception:  # an error that no comparison may raise
        is_same = False
    return None if is_same else (value, again)


_SERDE = JsonPlusSerializer()


def classes_in(value: Any) -> dict[tuple[str, str], type]:
    """Return the classes of the objects in a value, by the names under which they are written."""
    found: dict[tuple[str, str], type] = {}
    todo, seen = deque([value]), set[int]()
    while todo and len(seen) < MAX_SEARCHED:
        item = todo.popleft()
        kind = type(item)
        if kind in _SCALARS or kind is float or id(item) in seen:
            continue
        seen.add(id(item))
        found.setdefault((kind.__module__, kind.__name__), kind)
        todo.extend(_parts_of(item))
    return found


def _parts_of(item: Any) -> list[Any]:
    if isinstance(item, Mapping):
        return [*item.keys(), *item.values()]
    if isinstance(item, (list, tuple, set, frozenset, deque)):
        return list(item)
    fields = _fields_of(item)
    if fields is not None:
        return list(fields.values())
    attributes = getattr(item, "__dict__", None)
    return list(attributes.values()) if isinstance(attributes, dict) else []
