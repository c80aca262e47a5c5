"""The views and the named queries, in few words, for somebody who writes a query."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

from rowtrail import schema
from rowtrail.engine.reading import public_columns
from rowtrail.history._named import named_queries
from rowtrail.vocabulary import ROLES

MIN_SAME_COLUMNS = 4
"""Naming them again takes fewer tokens than `as in steps` up to here."""
_VIEW_OF = {"run": "runs", "attempt": "attempts", "step": "steps", "question": "questions"}
_SELDOM_ASKED = ("attempts.outcome", "steps.tokens_source", "questions.kind")
"""Columns whose values are left out of the text."""
_INTRODUCTION = "SQLite. One SELECT over views; times UTC ISO, ids text, unknown NULL."
_MEANINGS = {
    "runs.status": {"crashed": "process died"},
    "steps.status": {
        "failed": "raised",
        "in_doubt": "may have happened",
        "superseded": "made again",
    },
}
"""What is not plain of the values of a column."""
_REMARKS = (
    f"role: {'|'.join(ROLES)}; direction: in|out",
    "conversation.status: current|edited|removed",
    "input_tokens include cached, output_tokens reasoning",
    "args input output: JSON, json_extract(args,'$.city')",
)


def view_columns(view: str) -> tuple[str, ...]:
    """Return the columns of a public view, in order."""
    return tuple(public_columns()[view])


def describe_schema() -> dict[str, Any]:
    """Return the views, the values of their columns with few, and the named queries, for JSON."""
    abouts = schema.abouts()
    return {
        "views": [
            {"name": view, "about": abouts[view], "columns": list(columns)}
            for view, columns in public_columns().items()
        ],
        "values": {
            f"{_VIEW_OF[table]}.{column}": list(listed)
            for name, listed in schema.values().items()
            for table, _, column in [name.partition(".")]
            if table in _VIEW_OF
        },
        "named_queries": [
            {
                "name": query.name,
                "about": query.about,
                "parameters": list(query.parameters),
                "usage": query.usage,
                "sql": query.sql,
            }
            for query in named_queries().values()
        ],
    }


def schema_text() -> str:
    """Return the same in at most 700 tokens, for a model: a line for each view and each query.

    It also says what values mean where their names do not.
    """
    described = describe_schema()
    lines = [_INTRODUCTION]
    lines += [f"{view}: {' '.join(columns)}" for view, columns in _shortened().items()]
    for column, listed in described["values"].items():
        if column not in _SELDOM_ASKED:
            meanings = _MEANINGS.get(column, {})
            said = (f"{v}({meanings[v]})" if v in meanings else v for v in listed)
            lines.append(f"{column}: {'|'.join(said)}")
    lines += _REMARKS
    lines.append("Or a name and :parameters:")
    for query in described["named_queries"]:
        parameters = "".join(f" :{name}" for name in query["parameters"])
        lines.append(f"{query['name']}{parameters} {query['about']}")
    return "\n".join(lines)


def _shortened() -> dict[str, list[str]]:
    """Return the columns of each view; of many that another has too, the first and the last.

    Those are the end that `steps` has too, and the beginning of both kinds of calls.
    """
    views = {view: list(columns) for view, columns in public_columns().items()}
    steps = views["steps"]
    calls = zip(views["llm_calls"], views["tool_calls"], strict=False)
    same = [pair[0] for pair in takewhile(lambda pair: pair[0] == pair[1], calls)]
    shared = f"{same[0]}..{same[-1]} as in tool_calls,"
    views["llm_calls"] = [shared, *views["llm_calls"][len(same) :]]
    for view, columns in views.items():
        for at in range(len(columns) - MIN_SAME_COLUMNS + 1 if view != "steps" else 0):
            end = columns[at:]
            if end[0] in steps and steps[steps.index(end[0]) :][: len(end)] == end:
                views[view] = [*columns[:at], f"{end[0]}..{end[-1]} as in steps"]
                break
    return views
