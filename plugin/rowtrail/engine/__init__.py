"""What the rooms above need of a database, and how one is opened.

`rowtrail.engine.sqlite` is the only room that knows SQLite. Programs that only look use
`rowtrail.engine.reading`; what only a journal in a file has is in `rowtrail.engine.files`.
"""

from __future__ import annotations

from rowtrail.engine._process import ProcessIdentity, current_process
from rowtrail.engine.sqlite import (
    MEMORY,
    NORMAL,
    Connection,
    Durability,
    Row,
    Store,
    Tx,
    close_store,
    open_reader,
    open_store,
    warn_unclosed,
)

__all__ = [
    "MEMORY",
    "NORMAL",
    "Connection",
    "Durability",
    "ProcessIdentity",
    "Row",
    "Store",
    "Tx",
    "close_store",
    "current_process",
    "open_reader",
    "open_store",
    "warn_unclosed",
]
