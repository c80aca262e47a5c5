"""Queries with a name: `@failures` is asked in place of a `SELECT`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from rowtrail import schema
from rowtrail.errors import QueryError

SIGN = "@"
"""No SQL begins with it."""


@dataclass(frozen=True)
class NamedQuery:
    """A query that people ask often.

    Attributes:
        name: How it is asked, `@` and a word.
        about: What it finds.
        parameters: Names of its parameters, each of which may be left out.
        usage: What they mean, in one line; empty where it takes none.
        sql: One SELECT over the views, to be read, copied and changed.
    """

    name: str
    about: str
    parameters: tuple[str, ...]
    usage: str
    sql: str


@cache
def named_queries() -> Mapping[str, NamedQuery]:
    """Return the named queries by name."""
    found = (_parsed(SIGN + word, text) for word, text in schema.named().items())
    return {query.name: query for query in found}


def _parsed(name: str, text: str) -> NamedQuery:
    comments = re.findall(r"^-- (.*)", text, re.MULTILINE)
    sql = re.sub(r"^--.*\n", "", text, flags=re.MULTILINE).strip()
    parameters = tuple(dict.fromkeys(re.findall(r"(?<!:):(\w+)", text)))
    return NamedQuery(name, comments[0], parameters, " ".join(comments[1:]), sql)


def explained(query: NamedQuery) -> str:
    """Return the names of its parameters, and what they mean."""
    if not query.parameters:
        return "none"
    return f"{', '.join(query.parameters)} ({query.usage})"


def usage_of(sql: str) -> str | None:
    """Return what the parameters of a query mean, where it is asked by a name and takes any."""
    query = named_queries().get(sql.strip().rstrip(";").lower())
    return f"{query.name} takes {query.usage}" if query is not None and query.usage else None


def resolved(
    sql: str, params: Sequence[Any] | dict[str, Any]
) -> tuple[str, Sequence[Any] | dict[str, Any]]:
    """Return the query that a name stands for with all its parameters, any other query as it is.

    Raises:
        QueryError: There is no such name, or it takes no such parameter.
    """
    name = sql.strip().rstrip(";").lower()
    if not name.startswith(SIGN):
        return sql, params
    query = named_queries().get(name)
    if query is None:
        near = difflib.get_close_matches(name, named_queries(), n=1, cutoff=0.5)
        hint = f": did you mean {near[0]!r}?" if near else ""
        raise QueryError(
            f"no query is named {name[:40]!r}{hint}; there are {', '.join(named_queries())}",
            query=sql,
        )
    if params and not isinstance(params, dict):
        raise QueryError(
            f"the parameters of {query.name} have names, and {params!r} has none: give a dict "
            f"(it takes {explained(query)})",
            query=sql,
        )
    given: dict[str, Any] = dict(params) if isinstance(params, dict) else {}
    unknown = sorted(given.keys() - set(query.parameters))
    if unknown:
        raise QueryError(
            f"{query.name} has no parameter {unknown[0]!r}: it takes {explained(query)}", query=sql
        )
    return query.sql, {**dict.fromkeys(query.parameters), **given}
