"""What a tool of LangChain does to the world, as a saver or the tool itself declares it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakSet

from langchain_core.tools import BaseTool

from rowtrail.adapter import DECLARED, Effect
from rowtrail.adapter import effects as declarations
from rowtrail.adapter.effects import Declared
from rowtrail.journal.places import EFFECTS

BY_SAVER = 'RowtrailSaver(..., effects={{{name}: "{effect}"}})'
BY_METADATA = "the tool's metadata = " + '{{"rowtrail": {{"effect": "{effect}"}}}}'
"""What declares the effect of a tool: templates."""

_lock = threading.Lock()
_of_savers: WeakSet[Effects] = WeakSet()


class Effects(declarations.Effects):
    """Effects by the name of the tool, as the saver was given them.

    Args:
        by_name: Effects, or effects with in-doubt policies.
        place: What declares the effect of a tool that declares nothing, as a template.

    Raises:
        UsageError: A value is not an effect.
    """

    def __init__(self, by_name: Mapping[str, Any], *, place: str = BY_SAVER) -> None:
        super().__init__(by_name, place=place)
        if by_name:
            with _lock:
                _of_savers.add(self)

    def of(self, tool: BaseTool, *, is_async: bool) -> Declared:
        """Return what a tool declares: to the saver, in its metadata, or by `@rowtrail.step`."""
        return self.declared(tool.name, tool.metadata, _step_function(tool, is_async))


def effects_of_savers() -> Sequence[Effects]:
    """Return what the savers of this process were given, for code of which no run is known."""
    with _lock:
        return [Effects({}), *_of_savers]


def strictest_effect(tool: BaseTool, savers: Sequence[Effects], *, is_async: bool) -> Effect:
    """Return the effect that a tool has by any of these, `write` before all others."""
    found = {effects.of(tool, is_async=is_async).effect for effects in savers}
    return next(effect for effect in reversed(EFFECTS) if effect in found)


def _step_function(tool: BaseTool, is_async: bool) -> Callable[..., Any] | None:
    """Return the function that a call runs, if it is a step: `func` too where there is no other."""
    for name in ("coroutine", "func") if is_async else ("func",):
        function = getattr(tool, name, None)
        if hasattr(function, DECLARED):
            return function
    return None
