"""Results of data classes, those that a function's return annotation names among them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from typing import Any, get_args, get_type_hints

from rowtrail.content import Codec, TypeCodec, codec_for, is_data_class


class Results:
    """Reads and writes the results of one function under `@rowtrail.step`.

    A class that the annotation names is rebuilt wherever it is defined, inside a function too; any
    other must be at the top of a loaded module, and be a data type.
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
        return tuple(map(codec_for, dict.fromkeys(_classes(returned, set()))))


def _classes(hint: Any, seen: set[Any]) -> Generator[type]:
    """Yield the data classes in a type hint, and those in their fields."""
    if isinstance(hint, type) and hint not in seen:
        seen.add(hint)
        if is_data_class(hint) or hasattr(hint, "__dataclass_fields__"):
            yield hint
        if hasattr(hint, "__dataclass_fields__") or hasattr(hint, "_fields"):
            try:
                fields = get_type_hints(hint)
            except (NameError, AttributeError, TypeError, SyntaxError):
                fields = {}
            for field in fields.values():
                yield from _classes(field, seen)
    for part in get_args(hint):
        yield from _classes(part, seen)
