"""What a tool does to the world, from the three places in which it may say so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from langchain_core.tools import BaseTool

from rowtrail.errors import UsageError
from rowtrail.journal import DECLARED, OnDoubt, check_effect
from rowtrail.journal.places import EFFECTS
from rowtrail.replay import Effect

METADATA_KEY = "rowtrail"


@dataclass(frozen=True)
class Declared:
    """The effect of a tool, its in-doubt policy, and the `@rowtrail.step` function it runs."""

    effect: Effect = "read"
    on_doubt: OnDoubt | None = None
    function: Callable[..., Any] | None = None


_lock = threading.Lock()
_of_savers: WeakSet[Effects] = WeakSet()


class Effects:
    """Effects by the name of the tool, as the saver was given them.

    Raises:
        UsageError: A value is no effect.
    """

    def __init__(self, by_name: Mapping[str, Any]) -> None:
        self._by_name = {name: _declared(value, name) for name, value in by_name.items()}
        if by_name:
            with _lock:
                _of_savers.add(self)

    def of(self, tool: BaseTool, *, is_async: bool) -> Declared:
        """Return what a tool declares: to the saver, in its metadata, or by `@rowtrail.step`.

        A tool that declares nothing counts as `read`.
        """
        function = _step_function(tool, is_async)
        declared = self._by_name.get(tool.name)
        if declared is None and METADATA_KEY in (tool.metadata or {}):
            declared = _declared((tool.metadata or {})[METADATA_KEY], tool.name)
        if declared is None and function is not None:
            effect, on_doubt = getattr(function, DECLARED)
            declared = Declared(effect, on_doubt)
        if declared is None:
            return Declared()
        return Declared(declared.effect, declared.on_doubt, function)


def effects_of_savers() -> Sequence[Effects]:
    """Return what the savers of this process were given, for code of which no run is known."""
    with _lock:
        return [Effects({}), *_of_savers]


def strictest_effect(tool: BaseTool, savers: Sequence[Effects], *, is_async: bool) -> Effect:
    """Return the effect that a tool has by any of these, `write` before all others."""
    found = {effects.of(tool, is_async=is_async).effect for effects in savers}
    return next(effect for effect in reversed(EFFECTS) if effect in found)


def _declared(value: Any, name: str) -> Declared:
    if isinstance(value, str):
        value = {"effect": value}
    if not isinstance(value, Mapping) or not set(value) <= {"effect", "on_doubt"}:
        raise UsageError(
            f"the effect of tool {name!r} is {value!r}: give 'read', 'idempotent' or 'write', or "
            "{'effect': 'write', 'on_doubt': 'ask'}"
        )
    effect, on_doubt = value.get("effect", "read"), value.get("on_doubt")
    check_effect(effect, on_doubt)
    return Declared(effect, on_doubt)


def _step_function(tool: BaseTool, is_async: bool) -> Callable[..., Any] | None:
    """Return the function that a call runs, if it is a step: `func` too where there is no other."""
    for name in ("coroutine", "func") if is_async else ("func",):
        function = getattr(tool, name, None)
        if hasattr(function, DECLARED):
            return function
    return None
