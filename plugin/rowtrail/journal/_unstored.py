"""Saying that a result cannot be stored: once for each step name, and loudly."""

from __future__ import annotations

import threading

from rowtrail.errors import UnstorableError
from rowtrail.journal._log import log
from rowtrail.replay import Effect, Kind

_REMEDY = (
    "return plain data, or a dataclass, pydantic model, enum or named tuple at the top of a module "
    "(one inside a function must be the function's return annotation)"
)

_lock = threading.Lock()
_warned: set[tuple[Kind, str, str]] = set()


def warn_not_stored(kind: Kind, name: str, effect: Effect, error: UnstorableError) -> None:
    """Warn that the results of a step cannot be stored; once a process for each type of result."""
    with _lock:
        what = (kind, name, error.type_name)
        if what in _warned:
            return
        _warned.add(what)
    if effect == "write":
        then = (
            "it counts as made, and when its run is resumed somebody must say what it returned: "
            "`rowtrail in-doubt` lists it"
        )
    else:
        then = "the call is made again when its run is resumed"
    log().warning(
        "the result of %s %r is not stored (%s): %s; %s", kind, name, error, then, _REMEDY
    )
