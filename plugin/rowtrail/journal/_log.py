"""The logger of rowtrail, made when it is first used: logging is slow to import."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import Logger


@cache
def log() -> Logger:
    """Return the logger `rowtrail`."""
    import logging

    return logging.getLogger("rowtrail")
