"""Classes of the running program whose objects are their fields: rebuilt without running code.

A row names such a class by its module and its qualified name. It is looked up among the modules
that are loaded, never imported, and must be a dataclass, a pydantic model, an enum or a named
tuple; whatever else a row names is refused.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from enum import Enum
from functools import partial
from typing import Any, cast

from rowtrail.content._tagged import TypeCodec, expect
from rowtrail.errors import CorruptRowError, UnstorableError


class UnknownClassError(CorruptRowError):
    """A row names a class that this process has not loaded, or that is no data type."""


def tag_of(cls: Any) -> str:
    """Return how a row names a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def is_data_class(cls: type) -> bool:
    """Return whether the objects of a class are their fields."""
    kind: Any = cls
    is_tuple = issubclass(cls, tuple)
    return (
        "__dataclass_fields__" in vars(cls)  # its own: a subclass may have more than these
        or hasattr(cls, "model_validate")
        or issubclass(cls, Enum)
        or (is_tuple and hasattr(kind, "_fields"))
    )


def class_codec(cls: type) -> TypeCodec | None:
    """Return how the objects of a data class are written, None where a row cannot name it."""
    if not is_data_class(cls) or _loaded(tag_of(cls)) is not cls:
        return None
    return codec_for(cls)


def codec_of_tag(tag: str) -> TypeCodec:
    """Return how the objects of the class that a row names are read.

    Raises:
        UnknownClassError: It is not loaded, or no data type.
    """
    found = _loaded(tag)
    if found is None or not is_data_class(found):
        raise UnknownClassError(
            f"a stored {tag} cannot be read back: no loaded module has a dataclass, pydantic "
            "model, enum or named tuple of this name; import it before the run is resumed, or "
            "name it in the return annotation of the step",
            row=tag,
        )
    return codec_for(found)


@functools.lru_cache(maxsize=1024)
def codec_for(cls: type) -> TypeCodec:
    """Return how the objects of a data class are written and read."""
    kind = cast("Any", cls)
    codec = partial(TypeCodec, tag_of(kind), kind, flat=True)
    if issubclass(kind, Enum):
        return codec(encode=_member_to_json, decode=partial(_member_from_json, kind))
    if hasattr(kind, "model_validate"):
        return codec(encode=_model_fields, decode=kind.model_validate)
    if issubclass(kind, tuple):
        return codec(encode=_items, decode=partial(_tuple_from_json, kind))
    return codec(encode=_dataclass_fields, decode=partial(_built, kind))


def _loaded(tag: str) -> type | None:
    """Return the class of this name in a loaded module."""
    parts = tag.split(".")
    for end in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:end]))
        if found is None:
            continue
        for name in parts[end:]:
            # Not getattr, which a module or a class may answer with code of its own.
            found = getattr(found, "__dict__", {}).get(name)
        if isinstance(found, type):
            return found if tag_of(cast("Any", found)) == tag else None
    return None


def _member_to_json(member: Enum) -> Any:
    """Return the name of a member; flags may be several, which only their number says."""
    is_single = type(member).__members__.get(str(member.name)) is member
    return member.name if is_single else [member.value]


def _member_from_json(cls: Any, stored: Any) -> Any:
    return cls.__members__[stored] if isinstance(stored, str) else cls(*expect(list, stored))


def _model_fields(model: Any) -> Any:
    return model.model_dump(round_trip=True, by_alias=True)


def _items(value: Any) -> list[Any]:
    if getattr(value, "__dict__", None):
        raise UnstorableError(
            f"a {tag_of(type(value))} with attributes beside its fields has no stored form",
            type_name=type(value).__qualname__,
        )
    return list(value)


def _tuple_from_json(cls: Any, stored: Any) -> Any:
    make = cast("Any", tuple.__new__)  # not the class's own, which is code
    return make(cls, expect(list, stored))


def _dataclass_fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _built(cls: Any, fields: dict[str, Any]) -> Any:
    """Return an object of a dataclass; fields that its `__init__` does not take are set behind."""
    known = {field.name: field.init for field in dataclasses.fields(cls)}
    if unknown := fields.keys() - known.keys():
        raise TypeError(f"it has no field {min(unknown)!r} any more")
    built = cls(**{name: value for name, value in fields.items() if known[name]})
    for name, value in fields.items():
        if not known[name]:
            object.__setattr__(built, name, value)
    return built
