"""Any input to what parses text of users: an answer or an error that says what is wrong.

`make crash` tries thousands of each.
"""

# ruff: noqa: E501 - lists

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import rowtrail
from rowtrail import Journal, schema
from rowtrail.cli import main
from rowtrail.errors import QueryError, RowtrailError, UsageError
from tests._sample import IS_FULL

EXAMPLES = 3000 if IS_FULL else 60

words = st.sampled_from(
    [
        *schema.PUBLIC_VIEWS, "SELECT", "FROM", "WHERE", "*", "1", "'x'", "(", ")", ",", ";", "--", "/*",
        "UNION", "WITH x AS", "RECURSIVE", "JOIN", "json_each", "json_extract", "run_id", "output",
        "$.a", "PRAGMA", "ATTACH", "INSERT INTO", "?", ":a", "meta", "step", "sqlite_master", "NULL",
        "zeroblob(9e9)", "CAST", "AS", "randomblob", "LIKE", "ESCAPE", "ORDER BY", "LIMIT", "-1", "\x00",
    ]
)  # fmt: skip
queries = st.one_of(st.text(max_size=60), st.lists(words, max_size=12).map(" ".join))
params = st.one_of(
    st.lists(st.none() | st.integers() | st.floats() | st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers() | st.binary(max_size=3), max_size=3),
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    @rowtrail.step(kind="tool")
    def give(value: Any) -> Any:
        return value

    with Journal(tmp_path_factory.mktemp("fuzz") / "agent.db") as journal:
        with journal.run("r", thread_id="t"):
            for value in ("x", {"a": [1]}, None):
                give(value)
        yield journal


@settings(max_examples=EXAMPLES)
@given(query=queries, given_params=params)
def test_any_query_is_answered_or_refused(filled: Journal, query: str, given_params: Any) -> None:
    with contextlib.suppress(QueryError, UsageError):
        assert len(filled.sql(query, given_params, limit=5, timeout=2).rows) <= 5
    assert len(filled.steps("r")) == 3


@settings(max_examples=EXAMPLES)
@given(arguments=st.lists(st.text(max_size=12), max_size=4), command=st.integers(0, 2))
def test_any_arguments_of_a_command_end_it_well(
    filled: Journal, arguments: list[str], command: int
) -> None:
    name = ("runs", "show", "sql")[command]
    given_arguments = [name, "--db", filled.path, *arguments]
    done = CliRunner().invoke(main, given_arguments, input="")
    assert done.exit_code in (0, 1, 2, 3), done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)


@settings(max_examples=EXAMPLES)
@given(text=st.text(max_size=30), step_id=st.text(max_size=30))
def test_any_id_is_a_run_or_refused(filled: Journal, text: str, step_id: str) -> None:
    for work in (
        lambda: filled.steps(text),
        lambda: filled.settle(step_id, result=1),
        lambda: filled.prune(thread_ids=[text or "-"], dry_run=True),
    ):
        with pytest.raises(RowtrailError):
            work()
            raise UsageError("it is an id")
    assert len(filled.runs()) == 1


@settings(max_examples=EXAMPLES)
@given(content=st.binary(max_size=3000), head=st.booleans())
def test_any_file_is_a_journal_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, head: bool
) -> None:
    path: Path = tmp_path_factory.mktemp("file") / "agent.db"
    path.write_bytes((b"SQLite format 3\0" if head else b"") + content)
    if not content and not head:
        Journal(path).close()
    else:
        with pytest.raises(RowtrailError):
            Journal(path)
