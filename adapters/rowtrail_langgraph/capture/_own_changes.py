"""What a model changes in itself while it answers: a counter, the list of what it was asked.

It is no part of what it is asked next: on resume its recorded answers are replayed, so the counter
stands where it stood at first. A field counts as it was before the model's own changes, until
somebody else changes it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

_NOTHING: Any = object()

_changes: dict[int, tuple[weakref.ref[Any], dict[str, tuple[Any, Any]]]] = {}
"""By the id of a model: for each field what the model left there, and what counts in its place."""
_lock = threading.Lock()


def settled(model: object, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a model without its own changes."""
    with _lock:
        left = dict(_changes_of(model))
    found = dict(fields)
    for name, (after, before) in left.items():
        if found.get(name, _NOTHING) == after:
            found[name] = before
    return {name: value for name, value in found.items() if value is not _NOTHING}


@contextmanager
def noting_changes(model: object, fields_of: Callable[[Any], dict[str, Any]]) -> Generator[None]:
    """Note which fields a model changes in the block, in which it answers."""
    before = fields_of(model)
    try:
        yield
    finally:
        after = fields_of(model)
        if after != before:
            _note(model, before, after)


def _note(model: object, before: dict[str, Any], after: dict[str, Any]) -> None:
    counted = settled(model, before)
    changed = {
        name: (after.get(name, _NOTHING), counted.get(name, _NOTHING))
        for name in {**before, **after}
        if before.get(name, _NOTHING) != after.get(name, _NOTHING)
    }
    key = id(model)
    with _lock:
        known = {**_changes_of(model), **changed}
        _changes[key] = (weakref.ref(model, lambda _: _changes.pop(key, None)), known)


def _changes_of(model: object) -> dict[str, tuple[Any, Any]]:
    found = _changes.get(id(model))
    return found[1] if found is not None and found[0]() is model else {}
