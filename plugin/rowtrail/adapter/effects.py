"""What tools do to the world, from the three places in which they may say so."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from rowtrail.adapter._requests import tool_request
from rowtrail.adapter._step import DECLARED, check_effect
from rowtrail.errors import UsageError
from rowtrail.journal import OnDoubt, Request, Scope
from rowtrail.replay import Effect

__all__ = ["METADATA_KEY", "Declared", "Effects"]

METADATA_KEY = "rowtrail"
"""Under which the metadata of a tool says what the tool does."""

_DECLARABLE = {"effect", "on_doubt", "key", "not_done_on"}

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
        return {"key": self.key(**cast("Mapping[str, Any]", arguments))}

    def request(
        self, scope: Scope, name: str, arguments: Any, *, tool_call_id: str | None = None
    ) -> Request:
        """Return the request of a call of the tool; `tool_request` says of what."""
        request = tool_request(
            scope,
            name,
            arguments,
            effect=self.effect,
            on_doubt=self.on_doubt,
            tool_call_id=tool_call_id,
            not_done_on=self.not_done_on,
            counted=self.asked(arguments),
        )
        return replace(request, records=self.function, is_declared=self.is_declared)


class Effects:
    """Effects by the name of the tool, as an adapter was given them.

    Args:
        by_name: Effects, or effects with in-doubt policies.
        place: What declares the effect of a tool that declares nothing, as a template with `name`
            and `effect`.

    Raises:
        UsageError: A value is not an effect.
    """

    def __init__(self, by_name: Mapping[str, Any], *, place: str) -> None:
        self._by_name = {name: _declared(value, name) for name, value in by_name.items()}
        self._place = place

    def declared(
        self,
        name: str,
        metadata: Mapping[str, Any] | None,
        function: Callable[..., Any] | None,
    ) -> Declared:
        """Return what a tool declares: by its name here, in its metadata, or by `@rowtrail.step`.

        A tool that declares nothing counts as `read`; the first call in the process says so.

        Args:
            name: Name of the tool.
            metadata: Of the tool, in which `METADATA_KEY` may stand.
            function: That the tool runs, where it is a step; else None.
        """
        declared = self._by_name.get(name)
        if declared is None and METADATA_KEY in (metadata or {}):
            declared = _declared((metadata or {})[METADATA_KEY], name)
        if declared is None and function is not None:
            effect, on_doubt, not_done_on = getattr(function, DECLARED)
            declared = Declared(effect, on_doubt, not_done_on=not_done_on)
        if declared is None:
            _name_once(name, self._place)
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


def _declared(value: Any, name: str) -> Declared:
    if isinstance(value, str):
        value = {"effect": value}
    given = cast("Mapping[str, Any]", value if isinstance(value, Mapping) else {"": value})
    if not set(given) <= _DECLARABLE:
        raise UsageError(
            f"the effect of tool {name!r} is {value!r}: give 'read', 'idempotent' or 'write', or "
            "{'effect': 'write', 'on_doubt': 'ask'} (also 'key' and 'not_done_on')"
        )
    effect, on_doubt, key = given.get("effect", "read"), given.get("on_doubt"), given.get("key")
    check_effect(effect, on_doubt)
    if key is not None and not callable(key):
        raise UsageError(f"the key of tool {name!r} is {key!r}: give a function of its arguments")
    return Declared(effect, on_doubt, key=key, not_done_on=tuple(given.get("not_done_on", ())))
