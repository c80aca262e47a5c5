"""Files of earlier, unreleased forms: taken over where they only lack something, refused else."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from rowtrail import Journal, schema, step
from rowtrail.engine.reading import open_reader
from rowtrail.errors import ReadOnlyError, StorageError
from rowtrail.verify import verify


@step(name="look")
def look(n: int) -> int:
    return n


@pytest.fixture
def older(db: Path) -> Callable[..., Path]:
    """Return a function that makes a journal, and changes it by statements."""

    def make(*statements: str) -> Path:
        with Journal(db) as journal, journal.run("r", thread_id="t", agent="a"):
            look(1)
        with closing(sqlite3.connect(db)) as connection:
            for view in schema.views():
                connection.execute(f"DROP VIEW {view}")
            for statement in statements:
                connection.execute(statement)
            connection.commit()
        return db

    return make


def without(table: str, column: str) -> list[str]:
    """Return what makes a table one that never had a column."""
    lines = [line.rstrip(" ,") for line in schema.tables()[table].splitlines()]
    kept = [line for line in lines if line.split()[0] != column]
    text = ",\n".join(kept).replace("(,", "(", 1).replace(",\n)", "\n)")
    quoted = text.replace("'", "''")
    return [
        f"ALTER TABLE {table} DROP COLUMN {column}",
        "PRAGMA writable_schema = ON",
        f"UPDATE sqlite_master SET sql = '{quoted}' WHERE name = '{table}'",
    ]


def seen(path: Path) -> list[tuple[object, ...]]:
    with Journal(path) as journal:
        again = journal.sql("SELECT name, agent, status FROM steps").rows
        journal.sql("SELECT * FROM questions")
        journal.sql("SELECT * FROM conversation")
        with journal.run("r", thread_id="t"):
            assert look(1) == 1
        with journal.run("s", thread_id="t"):
            look(2)
    return again


def test_a_file_that_lacks_a_column_is_taken_over(older: Callable[..., Path]) -> None:
    path = older(*without("scope", "agent"))
    assert seen(path) == [("look", "a", "done")]
    assert verify(str(path)).ok


def test_a_file_that_lacks_a_table_and_its_indexes_is_taken_over(
    older: Callable[..., Path],
) -> None:
    path = older("DROP TABLE question", "DROP INDEX step_twin", *without("scope", "agent"))
    assert seen(path) == [("look", "a", "done")]
    assert verify(str(path)).ok
    assert seen(path) == [("look", "a", "done"), ("look", None, "done")]


def test_a_file_of_an_earlier_form_is_not_read_as_if_it_were_of_this_one(
    older: Callable[..., Path],
) -> None:
    path = older("DROP TABLE question")
    before = path.read_bytes()
    with (
        open_reader(str(path)) as reader,
        pytest.raises(ReadOnlyError, match="unreleased rowtrail with other tables"),
    ):
        reader.read(lambda tx: tx.all("runs_by_status"))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("ALTER TABLE step ADD COLUMN flavour TEXT", "step has flavour"),
        ("ALTER TABLE step DROP COLUMN key_n", "step lacks key_n"),
    ],
)
def test_a_file_that_cannot_be_taken_over_is_refused(
    older: Callable[..., Path], statement: str, says: str
) -> None:
    path = older(statement)
    with pytest.raises(StorageError, match=says):
        Journal(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM step").fetchall() == [("look",)]


def test_tables_of_somebody_else_in_the_file_do_not_matter(older: Callable[..., Path]) -> None:
    path = older("CREATE TABLE notes (text TEXT)")
    assert seen(path) == [("look", "a", "done")]
