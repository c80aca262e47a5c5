"""Asking the journal: read-only SQL over the public views, safe for text that a model wrote."""

from __future__ import annotations

from rowtrail.history._answer import Answer
from rowtrail.history._budget import fit
from rowtrail.history._named import NamedQuery, named_queries
from rowtrail.history._query import query
from rowtrail.history._schema import describe_schema, schema_text
from rowtrail.history._text import cell_text, json_text, visible
from rowtrail.store.reading import Only

__all__ = [
    "Answer",
    "NamedQuery",
    "Only",
    "cell_text",
    "describe_schema",
    "fit",
    "json_text",
    "named_queries",
    "query",
    "schema_text",
    "visible",
]
