"""Public methods of the framework's classes, wrapped where they are defined."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rowtrail.errors import NotDoneError, RowtrailError

_MARK = "__rowtrail_wraps__"
_lock = threading.Lock()


def wrap_method(cls: type[Any], name: str, wrap: Callable[[Any], Any]) -> None:
    """Wrap the method that objects of a class have, once; outside of runs it is as it was."""
    owner = next(each for each in cls.__mro__ if name in vars(each))
    with _lock:
        method = vars(owner)[name]
        if not hasattr(method, _MARK):
            wrapped = wrap(method)
            setattr(wrapped, _MARK, method)
            setattr(owner, name, wrapped)


def error_of_journal(error: BaseException | None) -> RowtrailError | None:
    """Return the journal's error that an error is, or that it was raised from."""
    while error is not None:
        if isinstance(error, RowtrailError) and not isinstance(error, NotDoneError):
            return error
        error = error.__cause__
    return None
