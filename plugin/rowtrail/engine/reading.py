"""Reading a journal without owning it: for the command line, and for untrusted queries.

Apart from `rowtrail.engine`, so that programs that only record do not load it.
"""

from __future__ import annotations

from rowtrail.engine.sqlite.reading import Found, Only, Reader, UnansweredError, ask, public_columns

__all__ = [
    "Found",
    "Only",
    "Reader",
    "UnansweredError",
    "ask",
    "public_columns",
]
