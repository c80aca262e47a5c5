"""Asking the journal: read-only SQL over the public views, safe for text that a model wrote."""

from __future__ import annotations

from rowtrail.engine.reading import Only
from rowtrail.history._answer import Answer
from rowtrail.history._budget import fit
from rowtrail.history._compare import Difference
from rowtrail.history._diff import Pair, Place, diff
from rowtrail.history._follow import Follower
from rowtrail.history._named import NamedQuery, named_queries
from rowtrail.history._query import query
from rowtrail.history._resume import ResumePlan, resume_plan
from rowtrail.history._schema import describe_schema, schema_text
from rowtrail.history._spend import Spend, SpendBy, spend
from rowtrail.history._text import cell_text, json_text, visible
from rowtrail.history._why import Why, step_whole, why

__all__ = [
    "Answer",
    "Difference",
    "Follower",
    "NamedQuery",
    "Only",
    "Pair",
    "Place",
    "ResumePlan",
    "Spend",
    "SpendBy",
    "Why",
    "cell_text",
    "describe_schema",
    "diff",
    "fit",
    "json_text",
    "named_queries",
    "query",
    "resume_plan",
    "schema_text",
    "spend",
    "step_whole",
    "visible",
    "why",
]
