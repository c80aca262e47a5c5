"""LangGraph's serializer, which by default calls whatever a stored value names, held to data types.

A value that was serialized names a module and a callable. LangGraph 1.x calls any, with a warning:
whoever can write the file runs code in whoever reads it. rowtrail's default serializer builds what
LangGraph holds for safe, and classes that are data by what they are; it calls no function.
Source: CVE-2025-64439, CVE-2026-28277.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable
from enum import Enum
from typing import Any

import ormsgpack
from langgraph.checkpoint.serde import jsonplus
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

Hook = Callable[[int, bytes], Any]

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


def default_serde() -> JsonPlusSerializer:
    """Return LangGraph's serializer, guarded unless it is strict by its own settings."""
    serde = JsonPlusSerializer()
    if getattr(serde, "_allowed_msgpack_modules", True) is True:
        serde._unpack_ext_hook = _guarded(serde._unpack_ext_hook)  # pyright: ignore[reportPrivateUsage]
    return serde


def _guarded(build: Hook) -> Hook:
    def hook(code: int, data: bytes) -> Any:
        _check(code, data)  # with all that is nested in it: `build` calls itself for that
        return build(code, data)

    return hook


def _check(code: int, data: bytes) -> None:
    """Refuse an extension that names, or holds one that names, something that is no data type.

    Raises:
        ValueError: It does.
    """
    if code not in _NAMING and code != _DELTA_SNAPSHOT:
        return
    parts = ormsgpack.unpackb(data, ext_hook=_check, option=ormsgpack.OPT_NON_STR_KEYS)
    if code in _NAMING:
        module, name = parts[0], parts[1]
        if (module, name) not in _safe_types() and not _is_data_type(module, name):
            raise ValueError(f"{module}.{name} is not a data type, and is not called")


def _safe_types() -> frozenset[Any]:
    known = getattr(jsonplus, "_lg_msgpack", None)
    return frozenset(getattr(known, "SAFE_MSGPACK_TYPES", ()))


def _is_data_type(module: str, name: str) -> bool:
    if module not in sys.modules and module.partition(".")[0] in sys.stdlib_module_names:
        return False  # importing some of these does something
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):  # gone since: there is nothing to call
        return True
    if not isinstance(found, type):
        return False
    home = (found.__module__, found.__qualname__)  # old files name where a class was once
    if home in _safe_types() or found.__module__ == "pydantic.types":  # the latter: secrets
        return True
    is_named_tuple = issubclass(found, tuple) and hasattr(found, "_fields")
    is_model = hasattr(found, "model_construct") or hasattr(found, "construct")
    return dataclasses.is_dataclass(found) or issubclass(found, Enum) or is_named_tuple or is_model
