"""Plain values that JSON has no type for, and what is in them."""

from __future__ import annotations

import copyreg
import re
import weakref
from collections.abc import Iterator, Mapping, Sequence, Set
from enum import Enum
from types import GenericAlias, UnionType
from typing import Any, NamedTuple, cast

from rowtrail.content._tagged import class_name, kind_of

_INERT_MODULES = frozenset(
    {"_thread", "asyncio.locks", "multiprocessing.synchronize", "_contextvars", "weakref"}
    | {"logging", "structlog", "structlog.stdlib", "loguru._logger"}
)
"""Modules of locks, loggers, contexts and weak caches: whatever they are, the same is asked."""
_INERT = frozenset(
    f"threading.{name}"
    for name in ("_RLock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "Barrier")
) | {"logging.Logger", "logging.LoggerAdapter"}
_SECRETS = frozenset(f"pydantic.types.{name}" for name in ("SecretStr", "SecretBytes", "Secret"))
_NAMED = _INERT | _SECRETS
_SHOWN_BY_REPR = frozenset(
    {"datetime", "decimal", "fractions", "uuid", "ipaddress", "zoneinfo", "typing"}
)
"""Modules whose objects say in their repr all that they are."""
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class Content(NamedTuple):
    """What is in a value."""

    value: Any


def is_inert(value: Any) -> bool:
    """Return whether an object never counts: a lock, a logger, a secret."""
    kind = kind_of(value)
    if kind.__module__ in _INERT_MODULES:
        return kind is not weakref.ReferenceType  # what it refers to may be anything
    return any(class_name(base) in _NAMED for base in kind.__mro__[:-1])


def content_of(value: Any) -> Content | None:
    """Return what is in a value of a type that is known, None for an object of another."""
    found = _sequence(value)
    if found is None:
        found = _scalar(value)
    if found is None:
        found = _array(value)
    if found is None:
        found = _opaque_but_known(value)
    return found


def _sequence(value: Any) -> Content | None:
    if isinstance(value, (bytes, bytearray)):
        return Content(bytes(value).hex())
    if isinstance(value, memoryview):
        return Content([value.format, list(value.shape or ()), digest(value.tobytes())])
    names = getattr(kind_of(value), "_fields", None)
    if isinstance(value, tuple) and names is not None:
        return Content(dict(zip(names, cast("Sequence[Any]", value), strict=False)))
    if isinstance(value, (list, tuple)):
        return Content(list(cast("Sequence[Any]", value)))
    if isinstance(value, BaseException):
        own = {name: each for name, each in vars(value).items() if not name.startswith("_")}
        return Content([list(value.args), own])
    return None


def _scalar(value: Any) -> Content | None:
    if isinstance(value, Enum):
        return Content([value.name, value.value])
    for kind in (str, int, float):
        if isinstance(value, kind):
            return Content(kind(value) if kind is not str else str.__str__(cast("str", value)))
    if isinstance(value, re.Pattern):
        return _parts(value, "pattern", "flags")
    if isinstance(value, slice):
        return _parts(value, "start", "stop", "step")
    if isinstance(value, (complex, range, GenericAlias, UnionType)):
        return Content(repr(value))
    if hasattr(kind_of(value), "__fspath__"):
        return Content(value.__fspath__())
    return _shown_by_repr(value)


def _parts(value: Any, *names: str) -> Content:
    return Content([getattr(value, name) for name in names])


def _shown_by_repr(value: Any) -> Content | None:
    if value is Ellipsis or value is NotImplemented:
        return Content(repr(value))
    base = next((b for b in kind_of(value).__mro__ if b.__module__ in _SHOWN_BY_REPR), None)
    if base is None:
        return None
    if class_name(base) == "datetime.tzinfo" and kind_of(value).__repr__ is not object.__repr__:
        return Content(_ADDRESS.sub("", repr(value)))  # pytz and dateutil: all is private
    show: Any = base.__repr__
    if show is object.__repr__:
        return None
    return Content(_moment(value) or _ADDRESS.sub("", show(value)))


def _moment(value: Any) -> Any:
    """Return a moment with its zone, which its repr may show without what it is."""
    if not hasattr(value, "tzinfo") or not hasattr(value, "isoformat"):
        return None
    shown = f"{value.isoformat()} {getattr(value, 'nanosecond', '')} {value.fold}"
    return [shown, value.tzinfo] if value.tzinfo is not None else shown


def _array(value: Any) -> Content | None:
    """Return what is in an array, a frame, a series or an index."""
    kind = kind_of(value)
    package = kind.__module__.partition(".")[0]
    if hasattr(kind, "dtype") and hasattr(kind, "tobytes"):
        if not value.shape:
            return Content([str(value.dtype), value.item()])
        if value.dtype.hasobject:
            return Content([str(value.dtype), list(value.shape), value.tolist()])
        return Content([str(value.dtype), list(value.shape), digest(value.tobytes())])
    if package == "pandas":
        return _pandas(value)
    if hasattr(kind, "__array__"):
        shown: list[Any] = [getattr(value, each, None) for each in ("columns", "dims", "mode")]
        return Content([value.__array__(), [None if t is None else list(t) for t in shown]])
    if package == "array":
        return Content([value.typecode, digest(value.tobytes())])
    if package in ("io", "_io") and hasattr(kind, "getvalue"):
        return Content([value.getvalue(), value.tell()])
    return None


def _pandas(value: Any) -> Content | None:
    if hasattr(value, "iloc") and hasattr(value, "columns"):
        columns = (value.iloc[:, n] for n in range(value.shape[1]))
        shown = [[str(column.dtype), column.to_numpy()] for column in columns]
        return Content([value.columns, value.index, shown])
    if hasattr(value, "to_numpy"):
        index = getattr(value, "index", None)
        names = getattr(value, "names", None)
        own = [str(value.dtype), value.to_numpy(), getattr(value, "name", None)]
        return Content([*own, list(names) if names is not None else None, index])
    return Content(_ADDRESS.sub("", repr(value)))


def _opaque_but_known(value: Any) -> Content | None:
    """Return what a C object is rebuilt from, where it has a way of its own to say so."""
    kind = kind_of(value)
    registered = copyreg.dispatch_table.get(kind)
    if isinstance(value, Iterator) or not (registered or _reduces_in_c(kind)):
        return None
    try:
        reduced: Any = registered(value) if registered else value.__reduce_ex__(4)
    except Exception:  # whatever a type says that cannot be taken apart
        return None
    if isinstance(reduced, str):
        return Content(reduced)
    parts: list[Any] = [*reduced, None, None, None]
    make, args, state = parts[:3]
    listed: list[Any] = [None if each is None else list(each) for each in parts[3:5]]
    if isinstance(state, dict):
        named = cast("Mapping[Any, Any]", state)
        state = {key: each for key, each in named.items() if not str(key).startswith("_")}
    return Content([make, list(args), state, *listed])


def _reduces_in_c(kind: type) -> bool:
    """Return whether a type is implemented in C and says what its objects are rebuilt from."""
    for base in kind.__mro__[:-1]:
        for name in ("__reduce_ex__", "__reduce__"):
            if name in base.__dict__:
                return not hasattr(base.__dict__[name], "__code__")
    return False


def seen_content(value: Any) -> Content | None:
    """Return what is in an object without attributes that count, by what all can ask of it."""
    kind = kind_of(value)
    if isinstance(value, Mapping):
        return Content({**value})
    if isinstance(value, Set):
        return Content({*value})
    if isinstance(value, Sequence) or kind.__name__ == "dict_values":
        return Content(list(cast("Sequence[Any]", value)))
    # A class that says what is equal, hashes by it and shows it: a URL, a version.
    is_value = kind.__eq__ is not object.__eq__ and kind.__hash__ not in (None, object.__hash__)
    if is_value and kind.__repr__ is not object.__repr__:
        shown = repr(value)
        return None if _ADDRESS.search(shown) else Content(shown)
    return None


def digest(data: bytes) -> str:
    """Return a short name of some bytes."""
    from hashlib import blake2b

    return blake2b(data, digest_size=16).hexdigest()
