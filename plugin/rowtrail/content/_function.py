"""What of a function takes part in its identity: its name, defaults and closure, and its parts."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)
from typing import Any, NamedTuple

from rowtrail.content._tagged import kind_of

STEP_MARK = "__rowtrail_declared__"
"""Attribute of what `@rowtrail.step` made: what counts is the function under it."""

LAMBDA = "<lambda>"


class FunctionParts(NamedTuple):
    """A function by its name, `module.qualname`, and what else counts."""

    name: str
    parts: dict[str, Any]


@dataclass(frozen=True)
class EmptyCell:
    """The value of a variable of a closure that has none yet."""


def function_parts(value: Any) -> FunctionParts | None:
    """Return what counts of a function, a method, a partial or a module; None for other values."""
    if isinstance(value, FunctionType):
        if STEP_MARK in value.__dict__ and "__wrapped__" in value.__dict__:
            return function_parts(value.__dict__["__wrapped__"])
        return FunctionParts(_name(value), _plain_function(value))
    if isinstance(value, MethodType):
        return FunctionParts(_name(value), {"function": value.__func__, "self": value.__self__})
    if isinstance(value, (functools.partial, functools.partialmethod)):
        parts = {"function": value.func, "args": list(value.args), "kwargs": value.keywords}
        return FunctionParts(type(value).__name__, parts)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, (staticmethod, classmethod)):
        return function_parts(value.__func__)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    if isinstance(value, ModuleType):
        return FunctionParts(value.__name__, {})
    if isinstance(value, (BuiltinFunctionType, MethodWrapperType)):
        owner: Any = value.__self__
        is_bound = owner is not None and not isinstance(owner, ModuleType)
        return FunctionParts(_name(value), {"self": owner} if is_bound else {})
    if isinstance(value, CodeType):
        return FunctionParts(value.co_qualname, _code(value))
    return _wrapped(value)


def _wrapped(value: Any) -> FunctionParts | None:
    """Return the parts of other callables of Python's own: slot wrappers, `functools.cache`."""
    kind = kind_of(value)
    if kind.__module__ not in ("builtins", "functools") or not callable(value):
        return None
    wrapped = getattr(value, "__wrapped__", None)
    if isinstance(wrapped, FunctionType):
        return function_parts(wrapped)
    return FunctionParts(_name(value), {}) if hasattr(value, "__qualname__") else None


def _name(function: Any) -> str:
    return f"{getattr(function, '__module__', None)}.{function.__qualname__}"


def _plain_function(function: FunctionType) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    if function.__defaults__:
        parts["defaults"] = list(function.__defaults__)
    if function.__kwdefaults__:
        parts["kwdefaults"] = function.__kwdefaults__
    if function.__closure__:
        parts["closure"] = closure_of(function)
    if function.__name__ == LAMBDA:
        parts["code"] = function.__code__
    return parts


def closure_of(function: FunctionType) -> dict[str, Any]:
    """Return the variables that a function has from those around it, without `__class__`."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: _content(cell) for name, cell in cells if name != "__class__"}


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return EmptyCell()


def _code(code: CodeType) -> dict[str, Any]:
    return {
        "code": code.co_code,
        "consts": list(code.co_consts),
        "names": [list(code.co_names), list(code.co_varnames), list(code.co_freevars)],
    }
