"""Whose calls threads and tasks make: all ways to start them, in a run or a step, for how long.

Who submits work owns it; who starts a thread owns its calls only while the step or run that started
it is unfinished and no other run is active (rule 12).
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from typing import Any

import pytest

from rowtrail import Journal, current_step, step
from rowtrail.errors import UsageError
from rowtrail.journal import _threads
from tests._sample import covering
from tests.plugin.conftest import World
from tests.programs.ways import WAYS, Ways, Work

PLACES = ("run", "step")
LIVES = ("joined", "outlives the step", "outlives the run", "serves another run")
CALLS = (("sync", "read"), ("async", "write"), ("async", "read"), ("sync", "write"))
CASES = itertools.product(WAYS, PLACES, LIVES, CALLS)
PRODUCT = [
    (way, place, life, *call)
    for way, place, life, call in covering(
        [case for case in CASES if case[1:3] != ("run", "outlives the step")]
    )
]


class Broken(Exception):  # noqa: N818 - a noun
    """What the code around the calls raises."""


class Desk:
    """A function that is recorded, and what was really called."""

    def __init__(self, mode: str, effect: Any) -> None:
        self.made: list[str] = []
        self.mode = mode

        @step(name="send", effect=effect)
        def send(to: str) -> str:
            self.made.append(to)
            return f"sent to {to}"

        @step(name="send", effect=effect)
        async def asend(to: str) -> str:
            self.made.append(to)
            await asyncio.sleep(0)
            return f"sent to {to}"

        self.send: Callable[[str], Any] = send if mode == "sync" else asend

    def call(self, to: str) -> Callable[[], Any]:
        return lambda: self.send(to)

    def in_run(self, journal: Journal, run_id: str, to: str) -> Callable[[], Any]:
        """Return a call that is made in a run of its own."""

        def sync() -> Any:
            with journal.run(run_id):
                return self.send(to)

        async def asynchronous() -> Any:
            async with journal.run(run_id):
                return await self.send(to)

        return sync if self.mode == "sync" else asynchronous


class Scene:
    """Gives work to a way in a place of a run, and lets it live for as long as the case says."""

    def __init__(self, journal: Journal, desk: Desk, way: str, place: str) -> None:
        self.journal, self.desk, self.way, self.place = journal, desk, way, place
        self.works: list[Work] = []
        self.breaks = False

    async def play(self, life: str, *, breaks: bool = False) -> None:
        desk, self.breaks = self.desk, breaks
        calls = [desk.call("a")]
        if life == "serves another run":
            calls += [desk.in_run(self.journal, "second", "b")] * 2
        async with Ways() as ways:
            with suppress(Broken):
                async with self.journal.run("first"):
                    await self._in_place(ways, calls, life)
                    if life == "outlives the step":
                        await self.works[-1].until(0)
            for n in range(len(calls)):
                await self.works[-1].until(n)

    async def _in_place(self, ways: Ways, calls: Any, life: str) -> None:
        async def begin() -> None:
            self.works.append(ways.give(self.way, calls))
            if life in ("joined", "serves another run"):
                await self.works[-1].until(0)
            if self.breaks:  # no flag in a closure: it would make the step another one
                raise Broken

        await (step(name="place")(begin) if self.place == "step" else begin)()


def sends(journal: Journal, run_id: str) -> list[dict[str, Any]]:
    return [row for row in journal.steps(run_id) if row["name"] == "send"]


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "rowtrail"]


@pytest.mark.parametrize(("way", "place", "life", "mode", "effect"), PRODUCT)
def test_each_call_belongs_to_who_gave_the_work(
    journal: Journal,
    caplog: pytest.LogCaptureFixture,
    way: str,
    place: str,
    life: str,
    mode: str,
    effect: str,
) -> None:
    desk = Desk(mode, effect)
    scene = Scene(journal, desk, way, place)
    asyncio.run(scene.play(life))
    (work,) = scene.works
    starts, outlives = way == "Thread", life.startswith("outlives")
    is_owned = not outlives or (life == "outlives the step" and not starts)
    rows = sends(journal, "first")
    if is_owned:
        around = [row["step_id"] for row in journal.steps("first") if row["name"] == "place"]
        assert [row["status"] for row in rows] == ["done"]
        assert [row["parent_id"] for row in rows] == (around or [None])
        assert (told(caplog), work.errors) == ([], [])
    else:
        assert rows == []
        is_refused = effect == "write" and not (starts and life == "outlives the run")
        assert [type(error) for error in work.errors] == [UsageError] * is_refused
        assert desk.made == ([] if is_refused else ["a"])
        said = told(caplog) or [str(error) for error in work.errors]
        assert ["send" in text and "journal.run" in text for text in said] == [True]
    if life == "serves another run":
        assert desk.made == ["a", "b"]
        (row,) = sends(journal, "second")
        assert (row["parent_id"], row["replays"]) == (None, 1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("mode", "effect"), CALLS[:2])
def test_what_was_recorded_is_replayed_when_the_code_around_is_run_again(
    journal: Journal, way: str, place: str, mode: str, effect: str
) -> None:
    desk = Desk(mode, effect)
    scene = Scene(journal, desk, way, place)
    asyncio.run(scene.play("joined", breaks=True))
    asyncio.run(scene.play("joined"))
    assert [work.made for work in scene.works] == [["sent to a"]] * 2
    assert desk.made == ["a"]
    assert [row["replays"] for row in sends(journal, "first")] == [1]


# Runs beside each other.


@pytest.mark.parametrize("way", ["Thread", "submit"])
@pytest.mark.parametrize("effect", ["read", "write"])
async def test_a_started_thread_belongs_to_nobody_while_another_run_is_active(
    journal: Journal, caplog: pytest.LogCaptureFixture, way: str, effect: str
) -> None:
    desk = Desk("sync", effect)
    entered, leave = asyncio.Event(), asyncio.Event()

    async def other() -> None:
        async with journal.run("other"):
            entered.set()
            await leave.wait()

    async with Ways() as ways:
        beside = asyncio.create_task(other())
        await entered.wait()
        async with journal.run("first"):
            work = ways.give(way, [desk.call("a"), desk.call("a"), desk.call("b")])
            await work.until(0)
            await work.until(1)
            leave.set()
            await beside
            await work.until(2)
    names = [row["input"] for row in sends(journal, "first")]
    assert sends(journal, "other") == []
    if way == "submit":
        assert len(names) == 3
    elif effect == "read":
        assert len(names) == 1 and '"b"' in names[0]
        (text,) = told(caplog)
        assert text.startswith("send is called while a run is active")
    else:
        assert len(names) == 1 and desk.made == ["b"]
        assert [type(error) for error in work.errors] == [UsageError] * 2


def test_a_run_around_takes_no_thread_away(journal: Journal) -> None:
    desk = Desk("sync", "write")
    with journal.run("outer"), journal.run("inner"):
        thread = threading.Thread(target=desk.call("a"))
        thread.start()
        thread.join()
    assert len(sends(journal, "inner")) == 1 and sends(journal, "outer") == []


@pytest.mark.parametrize("effect", ["read", "write"])
def test_a_worker_that_was_there_before_the_run_is_told_of(
    journal: Journal, caplog: pytest.LogCaptureFixture, effect: str
) -> None:
    desk = Desk("sync", effect)
    work = Work([desk.call("a"), desk.call("a"), desk.call("a")])
    thread = threading.Thread(target=work.body)
    thread.start()
    with journal.run("first"):
        asyncio.run(work.until(0))
        asyncio.run(work.until(1))
    asyncio.run(work.until(2))
    thread.join()
    assert journal.steps("first") == []
    if effect == "read":
        assert len(told(caplog)) == 1 and desk.made == ["a"] * 3
    else:
        assert [type(error) for error in work.errors] == [UsageError] * 2
        assert desk.made == ["a"]  # after the run nothing is refused


def test_code_between_the_parts_of_a_run_in_its_own_thread_is_plain_code(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk("sync", "write")

    def parts() -> Any:
        with journal.run("first"):
            yield 1
            yield 2

    context, run = contextvars.copy_context(), parts()
    context.run(next, run)
    desk.send("the consumer's own")
    context.run(next, run)
    context.run(run.close)
    assert desk.made == ["the consumer's own"] and told(caplog) == []


# A run of one's own.


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_run_entered_inside_a_step_has_its_calls(journal: Journal, mode: str) -> None:
    desk = Desk(mode, "write")

    @step(name="around")
    async def around() -> None:
        call = desk.in_run(journal, "own", "a")()
        if mode == "async":
            await call
        current_step()  # again, once the inner run has been left

    async def main() -> None:
        async with journal.run("first"):
            await around()

    asyncio.run(main())
    assert [row["name"] for row in journal.steps("first")] == ["around"]
    assert [(row["name"], row["parent_id"]) for row in journal.steps("own")] == [("send", None)]


def test_the_current_step_of_submitted_work_is_its_submitter_until_that_ends(
    journal: Journal,
) -> None:
    ids: list[str] = []

    def name_it() -> None:
        ids.append(current_step().id)

    async def main() -> list[Work]:
        async with Ways() as ways, journal.run("first"):

            @step(name="around", key=lambda: "around")
            async def around() -> list[Work]:
                works = [ways.give(way, [name_it, name_it]) for way in WAYS]
                for work in works:
                    await work.until(0)
                return works

            around_works: list[Work] = []

            @step(key=lambda: "outer")
            async def outer() -> None:
                around_works.extend(await around())

            await outer()
            for work in around_works:
                await work.until(1)
        return around_works

    works = asyncio.run(main())
    rows = {row["name"]: row["step_id"] for row in journal.steps("first")}
    assert set(ids) == {next(v for k, v in rows.items() if k.endswith("around"))}
    assert [[type(error) for error in work.errors] for work in works] == [[UsageError]] * len(WAYS)


# What is left of it.


def test_a_pool_thread_has_nothing_left_of_an_earlier_job(journal: Journal) -> None:
    desk = Desk("sync", "write")
    with ThreadPoolExecutor(1) as pool:
        with journal.run("first"):
            pool.submit(desk.send, "a").result()
        pool.submit(desk.send, "b").result()
        with journal.run("second"):
            pool.submit(desk.send, "c").result()
    assert [len(sends(journal, run_id)) for run_id in ("first", "second")] == [1, 1]
    assert desk.made == ["a", "b", "c"]


def test_a_pool_thread_that_a_run_made_is_not_lent_to_it(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk("sync", "read")
    with ThreadPoolExecutor(1) as pool, journal.run("first"):
        pool.submit(desk.send, "a").result()
        contextvars.Context().run(pool.submit, desk.send, "b").result()  # somebody else's job
    assert len(sends(journal, "first")) == 1 and desk.made == ["a", "b"]
    assert len(told(caplog)) == 1


def test_a_thread_that_lives_on_keeps_nothing_of_its_step_alive(journal: Journal) -> None:
    class Large:
        """What an argument may drag along."""

    leave, threads = threading.Event(), list[threading.Thread]()

    @step(key=lambda large: "large")
    def begin(large: Large) -> None:
        threads.append(threading.Thread(target=leave.wait, args=(20,)))
        threads[0].start()

    large = Large()
    gone = weakref.ref(large)
    with journal.run("first"):
        begin(large)
    del large
    journal.store.write(lambda tx: None)
    gc.collect()
    assert gone() is None and threads[0].is_alive()
    leave.set()
    threads[0].join()


def test_a_thread_keeps_its_own_run_and_may_be_refused_twice(journal: Journal) -> None:
    desk = Desk("sync", "read")

    class Worker(threading.Thread):
        def run(self) -> None:
            desk.send("from a subclass")

    with journal.run("first"):
        worker = Worker()
        worker.start()
        worker.join()
        assert "run" not in vars(worker)
        with pytest.raises(RuntimeError, match="once"):
            worker.start()
        assert "run" not in vars(worker)
        plain: Any = threading.Thread()
        plain.run = own = desk.call("own")
        plain.start()
        plain.join()
        assert plain.run is own
    assert len(sends(journal, "first")) == 2


def test_the_hooks_come_with_the_first_run_and_go_when_asked(journal: Journal) -> None:
    _threads.stop_handing_on()
    plain = (threading.Thread.start, ThreadPoolExecutor.submit)
    with journal.run("first"):
        hooked = (threading.Thread.start, ThreadPoolExecutor.submit)
        _threads.stop_handing_on()
        assert hooked == (threading.Thread.start, ThreadPoolExecutor.submit)
    assert all(hook.__wrapped__ is method for hook, method in zip(hooked, plain, strict=True))  # type: ignore[attr-defined]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: _threads.hand_on_to_threads(), range(8)))
    _threads.stop_handing_on()
    _threads.stop_handing_on()
    assert plain == (threading.Thread.start, ThreadPoolExecutor.submit)


def test_hooks_that_somebody_wrapped_stay(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with journal.run("first"):
        pass
    ours = threading.Thread.start

    def start(self: threading.Thread) -> None:
        ours(self)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        _threads.stop_handing_on()
        assert threading.Thread.start is start
    _threads.stop_handing_on()
    assert threading.Thread.start is not ours


# Other processes.


def _send_in_child(to: str) -> str:
    @step(name="send", effect="write")
    def send(to: str) -> str:
        return f"sent to {to}"

    return send(to)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_pool_inherits_nothing(journal: Journal, method: str) -> None:
    with journal.run("first"), ProcessPoolExecutor(1, get_context(method)) as pool:
        assert pool.submit(_send_in_child, "a").result(60) == "sent to a"
    assert journal.steps("first") == []


# Real kills.

KILLED = """
from concurrent.futures import ThreadPoolExecutor

@step(effect="write")
def send(to):
    note(to)
    return to

def by_pool():
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(send, "abcdef"))

def by_threads():
    threads = [threading.Thread(target=send, args=to) for to in "abcdef"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

def by_tasks():
    async def main():
        await asyncio.gather(*[asyncio.to_thread(send, to) for to in "abcdef"])
    asyncio.run(main())

WAY, _, WORD = WORD.partition(" ")
with Journal(DB) as journal, journal.run("r"):
    @step
    def around():
        globals()["by_" + WAY]()
        die_at("inside the step")
        globals()["by_" + WAY]()
    around()
    die_at("after the step")
"""


@pytest.mark.parametrize("way", ["pool", "threads", "tasks"])
@pytest.mark.parametrize("place", ["inside the step", "after the step"])
def test_after_a_kill_the_calls_of_threads_are_replayed(world: World, way: str, place: str) -> None:
    world.kill(KILLED, die_at=f"{way} {place}")
    world.run(KILLED, f"{way} nowhere")
    assert sorted(world.ledger()) == sorted("abcdef" * 2)
