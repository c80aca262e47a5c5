"""Exceptions of failed calls as data, so that code which handled one can be shown it again.

No class is imported and no constructor is called: a stored row can only name exceptions that the
program itself has loaded.
"""

from __future__ import annotations

import json
import sys
from typing import Any

MAX_FAILURE_CHARS = 8_000
"""A longer one is not kept to be raised again: its row must stay small."""


def failure_text(error: BaseException) -> str | None:
    """Return the class and the plain parts of an exception as JSON, None where there is no form."""
    cls = type(error)
    if not isinstance(error, Exception):
        return None
    parts = {
        "class": [cls.__module__, cls.__qualname__],
        "text": str(error),
        "args": [arg if _is_plain(arg) else str(arg) for arg in error.args],
        "attributes": {name: value for name, value in vars(error).items() if _is_plain(value)},
    }
    try:
        text = json.dumps(parts, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return None
    return text if len(text) <= MAX_FAILURE_CHARS and text.isascii() else None


def rebuilt_failure(text: str | None) -> Exception | None:
    """Return an exception equal to the one of which `text` was kept; None where there is none."""
    try:
        parts = json.loads(text or "")
        cls = _loaded_class(*parts["class"])
        if cls is None:
            return None
        error: Exception = cls.__new__(cls)
        error.args = tuple(parts["args"])
        vars(error).update(parts["attributes"])
        return error if str(error) == parts["text"] else None
    except Exception:  # text of a hostile or damaged row, or a class that is not what it was
        return None


def _loaded_class(module: str, qualname: str) -> type[Exception] | None:
    found: Any = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    if isinstance(found, type) and issubclass(found, Exception) and found.__module__ == module:
        return found
    return None


def _is_plain(value: Any) -> bool:
    return type(value) in (str, int, float, bool, type(None)) or (
        type(value) in (list, dict) and len(value) < 100
    )
