"""A first search of a long journal: the newest steps at once, the rest afterwards."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import apsw
import pytest

from rowtrail import Journal, step
from rowtrail.history._background import is_filling
from rowtrail.history._finding import Filter
from rowtrail.history._index_file import with_index
from rowtrail.history._numbering import BLOCK, Numbering
from rowtrail.history.searching import build_index, go_on_filling, search, stop_filling

STEPS = 40


@step(name="note", kind="tool")
def note(text: str) -> str:
    return f"noted {text}"


@pytest.fixture
def long(db: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a journal of several pages, of which a search reads one."""
    monkeypatch.setattr("rowtrail.history._filling.PAGE_STEPS", 7)
    monkeypatch.setattr("rowtrail.history._search.FILL_S", 0.0)
    with Journal(db, durability="normal") as journal:
        for run in range(4):
            with journal.run(f"run-{run}", thread_id=f"thread-{run}"):
                for i in range(STEPS // 4):
                    note(f"run{run} word{i} same")
    return db


def ask(db: Path, text: str, **how: Any) -> tuple[list[str], str]:
    """Return what a search finds, which leaves the rest to others."""
    answer = search(str(db), text, limit=100, go_on=lambda path: None, **how)
    return [row["run_id"] for row in answer], answer.note or ""


def test_the_newest_steps_are_searched_first_and_the_note_says_how_many(long: Path) -> None:
    runs, said = ask(long, "same")

    assert set(runs) == {"run-3"}
    assert f"7 of {STEPS} steps were searched" in said


def test_searches_come_to_the_end_one_page_after_the_other(long: Path) -> None:
    seen = [ask(long, "same") for _ in range(STEPS // 7 + 2)]

    assert seen[-1][1] == ""
    assert set(seen[-1][0]) == {f"run-{run}" for run in range(4)}


def test_a_run_that_is_asked_for_is_read_before_others(long: Path) -> None:
    runs, _ = ask(long, "same", run_id="run-1")

    assert len(runs) == 0 or set(runs) == {"run-1"}


def test_what_is_new_is_found_while_old_steps_are_unread(long: Path) -> None:
    ask(long, "same")
    with Journal(long) as journal, journal.run("late"):
        note("giraffe")

    assert ask(long, "giraffe")[0] == ["late", "late"]


def test_a_thread_reads_the_rest(long: Path) -> None:
    with Journal(long) as journal:
        journal.search("same")
        for thread in threading.enumerate():
            if thread.name.startswith("rowtrail-index-"):
                thread.join(30)

        assert ask(long, "same")[1] == ""
        assert not is_filling(str(long))


def test_threads_that_fill_are_stopped_at_once(long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rowtrail.history._filling.PAGE_STEPS", 1)
    go_on_filling(str(long))

    stop_filling(str(long))

    assert not is_filling(str(long))


def test_a_journal_that_is_closed_fills_no_more(long: Path) -> None:
    with Journal(long) as journal:
        journal.search("same")

    assert not is_filling(str(long))


def test_a_process_reads_the_rest_after_the_command(long: Path) -> None:
    ask(long, "same")

    command = [sys.executable, "-m", "rowtrail", "index", "--slowly", "--db", str(long)]
    subprocess.run(command, check=True, timeout=60)

    assert ask(long, "same")[1] == ""


@pytest.mark.parametrize("seed", range(6))
def test_in_whatever_order_it_is_read_the_index_is_the_same(long: Path, seed: int) -> None:
    chance = random.Random(seed)
    with Journal(long) as journal:
        for number in range(12):
            match chance.choice(["search", "of a run", "write", "prune", "index"]):
                case "search":
                    ask(long, "same")
                case "of a run":
                    runs = [row["run_id"] for row in journal.runs()]
                    ask(long, "same", run_id=chance.choice(runs))
                case "write":
                    with journal.run(f"later-{number}", thread_id=f"late-{number}"):
                        note(f"word{number} same")
                case "prune":
                    threads = [row["thread_id"] for row in journal.sql("select * from threads")]
                    journal.prune(thread_ids=chance.sample(threads, k=1))
                    with journal.run(f"again-{number}", thread_id=f"again-{number}"):
                        note("something same")
                case _:
                    if chance.random() < 0.3:
                        journal.index()
        journal.index()
        read = content(long)
        journal.index(rebuild=True)

        assert read == content(long)


def content(db: Path) -> list[list[Any]]:
    """Return where each text is said."""
    index = apsw.Connection(f"{db}-search", flags=apsw.SQLITE_OPEN_READONLY)
    rows = index.execute(
        "SELECT s.step, s.place, st.run, st.at, d.digest FROM spot s"
        " JOIN step st ON st.id = s.step JOIN doc d ON d.id = s.doc ORDER BY 1, 2, 5"
    ).fetchall()
    counts = index.execute("SELECT count(*), (SELECT count(*) FROM text) FROM doc").fetchall()
    gaps = index.execute("SELECT value FROM state WHERE key = 'gaps'").fetchall()
    index.close()
    assert json.loads(str(gaps[0][0])) == []
    return [list(row) for row in (*rows, *counts)]


def test_texts_of_newer_steps_have_higher_numbers(long: Path) -> None:
    while ask(long, "same")[1]:
        pass
    with Journal(long) as journal:
        everything = Filter(None, None, None, None).bindings()

        def steps(index: Any) -> list[int]:
            docs = [doc for (doc,) in index.all("docs_to_embed", after=0, limit=1000)]
            return [index.all("first_place", doc=doc, **everything)[0][0] for doc in docs]

        found = with_index(journal.store, steps)

    assert len(found) == 2 * STEPS
    assert found == sorted(found)


def test_numbers_never_come_twice() -> None:
    numbering = Numbering.of({**Numbering.first(900)})
    given: list[int] = []
    for page in range(40):
        numbering.begin(is_older=page % 3 > 0, is_oldest=page % 3 == 2)
        given += [numbering.new() for _ in range(BLOCK // 4 * (page % 7))]

    assert len(given) == len(set(given))
    assert min(given) > 0


@pytest.mark.parametrize("newest_first", [False, True])
def test_the_index_takes_at_most_half_of_the_journal(
    db: Path, monkeypatch: pytest.MonkeyPatch, newest_first: bool
) -> None:
    draw = random.Random(5)
    words = [
        "".join(draw.choices("abcdefghijklmnopqrst", k=draw.randint(2, 9))) for _ in range(800)
    ]
    with Journal(db, durability="normal") as journal:
        for run in range(8):
            with journal.run(f"run-{run}"):
                for _ in range(250):
                    note(" ".join(draw.choices(words, k=draw.randint(8, 60))))
    monkeypatch.setattr("rowtrail.history._search.FILL_S", 0.0)
    while newest_first and "steps were searched" in ask(db, "xyz")[1]:
        pass

    build_index(str(db))

    index = db.with_name(f"{db.name}-search")
    assert index.stat().st_size <= db.stat().st_size / 2
