"""Doing something at an instruction of rowtrail's own code, as a signal's handler would."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

PACKAGES = ("rowtrail", "rowtrail_langgraph")


class AtInstruction:
    """Calls a function at the n-th instruction of rowtrail's own code where a handler may run.

    CPython looks for signals as a Python function is entered, or a generator goes on, and as a C
    function returns. What comes in a finalizer is not raised but printed, so none comes there.
    """

    def __init__(self, at: int, act: Callable[[], object]) -> None:
        self.where: str | None = None
        """The instruction, None where the code had fewer of them."""
        self._left = at
        self._act = act

    def __enter__(self) -> AtInstruction:
        sys.setprofile(self._look)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _look(self, frame: FrameType, event: str, what: Any) -> None:
        if event not in ("call", "c_return") or not _is_ours(frame):
            return
        self._left -= 1
        if self._left == 0:
            sys.setprofile(None)
            name = getattr(what, "__name__", "")
            self.where = f"{frame.f_code.co_name}:{frame.f_lineno} {event} {name}"
            self._act()


def _is_ours(frame: FrameType) -> bool:
    package, _, _ = frame.f_globals.get("__name__", "").partition(".")
    around: FrameType | None = frame
    while around is not None:
        if around.f_code.co_name == "__del__":
            return False
        around = around.f_back
    return package in PACKAGES
