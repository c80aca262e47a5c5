"""What the function of a step is bound to: a method's object, a partial's arguments, a closure.

Of a closure count the texts, numbers and times that the function itself does not write.
What changes while a program runs is no part of a question: a list that answers are collected in, a
counter, the object that a test or a script keeps its state in.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from enum import Enum
from types import CodeType, FunctionType
from typing import Any

from rowtrail.content import LAMBDA, closure_of, function_parts

MAX_FUNCTIONS_INSIDE = 8
"""Functions inside functions are few; a generated tower of them must not take time."""
MAX_SHOWN = 200
"""The digest that follows tells longer ones apart; this is for people."""


def bound_of(function: Any) -> dict[str, Any]:
    """Return what a function is bound to, by what it is called in the journal; often nothing."""
    if isinstance(function, FunctionType):
        found = _constants_of(function, MAX_FUNCTIONS_INSIDE) if function.__closure__ else {}
        return {"closure": found} if found else {}
    parts = function_parts(function)
    return {"function": function} if parts is None or parts.parts else {}


def unpassed_of(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the constants among the defaults of the parameters that a call leaves out."""
    if not isinstance(function, FunctionType):
        return {}
    if function.__defaults__ is None and function.__kwdefaults__ is None:
        return {}
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    defaults = function.__defaults__ or ()
    last = list(zip(names[len(names) - len(defaults) :], defaults, strict=True))
    found = {name: each for name, each in last if name not in names[: len(args)]}
    found |= function.__kwdefaults__ or {}
    return {name: each for name, each in found.items() if name not in kwargs and _is_constant(each)}


def _constants_of(function: FunctionType, depth: int) -> dict[str, Any]:
    written = _written_by(function.__code__)
    around = function.__qualname__.rpartition(".")[0]
    found: dict[str, Any] = {}
    for variable, value in closure_of(function).items():
        if variable in written:
            continue
        if isinstance(value, FunctionType):
            if value is not function and depth:
                found |= _told_by(variable, inspect.unwrap(value), around, depth)
        elif _is_constant(value):
            found[variable] = _shortened(value)
    return found


def _shortened(value: Any) -> Any:
    """Return a constant, or what stands for a long text: it is stored with every call."""
    if not isinstance(value, (str, bytes)) or len(value) <= MAX_SHOWN:
        return value
    from hashlib import blake2b  # it loads OpenSSL: not for `import rowtrail`

    data = value.encode("utf-8", "backslashreplace") if isinstance(value, str) else value
    return f"{len(value)} long, BLAKE2b {blake2b(data, digest_size=16).hexdigest()}"


def _told_by(variable: str, inside: Any, around: str, depth: int) -> dict[str, Any]:
    """Return what tells a function in a closure from others; its neighbours are code as it is."""
    name, found = f"{inside.__module__}.{inside.__qualname__}", {}
    if inside.__qualname__.rpartition(".")[0] != around:
        found[variable] = inside.__code__ if inside.__name__ == LAMBDA else name
    constants = _constants_of(inside, depth - 1) if inside.__closure__ else {}
    return {**found, **{f"{variable}.{each}": value for each, value in constants.items()}}


def _is_constant(value: Any) -> bool:
    from datetime import date, time, timedelta
    from decimal import Decimal
    from pathlib import PurePath
    from uuid import UUID

    kinds = (str, int, float, complex, bytes, type(None), Enum, date, time, timedelta)
    return isinstance(value, (*kinds, Decimal, UUID, PurePath))


@functools.lru_cache(maxsize=1024)
def _written_by(code: CodeType) -> frozenset[str]:
    """Return the variables of a closure that a function, or one inside it, writes."""
    import dis

    own = {
        step.argval
        for step in dis.get_instructions(code)
        if step.opname in ("STORE_DEREF", "DELETE_DEREF")
    }
    return frozenset(own).union(*map(_written_by, _inside(code)))


def _inside(code: CodeType) -> Iterator[CodeType]:
    return (each for each in code.co_consts if isinstance(each, CodeType))


def owner_of(function: Callable[..., Any], args: tuple[Any, ...]) -> type | None:
    """Return the class of the object whose method a call is, None where it is no method's."""
    name = getattr(function, "__qualname__", "")
    holder, _, method = name.rpartition(".")
    if not args or not holder or holder.endswith("<locals>"):
        return None
    first: Any = args[0]
    owner: type = first if isinstance(first, type) else type(first)
    is_method = any(
        base.__qualname__ == holder and method in base.__dict__ for base in owner.__mro__
    )
    return owner if is_method else None
