"""Coroutines that wait for transactions: outcomes of one commit arrive together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rowtrail import Journal
from rowtrail.engine import Store, Tx


@pytest.fixture
def store(db: Path) -> Iterator[Store]:
    with Journal(db, durability="normal") as journal:
        yield journal.store


def held(store: Store) -> threading.Event:
    """Make the writer wait, so that what is queued next goes into one commit."""
    go = threading.Event()
    store.submit(lambda tx: go.wait(60))
    return go


async def test_every_coroutine_gets_its_own_outcome(store: Store) -> None:
    def work(number: int) -> int:
        if number % 7 == 3:
            raise LookupError(number)
        return number

    for _ in range(5):
        waiting = [store.awrite(lambda tx, n=n: work(n)) for n in range(100)]  # type: ignore[misc]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)

        for number, outcome in enumerate(outcomes):
            if number % 7 == 3:
                assert isinstance(outcome, LookupError)
                assert outcome.args == (number,)
            else:
                assert outcome == number


async def test_one_commit_wakes_the_loop_far_less_than_once_for_each(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, wakes = asyncio.get_running_loop(), []
    call_soon = loop.call_soon_threadsafe

    def counted(*args: object, **kwargs: object) -> asyncio.Handle:
        wakes.append(args)
        return call_soon(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    go = held(store)
    tasks = [asyncio.create_task(store.awrite(lambda tx: 1)) for _ in range(200)]
    await asyncio.sleep(0)
    go.set()

    assert sum(await asyncio.gather(*tasks)) == 200
    assert len(wakes) < 100


async def test_work_of_a_cancelled_task_is_committed_and_the_others_go_on(store: Store) -> None:
    done: list[int] = []

    def work(tx: Tx, number: int) -> int:
        done.append(number)
        return number

    go = held(store)
    tasks = [
        asyncio.create_task(store.awrite(lambda tx, n=n: work(tx, n)))  # type: ignore[misc]
        for n in range(10)
    ]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert outcomes[1::2] == [1, 3, 5, 7, 9]
    assert all(isinstance(each, asyncio.CancelledError) for each in outcomes[::2])
    assert done == [*range(10)]


def test_a_loop_that_ended_holds_nobody_up(store: Store) -> None:
    go = held(store)

    async def leave() -> None:
        task = asyncio.create_task(store.awrite(lambda tx: 1))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    go.set()

    async def again() -> int:
        return await store.awrite(lambda tx: 2)

    assert asyncio.run(again()) == 2
    assert store.write(lambda tx: 3) == 3


def test_loops_of_several_threads_share_a_store(store: Store) -> None:
    found: dict[int, list[int]] = {}

    async def write(number: int) -> None:
        values = (store.awrite(lambda tx, n=n: n) for n in range(50))  # type: ignore[misc]
        found[number] = [*await asyncio.gather(*values)]

    threads = [threading.Thread(target=lambda n=n: asyncio.run(write(n))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == {number: [*range(50)] for number in range(4)}
