"""The seam below the journal: which engine a target has, and what no room above it may know."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from rowtrail import Journal, schema
from rowtrail.engine import Row, Tx
from rowtrail.engine.sqlite import dialect
from rowtrail.errors import UnsupportedError
from rowtrail_langgraph import RowtrailSaver
from tests.engines.strict import DIALECT, StrictStore

SCHEMA = Path(schema.__file__).parent
DIALECT_WORDS = re.compile(
    r"""
    \bjson\w*\s*\( | ->                                 # JSON
    | \b(strftime|printf|hex|instr|typeof|group_concat|iif|ifnull|unixepoch|randomblob|total
        |last_insert_rowid|changes|glob|octet_length|string_agg|to_char|strpos|unnest)\s*\(
    | \bCROSS\ JOIN\b | \bINDEXED\ BY\b | \bNOT\ INDEXED\b | \bOR\ (REPLACE|IGNORE|ABORT)\b
    | \b(GLOB|MATCH|REGEXP|ILIKE|PRAGMA|BLOB|BYTEA|rowid|oid|sqlite\w*|pg_\w*)\b
    | \bIS\ (NOT\ )?(?!NULL\b|NOT\b|DISTINCT\b)\S         # the equality of SQLite
    | (?<![\w)'\]])\s*\+(?=[a-z:])                        # a sign before a column
    | \b(max|min)\s*\((?:[^()]|\([^()]*\))*,              # of several values
    | \bsum\s*\((?:\w+\.)?\w+\s*(=|<>|<|>)                # of truths
    | ::\w
    """,
    re.VERBOSE,
)


def common_text() -> dict[str, str]:
    """Return the statements that every engine has, with their macros."""
    found: dict[str, str] = {}
    for file in sorted((SCHEMA / "statements").glob("*.sql")):
        for block in file.read_text("utf-8").split("-- name: ")[1:]:
            name, _, text = block.partition("\n")
            found[name] = re.sub(r"'[^']*'", "''", re.sub(r"--[^\n]*", "", text))
    return found


def test_the_common_text_has_no_word_of_one_dialect() -> None:
    found = {
        name: match[0].strip()
        for name, text in common_text().items()
        if (match := DIALECT_WORDS.search(text))
    }
    assert len(common_text()) > 150
    assert found == {}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT id FROM run WHERE id IN (SELECT value FROM json_each(:ids))",
        "SELECT pieces -> '$[0]' FROM list",
        "SELECT strftime('%Y', 'now')",
        "SELECT id FROM step WHERE tool_call_id IS :id",
        "SELECT id FROM step WHERE tool_call_id IS NOT s.other",
        "SELECT id FROM step ORDER BY +id",
        "SELECT id FROM step WHERE +d.step < :before",
        "INSERT OR REPLACE INTO meta VALUES (1, 2)",
        "SELECT a.id FROM attempt a CROSS JOIN run r",
        "SELECT id FROM step INDEXED BY step_key",
        "SELECT max(a.x, coalesce(b, 0)) FROM run a",
        "SELECT sum(kind = '') FROM step",
        "SELECT length(CAST(text AS BLOB)) FROM item",
        "SELECT :id::bigint",
        "SELECT rowid FROM item",
    ],
)
def test_a_word_of_one_dialect_is_found(statement: str) -> None:
    assert DIALECT_WORDS.search(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT id FROM run WHERE ended_at IS NULL AND thread IS NOT NULL",
        "SELECT max(coalesce(a, b)) + 1, n + :m, (a)+b FROM run",
        "SELECT id FROM step WHERE NOT @same(a, b) AND id IN (@each(:ids))",
        "SELECT sum(CASE kind WHEN '' THEN 1 ELSE 0 END), sum(a + b) FROM step",
    ],
)
def test_standard_text_is_fine(statement: str) -> None:
    assert DIALECT_WORDS.search(statement) is None


def test_each_macro_of_the_common_text_is_one_that_every_engine_expands() -> None:
    parts = {name for name in common_text() if name.startswith("@")}
    used = {
        macro
        for text in common_text().values()
        for macro in re.findall(r"@\w+", text)
        if macro not in parts and macro != "@has_metadata"
    }
    assert {macro[1:] for macro in used} | {"text"} == dialect().macros.keys()
    assert dialect().macros.keys() == DIALECT.macros.keys()


def test_a_macro_takes_arguments_with_brackets_and_macros_in_them() -> None:
    named = schema.Dialect("sqlite", {"a": "A({1}; {0})", "b": "B[{*}]", "c": "C"})
    expanded = schema.expanded("x @a(f(1, 2), @b(3, g(4), 5)) @c y", named)
    assert expanded == "x A(B[3, g(4), 5]; f(1, 2)) C y"
    with pytest.raises(ValueError, match="not closed"):
        schema.expanded("@a((1)", named)
    with pytest.raises(KeyError):
        schema.expanded("@unknown(1)", named)


@pytest.mark.parametrize(
    "url", ["postgresql://user:secret@host/db", "postgres://host/db", "mysql://x", "File:///x.db"]
)
def test_a_url_without_an_engine_is_refused_with_a_clear_error(url: str) -> None:
    scheme = url.partition(":")[0].lower()
    for open_it in (Journal, lambda url: RowtrailSaver(url).journal):
        with pytest.raises(UnsupportedError, match=f"no engine for {scheme}:// URLs") as caught:
            open_it(url)
        assert "secret" not in str(caught.value)


def test_a_path_with_a_colon_is_a_path(tmp_path: Path) -> None:
    for name in ("C:/x.db", "a:b.db", "x:/y.db"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        Journal(path).close()
        assert path.exists()


# The strict engine refuses what it says that it refuses.


@pytest.fixture
def engine() -> str:
    return "strict"


def refused(journal: Journal, work: Callable[[Tx], object]) -> str:
    """Return why the strict engine refuses a transaction."""
    with pytest.raises(AssertionError) as caught:
        journal.store.write(work)
    return str(caught.value)


def test_the_strict_engine_takes_declared_parameters_of_plain_types_only(journal: Journal) -> None:
    assert "'more'" in refused(journal, lambda tx: tx.run("meta_set", key="k", value="v", more=1))
    assert "'value'" in refused(journal, lambda tx: tx.run("meta_set", key="k"))
    assert "bool" in refused(journal, lambda tx: tx.run("meta_set", key="k", value=True))
    assert "list" in refused(journal, lambda tx: tx.run("meta_set", key="k", value=[1]))
    with pytest.raises(KeyError):
        journal.store.write(lambda tx: tx.run("no_such_statement"))


def test_the_strict_engine_takes_a_list_from_nobody_but_itself(journal: Journal) -> None:
    with pytest.raises(Exception, match="user-defined function raised"):
        journal.store.write(lambda tx: tx.all("lists_pieces", lists="[1, 2]"))
    assert journal.store.write(lambda tx: tx.all("lists_pieces", lists=tx.array([1, 2]))) == []


def test_the_strict_engine_undoes_every_transaction_once(journal: Journal) -> None:
    told: list[str] = []

    def work(tx: Tx) -> object:
        told.append(f"finds {tx.value('meta_value', key='k')}")
        tx.run("meta_set", key="k", value="v")
        tx.after_commit(lambda: told.append("committed"))
        tx.after_rollback(lambda: told.append("undone"))
        return tx.value("meta_value", key="k")

    assert journal.store.write(work) == "v"
    assert told == ["finds None", "undone", "finds None", "committed"]


def test_the_strict_engine_lets_nobody_keep_a_transaction(journal: Journal) -> None:
    kept: list[Tx] = []
    journal.store.write(kept.append)
    with pytest.raises(AssertionError, match="after the end"):
        kept[-1].value("meta_value", key="k")
    with pytest.raises(AssertionError, match="writes in a read"):
        journal.store.read(lambda tx: tx.run("meta_set", key="k", value="v"))


def test_the_strict_engine_gives_ids_with_gaps_that_are_no_row_numbers(journal: Journal) -> None:
    def begin(tx: Tx) -> list[int]:
        return [tx.insert("thread_insert", thread_id=f"t{n}", now=0) for n in range(3)]

    ids = journal.store.write(begin)
    assert all(later - earlier > 1 for earlier, later in pairwise(ids))
    assert isinstance(journal.store, StrictStore)
    assert all(row != (n,) for n, row in enumerate(journal.store.tables("SELECT id FROM thread")))


def test_rows_have_columns_and_nothing_of_a_database(journal: Journal) -> None:
    row: Row | None = journal.store.read(lambda tx: tx.one("open_attempts"))
    assert row is None
    with journal.run("r"):
        (found,) = journal.store.read(lambda tx: tx.all("open_attempts"))
        assert found["process"] == journal.store.process_row
        assert dict(found)["id"] == found[0] == next(iter(found))
