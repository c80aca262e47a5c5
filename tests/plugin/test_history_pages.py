"""Pages of the history: complete, in order and without repeats, also while others write."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

import pytest

import rowtrail
from rowtrail import Journal, history
from rowtrail.errors import StorageError, UnknownIdError, UsageError
from rowtrail.history import Only, Page, pages, rows
from tests.plugin.conftest import World

RUNS, THREADS, STEPS = 8, 4, 7
MOVING = "thread-0"
"""The other process works in it: a thread that is active moves to the front."""

MAX_ROUNDS = 4

DYING = """
@step(kind="tool", name="send", effect="write")
def send(x): os.kill(os.getpid(), signal.SIGKILL)

with Journal(DB) as journal, journal.run(f"dying-{WORD}", thread_id=f"thread-{WORD}"):
    send(WORD)
"""
OTHER = """
@step(kind="tool", name="call")
def call(x): return x

def fail(journal, run_id, thread_id, x):
    try:
        with journal.run(run_id, thread_id=thread_id, agent="b"):
            call(x)
            raise ValueError(x)
    except ValueError:
        pass

with Journal(DB) as journal:
    for line in sys.stdin:
        word = line.strip()
        fail(journal, f"later-{word}", f"later-{word}", word)
        fail(journal, f"later-too-{word}", "thread-0", word)
        fail(journal, "tried", None, word)
        print(word, flush=True)
"""


@rowtrail.step(kind="tool", name="call")
def call(x: object) -> object:
    return x


@rowtrail.step(kind="tool", name="lose", effect="write")
def lose(x: object) -> object:
    return object()  # it has no stored form: somebody must say what it returned


@rowtrail.step(kind="llm", name="think")
def think(x: object) -> str:
    return f"thought about {x}"


def fail(journal: Journal, run_id: str, *calls: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="end"), journal.run(run_id):
        for each in calls:
            each()
        raise ValueError("end")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a journal that has some of everything."""
    world = World(tmp_path_factory.mktemp("history"))
    for word in ("1", "2"):
        child = world.begin(DYING, word)
        child.communicate(timeout=60)
    with Journal(world.db) as journal:
        for number in range(RUNS):
            thread = f"thread-{number % THREADS}"
            with journal.run(f"run-{number}", thread_id=thread, agent=f"agent-{number % 3}"):
                for other in range(STEPS):
                    call(f"{number}-{other}")
                think(number)
        for number in range(3):
            fail(journal, f"losing-{number}", partial(lose, number))
            fail(journal, "tried", partial(call, number))
    with closing(sqlite3.connect(world.db)) as connection, connection:
        connection.execute("UPDATE run SET status = 'waiting' WHERE run_id LIKE 'losing-%'")
    return world.db


@pytest.fixture(scope="module")
def journal(template: Path) -> Iterator[Journal]:
    with Journal(template) as opened:
        yield opened


@pytest.fixture
def filled(world: World, template: Path) -> World:
    shutil.copyfile(template, world.db)
    return world


LISTINGS: dict[str, Callable[..., Page[Any]]] = {
    "runs": history.list_runs,
    "runs of an agent": partial(history.list_runs, agent="agent-1"),
    "urgent runs": partial(history.list_runs, urgent=True),
    "other runs": partial(history.list_runs, urgent=False),
    "failed runs": partial(history.list_runs, status="failed"),
    "ids": history.list_run_ids,
    "threads": history.list_threads,
    "attempts": partial(history.list_attempts, run_id="tried"),
    "steps": partial(history.list_steps, run_id="run-3"),
    "steps of a run that goes on": partial(history.list_steps, run_id="tried"),
    "lines": partial(history.list_step_lines, run_id="run-3"),
    "lines of a run that goes on": partial(history.list_step_lines, run_id="tried"),
    "doubts": history.list_doubts,
    "questions": history.list_questions,
}
GROWS = {"ids", "attempts", "steps of a run that goes on", "lines of a run that goes on"}
"""The oldest row comes first: what begins meanwhile comes last, and is listed."""

BY: tuple[history.SpendBy, ...] = get_args(history.SpendBy)
LIMITS = (1, 2, 3, 1_000)


def spent(by: Any) -> Callable[..., Page[Any]]:
    """Return the pages of what was spent as those of a listing."""

    def listing(source: Any, *, limit: int, cursor: str | None = None) -> Page[Any]:
        found = history.spend(source, by, limit=limit, cursor=cursor)
        return Page(tuple(row.get(by) for row in found.rows), found.next_cursor)

    return listing


ALL = {**LISTINGS, **{f"spend by {by}": spent(by) for by in BY}}


def key(row: Any) -> object:
    """Return what tells a row from the others of its listing."""
    if not isinstance(row, Mapping):
        return row
    names = ("question_id", "step_id", "attempt_id", "run_id", "thread_id")
    return next(row[name] for name in names if name in row)


def paged(
    listing: Callable[..., Page[Any]], source: Any, limit: int, between: Callable[[], object]
) -> list[object]:
    """Return the keys of all pages."""
    found: list[object] = []
    cursor = None
    while True:
        page = listing(source, limit=limit, cursor=cursor)
        assert len(page) <= limit
        found += [key(row) for row in page]
        cursor = page.next_cursor
        if cursor is None:
            return found
        assert len(page) == limit
        between()


def test_every_listing_is_tried() -> None:
    tried = {
        listing.func if isinstance(listing, partial) else listing for listing in LISTINGS.values()
    }
    assert tried == {getattr(history, name) for name in history.__all__ if name.startswith("list_")}


@pytest.mark.parametrize("name", ALL)
def test_pages_of_any_size_are_the_whole_listing(journal: Journal, name: str) -> None:
    whole = ALL[name](journal, limit=1_000)
    keys = [key(row) for row in whole]

    assert keys and whole.next_cursor is None
    assert len(set(keys)) == len(keys)
    for limit in LIMITS:
        assert paged(ALL[name], journal, limit, lambda: None) == keys


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("name", ALL)
def test_pages_are_whole_while_another_process_writes_between_them(
    filled: World, name: str, limit: int
) -> None:
    with closing(Writer(filled)) as writer, history.open_journal(filled.db) as reader:
        before = [key(row) for row in ALL[name](reader, limit=1_000)]
        found = paged(ALL[name], reader, limit, writer.work)

    assert writer.rounds > 0 or len(before) <= limit
    assert len(set(found)) == len(found)
    if name in GROWS:
        assert found[: len(before)] == before
    else:  # what is active meanwhile moves to the front, where there is a front
        moving = {MOVING, "call", None}
        still = [each for each in before if each not in moving]
        assert [each for each in found if each in still] == still


class Writer:
    """Another process, which makes runs when it is told to."""

    def __init__(self, world: World) -> None:
        self._process: subprocess.Popen[str] = world.begin(OTHER)
        self.rounds = 0

    def work(self) -> None:
        """Wait until the other process has made some runs: between the first pages only, as a
        listing that grows faster than it is read has no end.
        """
        if self.rounds == MAX_ROUNDS:
            return
        assert self._process.stdin is not None and self._process.stdout is not None
        self.rounds += 1
        self._process.stdin.write(f"{self.rounds}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline().strip() == str(self.rounds)

    def close(self) -> None:
        """Let it end."""
        _, err = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, err


VIEWS = {
    "runs": rows.RunRow,
    "attempts": rows.AttemptRow,
    "steps": rows.StepRow,
    "threads": rows.ThreadRow,
    "questions": rows.QuestionRow,
}


@pytest.mark.parametrize("view", VIEWS)
def test_rows_have_the_columns_of_their_view(view: str) -> None:
    assert tuple(get_type_hints(VIEWS[view])) == history.view_columns(view)


def test_rows_have_the_columns_that_their_types_name(journal: Journal) -> None:
    (line, *_) = history.list_step_lines(journal, "run-1")
    part = history.fetch_step_part(journal, line["step_id"])
    (question, *_) = history.list_questions(journal)
    (event, *_) = history.Follower(journal, recent=1).news()

    assert set(line) == set(get_type_hints(rows.StepLine))
    assert part is not None and tuple(part) == tuple(get_type_hints(rows.StepPart))
    assert tuple(question) == tuple(get_type_hints(rows.QuestionRow))
    assert set(event) == set(get_type_hints(rows.Event))
    for by in BY:
        assert set(history.spend(journal, by).rows[0]) <= set(get_type_hints(rows.SpendRow))


def test_a_journal_a_reader_and_a_path_give_the_same(journal: Journal) -> None:
    with history.open_journal(journal.path) as reader:
        for listing in ALL.values():
            found = listing(journal, limit=5)
            assert listing(reader, limit=5) == found == listing(journal.path, limit=5)
        assert history.timeline(reader, "tried") == history.timeline(journal.path, "tried")
        assert history.overview(reader) == history.overview(Path(journal.path))


def test_runs_are_filtered(journal: Journal) -> None:
    every = list(history.list_runs(journal, limit=100))

    def ids(**filters: Any) -> list[str]:
        return [run["run_id"] for run in history.list_runs(journal, limit=100, **filters)]

    third = next(run for run in every if run["run_id"] == "run-3")
    assert ids(thread_id="thread-1", agent="agent-1") == ["run-1"]
    assert ids(status="crashed") == [] or set(ids(status="crashed")) == {"dying-1", "dying-2"}
    assert set(ids(urgent=True)) | set(ids(urgent=False)) == {run["run_id"] for run in every}
    assert "run-3" in ids(since=third["started_at"]) and "run-2" in ids(before=third["started_at"])
    assert set(ids(since=third["started_at"])).isdisjoint(ids(before=third["started_at"]))


@pytest.mark.parametrize(
    ("only", "runs"),
    [
        (Only(thread_id="thread-3"), {"run-3", "run-7"}),
        (Only(run_id="run-1"), {"run-1"}),
        (Only(agent="agent-1"), {"run-1", "run-4", "run-7"}),
        (Only(thread_id="thread-1", agent="agent-2"), {"run-5"}),
        (Only(thread_id="nowhere"), set()),
    ],
)
def test_nothing_beyond_what_may_be_seen_is_returned(
    journal: Journal, only: Only, runs: set[str]
) -> None:
    listed = {run["run_id"] for run in history.list_runs(journal, only=only)}
    hidden = history.list_runs(journal, thread_id="thread-2", agent="agent-2", only=only)
    steps = {
        run_id: history.list_step_lines(journal, run_id).rows[0]["step_id"]
        for run_id in ("run-1", "run-2", "run-3", "run-5")
    }

    assert listed == runs and not hidden.rows
    for run_id, step_id in steps.items():
        sees = run_id in runs
        assert (history.fetch_run(journal, run_id, only=only) is not None) == sees
        assert (history.fetch_step(journal, step_id, only=only) is not None) == sees
        assert (history.fetch_step_part(journal, step_id, only=only) is not None) == sees
        for listing in (history.list_steps, history.list_step_lines):
            if sees:
                assert listing(journal, run_id, only=only).rows
            else:
                with pytest.raises(UnknownIdError, match="rowtrail runs"):
                    listing(journal, run_id, only=only)


@pytest.mark.parametrize(
    "cursor",
    ["", "1", "runs:", "runs:-1", "runs:x", f"runs:{9**99}", "spend-x:[1]", "spend-tool:"],
)
def test_a_wrong_cursor_is_named(journal: Journal, cursor: str) -> None:
    for listing in ALL.values():
        with pytest.raises(UsageError, match="next_cursor"):
            listing(journal, limit=1, cursor=cursor)


def test_wrong_arguments_are_named(journal: Journal) -> None:
    with pytest.raises(UsageError, match="limit=0"):
        history.list_runs(journal, limit=0)
    with pytest.raises(UsageError, match="'odd' is unknown: use one of running"):
        history.list_runs(journal, status=cast("Any", "odd"))
    with pytest.raises(UsageError, match="since='soon'"):
        history.list_threads(journal, since="soon")
    with pytest.raises(UsageError, match="by='odd'"):
        history.spend(journal, cast("Any", "odd"))
    for asks in (history.list_steps, history.list_attempts, history.resume_plan):
        with pytest.raises(UnknownIdError, match=r"'none'.*`rowtrail runs`"):
            asks(journal, "none")
    with pytest.raises(UnknownIdError, match="'none'"):
        next(history.diff(journal, "run-1", "none"))
    with pytest.raises(UnknownIdError, match="'none'"):
        history.why(journal, "none")
    assert history.fetch_run(journal, "none") is None
    assert history.fetch_step(journal, "none") is None


def test_a_missing_journal_is_named(world: World) -> None:
    for path in (str(world.db), ":memory:"):
        with pytest.raises(StorageError, match=path):
            history.list_runs(path)
        with pytest.raises(StorageError, match=path):
            history.open_journal(path)
    assert not world.db.exists()


def test_urgent_runs_come_first_and_each_run_once_while_they_change(filled: World) -> None:
    with Journal(filled.db) as journal:
        listing = partial(history.list_runs, journal)
        every = {run["run_id"] for run in history.list_runs(journal, limit=100)}
        found: list[str] = []
        for page in history.urgent_runs_first(listing, first=1):
            found += [run["run_id"] for run in page]
            if len(found) == 1:  # it goes on, and is urgent no more
                fail(journal, found[0], partial(call, "on"))

    assert set(found) == every and len(found) == len(every)
    assert set(found[:2]) <= {"dying-1", "dying-2"} | {f"losing-{n}" for n in range(3)}


def test_pages_end_at_a_limit_of_all_together(journal: Journal) -> None:
    listing = partial(history.list_steps, journal, "run-3")

    assert [len(page) for page in pages(listing, limit=5, first=2)] == [2, 3]
    assert [len(page) for page in pages(listing, first=2)] == [2, 4, 2]
    assert [step["seq"] for step in history.iter_steps(journal, "run-3")] == list(range(1, 9))


def test_a_page_that_is_cut_goes_on_where_it_was_cut(journal: Journal) -> None:
    page = history.list_runs(journal, limit=6)
    rest = history.list_runs(journal, limit=4, cursor=page.first(2).next_cursor)

    assert (*page.first(2).rows, *rest.rows) == page.rows
    assert page.first(6) is page


def test_the_page_on_reading_names_every_function() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reading.md").read_text("utf-8")
    named = set(re.findall(r"`([\w.]+)", page))
    reads = {name for name in history.__all__ if name.startswith(("list_", "fetch_", "find_"))}

    assert reads - {"fetch_open_attempt"} <= named
    assert {"spend", "why", "diff", "timeline", "overview", "pages", "iter_steps"} <= named
