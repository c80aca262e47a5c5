"""What the rooms above need of a database, and how a journal is opened.

The protocols `Store`, `Reader`, `Tx` and `Row` are the contract; `rowtrail.engine.sqlite` keeps
it for one SQLite file. Programs that only look use `rowtrail.engine.reading`; what only a journal
in a file has is in `rowtrail.engine.files`.
"""

from __future__ import annotations

from rowtrail.engine._contract import NORMAL, Durability, Row, Source, Store, Tx, WriteKey
from rowtrail.engine._engines import (
    absolute,
    exists,
    is_lasting,
    open_store,
    refuse_unusable,
    warn_unclosed,
)
from rowtrail.engine._ids import id_text
from rowtrail.engine._process import ProcessIdentity, current_process
from rowtrail.engine._steps import NewResult, NewStep, NoteResult, NoteStep

__all__ = [
    "NORMAL",
    "Durability",
    "NewResult",
    "NewStep",
    "NoteResult",
    "NoteStep",
    "ProcessIdentity",
    "Row",
    "Source",
    "Store",
    "Tx",
    "WriteKey",
    "absolute",
    "current_process",
    "exists",
    "id_text",
    "is_lasting",
    "open_store",
    "refuse_unusable",
    "warn_unclosed",
]
