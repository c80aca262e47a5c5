"""LangGraph's serializer, limited to data types: by default it calls whatever a value names.

A value that was serialized names a module and a callable. LangGraph 1.x calls any, with a warning:
whoever can write the file runs code in whoever reads it. rowtrail's default serializer builds what
LangGraph takes for safe, and classes that are data by what they are; it calls no function. An
object of a subclass of a safe type (of datetime, set, Path, ...) is built as that type, and what
names anything else is the plain data that was stored of it.
Source: CVE-2025-64439, CVE-2026-28277.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import logging
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from enum import Enum
from typing import Any

import ormsgpack
from langgraph.checkpoint.serde import jsonplus
from langgraph.checkpoint.serde.jsonplus import (
    EXT_CONSTRUCTOR_KW_ARGS,
    EXT_CONSTRUCTOR_POS_ARGS,
    EXT_METHOD_SINGLE_ARG,
    JsonPlusSerializer,
)

from rowtrail_langgraph._private import (
    NEEDED,
    check,
    is_strict,
    safe_types,
    set_unpack_hook,
    unpack_hook_of,
)

logger = logging.getLogger("rowtrail")

Hook = Callable[[int, bytes], Any]
Classes = Mapping[tuple[str, str], type]
"""Classes by the module and the name that LangGraph's serializer writes of them."""

_NAMING = frozenset(
    getattr(jsonplus, name)
    for name in (
        "EXT_CONSTRUCTOR_SINGLE_ARG",
        "EXT_CONSTRUCTOR_POS_ARGS",
        "EXT_CONSTRUCTOR_KW_ARGS",
        "EXT_METHOD_SINGLE_ARG",
        "EXT_PYDANTIC_V1",
        "EXT_PYDANTIC_V2",
    )
)
"""Extensions that name what to call: a module, a name, and more."""

_DELTA_SNAPSHOT = getattr(jsonplus, "EXT_DELTA_SNAPSHOT", None)
_DATETIME = ("datetime", "datetime")
being_checked: ContextVar[dict[tuple[str, str], str] | None] = ContextVar(
    "rowtrail_being_checked", default=None
)
"""Set while what is read is being written: takes what is changed, and the writer says so."""

MAX_WARNED = 1_000
"""A hostile file may name anything."""

_warned: set[tuple[str, str]] = set()


_known: dict[tuple[str, str], type] = {}
"""Data types by the names under which they were found: most values are of a few."""


def _is_known(key: tuple[str, str]) -> bool:
    found = _known.get(key)
    return found is not None and getattr(sys.modules.get(key[0]), key[1], None) is found


def _is_logged(record: logging.LogRecord) -> bool:
    """Drop what LangGraph says each time that it reads a method, while a value is being written."""
    return not (being_checked.get() is not None and "of method call" in str(record.msg))


jsonplus.logger.addFilter(_is_logged)


def default_serde() -> JsonPlusSerializer:
    """Return LangGraph's serializer, guarded unless it is strict by its own settings.

    Raises:
        UnsupportedError: These versions lack a name that reading and writing values needs.
    """
    check(each for each in NEEDED if each.user == "values")
    serde = JsonPlusSerializer()
    build = unpack_hook_of(serde)
    if build is not None and not is_strict(serde):
        set_unpack_hook(serde, _guarded(build))
    return serde


def _guarded(build: Hook) -> Hook:
    def hook(code: int, data: bytes) -> Any:
        safe = Safe()
        safe_data, plain = safe.checked(code, data)  # with all that is nested: `build` calls itself
        noted = being_checked.get()
        if noted is None:
            _warn(safe.changed)
        else:
            noted.update(safe.changed)
        return build(code, safe_data) if safe_data is not None else _unpacked(_packed(plain), hook)

    return hook


def _warn(changed: Mapping[tuple[str, str], str]) -> None:
    for name in changed.keys() - _warned if len(_warned) < MAX_WARNED else ():
        _warned.add(name)
        logger.warning(
            "a stored value names %s, which is no data type: it is read as %s",
            ".".join(name),
            changed[name],
        )


class Safe:
    """Makes what was serialized name data types only.

    Args:
        classes: What the names stand for, where objects of these classes were serialized just now;
            else what they stand for in the modules that are there.
        imports: Import the modules that are named and are not of the standard library; without,
            only those that are loaded are looked at.
    """

    def __init__(self, classes: Classes | None = None, *, imports: bool = True) -> None:
        self._classes = classes
        self._imports = imports
        self.changed: dict[tuple[str, str], str] = {}
        """What named no data type, and what it is now."""
        self._changes = 0

    def rewritten(self, payload: bytes) -> bytes:
        """Return a payload of msgpack in which nothing names what is no data type."""
        return _packed(_unpacked(payload, self._form))

    def checked(self, code: int, data: bytes) -> tuple[bytes | None, Any]:
        """Return the data of an extension that is safe to build; else None and the plain data."""
        if code not in _NAMING and code != _DELTA_SNAPSHOT:
            return data, None
        before = self._changes
        parts = _unpacked(data, self._form)
        if code in _NAMING:
            key = (parts[0], parts[1])
            home = self._home(code, key, parts[2])
            if home is None:
                self._note(key, PLAIN)
                return None, parts[2]
            if home != key:
                self._note(key, ".".join(home))
                parts = [*home, *parts[2:]]
        return (data if before == self._changes else _packed(parts)), None

    def _form(self, code: int, data: bytes) -> Any:
        safe, plain = self.checked(code, data)
        return plain if safe is None else ormsgpack.Ext(code, safe)

    def _note(self, key: tuple[str, str], now: str) -> None:
        self.changed[key] = now
        self._changes += 1

    def _home(self, code: int, key: tuple[str, str], content: Any) -> tuple[str, str] | None:
        """Return what may be called for a name: itself, a safe type, or nothing."""
        if key in _safe_types() or (self._classes is None and _is_known(key)):
            return key
        if code == EXT_METHOD_SINGLE_ARG:  # LangGraph writes one method only, for datetimes
            return _DATETIME
        named = None if self._classes is None else self._classes.get(key)
        found = _resolved(*key, imports=self._imports)
        if named is not None and found is not named:  # a class in a function, or in another class
            return _nearest_base(named)
        if found is _GONE:  # LangGraph gives the plain data
            is_of_builtin = code == EXT_CONSTRUCTOR_POS_ARGS or isinstance(content, (list, tuple))
            return None if is_of_builtin and code != EXT_CONSTRUCTOR_KW_ARGS else key
        if is_data_type(found):
            _known[key] = found
            return key
        return _nearest_base(found) if isinstance(found, type) else None


PLAIN = "plain data"

_GONE = object()
"""What nothing has the name of any more: there is nothing to call."""


def _unpacked(data: bytes, hook: Hook) -> Any:
    return ormsgpack.unpackb(data, ext_hook=hook, option=ormsgpack.OPT_NON_STR_KEYS)


def _packed(value: Any) -> bytes:
    return ormsgpack.packb(value, option=ormsgpack.OPT_NON_STR_KEYS)


@functools.cache
def _safe_types() -> frozenset[Any]:
    return safe_types()


def _resolved(module: str, name: str, *, imports: bool) -> Any:
    """Return what has this name; importing some of the standard library does something."""
    if module not in sys.modules:
        if module.partition(".")[0] in sys.stdlib_module_names:
            return None
        if not imports:
            return _GONE
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return _GONE


def _home_of(cls: type) -> tuple[str, str]:
    return (cls.__module__, cls.__qualname__)


def is_data_type(found: Any) -> bool:
    """Return whether something is a class whose objects are data."""
    if not isinstance(found, type):
        return False
    if _home_of(found) in _safe_types() or found.__module__ == "pydantic.types":  # secrets
        return True  # old files name where a class was once
    is_named_tuple = issubclass(found, tuple) and hasattr(found, "_fields")
    is_model = hasattr(found, "model_construct") or hasattr(found, "construct")
    return dataclasses.is_dataclass(found) or issubclass(found, Enum) or is_named_tuple or is_model


def _nearest_base(cls: type) -> tuple[str, str] | None:
    """Return the nearest safe type that a class is made of, None where there is none."""
    for base in cls.__mro__[1:]:
        if _home_of(base) in _safe_types() or base.__module__ == "pydantic.types":
            return _home_of(base)
    return None
