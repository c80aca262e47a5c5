"""Results of classes that a function's return annotation names: stored as plain data."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from typing import Any, cast, get_args, get_type_hints

from rowtrail.content import Codec, TypeCodec


class Results:
    """Reads and writes the results of one function under `@rowtrail.step`.

    Dataclasses and pydantic models are rebuilt because the annotation of the function names them,
    never because a stored row does.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = fn
        self._codecs: tuple[Codec, Codec] | None = None

    def codec(self, base: Codec) -> Codec:
        """Return `base`, able to store the classes of the annotation too."""
        if not self._types:
            return base
        if self._codecs is None or self._codecs[0] is not base:
            self._codecs = (base, base.with_classes(self._types))
        return self._codecs[1]

    @functools.cached_property
    def _types(self) -> tuple[TypeCodec, ...]:
        try:
            returned = inspect.get_annotations(self._fn, eval_str=True).get("return")
        except (NameError, AttributeError, TypeError, SyntaxError):  # names that only checkers see
            return ()
        return tuple(map(_type_codec, dict.fromkeys(_classes(returned, set()))))


def _classes(hint: Any, seen: set[Any]) -> Generator[type]:
    """Yield the dataclasses and models in a type hint, and those in their fields."""
    if isinstance(hint, type) and hint not in seen:
        seen.add(hint)
        if hasattr(hint, "model_validate"):
            yield hint
        elif hasattr(hint, "__dataclass_fields__"):
            yield hint
            try:
                fields = get_type_hints(hint)
            except (NameError, AttributeError, TypeError, SyntaxError):
                fields = {}
            for field in fields.values():
                yield from _classes(field, seen)
    for part in get_args(hint):
        yield from _classes(part, seen)


def _type_codec(cls: type) -> TypeCodec:
    is_model = hasattr(cls, "model_validate")
    return TypeCodec(
        tag=f"{cls.__module__}.{cls.__qualname__}",
        type=cls,
        encode=_model_fields if is_model else _dataclass_fields,
        decode=cast("Any", cls).model_validate if is_model else lambda fields: cls(**fields),
        flat=True,
    )


def _model_fields(model: Any) -> Any:
    return model.model_dump(round_trip=True, by_alias=True)


def _dataclass_fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}
