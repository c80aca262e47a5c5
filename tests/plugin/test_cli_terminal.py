"""What a terminal of any width gets: no line is longer than it is wide, and a run is one screen."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rowtrail
from rowtrail import Journal
from rowtrail.adapter import ANSWERS, llm_request, record, scope_here
from rowtrail.cli._output import ELLIPSIS, Cell, Column, display_width, shorten_id, wrapped
from rowtrail.cli._output import _fitted as fitted  # pyright: ignore[reportPrivateUsage]
from rowtrail.history import fetch_run, find_run, find_thread, run_tree
from tests.plugin.conftest import Cli

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pseudo-terminals")

WIDTHS = (80, 100, 120, 140)
ROWS = 40
LONG = "support-customer-0001-2026-11-" + "x" * 80 + "-end"
NAMES = (
    "b",
    LONG,
    "顧客の問い合わせ東京本社第三営業部",
    "ลูกค้าจากกรุงเทพมหานคร",
    "cafe\u0301 " * 9,
    "👩‍👩‍👧 家族",
)


@rowtrail.step(kind="tool", name="search_the_whole_wide_web_for_pages")
def search(query: str, page: int) -> str:
    if query == "nothing":
        raise LookupError("no page has all of these words: " + "word " * 40)
    return f"found {query} on page {page}: " + "text " * 30


@rowtrail.step(kind="tool", name="send", effect="write", on_doubt="ask")
def send(to: str) -> str:
    raise TimeoutError("no answer from the mail service " + "again " * 20)


@rowtrail.step(kind="tool", name="task")
def task(agent: str, city: str, calls: int) -> str:
    think(agent, f"plan for {city}")
    for page in range(calls):
        search(f"hotels in {city}", page)
    return think(agent, f"sum up {city}")


def think(agent: str, text: str) -> str:
    """Ask a model as an agent of its own."""
    scope = scope_here("model", "read", agent=agent)
    assert scope is not None
    request = llm_request(scope, "gpt-5-nano", [{"role": "user", "content": text}], {})
    answer = {"role": "assistant", "content": f"answer to {text} " + "and more " * 30}
    return str(record(scope, request, lambda: answer, ANSWERS))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a journal of long and wide names, failures and doubts, and a run of many agents."""
    db = tmp_path_factory.mktemp("terminal") / "agent.db"
    with Journal(db, durability="normal") as journal:
        for name in NAMES:
            with contextlib.suppress(TimeoutError), journal.run(name, thread_id=name, agent=name):
                search(name, 1)
                with contextlib.suppress(LookupError):
                    search("nothing", 2)
                send(f"{name}@example.org")
        with journal.run("many", thread_id=LONG, agent="planner"):
            think("planner", "cities")
            for n, city in enumerate(("Kyoto", "Osaka", "Nara", "Kobe", "Tokyo", "Uji", "Ise")):
                task(f"researcher#{n + 1}", city, 5)
            think("planner", "decide")
    return db


def printed(columns: int, *arguments: object) -> list[str]:
    """Return the lines that a command prints on a terminal, without their colors."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": ":".join(sys.path)}
    environment.pop("COLUMNS", None)
    environment.pop("LINES", None)
    command = [sys.executable, "-m", "rowtrail", *map(str, arguments)]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment):
        os.close(theirs)
        text = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while piece := os.read(ours, 65536):
                text += piece
    os.close(ours)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.decode())
    return [line for line in re.split(r"[\r\n]+", plain) if line]


def cells(line: str) -> int:
    """Return how many columns a line takes where marks that combine take one, too."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in line)


LISTINGS = (
    ("runs",),
    ("threads",),
    ("show", "many"),
    ("show", LONG, "--all"),
    ("spend", "--by", "thread"),
    ("in-doubt",),
)
OTHERS = (
    ("show", NAMES[2]),
    ("show", "many", "--view", "timeline"),
    ("show", "many", "--view", "table"),
    ("show", "many", "--step", "@last"),
    *[("spend", "--by", by) for by in ("model", "agent", "node", "tool", "day")],
    ("why", "@last"),
    ("diff", LONG, NAMES[2]),
    ("in-doubt", "@last"),
    ("resume", LONG),
    ("doctor",),
    ("verify",),
    ("tail", "many"),
    ("sql", "select * from steps"),
    ("sql", "--list"),
    ("search", "hotels"),
)


@pytest.mark.parametrize(
    ("command", "columns"),
    [*[(command, columns) for command in LISTINGS for columns in WIDTHS]]
    + [(command, 80) for command in OTHERS],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_no_line_is_longer_than_the_terminal_is_wide(
    filled: Path, command: tuple[str, ...], columns: int
) -> None:
    lines = printed(columns, *command, "--db", filled)

    assert lines, command
    assert [line for line in lines if cells(line) > columns] == []


TEXTS = st.text(st.sampled_from("ab -…é漢字ก็\u0301👍🏽"), max_size=40)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Column], list[list[Cell]]]:
    count = draw(st.integers(1, 16))
    columns = [
        Column(
            draw(TEXTS),
            is_flexible=draw(st.booleans()),
            is_id=draw(st.booleans()),
            rank=draw(st.integers(0, 3)),
        )
        for _ in range(count)
    ]
    rows = draw(st.lists(st.lists(TEXTS, min_size=count, max_size=count), max_size=3))
    return columns, [[Cell(text) for text in row] for row in rows]


@given(table=tables(), room=st.integers(20, 160))
def test_columns_are_left_out_or_cut_until_a_line_fits(
    table: tuple[list[Column], list[list[Cell]]], room: int
) -> None:
    columns, rows = table
    natural = [
        max(1, *(display_width(row[i].text) for row in rows), 1) for i in range(len(columns))
    ]

    shown, widths = fitted(columns, list(range(len(columns))), natural, rows, room)

    assert sum(widths) + 2 * (len(widths) - 1) <= room
    assert shown == sorted(shown) and min(widths) >= 1
    left_out = set(range(len(columns))) - set(shown)
    if any(columns[i].rank == 0 for i in left_out):
        assert all(columns[i].rank == 0 for i in shown), "what may go goes first"


@given(text=TEXTS, width=st.integers(1, 30))
def test_a_cut_id_fits_and_has_both_its_ends(text: str, width: int) -> None:
    cut = shorten_id(text, width)

    assert display_width(cut) <= max(width, 1)
    if cut != text and width >= 3:
        head, _, tail = cut.partition(ELLIPSIS) if ELLIPSIS not in text else ("", "", "")
        assert text.startswith(head) and text.endswith(tail)


@given(text=TEXTS, width=st.integers(2, 30))
def test_a_wrapped_text_fits_and_loses_nothing_but_blanks(text: str, width: int) -> None:
    lines = list(wrapped(text, width))

    assert all(display_width(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def steps_of(db: Path) -> int:
    run = fetch_run(str(db), "many")
    assert run is not None
    return run["steps"]


def test_a_run_of_many_agents_is_one_screen(filled: Path) -> None:
    lines = printed(100, "show", "many", "--db", filled)

    assert 50 < steps_of(filled) < 70
    assert len(lines) <= ROWS - 1
    text = "\n".join(lines)
    assert all(f"researcher#{n}" in text for n in range(1, 8))
    assert all(city in text for city in ("Kyoto", "Osaka", "Ise"))
    assert text.count("search_the_whole_wide_web_for_pages x5") == 7, "what is folded is counted"


@pytest.mark.parametrize("most", [1, 5, 9, 12, 20, 31, 45, 60, None])
def test_a_tree_has_each_step_once_and_no_more_lines_than_wanted(
    filled: Path, most: int | None
) -> None:
    tree = run_tree(str(filled), "many", most_lines=most)

    ids = [step["step_id"] for line in tree.lines for step in (*line.steps, *line.hidden)]
    assert len(ids) == len(set(ids)) == steps_of(filled) - tree.left_out
    assert most is None or len(tree.lines) <= most
    assert tree.left_out == 0 or most == 1, "even few lines tell of all"


def test_what_failed_or_is_in_doubt_keeps_its_line(filled: Path) -> None:
    tree = run_tree(str(filled), "b", most_lines=3)

    shown = [step["status"] for line in tree.lines for step in line.steps]
    assert {"failed", "in_doubt"} <= set(shown)


@pytest.mark.parametrize("width", [12, 20, 30, 60])
def test_an_id_is_found_as_a_table_cuts_it(filled: Path, width: int) -> None:
    assert find_run(str(filled), shorten_id(LONG, width)) == LONG
    assert find_thread(str(filled), shorten_id(LONG, width)) == LONG


def test_a_thread_means_its_last_run(cli: Cli, journal: Journal, db: Path) -> None:
    for run in ("one", "two"):
        with journal.run(run, thread_id="a thread"):
            search(run, 1)

    shown = cli("show", "a thread", "--db", db)
    begun = cli("why", "@last", "--db", db)
    none = cli("show", "another", "--db", db)

    assert (shown.code, begun.code, none.code) == (0, 0, 3)
    assert "'a thread' is a thread; its last run is two" in shown.err
    assert shown.lines[0] == ["run", "two"]
