"""LangGraph's serializer, without what it silently loses.

`JsonPlusSerializer` gives the bare fields of an object whose class cannot be imported here, or is
not on its allowlist, and None where the bytes are broken. Whoever stores that again has lost the
object for good. Here such an object stays in its stored form, an `ormsgpack.Ext`, which the same
serializer writes out byte for byte; broken bytes are an error.
"""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Callable, Generator
from typing import Any

import ormsgpack
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import (
    EXT_CONSTRUCTOR_KW_ARGS,
    EXT_CONSTRUCTOR_POS_ARGS,
    EXT_CONSTRUCTOR_SINGLE_ARG,
    EXT_METHOD_SINGLE_ARG,
    EXT_PYDANTIC_V1,
    EXT_PYDANTIC_V2,
    JsonPlusSerializer,
)
from pydantic import BaseModel

from rowtrail_langgraph._private import set_unpack_hook, unpack_hook_of

MAX_CACHED_BYTES = 64 * 1024 * 1024
"""Bounds the memory of a process; a hit saves a round trip through the serializer."""
MAX_CACHED_ITEM_BYTES = 256 * 1024
"""A longer value would push out many short ones, which come more often."""
OVERHEAD_BYTES = 2048
"""What a rebuilt message takes beside its text."""

OF_A_CLASS = frozenset(
    {
        EXT_CONSTRUCTOR_SINGLE_ARG,
        EXT_CONSTRUCTOR_POS_ARGS,
        EXT_CONSTRUCTOR_KW_ARGS,
        EXT_METHOD_SINGLE_ARG,
        EXT_PYDANTIC_V1,
        EXT_PYDANTIC_V2,
    }
)
"""Extension types whose payload begins with a module and the name of a class in it."""

Hook = Callable[[int, bytes], Any]


def lossless(serde: SerializerProtocol) -> tuple[SerializerProtocol, set[str]]:
    """Return a serializer that reads and writes as `serde` does, and loses nothing.

    Beside it, the names of the classes whose objects it met and kept in their stored form. Objects
    made of the same bytes are one object: they are for reading. A serializer of the user's own is
    returned as it is.
    """
    reading: Any = copy.copy(serde)
    if isinstance(serde, EncryptedSerializer):
        reading.serde, kept = lossless(serde.serde)
        return reading, kept
    hook = unpack_hook_of(serde)
    if not isinstance(serde, JsonPlusSerializer) or hook is None:
        return serde, set()
    rebuilt = _Rebuilt(hook)

    def loads_typed(data: tuple[str, bytes]) -> Any:
        try:
            return type(serde).loads_typed(reading, data)
        finally:
            rebuilt.raise_interruption()

    set_unpack_hook(reading, rebuilt)
    reading.loads_typed = loads_typed
    return reading, rebuilt.kept


class _Rebuilt:
    """Rebuilds the objects of extension types, each sequence of bytes once."""

    def __init__(self, hook: Hook) -> None:
        self.kept: set[str] = set()
        self._hook = hook
        self._cache: dict[tuple[int, bytes], Any] = {}
        self._cached_bytes = 0
        self._interruption: BaseException | None = None

    def __call__(self, code: int, data: bytes) -> Any:
        found = self._cache.get((code, data))
        if found is not None:
            return found
        with self._noting_interruptions():
            is_whole = self._is_whole(code, data)
            value = self._hook(code, data) if is_whole else ormsgpack.Ext(code, data)
        if len(data) <= MAX_CACHED_ITEM_BYTES:
            self._keep(code, data, value)
        return value

    @contextlib.contextmanager
    def _noting_interruptions(self) -> Generator[None]:
        try:
            yield
        except Exception:  # comes out as it is
            raise
        except BaseException as error:  # ormsgpack makes a ValueError of a Ctrl-C
            self._interruption = error
            raise

    def raise_interruption(self) -> None:
        """Raise the Ctrl-C that ormsgpack has swallowed."""
        if self._interruption is not None:
            error, self._interruption = self._interruption, None
            raise error

    def _keep(self, code: int, data: bytes, value: Any) -> None:
        self._cached_bytes += 2 * len(data) + OVERHEAD_BYTES
        if self._cached_bytes > MAX_CACHED_BYTES:
            self._cache.clear()
            self._cached_bytes = 2 * len(data) + OVERHEAD_BYTES
        self._cache[code, data] = value

    def _is_whole(self, code: int, data: bytes) -> bool:
        """Return whether the object, and every object in it, is rebuilt with its class."""
        are_whole = True

        def inner(code: int, data: bytes) -> Any:
            nonlocal are_whole
            with self._noting_interruptions():
                are_whole = self._is_whole(code, data) and are_whole
                return self._hook(code, data)

        parts = ormsgpack.unpackb(data, ext_hook=inner, option=ormsgpack.OPT_NON_STR_KEYS)
        if not are_whole:
            return False
        value = self._hook(code, data)
        if code not in OF_A_CLASS:
            return value is not None
        module, name = parts[0], parts[1]
        if _is_made_by(sys.modules.get(module), name, value):
            return True
        self.kept.add(f"{module}.{name}")
        return False


def _is_made_by(module: object, name: str, value: Any) -> bool:
    """Return whether `value` is what the class or function of that name gives, and is complete."""
    maker = getattr(module, name, None)
    if not isinstance(maker, type):
        return maker is not None and value is not None
    if not isinstance(value, maker):
        return False
    # A model that does not validate is made all the same, and may lack a field.
    return not isinstance(value, BaseModel) or vars(value).keys() >= type(value).model_fields.keys()
