"""What a tool does to the world, from the three places in which it may say so."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakSet

from langchain_core.tools import BaseTool

from rowtrail.adapter import DECLARED, check_effect
from rowtrail.errors import UsageError
from rowtrail.journal import OnDoubt
from rowtrail.journal.places import EFFECTS
from rowtrail.replay import Effect

METADATA_KEY = "rowtrail"
_DECLARABLE = {"effect", "on_doubt", "key", "not_done_on"}

BY_SAVER = 'RowtrailSaver(..., effects={{{name}: "{effect}"}})'
BY_METADATA = "the tool's metadata = " + '{{"rowtrail": {{"effect": "{effect}"}}}}'
"""What declares the effect of a tool: templates."""

# of its own, so that it can be silenced alone; a warning, because others are not shown by default
_log = logging.getLogger("rowtrail.effects")
_named: set[str] = set()
_lock = threading.Lock()


@dataclass(frozen=True)
class Declared:
    """The effect of a tool, its in-doubt policy, and the `@rowtrail.step` function it runs."""

    effect: Effect = "read"
    on_doubt: OnDoubt | None = None
    function: Callable[..., Any] | None = None
    key: Callable[..., Any] | None = None
    not_done_on: tuple[type[BaseException], ...] = ()
    is_declared: bool = True

    def asked(self, arguments: Any) -> Any:
        """Return what a call asks for: its arguments, or what the declared `key` says of them."""
        if self.key is None or not isinstance(arguments, Mapping):
            return arguments
        return {"key": self.key(**arguments)}


_lock = threading.Lock()
_of_savers: WeakSet[Effects] = WeakSet()


class Effects:
    """Effects by the name of the tool, as the saver was given them.

    Args:
        by_name: Effects, or effects with in-doubt policies.
        place: What declares the effect of a tool that declares nothing, as a template.

    Raises:
        UsageError: A value is not an effect.
    """

    def __init__(self, by_name: Mapping[str, Any], *, place: str = BY_SAVER) -> None:
        self._by_name = {name: _declared(value, name) for name, value in by_name.items()}
        self._place = place
        if by_name:
            with _lock:
                _of_savers.add(self)

    def of(self, tool: BaseTool, *, is_async: bool) -> Declared:
        """Return what a tool declares: to the saver, in its metadata, or by `@rowtrail.step`.

        A tool that declares nothing counts as `read`; the first call in the process says so.
        """
        function = _step_function(tool, is_async)
        declared = self._by_name.get(tool.name)
        if declared is None and METADATA_KEY in (tool.metadata or {}):
            declared = _declared((tool.metadata or {})[METADATA_KEY], tool.name)
        if declared is None and function is not None:
            effect, on_doubt, not_done_on = getattr(function, DECLARED)
            declared = Declared(effect, on_doubt, not_done_on=not_done_on)
        if declared is None:
            _name_once(tool.name, self._place)
            return Declared(is_declared=False)
        return replace(declared, function=function)


def _name_once(name: str, place: str) -> None:
    """Say how a tool counts that declares nothing, at its first call in the process."""
    if name in _named:
        return
    with _lock:
        if name in _named:
            return
        _named.add(name)
    writes, reads = (
        place.format(name=json.dumps(name), effect=effect) for effect in ("write", "read")
    )
    _log.warning(
        "tool %r declares no effect and counts as read: a call that a crash cuts short is made "
        "again. If it changes anything, write %s; %s says that it does not",
        name,
        writes,
        reads,
    )


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
    if not isinstance(value, Mapping) or not set(value) <= _DECLARABLE:
        raise UsageError(
            f"the effect of tool {name!r} is {value!r}: give 'read', 'idempotent' or 'write', or "
            "{'effect': 'write', 'on_doubt': 'ask'} (also 'key' and 'not_done_on')"
        )
    effect, on_doubt, key = value.get("effect", "read"), value.get("on_doubt"), value.get("key")
    check_effect(effect, on_doubt)
    if key is not None and not callable(key):
        raise UsageError(f"the key of tool {name!r} is {key!r}: give a function of its arguments")
    return Declared(effect, on_doubt, key=key, not_done_on=tuple(value.get("not_done_on", ())))


def _step_function(tool: BaseTool, is_async: bool) -> Callable[..., Any] | None:
    """Return the function that a call runs, if it is a step: `func` too where there is no other."""
    for name in ("coroutine", "func") if is_async else ("func",):
        function = getattr(tool, name, None)
        if hasattr(function, DECLARED):
            return function
    return None
