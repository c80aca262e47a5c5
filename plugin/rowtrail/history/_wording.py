"""What is wrong with a query, in words that help to write the next one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from rowtrail.engine.reading import UnansweredError, public_columns
from rowtrail.history import _statement
from rowtrail.schema import PUBLIC_VIEWS

VIEWS = ", ".join(PUBLIC_VIEWS)
_JSON_COLUMNS = (
    *("key", "value", "type", "atom", "id", "parent", "fullkey", "path", "json", "root"),
    *("rowid", "oid", "_rowid_"),
)
TOO_BIG = (
    "a value is too large for a query, which may have 4 MiB, and less where it builds many: "
    "leave its column out, take length() of it, or read the messages of a prompt one by one "
    "from the view messages"
)
NEAR = 0.5
"""How much alike a wrong and a right name must be, by difflib's ratio."""


def worded(fault: UnansweredError, sql: str, timeout: float) -> str:
    """Return the message of a fault: what happened, with what, and what to do."""
    if fault.kind == "timeout":
        return (
            f"the query was stopped after {timeout:g} s: narrow it with WHERE (run_id, thread_id), "
            "or raise the timeout"
        )
    if fault.kind == "read":
        return _unreadable(fault.detail)
    if fault.kind == "function":
        return f"the function {fault.detail}() is not allowed in a query: do without it"
    if fault.kind == "action":
        return f"{fault.detail} is not allowed, a query only reads: write one SELECT over {VIEWS}"
    if fault.kind == "too_big":
        return TOO_BIG
    if fault.kind == "parameters":
        return _wrong_params(fault.detail)
    return _wrong(fault.detail, sql)


def misquoted(sql: str) -> str | None:
    """Return what is wrong with a name in double quotes that no column has, or None."""
    known = {name.lower() for columns in public_columns().values() for name in columns}
    known.update(PUBLIC_VIEWS, _JSON_COLUMNS)
    for name in _statement.quoted_names(sql):
        if name not in known:
            near = _did_you_mean(name, sorted(known))
            return f'no column "{name}"{near}; write texts in single quotes'
    return None


def _unreadable(table: str) -> str:
    near = _did_you_mean(table, PUBLIC_VIEWS)
    return f"{table!r} cannot be read{near}: the views are {VIEWS}; no CTE can have that name"


def _wrong(message: str, sql: str) -> str:
    # The code of all of these is SQLITE_ERROR, or none at all: only the text says what is wrong.
    for pattern, explain in _EXPLAINED:
        match = re.search(pattern, message)
        if match is not None:
            return explain(match, sql)
    return f"{message}: write one SELECT in SQLite's SQL over {VIEWS}"


def _no_table(match: re.Match[str], sql: str) -> str:
    table = match[1].rpartition(".")[2]
    return f"no view {table!r}{_did_you_mean(table, PUBLIC_VIEWS)}: the views are {VIEWS}"


def _no_column(match: re.Match[str], sql: str) -> str:
    column = match[1].rpartition(".")[2].strip("\"`[]'")
    names = _statement.names_in(sql)
    views = [view for view in PUBLIC_VIEWS if view in names]
    columns = public_columns()
    if not views:
        return f"no column {column!r}: {match.string}; the views are {VIEWS}"
    known = {name: view for view in reversed(views) for name in columns[view]}
    here = ", ".join(f"{view} has {', '.join(columns[view])}" for view in views[:2])
    return f"no column {column!r} in {', '.join(views)}{_did_you_mean(column, known)}; {here}"


def _no_function(match: re.Match[str], sql: str) -> str:
    return f"no function {match[1]!r}: use those that SQLite brings"


def _function_raised(match: re.Match[str], sql: str) -> str:
    return TOO_BIG  # ours raise only where a value is


def _too_complex(match: re.Match[str], sql: str) -> str:
    return f"the query is too large ({match.string}): ask in smaller queries"


def _more_than_one(match: re.Match[str], sql: str) -> str:
    return "there is more than one statement: ask them one by one"


def _misfit(match: re.Match[str], sql: str) -> str:
    return _wrong_params(match.string)


def _wrong_params(message: str) -> str:
    return (
        f"the parameters do not fit the query ({message}): give as many values as it has `?`, "
        "or a dict with every `:name`"
    )


_EXPLAINED = (
    (r"^no such table: (.*)", _no_table),
    (r"^no such column: (.*)", _no_column),
    (r"^no such function: (.*)", _no_function),
    (r"^user-defined function", _function_raised),
    (r"one statement at a time", _more_than_one),
    (r"number of bindings|binding parameter|has no name", _misfit),
    (r"out of memory|too many|is too large|too deep|too complex|overflow", _too_complex),
)


def _did_you_mean(wrong: str, right: Iterable[str]) -> str:
    """Return `: did you mean 'name'?` for the nearest name, or nothing."""
    near = difflib.get_close_matches(wrong.lower(), list(right), n=1, cutoff=NEAR)
    return f": did you mean {near[0]!r}?" if near else ""
