"""`Journal.search`: what is found, where, within which limits."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rowtrail import Journal, step
from rowtrail.errors import UnknownIdError, UsageError
from rowtrail.history import Answer
from rowtrail.testing import FakeClock
from tests._sample import IS_FULL


@step(name="look", kind="tool")
def look(where: str) -> str:
    if where == "nowhere":
        raise LookupError("the harbour of Zürich was not found")
    return f"saw the invoices of {where}"


@step(name="think", kind="llm")
def think(prompt: str) -> str:
    return f"a thought about {prompt}"


def found(answer: Answer) -> list[tuple[str, str]]:
    """Return which runs and places were found, the best first."""
    return [(row["run_id"], row["where"]) for row in answer]


@pytest.fixture
def recorded(journal: Journal) -> Journal:
    with journal.run("one", thread_id="north"):
        look("Berlin")
        think("weather")
        with pytest.raises(LookupError):
            look("nowhere")
    with journal.run("two", thread_id="south"):
        look("Rome")
        look("Berlin")
    return journal


def test_arguments_results_messages_and_errors_are_found(recorded: Journal) -> None:
    assert found(recorded.search("rome")) == [("two", "arguments"), ("two", "result")]
    assert found(recorded.search("thought")) == [("one", "message")]
    assert found(recorded.search("harbour")) == [("one", "error")]


def test_a_row_says_where_to_look(recorded: Journal) -> None:
    (row,) = recorded.search("thought about").to_dicts()
    (step_row,) = recorded.sql("select step_id, started_at from steps where kind = 'llm'")

    assert row == {
        "step_id": step_row["step_id"],
        "run_id": "one",
        "thread_id": "north",
        "agent": None,
        "node": None,
        "kind": "llm",
        "name": "think",
        "where": "message",
        "snippet": "a [thought] about weather",
        "score": row["score"],
        "at": step_row["started_at"],
    }
    assert row["score"] > 0


def test_words_are_found_in_other_forms_without_accents_and_in_quotes(recorded: Journal) -> None:
    assert recorded.search("invoice")
    assert recorded.search("ZURICH")
    assert len(recorded.search('"about weather"')) == 1
    assert len(recorded.search('"weather about"')) == 0


def test_texts_with_all_words_come_before_texts_with_some(recorded: Journal) -> None:
    answer = recorded.search("invoices rome")

    assert found(answer)[0] == ("two", "result")
    assert len(answer) == 3
    scores = [row["score"] for row in answer]
    assert scores == sorted(scores, reverse=True)


def test_scripts_without_blanks_are_found_inside_a_line(journal: Journal) -> None:
    with journal.run("one"):
        think("明日は東京タワーを見る")

    answer = journal.search("京タワ")

    assert [row["where"] for row in answer] == ["arguments", "message"]
    assert answer.to_dicts()[0]["snippet"] == "明日は東[京タワ]ーを見る"


def test_a_text_that_came_up_often_is_one_row_and_found_by_every_filter(
    recorded: Journal,
) -> None:
    everywhere = recorded.search("saw berlin")
    in_two = recorded.search("saw berlin", run_id="two")

    assert found(everywhere)[0] == ("one", "result")
    assert [row["where"] for row in everywhere if "Berlin" in row["snippet"]] == [
        "result",
        "arguments",
    ]
    assert found(in_two)[0] == ("two", "result")
    assert {row["thread_id"] for row in recorded.search("berlin", thread_id="south")} == {"south"}


def test_filters_leave_nothing_else(recorded: Journal) -> None:
    assert {r["kind"] for r in recorded.search("weather berlin", kind="llm")} == {"llm"}
    assert len(recorded.search("rome", run_id="one")) == 0
    assert len(recorded.search("rome", thread_id="south", run_id="two")) == 2


def test_since_takes_times_and_text(db: Path, clock: FakeClock) -> None:
    with Journal(db, clock=clock) as journal:
        with journal.run("old"):
            look("Berlin")
        noon = datetime.fromtimestamp(clock.now_ms() / 1000, UTC) + timedelta(seconds=30)
        clock.advance(60)
        with journal.run("new"):
            look("Berlin")

        assert found(journal.search("saw berlin", since=noon))[0] == ("new", "result")
        assert found(journal.search("saw berlin"))[0] == ("old", "result")
        text = noon.replace(tzinfo=None).isoformat()  # without a zone it is UTC
        assert {r["run_id"] for r in journal.search("berlin", since=text)} == {"new"}
        assert len(journal.search("berlin", since="2999-01-01")) == 0


def test_what_is_recorded_meanwhile_is_found(journal: Journal) -> None:
    for name in ("Oslo", "Lima", "Cairo"):
        with journal.run(name):
            look(name)
        assert found(journal.search(name)) == [(name, "arguments"), (name, "result")]


def test_a_step_that_runs_is_found_by_its_arguments_and_later_by_its_result(
    journal: Journal,
) -> None:
    seen: list[list[tuple[str, str]]] = []

    @step(name="slow", kind="tool")
    def slow(what: str) -> str:
        seen.append(found(journal.search("zebra OR crossing")))
        return "crossing the street"

    with journal.run("one"):
        slow("zebra")

    assert seen == [[("one", "arguments")]]
    assert found(journal.search("crossing")) == [("one", "result")]


def test_a_step_in_doubt_is_found_by_the_result_that_a_person_gives_it(
    db: Path, child: Any
) -> None:
    child(
        "import os, signal, sys, rowtrail\n"
        "@rowtrail.step(name='pay', kind='tool', effect='write')\n"
        "def pay(to): os.kill(os.getpid(), signal.SIGKILL)\n"
        "with rowtrail.Journal(sys.argv[1]) as j, j.run('one'): pay('Ada')\n",
        db,
        status=-9,
    )
    with Journal(db) as journal:
        assert found(journal.search("ada")) == [("one", "arguments")]
        (row,) = journal.search("ada")

        journal.recover()
        journal.settle(row["step_id"], result="receipt 4711")

        assert found(journal.search("receipt")) == [("one", "result")]


def test_long_values_are_found_to_their_end_and_are_one_row(journal: Journal) -> None:
    long = " ".join(f"word{i}" for i in range(20_000)) + " needle at the end"

    @step(name="read", kind="tool")
    def read() -> str:
        return long

    with journal.run("one"):
        read()

    assert found(journal.search("needle")) == [("one", "result")]
    assert found(journal.search("word17 word19999")) == [("one", "result")]
    assert len(journal.search("needle").to_dicts()[0]["snippet"]) < 600


def test_an_answer_fits_its_tokens_and_says_what_was_cut(journal: Journal) -> None:
    with journal.run("one"):
        for i in range(50):
            look(f"Berlin {i}")

    answer = journal.search("berlin", limit=50, max_tokens=300)

    assert 0 < len(answer) < 50
    assert answer.truncated
    assert answer.note is not None
    assert "limit" in answer.note
    assert len(answer.text()) <= 4 * 300


def test_what_is_as_wanted_needs_no_note(recorded: Journal) -> None:
    assert recorded.search("berlin").note is None
    assert recorded.search("berlin", mode="keyword").note is None


@settings(max_examples=3000 if IS_FULL else 40)
@given(text=st.text(max_size=60))
def test_no_text_is_a_syntax_error(text: str) -> None:
    with Journal(":memory:") as journal:
        with journal.run("one"):
            think(text.encode("utf-8", "replace").decode())
        assert isinstance(journal.search(text), Answer)


OPERATORS = [
    *('"', '""', "a AND", "NOT", "NEAR(", "body:x", "*", "^a", "-a", "a + b", "(", "{a}:b", "%"),
    *("'; DROP TABLE text; --", "\x00", "\ud83d", "x" * 100_000, "a " * 50_000),
]


@pytest.mark.parametrize("text", OPERATORS, ids=lambda text: repr(text)[:20])
def test_the_language_of_fts5_means_nothing(recorded: Journal, text: str) -> None:
    assert isinstance(recorded.search(text), Answer)
    assert len(recorded.search(f"{text} berlin")) > 0


def test_wrong_arguments_name_the_value_and_the_remedy(recorded: Journal) -> None:
    wrong: list[dict[str, Any]] = [
        {"kind": "tools"}, {"mode": "fast"}, {"limit": 0}, {"max_tokens": 0}, {"since": "noon"},
        {"mode": "semantic"}, {"mode": "hybrid"}, {"embedder": 5}, {"embedder": str},
    ]  # fmt: skip
    for arguments in wrong:
        with pytest.raises(UsageError, match=repr(next(iter(arguments.values())))):
            recorded.search("berlin", **arguments)
    with pytest.raises(UsageError, match="5"):
        recorded.search(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(UnknownIdError, match="'west'"):
        recorded.search("berlin", thread_id="west")
    with pytest.raises(UnknownIdError, match="'one' in the thread 'south'"):
        recorded.search("berlin", run_id="one", thread_id="south")


def test_an_empty_journal_answers(journal: Journal) -> None:
    assert len(journal.search("anything")) == 0


def test_a_journal_in_memory_is_searched_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Journal(":memory:") as journal:
        for name in ("Oslo", "Lima"):
            with journal.run(name):
                look(name)
            assert found(journal.search(name)) == [(name, "arguments"), (name, "result")]

    assert os.listdir(tmp_path) == []


def test_the_index_is_a_private_file_beside_the_journal_which_is_not_written(
    recorded: Journal, db: Path
) -> None:
    with closing(sqlite3.connect(db)) as connection:
        before = connection.execute("PRAGMA data_version").fetchone()
        recorded.search("berlin")
        after = connection.execute("PRAGMA data_version").fetchone()

    index = db.with_name("agent.db-search")
    assert before == after
    assert stat.S_IMODE(index.stat().st_mode) == 0o600
    assert not index.with_name("agent.db-search-wal").exists()


def test_recording_never_makes_an_index(recorded: Journal, db: Path) -> None:
    assert not db.with_name("agent.db-search").exists()
