"""Questions to the journal: what is answered, what is refused, and what a query cannot do."""

from __future__ import annotations

import signal
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rowtrail
from rowtrail import Journal
from rowtrail.errors import ClosedError, QueryError, UsageError
from rowtrail.schema import PUBLIC_VIEWS
from rowtrail.testing import FakeClock
from rowtrail.usage import count_tokens

TIMEOUT_S = 1.0
FOREVER = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c)"


@rowtrail.step(kind="tool", name="add", effect="write")
def add(a: int, b: int) -> dict[str, int]:
    return {"sum": a + b}


@rowtrail.step(kind="llm", name="model")
def ask_model(prompt: str) -> str:
    return f"answer to {prompt}"


@rowtrail.step(name="fail")
def fail() -> None:
    raise ValueError("out of paper")


def fill(journal: Journal) -> None:
    for number in range(3):
        with journal.run(f"run-{number}", thread_id=f"thread-{number % 2}", agent="tester"):
            for other in range(4):
                add(number, other)
            ask_model(f"question {number}")
    with pytest.raises(ValueError, match="paper"), journal.run("broken"):
        fail()


@pytest.fixture(params=["file", "memory"])
def filled(request: pytest.FixtureRequest, db: Path) -> Iterator[Journal]:
    with Journal(db if request.param == "file" else ":memory:") as journal:
        fill(journal)
        yield journal


@pytest.fixture
def on_disk(journal: Journal) -> Journal:
    fill(journal)
    return journal


def refused(journal: Journal, query: str, max_tokens: int | None = None) -> QueryError:
    with pytest.raises(QueryError) as caught:
        journal.sql(query, timeout=TIMEOUT_S, max_tokens=max_tokens)
    assert caught.value.query == query
    return caught.value


def test_answer_holds_rows_and_gives_them_as_dicts(filled: Journal) -> None:
    answer = filled.sql("SELECT run_id, steps FROM runs WHERE agent = 'tester' ORDER BY run_id")

    assert answer.columns == ("run_id", "steps")
    assert answer.rows == [("run-0", 5), ("run-1", 5), ("run-2", 5)]
    assert list(answer) == answer.to_dicts()
    assert answer.to_dicts()[0] == {"run_id": "run-0", "steps": 5}
    assert len(answer) == 3
    assert (answer.truncated, answer.note) == (False, None)


@pytest.mark.parametrize("view", PUBLIC_VIEWS)
def test_every_view_can_be_asked_in_every_way(filled: Journal, view: str) -> None:
    every = filled.sql(f"SELECT * FROM {view}").columns
    counted = filled.sql(f"SELECT count(*) FROM {view}").rows[0][0]

    assert filled.sql(f"SELECT {', '.join(every)} FROM {view}").columns == every
    assert len(filled.sql(f"SELECT * FROM (SELECT * FROM {view}) AS inside")) == counted
    assert filled.sql(f"WITH x AS (SELECT * FROM {view}) SELECT count(*) FROM x").rows == [
        (counted,)
    ]
    assert filled.sql(f"SELECT EXISTS (SELECT 1 FROM temp.{view})").rows == [(int(counted > 0),)]
    pairs = filled.sql(f"SELECT count(*) FROM {view} AS a, {view} AS b, json_each('[1, 2]')")
    assert pairs.rows == [(counted * counted * 2,)]


def test_parameters_are_bound_by_place_or_by_name(filled: Journal) -> None:
    by_place = filled.sql("SELECT name FROM steps WHERE run_id = ? AND kind = ?", ("run-1", "llm"))
    by_name = filled.sql("SELECT name FROM steps WHERE run_id = :run", {"run": "broken"})

    assert (by_place.rows, by_name.rows) == ([("model",)], [("fail",)])


@pytest.mark.parametrize(
    ("params", "says"),
    [
        (([],), "of type list"),
        ((1, 2), "do not fit"),
        ((2**70,), "do not fit"),
        ({}, "do not fit"),
    ],
)
def test_wrong_parameters_are_named(on_disk: Journal, params: Any, says: str) -> None:
    with pytest.raises(QueryError, match=says):
        on_disk.sql("SELECT ?", params)


def test_a_sequence_does_not_fill_names(on_disk: Journal) -> None:
    with pytest.raises(QueryError, match="give a dict"):
        on_disk.sql("SELECT :a", (1,))
    with pytest.raises(UsageError, match="a list for"):
        on_disk.sql("SELECT ?", "text")


def test_large_but_reasonable_query_is_answered(on_disk: Journal) -> None:
    answer = on_disk.sql(
        """
        WITH RECURSIVE days(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM days WHERE n < 6),
        failed AS (
            SELECT run_id, name, count(*) AS n FROM steps WHERE status = 'failed' GROUP BY 1, 2),
        slow AS (
            SELECT run_id, max(duration_ms) AS ms, avg(duration_ms) AS mean,
                   min(duration_ms) AS least, sum(duration_ms) AS total
            FROM steps GROUP BY run_id),
        ranked AS (
            SELECT *, rank() OVER (ORDER BY ms DESC) AS place,
                   total / (SELECT sum(total) FROM slow) AS share
            FROM slow)
        SELECT r.run_id, r.status, f.name, k.ms, k.mean, k.share,
               CASE WHEN k.ms IS NULL THEN 'none' WHEN k.ms > 100 THEN 'slow' ELSE 'fast' END
        FROM runs r
        LEFT JOIN failed f ON f.run_id = r.run_id LEFT JOIN ranked k ON k.run_id = r.run_id
        WHERE r.run_id IN (SELECT run_id FROM steps) AND (SELECT count(*) FROM days) = 7
        ORDER BY r.started_at DESC
        """
    )

    assert [row["run_id"] for row in answer] == ["broken", "run-2", "run-1", "run-0"]


def test_limit_tells_whether_there_is_more(filled: Journal) -> None:
    exactly = filled.sql("SELECT seq FROM steps", limit=16)
    fewer = filled.sql("SELECT seq FROM steps", limit=15)

    assert (len(exactly), exactly.truncated) == (16, False)
    assert (len(fewer), fewer.truncated) == (15, True)
    assert fewer.note is not None and "first 15 rows" in fewer.note
    assert fewer.text().endswith(f"({fewer.note})")


def test_long_values_are_cut_and_can_be_asked_in_parts(filled: Journal) -> None:
    long = filled.sql("SELECT printf('%.*c', 50000, 'é') AS x, zeroblob(50000), 'short'")
    rest = filled.sql("SELECT substr(printf('%.*c', 50000, 'é'), 49999, 20000)")

    text, blob, short = long.rows[0]
    assert (text, len(blob), short) == ("é" * 20_000 + "…", 20_000, "short")
    assert long.note is not None and "2 values are cut to 20,000 characters" in long.note
    assert (rest.rows, rest.truncated) == ([("éé",)], False)


@pytest.mark.parametrize("max_tokens", [30, 60, 100, 300, 1000, 100_000])
@pytest.mark.parametrize(
    "query",
    [
        "SELECT step_id, name, status FROM steps",
        "SELECT name, printf('%.*c', 9000, 'word ') AS long FROM steps",
        f"{FOREVER} SELECT n AS number FROM c LIMIT 2000",
    ],
)
def test_text_fits_the_budget(filled: Journal, query: str, max_tokens: int) -> None:
    whole = filled.sql(query, limit=5000, timeout=60)
    answer = filled.sql(query, limit=5000, max_tokens=max_tokens, timeout=60)

    assert count_tokens(answer.text(), None)[0] <= max_tokens
    assert answer.columns == whole.columns
    if answer.rows != whole.rows:
        assert answer.truncated and answer.note is not None and "\n" not in answer.note
    if len(answer) > 1:  # the values of a first row alone may be cut to fit
        assert answer.rows == whole.rows[: len(answer)]


def test_budget_that_holds_no_row_says_what_to_do(filled: Journal) -> None:
    assert "name the columns" in str(refused(filled, "SELECT * FROM steps", max_tokens=40))
    assert filled.sql("SELECT 1 WHERE 0", max_tokens=5).rows == []


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELECT tokens FROM steps", "no column 'tokens' in steps: did you mean 'input_tokens'?"),
        ("SELECT s.runid FROM steps AS s", "no column 'runid' in steps: did you mean 'run_id'?"),
        ("SELECT zzz FROM spend", "no column 'zzz' in spend; spend has day, model, calls"),
        ("SELECT zzz", "no column 'zzz'"),
        ("SELECT * FROM step_s", "no view 'step_s': did you mean 'steps'?"),
        ("SELECT * FROM main.runs", "no view 'runs'"),
        ("SELECT * FROM tool_call", "no view 'tool_call': did you mean 'tool_calls'?"),
        ("SELECT * FROM run", "'run' cannot be read: did you mean 'runs'?"),
        ("SELECT * FROM sqlite_schema", "cannot be read: the views are threads, runs"),
        ("SELECT * FROM pragma_table_info('steps')", "cannot be read: the views are threads"),
        ("SELECT lenght(name) FROM steps", "no function 'lenght'"),
        ("SELECT load_extension('x')", "load_extension() is not allowed"),
        ("DELETE FROM steps", "begins with 'delete', and only reading is allowed"),
        ("SELECT 1; SELECT 2", "more than one statement"),
        ("SELECT * FORM steps", 'near "FORM"'),
        ("SELECT json_extract('{', '$')", "malformed JSON"),
        (f"{FOREVER} SELECT count(*) FROM c", "stopped after 1 s: narrow it"),
        ("SELECT zeroblob(9000000)", "too large"),
    ],
)
def test_error_says_what_is_wrong_and_what_is_near(filled: Journal, query: str, says: str) -> None:
    error = refused(filled, query)

    assert says in str(error)
    assert isinstance(error.__cause__, sqlite3.Error) or says.startswith(("begins", "more"))


@pytest.mark.parametrize("limits", [{"limit": 0}, {"timeout": 0}, {"max_tokens": 0}])
def test_limit_without_a_meaning_is_a_wrong_use(on_disk: Journal, limits: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="=0"):
        on_disk.sql("SELECT 1", **limits)  # type: ignore[arg-type]


def test_closed_journal_is_not_asked(on_disk: Journal) -> None:
    on_disk.close()

    with pytest.raises(ClosedError):
        on_disk.sql("SELECT 1")


def test_text_is_one_line_a_row_with_nothing_that_a_terminal_obeys(filled: Journal) -> None:
    answer = filled.sql(
        "SELECT 'a' || char(10, 27, 155, 8238) || 'b' AS x, NULL AS n, x'00ff' AS b, 1.5"
    )

    assert answer.text() == "x | n | b | 1.5\na\\n\\x1b\\x9b\\u202eb |  | x'00ff' | 1.5"


def test_columns_of_one_name_are_told_apart(filled: Journal) -> None:
    answer = filled.sql("SELECT 1 AS a, 2 AS a, 3 AS a_2, 4 AS a")

    assert answer.to_dicts() == [{"a": 1, "a_3": 2, "a_2": 3, "a_4": 4}]


def test_text_that_is_not_utf8_is_shown(filled: Journal) -> None:
    assert filled.sql("SELECT CAST(x'41ff42' AS TEXT)").rows == [("A\ufffdB",)]


def test_questions_can_be_asked_while_a_run_goes_on_and_by_many_threads(filled: Journal) -> None:
    def work(number: int) -> int:
        return int(
            filled.sql("SELECT count(*) FROM steps WHERE run_id = ?", (f"run-{number % 3}",)).rows[
                0
            ][0]
        )

    with filled.run("going on"), ThreadPoolExecutor(8) as pool:
        add(1, 1)
        asked = [pool.submit(work, number) for number in range(40)]
        add(2, 2)
        seen = filled.sql("SELECT status FROM runs WHERE run_id = 'going on'").rows

        assert [answer.result() for answer in asked] == [5] * 40
        assert seen == [("running",)]


def test_query_under_a_clock_that_stands_still_ends(db: Path) -> None:
    with Journal(db, clock=FakeClock()) as journal:
        refused(journal, f"{FOREVER} SELECT count(*) FROM c")


def test_interrupt_from_the_keyboard_ends_the_query(on_disk: Journal) -> None:
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.2, lambda: signal.pthread_kill(main, signal.SIGINT))

    timer.start()
    with pytest.raises(KeyboardInterrupt):
        on_disk.sql(f"{FOREVER} SELECT count(*) FROM c", timeout=3600)


TEXTS = st.none() | st.text(alphabet="ab é日", max_size=8) | st.integers(-99, 99)


@given(where=TEXTS, what=TEXTS, into=TEXTS)
def test_functions_of_linear_time_do_what_those_of_sqlite_do(
    where: str | int | None, what: str | int | None, into: str | int | None
) -> None:
    # as text: with nothing to replace, SQLite 3.40 hands a number back as it is, and 3.53 as text
    query = """
        SELECT instr(:a, :b), CAST(replace(:a, :b, :c) AS TEXT),
               trim(:a, :b), ltrim(:a, :b), rtrim(:a, :b)
    """
    values = {"a": where, "b": what, "c": into}
    connection = sqlite3.connect(":memory:")
    expected = connection.execute(query, values).fetchall()
    connection.close()

    with Journal(":memory:") as journal:
        assert journal.sql(query, values).rows == expected


@pytest.mark.parametrize(
    "query",
    [
        """select count(*) from steps where "statsu" = 'done'""",
        """select "statsu" from steps order by "statsu\"""",
    ],
)
def test_a_misspelt_column_in_double_quotes_is_no_text(journal: Journal, query: str) -> None:
    error = str(refused(journal, query))

    assert 'no column "statsu"' in error and "did you mean 'status'?" in error
    assert "single quotes" in error


@pytest.mark.parametrize(
    "query",
    [
        """select "status", count(*) as "n" from "steps" group by "status" order by "n\"""",
        """with t("a", "b") as (select 1, 2) select "a" from t""",
        """select "how many" from (select 1 "how many")""",
        """select "s"."name" from steps as "s", json_each('[1]') as j where "j"."key" = 0""",
        """select '"statsu"' as x""",
    ],
)
def test_right_names_may_stand_in_double_quotes(journal: Journal, query: str) -> None:
    journal.sql(query)
