"""Every statement of the schema is one that SQLite understands, and reads by an index."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import get_args

import apsw
import pytest
import sqlite_vec  # pyright: ignore[reportMissingTypeStubs]

import rowtrail
from rowtrail import Journal, schema
from rowtrail.engine import Store
from rowtrail.engine.sqlite import dialect
from rowtrail.replay import Effect, Kind, Status
from rowtrail.schema import Change
from rowtrail.vocabulary import QuestionKind

STATEMENTS = schema.statements(dialect())
SEARCH_STATEMENTS = schema.search_statements()
SOURCES = "\n".join(
    path.read_text(encoding="utf-8")
    for top in ("plugin", "adapters")
    for path in (Path(__file__).parents[2] / top).rglob("*.py")
)

LARGE = re.compile(r"SCAN (item|step|run|log_item|checkpoint|question)\b")
HOT = [
    "attempt_end",
    "checkpoint_by_id",
    "checkpoint_newest",
    "checkpoint_page_of_ns",
    "checkpoint_page_of_run",
    "checkpoint_place",
    "item_by_digest",
    "item_by_id",
    "list_items",
    "meta_value",
    "question_answer",
    "question_answer_newest",
    "question_of_place",
    "question_of_step",
    "run_by_id",
    "run_newest_of_thread",
    "scope_row",
    "scope_steps",
    "search_found",
    "search_marks",
    "search_messages",
    "search_newest_step",
    "search_steps",
    "step_candidates",
    "step_complete",
    "step_status",
    "thread_row",
]


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("statements") / "agent.db"
    Journal(path).close()
    with closing(sqlite3.connect(path)) as opened:
        yield opened


def parameters(statement: str) -> dict[str, str]:
    text = re.sub(r"'[^']*'", "", statement)
    return dict.fromkeys(re.findall(r"(?<!:):(\w+)", text), "[]")


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_can_be_prepared(connection: sqlite3.Connection, name: str) -> None:
    connection.execute(f"EXPLAIN {STATEMENTS[name]}", parameters(STATEMENTS[name]))


@pytest.mark.parametrize("name", HOT)
def test_what_every_step_asks_is_found_by_an_index(
    connection: sqlite3.Connection, name: str
) -> None:
    query = f"EXPLAIN QUERY PLAN {STATEMENTS[name]}"
    plan = [row[3] for row in connection.execute(query, parameters(STATEMENTS[name]))]
    assert [line for line in plan if LARGE.match(line)] == []


@pytest.mark.parametrize(
    ("name", "index"),
    [("checkpoint_page_of_run", "checkpoint_run"), ("checkpoint_page_of_ns", "sqlite_autoindex")],
)
def test_a_page_of_checkpoints_is_found_by_an_index(
    connection: sqlite3.Connection, name: str, index: str
) -> None:
    query = f"EXPLAIN QUERY PLAN {STATEMENTS[name]}"
    plan = [row[3] for row in connection.execute(query, parameters(STATEMENTS[name]))]
    assert any(line.startswith(f"SEARCH c USING INDEX {index}") for line in plan), plan


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_is_used(name: str) -> None:
    assert f'"{name}"' in SOURCES or re.search(rf'f"\w*{{\w+}}_{name.rpartition("_")[2]}"', SOURCES)


@pytest.mark.parametrize("view", schema.views())
def test_every_view_can_be_selected_from(connection: sqlite3.Connection, view: str) -> None:
    assert connection.execute(f"SELECT * FROM {view}").fetchall() == []


MEANS = {
    Change.NONE: set[int](),
    Change.ADDS: {sqlite3.SQLITE_INSERT},
    Change.ONE: {sqlite3.SQLITE_UPDATE},
    Change.MANY: {sqlite3.SQLITE_UPDATE},
    Change.DELETES: {sqlite3.SQLITE_DELETE},
}
ONE_STEP = re.compile(r"\bWHERE id = :id\b")


def changes_of_steps(connection: sqlite3.Connection, statement: str) -> set[int]:
    """Return which actions on the table `step` a statement means to SQLite, by triggers too."""
    found: set[int] = set()
    actions = (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE)

    def note(action: int, table: str | None, *_: object) -> int:
        if table == "step" and action in actions:
            found.add(action)
        return sqlite3.SQLITE_OK

    connection.set_authorizer(note)
    try:
        connection.execute(f"EXPLAIN {statement}", parameters(statement))
    finally:
        connection.set_authorizer(None)
    return found


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_is_marked_where_it_changes_steps_and_nowhere_else(
    connection: sqlite3.Connection, name: str
) -> None:
    """What is not marked would be told to be on disk."""
    statement, change = STATEMENTS[name], schema.step_changes(dialect()).get(name, Change.NONE)
    assert changes_of_steps(connection, statement) == MEANS[change]
    if change not in (Change.NONE, Change.DELETES):
        assert "RETURNING" not in statement  # `Tx.run` adds its own, to learn which
        assert (ONE_STEP.search(statement) is not None) == (change is Change.ONE)
    if change is Change.MANY:
        connection.execute(f"EXPLAIN {statement} RETURNING id", parameters(statement))


def test_every_mark_is_read() -> None:
    folder = Path(schema.__file__).parent
    marks = [
        line
        for file in folder.rglob("*.sql")
        for line in file.read_text("utf-8").splitlines()
        if re.match(r"--\s*changes\b", line)
    ]
    assert len(marks) == len(schema.step_changes(dialect()))
    assert set(schema.step_changes(dialect())) <= STATEMENTS.keys()
    assert Change.NONE not in schema.step_changes(dialect()).values()


def test_no_code_changes_steps_by_a_statement_of_its_own() -> None:
    """Only a named statement has a mark."""
    wrote = re.findall(
        r"(?:INSERT|REPLACE)(?: OR \w+)? INTO step\b|UPDATE(?: OR \w+)? step\b|DELETE FROM step\b",
        SOURCES,
    )
    assert wrote == []


def plan_of(connection: sqlite3.Connection, query: str) -> list[str]:
    asked = connection.execute(f"EXPLAIN QUERY PLAN {query}", parameters(query))
    return [str(row[3]) for row in asked]


@pytest.mark.parametrize("view", ["messages", "state"])
def test_an_item_of_a_list_is_found_by_its_place_in_the_log(
    connection: sqlite3.Connection, view: str
) -> None:
    plan = plan_of(connection, f"SELECT count(*) FROM {view}")
    found = [line for line in plan if line.startswith("SEARCH li ")]
    assert found
    assert all("log=? AND pos>? AND pos<?" in line for line in found), plan


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM state WHERE checkpoint_id = 'x'",
        "SELECT value FROM state WHERE thread_id = 'x' AND channel = 'messages' ORDER BY position",
        "SELECT type FROM state WHERE checkpoint_id = (SELECT max(checkpoint_id) FROM checkpoints)",
        schema.named()["state"],
    ],
)
def test_the_state_of_one_checkpoint_is_not_built_for_all(
    connection: sqlite3.Connection, query: str
) -> None:
    plan = plan_of(connection, query)
    whole = re.compile(r"MATERIALIZE (?!newest)|CO-ROUTINE (?!newest)|SCAN (cv|li|l|i)\b")
    assert [line for line in plan if whole.match(line)] == [], plan
    assert any(line.startswith("SEARCH cv USING PRIMARY KEY (checkpoint=?") for line in plan), plan


@pytest.mark.parametrize(
    "query", ["SELECT * FROM runs WHERE run_id = 'x'", STATEMENTS["runs_page"]]
)
def test_what_a_run_waits_for_is_found_by_an_index(
    connection: sqlite3.Connection, query: str
) -> None:
    plan = plan_of(connection, query)
    assert any(re.match(r"SEARCH q USING INDEX question_run \(run=\?", line) for line in plan), plan
    assert [line for line in plan if re.match(r"SCAN (q|sc)\b", line)] == [], plan


def test_the_conversation_of_a_thread_is_not_built_for_all(connection: sqlite3.Connection) -> None:
    plan = plan_of(connection, "SELECT * FROM conversation WHERE thread_id = 'x' ORDER BY position")
    reads = [line for line in plan if re.match(r"(SCAN|SEARCH) (t|c|r|s|v|sc|li)\b", line)]
    assert reads
    assert [line for line in reads if line.startswith("SCAN")] == [], plan
    threads = [line for line in reads if line.startswith("SEARCH t ")]
    assert all("(thread_id=?)" in line for line in threads), plan


def test_the_public_views_are_those_that_are_documented(connection: sqlite3.Connection) -> None:
    assert set(schema.PUBLIC_VIEWS) <= set(schema.views())
    kept = connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'").fetchall()
    assert {name for (name,) in kept} == set(schema.views())


def test_every_table_is_strict(connection: sqlite3.Connection) -> None:
    tables = connection.execute("SELECT name, strict FROM pragma_table_list WHERE type = 'table'")
    loose = {name for name, strict in tables if not strict and not name.startswith("sqlite_")}
    assert loose == set()


LONG_LIST = re.compile(r"CHECK \([^)]*\bIN \((?:[^(),]*,){2}", re.IGNORECASE)


def test_no_rule_of_a_table_lists_more_than_two_values() -> None:
    """SQLite opens a b-tree for such a list each time that a row is written."""
    assert LONG_LIST.search("kind TEXT CHECK (kind IN ('llm', 'tool', 'function'))")
    assert not LONG_LIST.search("kind TEXT CHECK (kind IN ('llm', 'tool')), CHECK (a = 1)")
    for version in range(1, schema.VERSION + 1):
        assert [text for text in schema.migration(version) if LONG_LIST.search(text)] == []


@pytest.mark.parametrize("name", ["step_insert", "step_complete", "step_fail", "attempt_end"])
def test_what_writes_a_step_builds_no_table_of_its_own(
    connection: sqlite3.Connection, name: str
) -> None:
    program = connection.execute(f"EXPLAIN {STATEMENTS[name]}", parameters(STATEMENTS[name]))
    assert "OpenEphemeral" not in {row[1] for row in program}


def test_the_closed_lists_of_the_schema_are_those_of_the_code() -> None:
    assert schema.values() == {
        "run.status": ("running", "done", "failed", "waiting", "cancelled", "crashed"),
        "attempt.outcome": ("done", "failed", "waiting", "crashed", "cancelled"),
        "step.kind": get_args(Kind),
        "step.status": get_args(Status),
        "step.effect": get_args(Effect),
        "step.tokens_source": ("provider", "tiktoken", "estimate"),
        "question.kind": get_args(QuestionKind),
    }


def test_the_schema_has_a_script_for_each_version() -> None:
    for version in range(1, schema.VERSION + 1):
        assert schema.migration(version)


def test_a_semicolon_inside_a_line_ends_no_statement() -> None:
    script = "SELECT ';' AS a; -- one\nSELECT 2;\n-- only a comment;\nSELECT 3"
    assert schema.split(script) == ["SELECT ';' AS a", "SELECT 2", "SELECT 3"]


def test_the_versions_of_the_package_are_told() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", rowtrail.__version__)
    assert Store.__doc__


SEARCH_PARTS = ("within", "is_within", "gone", "tokenizer")
"""Parts that statements share."""


@pytest.fixture(scope="module")
def index() -> Iterator[apsw.Connection]:
    opened = apsw.Connection(":memory:")
    opened.enable_load_extension(True)
    opened.load_extension(sqlite_vec.loadable_path())
    creates = (SEARCH_STATEMENTS[name] for name in SEARCH_STATEMENTS if name.endswith("_create"))
    for statement in (*schema.search_tables(), *creates):
        opened.execute(statement)
    yield opened
    opened.close()


@pytest.mark.parametrize("name", [name for name in SEARCH_STATEMENTS if name not in SEARCH_PARTS])
def test_every_statement_of_the_search_index_can_be_prepared_and_is_used(
    index: apsw.Connection, name: str
) -> None:
    statement = SEARCH_STATEMENTS[name]

    index.execute(f"EXPLAIN {statement}", parameters(statement))

    assert f'"{name}"' in SOURCES


@pytest.mark.parametrize(
    "name", ["doc_by_digest", "spots_of_step_delete", "first_place", "spans_before", "keyword_best"]
)
def test_what_every_text_asks_of_the_search_index_is_found_by_an_index(
    index: apsw.Connection, name: str
) -> None:
    query = f"EXPLAIN QUERY PLAN {SEARCH_STATEMENTS[name]}"
    plan = [str(row[3]) for row in index.execute(query, parameters(SEARCH_STATEMENTS[name]))]
    assert [line for line in plan if re.match(r"SCAN (doc|spot|s|ld|span|log_doc)\b", line)] == []
