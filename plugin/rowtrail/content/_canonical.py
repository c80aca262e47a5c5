"""One text for equal requests: what fingerprints are made of."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from rowtrail.content import _function, _object, _value
from rowtrail.content._plain import is_plain, write_sorted
from rowtrail.content._tagged import TAG, class_name, kind_of

Mask = Callable[[str], str]
"""Takes a text out of a request, and returns it without what a program makes up anew each time."""

MAX_NESTING = 200
"""Below a fifth of Python's limit of recursion, on which callers stand already."""
MAX_SHOWN_PARTS = 2_000
"""Parts of an attribute's value, above which its digest stands for it: graphs of objects share."""
MAX_OBJECTS = 20_000
"""An argument that leads to more is a whole program, and would take too long."""
_DECIMAL_BITS = 10_000
"""Longer ints are written in hex: decimal takes quadratic time, and Python refuses 4,300 digits."""

_readers: dict[type, Callable[[Any, dict[str, str]], Any]] = {}


class Canonical(NamedTuple):
    """A value in the one form that equal values have.

    Attributes:
        text: JSON, for fingerprints and for people; never to be read back.
        unclear: What in it cannot be told apart from others, None where everything can.
        is_opaque: Whether nothing of that can be seen at all: an iterator, a client, a file.
        has_objects: Whether an object is in it that counts by its fields or attributes.
        is_plain: Whether it is made of JSON's own types.
    """

    text: str
    unclear: str | None = None
    is_opaque: bool = False
    has_objects: bool = False
    is_plain: bool = False


class _Unclear(NamedTuple):
    """What cannot be told apart, in words, and whether nothing of it can be seen."""

    what: str
    is_opaque: bool = False


def canonical(value: Any, mask: Mask | None = None) -> Canonical:
    """Return the text that is the same for equal values, in every process, and other for others.

    Keys are sorted and types told apart. Objects count by their `__rowtrail_key__()`, else by the
    fields that take part in `==`, else by their public attributes; functions by their names,
    defaults and closure.
    """
    try:
        if mask is None and is_plain(value):
            return Canonical(write_sorted(value), is_plain=True)
        walk = _Walk(mask)
        text = _dump(walk.plain(value, ()))
        if not walk.unclear:
            return Canonical(text, has_objects=walk.has_objects)
        is_opaque = all(each.is_opaque for each in walk.unclear)
        return Canonical(text, walk.unclear[0].what, is_opaque, walk.has_objects)
    except RecursionError:  # the caller's own calls are nested deep
        return Canonical(_dump(_deep(value, mask)))


def canonical_json(value: Any, mask: Mask | None = None) -> str:
    """Return the text of `canonical`, also of what cannot be told apart."""
    return canonical(value, mask).text


def register_canonical(kind: type, read: Callable[[Any, dict[str, str]], Any]) -> None:
    """Say what counts of the objects of a framework's class and of its subclasses.

    Args:
        kind: The class.
        read: Takes an object, and the numbers that made-up ids have in this request so far;
            returns what counts, in place of its fields.
    """
    _readers[kind] = read


def _dump(plain: Any) -> str:
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


class _Walk:
    """One way through a value, its parts and theirs."""

    def __init__(self, mask: Mask | None) -> None:
        self.unclear: list[_Unclear] = []
        self.has_objects = False
        self._mask = mask
        self._parts = 0
        self._numbers: dict[str, str] = {}
        # The objects are kept alive, so that no other one gets their ids.
        self._known: dict[int, tuple[object, Any, list[_Unclear], int]] = {}

    def plain(self, value: Any, around: tuple[int, ...]) -> Any:
        """Return `value` made of JSON types; `around` are the ids of what it is in."""
        kind = kind_of(value)
        if kind is str:
            return value if self._mask is None else self._mask(value)
        if kind is bool or value is None:
            return value
        if kind is int:
            return value if value.bit_length() < _DECIMAL_BITS else _tagged("int", hex(value))
        if kind is float:
            return value if math.isfinite(value) else _tagged("float", repr(value))
        if id(value) in around:
            return _tagged("cycle", len(around) - around.index(id(value)))
        if len(around) > MAX_NESTING:
            return _deep(value, self._mask)
        around = (*around, id(value))
        if kind is list:
            self._parts += len(value)
            return [self.plain(item, around) for item in value]
        if kind is dict and TAG not in value and all(type(key) is str for key in value):
            self._parts += len(value)
            return {key: self.plain(item, around) for key, item in value.items()}
        return self._other(value, around)

    def _other(self, value: Any, around: tuple[int, ...]) -> Any:
        name = class_name(kind_of(value))
        if isinstance(value, type):
            return _tagged("type", class_name(value))
        if hasattr(kind_of(value), "__rowtrail_key__"):
            return self._keyed(value, name, around)
        for base in kind_of(value).__mro__ if _readers else ():
            if base in _readers:
                return _tagged(name, self.plain(_readers[base](value, self._numbers), around))
        if _value.is_inert(value):
            return _tagged(name, None)
        found = _function.function_parts(value)
        if found is not None:
            return self._function(found, around)
        if isinstance(value, (dict, set, frozenset)):
            return self._unordered(value, name, around)
        content = _value.content_of(value)
        if content is not None:
            self._parts += 1
            return _tagged(name, self.plain(content.value, around))
        return self._object(value, around)

    def _keyed(self, value: Any, name: str, around: tuple[int, ...]) -> Any:
        try:
            key = value.__rowtrail_key__()
        except Exception as error:  # a method of the user's own
            self.unclear.append(_Unclear(f"a {name}, whose __rowtrail_key__() raised {error!r}"))
            return _tagged(name, None)
        return _tagged(name, {"key": self.plain(key, around)})

    def _unordered(self, value: Any, name: str, around: tuple[int, ...]) -> Any:
        self._parts += len(value)
        if isinstance(value, dict):
            pairs = value.items()  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
            plain: list[Any] = [[self.plain(k, around), self.plain(v, around)] for k, v in pairs]  # pyright: ignore[reportUnknownVariableType]
        else:
            plain = [self.plain(item, around) for item in value]
        return _tagged(name, sorted(plain, key=_dump))

    def _function(self, found: _function.FunctionParts, around: tuple[int, ...]) -> Any:
        before = len(self.unclear)
        parts = {name: self.plain(part, around) for name, part in found.parts.items()}
        unclear = self.unclear[before:]
        self.unclear[before:] = [
            _Unclear(f"{found.name}, which holds {each.what}") for each in unclear
        ]
        return _tagged("function", {"name": found.name, **parts} if parts else found.name)

    def _object(self, value: Any, around: tuple[int, ...]) -> Any:
        self.has_objects = True
        known = self._known.get(id(value))
        if known is None:
            first, parts = len(self.unclear), self._parts
            form = self._object_form(value, around)
            known = (value, form, self.unclear[first:], self._parts - parts)
            del self.unclear[first:]
            self._known[id(value)] = known
        else:
            self._parts += known[3]
        self.unclear += known[2]
        return known[1]

    def _object_form(self, value: Any, around: tuple[int, ...]) -> Any:
        name = class_name(kind_of(value))
        if len(self._known) > MAX_OBJECTS:
            self.unclear.append(_Unclear(f"a {name}, which leads to {MAX_OBJECTS:,} objects"))
            return _tagged(name, None)
        state = _object.state_of(value)
        hidden = list(state.hidden)
        content: dict[str, Any] = {}
        for each, part in sorted(state.parts.items()):
            form = self._attribute(part, around)
            if form is None:
                hidden.append(each)
            else:
                content[each] = form[0]
        is_distinct = any(not _is_cycle(each) for each in content.values())
        if is_distinct or not (hidden or state.is_opaque):
            return _tagged(name, content)
        seen = _value.seen_content(value)
        if seen is not None:
            return _tagged(name, self.plain(seen.value, around))
        self.unclear.append(_Unclear(_object.unclear(name, hidden), is_opaque=not hidden))
        return _tagged(name, None)

    def _attribute(self, part: Any, around: tuple[int, ...]) -> tuple[Any] | None:
        """Return the form of an attribute's value, None where it does not count."""
        if _value.is_inert(part):
            return None
        unclear, parts = len(self.unclear), self._parts
        self._parts = 0
        form = self.plain(part, around)
        size, self._parts = self._parts + 1, parts
        if len(self.unclear) > unclear:
            del self.unclear[unclear:]
            return None
        if size > MAX_SHOWN_PARTS:
            form, size = _tagged("digest", _value.digest(_dump(form).encode())), 1
        self._parts += size
        return (form,)


def _is_cycle(form: Any) -> bool:
    return isinstance(form, dict) and cast("dict[str, Any]", form).get(TAG) == "cycle"


def _tagged(name: str, content: Any) -> dict[str, Any]:
    return {TAG: name, "v": content}


def _deep(value: Any, mask: Mask | None) -> Any:
    """Return a digest of a value that is nested too deep for recursion, walked with a stack."""
    from hashlib import blake2b

    digest = blake2b(digest_size=16)
    todo: list[Any] = [value]
    seen: set[int] = set()
    while todo:
        item = todo.pop()
        kind = kind_of(item)
        if kind not in (list, tuple, dict):
            form = _leaf(item, mask)
        elif id(item) in seen:
            form = "seen"
        else:
            seen.add(id(item))
            form = str(len(item))
            todo.extend(reversed(_items(item)))
        digest.update(f"{class_name(kind)} {form}\0".encode("utf-8", "backslashreplace"))
    return _tagged("deep", digest.hexdigest())


def _items(container: Any) -> list[Any]:
    if kind_of(container) is not dict:
        return list(container)
    pairs = sorted(container.items(), key=lambda pair: (class_name(kind_of(pair[0])), str(pair[0])))
    return [part for pair in pairs for part in pair]


def _leaf(item: Any, mask: Mask | None) -> str:
    try:
        return _dump(_Walk(mask).plain(item, ()))
    except RecursionError:  # an object that has something as deep again in it
        return ""
