"""Reading files from outside: for the command line, for questions of strangers, for imports.

Apart from `rowtrail.store`, so that programs that only record do not load it.
"""

from __future__ import annotations

from rowtrail.store._foreign import ForeignFile
from rowtrail.store._only import Only
from rowtrail.store._query import Found, UnansweredError, ask, public_columns
from rowtrail.store._reader import Reader

__all__ = ["ForeignFile", "Found", "Only", "Reader", "UnansweredError", "ask", "public_columns"]
