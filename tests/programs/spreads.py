"""The ways in which a node spreads calls over threads, and waits for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from langchain_core.runnables import RunnableLambda, RunnableParallel
from langchain_core.runnables.config import ContextThreadPoolExecutor, run_in_executor

Call = Callable[[], Any]
Calls = Sequence[Call]


def in_pool(calls: Calls) -> None:
    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(call) for call in calls]:
            future.result()


def in_threads(calls: Calls) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_langchains_pool(calls: Calls) -> None:
    with ContextThreadPoolExecutor(2) as pool:
        list(pool.map(_made, calls))


def in_parallel(calls: Calls) -> None:
    steps: Any = {f"call {n}": _step(call) for n, call in enumerate(calls)}
    RunnableParallel(steps).invoke({})


def in_a_batch(calls: Calls) -> None:
    one: RunnableLambda[int, Any] = RunnableLambda(lambda n: calls[n]())
    one.batch(list(range(len(calls))))


def in_a_pool_of_a_pool(calls: Calls) -> None:
    with ThreadPoolExecutor(1) as outer, ThreadPoolExecutor(2) as inner:
        outer.submit(lambda: list(inner.map(_made, calls))).result()


def in_a_pool_of_a_thread(calls: Calls) -> None:
    worker = threading.Thread(target=in_langchains_pool, args=(calls,))
    worker.start()
    worker.join()


async def in_executor(calls: Calls) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.gather(*(loop.run_in_executor(None, call) for call in calls))


async def in_langchains_executor(calls: Calls) -> None:
    await asyncio.gather(*(run_in_executor(None, call) for call in calls))


async def in_tasks(calls: Calls) -> None:
    async with asyncio.TaskGroup() as group:
        for call in calls:
            group.create_task(asyncio.to_thread(call))


SPREADS: dict[str, Callable[[Calls], Any]] = {
    "pool": in_pool,
    "threads": in_threads,
    "langchain's pool": in_langchains_pool,
    "parallel": in_parallel,
    "batch": in_a_batch,
    "pool of a pool": in_a_pool_of_a_pool,
    "pool of a thread": in_a_pool_of_a_thread,
    "executor": in_executor,
    "langchain's executor": in_langchains_executor,
    "tasks": in_tasks,
}

ASYNC_SPREADS = ("executor", "langchain's executor", "tasks")


def _made(call: Call) -> Any:
    return call()


def _step(call: Call) -> RunnableLambda[Any, Any]:
    return RunnableLambda(lambda _: call())
