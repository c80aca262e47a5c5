"""The object that a message was translated from, stored without what the message says already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

ORIGINAL = "original"
"""Key in the `meta` of a message."""

Path = tuple[str | int, ...]
"""Keys and positions that lead to a part of an object."""


def cut(shape: Mapping[str, Any], content: Any, place: Path | None) -> dict[str, Any]:
    """Return what is kept of an object: the content of the message is not stored twice.

    Args:
        place: Where the object has the very content of the message, None where it has not.
    """
    if not place or not content:
        return {"shape": dict(shape)}
    return {"shape": _replaced(shape, place, None), "content_at": list(place)}


def restored(kept: Mapping[str, Any], content: Any) -> dict[str, Any]:
    """Undo `cut`."""
    place = kept.get("content_at")
    shape = kept["shape"]
    found = dict(shape) if place is None else _replaced(shape, tuple(place), content)
    return cast("dict[str, Any]", found)


def is_kept(meta: object) -> bool:
    """Return whether the `meta` of a message holds what `cut` returned."""
    kept: Any = cast("Mapping[str, Any]", meta).get(ORIGINAL) if isinstance(meta, Mapping) else None
    if not isinstance(kept, Mapping):
        return False
    fields = cast("Mapping[str, Any]", kept)
    shape, place = fields.get("shape"), fields.get("content_at")
    return isinstance(shape, Mapping) and (place is None or _leads(place, shape))


def _leads(place: Any, shape: Any) -> bool:
    """Return whether a path leads to a part of an object: what says so may be a stranger's."""
    keys: list[Any] | None = cast("Any", place) if isinstance(place, list) else None
    if keys is None:
        return False
    for key in keys:
        try:
            shape = shape[key]
        except (LookupError, TypeError):
            return False
    return True


def _replaced(value: Mapping[Any, Any] | Sequence[Any], place: Path, by: Any) -> Any:
    """Return a copy of a value, along the way, with another part at a place."""
    if not place:
        return by
    key, rest = place[0], place[1:]
    copy: Any = dict(value) if isinstance(value, Mapping) else list(value)
    copy[key] = _replaced(copy[key], rest, by)
    return copy
