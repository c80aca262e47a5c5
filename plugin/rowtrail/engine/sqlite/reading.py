"""Reading a journal's file without owning it."""

from __future__ import annotations

from rowtrail.engine.sqlite._only import Only
from rowtrail.engine.sqlite._query import Found, UnansweredError, ask, public_columns
from rowtrail.engine.sqlite._reader import Reader

__all__ = [
    "Found",
    "Only",
    "Reader",
    "UnansweredError",
    "ask",
    "public_columns",
]
