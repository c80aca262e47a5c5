"""Asking the journal: read-only SQL over the public views, safe for text that a model wrote."""

from __future__ import annotations

from rowtrail.history._answer import Answer
from rowtrail.history._query import query
from rowtrail.history._text import cell_text, json_text, visible
from rowtrail.store.reading import Only

__all__ = ["Answer", "Only", "cell_text", "json_text", "query", "visible"]
