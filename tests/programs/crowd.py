"""Threads and coroutines of one process among several, all on one journal."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import rowtrail
from rowtrail import Journal
from rowtrail_langgraph import RowtrailSaver
from tests._forks import serve
from tests.programs.scenes import put_messages, texts, whole

THREADS, TASKS, STEPS = 3, 3, 5


@rowtrail.step(name="note")
def note(text: str) -> str:
    return f"noted {text}"


@rowtrail.step(name="anote", kind="tool")
async def anote(text: str) -> str:
    await asyncio.sleep(0.001)
    return f"noted {text}"


def write(command: dict[str, Any]) -> None:
    """Write from threads and from coroutines, and read it all back."""
    name, path = command["name"], command["path"]
    failures: list[BaseException] = []
    with RowtrailSaver(path) as saver:

        def in_thread(number: int) -> None:
            try:
                with saver.journal.run(f"{name} thread {number}"):
                    for n in range(STEPS):
                        assert note(f"{name} {number} {n}") == f"noted {name} {number} {n}"
                put_messages(saver, f"{name} {number}", range(STEPS))
            except BaseException as error:
                failures.append(error)

        async def in_task(number: int) -> None:
            async with saver.journal.run(f"{name} task {number}"):
                texts_noted = (anote(f"{name} {number} {n}") for n in range(STEPS))
                assert len(await asyncio.gather(*texts_noted)) == STEPS

        async def in_tasks() -> None:
            await asyncio.gather(*map(in_task, range(TASKS)))

        workers = [threading.Thread(target=in_thread, args=(n,)) for n in range(THREADS)]
        for worker in workers:
            worker.start()
        asyncio.run(in_tasks())
        for worker in workers:
            worker.join()
        assert failures == []
        for number in range(THREADS):
            assert texts(saver, f"{name} {number}") == [f"m{n}" for n in range(STEPS)]


def look(command: dict[str, Any]) -> None:
    """Read, and prune, until the others are done."""
    folder = Path(command["path"]).parent
    with RowtrailSaver(command["path"]) as saver:
        put_messages(saver, "other", range(8))
        while len(list(folder.glob("*.done"))) < command["writers"]:
            saver.journal.prune(keep=3)
            steps = saver.journal.sql("SELECT count(*), count(DISTINCT step_id) FROM steps").rows
            assert steps[0][0] == steps[0][1]
            whole(saver)
            time.sleep(0.01)


def run(command: dict[str, Any]) -> None:
    if command["part"] == "look":
        look(command)
        return
    try:
        write(command)
    finally:
        Path(command["path"]).with_name(f"{command['name']}.done").touch()


if __name__ == "__main__":
    with Journal(":memory:") as journal, journal.run("imports what is needed"):
        asyncio.run(asyncio.sleep(0))
    serve(run)
