"""Steps in threads and tasks: to which run they belong, and what a cancellation leaves."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import Any

import pytest

from rowtrail import Journal, current_step, step
from rowtrail.journal import Call, Request, active_scope, begin_call, end_attempt, fingerprint_of
from tests.plugin.conftest import Agent

pytestmark = pytest.mark.both_engines

WORDS = [f"word {n}" for n in range(12)]
SAME = ["the same"] * 12
Spread = Callable[[Callable[[str], str], Iterable[str]], list[str]]


def by_pool(work: Callable[[str], str], words: Iterable[str]) -> list[str]:
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(work, words))


def by_thread_pool(work: Callable[[str], str], words: Iterable[str]) -> list[str]:
    with ThreadPool(4) as pool:
        return pool.map(work, words)


def by_threads(work: Callable[[str], str], words: Iterable[str]) -> list[str]:
    results: dict[int, str] = {}

    def keep(n: int, word: str) -> None:
        results[n] = work(word)

    threads = [threading.Thread(target=keep, args=each) for each in enumerate(words)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[n] for n in sorted(results)]


def by_event_loop(work: Callable[[str], str], words: Iterable[str]) -> list[str]:
    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        in_pool = [loop.run_in_executor(None, work, word) for word in words]
        return list(await asyncio.gather(*in_pool))

    return asyncio.run(main())


def by_to_thread(work: Callable[[str], str], words: Iterable[str]) -> list[str]:
    async def main() -> list[str]:
        return list(await asyncio.gather(*(asyncio.to_thread(work, word) for word in words)))

    return asyncio.run(main())


every_way = pytest.mark.parametrize(
    "spread", [by_pool, by_thread_pool, by_threads, by_event_loop, by_to_thread]
)


@every_way
@pytest.mark.parametrize("words", [WORDS, SAME], ids=["different", "identical"])
def test_steps_in_threads_belong_to_the_run(
    journal: Journal, agent: Agent, spread: Spread, words: list[str]
) -> None:
    for _ in range(2):
        with journal.run("r"):
            assert spread(agent.think, words) == [f"thought about {word}" for word in words]
    assert sorted(agent.made) == sorted(words)
    rows = journal.steps("r")
    assert [row["replays"] for row in rows] == [1] * len(words)
    assert [row["seq"] for row in rows] == list(range(1, len(words) + 1))


@every_way
def test_threads_inside_a_step_belong_to_it(journal: Journal, agent: Agent, spread: Spread) -> None:
    @step(kind="tool")
    def team() -> list[str]:
        return spread(agent.think, WORDS)

    with journal.run("r"):
        team()
    first, *rest = journal.steps("r")
    assert {row["parent_id"] for row in rest} == {first["step_id"]}
    assert len(rest) == len(WORDS)


def test_a_pool_serves_each_caller_in_its_own_run(journal: Journal, agent: Agent) -> None:
    with ThreadPoolExecutor(2) as pool:
        with journal.run("one"):
            pool.submit(agent.think, "in one").result()
        pool.submit(agent.think, "outside").result()
        with journal.run("two"):
            pool.submit(agent.think, "in two").result()
    assert agent.made == ["in one", "outside", "in two"]
    assert len(journal.steps("one")) == len(journal.steps("two")) == 1


def test_threads_of_others_do_not_belong_to_a_run(journal: Journal, agent: Agent) -> None:
    begin, done = threading.Event(), threading.Event()

    def elsewhere() -> None:
        begin.wait(60)
        agent.think("elsewhere")
        done.set()

    thread = threading.Thread(target=elsewhere)
    thread.start()
    with journal.run("r"):
        begin.set()
        done.wait(60)
    thread.join()
    assert journal.steps("r") == []


@pytest.mark.parametrize("words", [WORDS, SAME], ids=["different", "identical"])
def test_gathered_steps_are_replayed_in_any_order(journal: Journal, words: list[str]) -> None:
    made: list[str] = []

    @step
    async def think(word: str) -> str:
        made.append(word)
        number = len(made)
        await asyncio.sleep(random.Random(word).random() / 50)
        return f"{word}: {number}"

    async def main(order: list[str]) -> list[str]:
        async with journal.run("r"):
            return await asyncio.gather(*(think(word) for word in order))

    first = asyncio.run(main(words))
    again = asyncio.run(main(words[::-1]))
    assert sorted(made) == sorted(words)
    assert sorted(again) == sorted(first)
    if words is WORDS:
        assert again == first[::-1]  # each request has its own answer


def test_steps_of_parallel_steps_do_not_mix(journal: Journal, agent: Agent) -> None:
    @step(kind="tool")
    async def team(name: str) -> list[str]:
        return list(await asyncio.gather(*(agent.athink("the same") for _ in range(3))))

    async def main() -> None:
        async with journal.run("r"):
            await asyncio.gather(*(team(name) for name in "abc"))

    asyncio.run(main())
    rows = {row["step_id"]: row for row in journal.steps("r")}
    scopes = [row["scope"] for row in rows.values() if row["kind"] == "llm"]
    assert {scopes.count(scope) for scope in scopes} == {3}
    assert len(set(scopes)) == 3


# Cancelled.


class Held:
    """Keeps the writer busy, so that a cancellation comes while a commit waits."""

    def __init__(self, journal: Journal) -> None:
        self.release = threading.Event()
        begun = threading.Event()

        def work(_tx: Any) -> None:
            begun.set()
            assert self.release.wait(60)

        journal.store.submit(work)
        assert begun.wait(60)


def test_an_answer_is_kept_when_its_task_is_cancelled_while_it_is_recorded(
    journal: Journal,
) -> None:
    paid: list[str] = []
    held: list[Held] = []

    @step(kind="llm")
    async def ask(prompt: str) -> str:
        paid.append(prompt)
        held.append(Held(journal))
        return "answer"

    async def main() -> None:
        async with journal.run("r"):
            task = asyncio.ensure_future(ask("a"))
            while not held:  # noqa: ASYNC110 - the step runs on this loop
                await asyncio.sleep(0.01)
            task.cancel()
            asyncio.get_running_loop().call_later(0.05, held[0].release.set)
            with pytest.raises(asyncio.CancelledError):  # once the answer is recorded
                await task
            asyncio.get_running_loop().call_later(0.1, lambda: held[1].release.set())  # noqa: PLW0108
            assert await ask("b") == "answer"

    asyncio.run(main())
    statuses = [(row["status"], row["output"]) for row in journal.steps("r")]
    assert statuses == [("done", '"answer"')] * 2
    assert paid == ["a", "b"]


@pytest.mark.parametrize("effect", ["read", "write"])
def test_a_step_cancelled_before_it_was_made_is_not_in_doubt(journal: Journal, effect: Any) -> None:
    sent: list[str] = []

    @step(effect=effect)
    async def send(to: str) -> str:
        sent.append(to)
        return f"sent to {to}"

    async def cancelled() -> None:
        async with journal.run("r"):
            held = Held(journal)
            task = asyncio.ensure_future(send("a"))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            held.release.set()

    async def resumed() -> str:
        async with journal.run("r"):
            return await send("a")

    asyncio.run(cancelled())
    assert sent == []
    assert asyncio.run(resumed()) == "sent to a"
    first, second = journal.steps("r")
    assert (first["status"], first["reason"]) == ("superseded", "cancelled before it was made")
    assert second["status"] == "done"


def test_siblings_of_a_failed_task_are_made_again_and_nothing_else(journal: Journal) -> None:
    made: list[str] = []

    @step(kind="llm")
    async def ask(prompt: str) -> str:
        made.append(prompt)
        if prompt == "bad" and made.count("bad") == 1:
            await asyncio.sleep(0.05)
            raise TimeoutError
        if prompt == "slow" and made.count("slow") == 1:
            await asyncio.sleep(10)
        return prompt.upper()

    async def main() -> list[str]:
        async with journal.run("r"), asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(prompt)) for prompt in ("good", "bad", "slow")]
        return [task.result() for task in tasks]

    with pytest.raises(ExceptionGroup):
        asyncio.run(main())
    assert asyncio.run(main()) == ["GOOD", "BAD", "SLOW"]
    assert sorted(made) == ["bad", "bad", "good", "slow", "slow"]


def test_a_coroutine_that_is_closed_leaves_its_step_in_doubt(journal: Journal) -> None:
    @step(effect="write")
    async def send() -> None:
        await asyncio.sleep(10)

    async def main() -> None:
        async with journal.run("r"):
            coroutine = send()
            waiting = coroutine.send(None)  # driven by hand, to the write of its row
            waiting._asyncio_future_blocking = False
            await waiting
            coroutine.send(None)  # and into its body
            coroutine.close()

    asyncio.run(main())
    assert [row["status"] for row in journal.steps("r")] == ["in_doubt"]


# Left behind.


def test_a_task_that_a_run_left_behind_is_not_recorded_and_says_so(
    journal: Journal, agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    async def later(left: asyncio.Event) -> str:
        await left.wait()
        return await agent.athink("late")

    async def main() -> str:
        left = asyncio.Event()
        async with journal.run("r"):
            task = asyncio.ensure_future(later(left))
            await asyncio.sleep(0)
        left.set()
        return await task

    with caplog.at_level(logging.WARNING, "rowtrail"):
        assert asyncio.run(main()) == "thought about late"
    assert journal.steps("r") == []
    assert ["left behind" in record.getMessage() for record in caplog.records] == [True]


def test_a_step_in_flight_when_its_run_ends_goes_on_until_it_is_done(journal: Journal) -> None:
    entered, release = threading.Event(), threading.Event()

    @step(effect="write")
    def send() -> str:
        entered.set()
        assert release.wait(60)
        return "sent"

    with journal.run("r"):
        thread = threading.Thread(target=send)
        thread.start()
        assert entered.wait(60)
    assert [row["status"] for row in journal.steps("r")] == ["running"]
    release.set()
    thread.join()
    (row,) = journal.steps("r")
    assert (row["status"], row["output"]) == ("done", '"sent"')


def test_a_run_may_be_left_in_another_task_than_it_was_entered(
    journal: Journal, agent: Agent
) -> None:
    async def main() -> None:
        run = journal.run("r")
        await asyncio.create_task(run.__aenter__())
        await asyncio.create_task(run.__aexit__(None, None, None))
        agent.think("outside")

    asyncio.run(main())
    assert [run["status"] for run in journal.runs()] == ["done"]
    assert journal.steps("r") == []


def test_nothing_of_a_run_is_kept_alive_after_it(journal: Journal) -> None:
    import weakref

    class Large:
        """What an argument may drag along."""

    @step(key=lambda large: "large")
    def look(large: Large) -> None:
        current_step()
        raise LookupError

    large = Large()
    gone = weakref.ref(large)
    with journal.run("r"), pytest.raises(LookupError):
        look(large)
    del large
    journal.store.write(lambda tx: None)
    gc.collect()
    assert gone() is None


def test_a_call_is_usable_without_the_decorator(journal: Journal) -> None:
    def begin() -> Call:
        scope = attempt.scope("node", node="node")
        codec = attempt.codec
        request = Request(
            kind="tool",
            name="look",
            fingerprint=fingerprint_of("tool", "look", {"at": 1}),
            encode=lambda: attempt.prepare(codec.encode({"at": 1})),
            tool_call_id="call_1",
        )
        return begin_call(scope, request)

    from rowtrail.journal import Beginning

    for expected in (False, True):
        attempt = journal.attempt(Beginning("name", "r", thread_id="t", agent="a"))
        call = begin()
        assert call.replayed is expected
        if not call.replayed:
            with call.running():
                assert current_step().attempt == 1
            call.complete("saw it")
        else:
            assert call.result == "saw it"
        end_attempt(attempt, "done")
    (row,) = journal.steps("r")
    assert (row["node"], row["scope"], row["tool_call_id"]) == ("node", "node", "call_1")
    assert (row["thread_id"], row["replays"]) == ("t", 1)


def test_a_block_that_is_dropped_is_left(journal: Journal) -> None:
    with journal.run("r"):
        scope = active_scope()
        assert scope is not None
        asked = scope.attempt.prepare(scope.attempt.codec.encode({}))
        known_by = fingerprint_of("function", "look", {})
        call = begin_call(scope, Request("function", "look", known_by, lambda: asked))
        with call.running():
            assert active_scope() is not scope
        assert active_scope() is scope
        running = call.running()
        running.__enter__()  # and Ctrl-C as `__exit__` is called
        inside = active_scope()
        del running
        assert active_scope() is scope is not inside
        call.complete(1)
