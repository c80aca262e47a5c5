"""Many callers at once: threads, event loops, savers and processes on one file."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from rowtrail.errors import ClosedError
from rowtrail_langgraph import RowtrailSaver
from tests.adapters._savers import QUICK, checkpoint, ids, thread
from tests.conftest import Child

TURNS = 12


def talk(saver: RowtrailSaver, name: str, turns: int = TURNS) -> None:
    """Put checkpoints one on the other, each with one message more."""
    config: Any = thread(name)
    messages: list[Any] = []
    for number in range(turns):
        messages = [*messages, HumanMessage(f"{name} {number}", id=f"{number}")]
        config = saver.put(config, checkpoint({"messages": messages}), {"step": number}, {})
        saver.put_writes(config, [("messages", messages[-1:])], f"task {number}")


async def atalk(saver: RowtrailSaver, name: str, turns: int = TURNS) -> None:
    config: Any = thread(name)
    messages: list[Any] = []
    for number in range(turns):
        messages = [*messages, HumanMessage(f"{name} {number}", id=f"{number}")]
        stored = checkpoint({"messages": messages})
        config = await saver.aput(config, stored, {"step": number}, {})
        await saver.aput_writes(config, [("messages", messages[-1:])], f"task {number}")


def said(saver: RowtrailSaver, name: str, turns: int = TURNS) -> None:
    """Check that a whole conversation is there, in order."""
    found = [*saver.list(thread(name))]
    assert len(found) == turns
    assert ids(found) == sorted(ids(found), reverse=True)
    for number, each in enumerate(found[::-1]):
        messages = each.checkpoint["channel_values"]["messages"]
        assert [message.content for message in messages] == [
            f"{name} {n}" for n in range(number + 1)
        ]
        assert each.pending_writes == [(f"task {number}", "messages", messages[-1:])]


def in_threads(*work: Callable[[], Any]) -> None:
    with ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(each) for each in work]:
            done.result(60)


def test_threads_and_event_loops_share_a_saver(db: Path) -> None:
    with RowtrailSaver(db, **QUICK) as saver:

        async def several(name: str) -> None:
            await asyncio.gather(*(atalk(saver, f"{name} {n}") for n in range(3)))

        in_threads(
            lambda: talk(saver, "thread a"),
            lambda: talk(saver, "thread b"),
            lambda: asyncio.run(several("loop a")),
            lambda: asyncio.run(several("loop b")),
        )

        for name in ("thread a", "thread b", *(f"loop {x} {n}" for x in "ab" for n in range(3))):
            said(saver, name)


def test_savers_on_one_file_see_one_another_at_once(db: Path) -> None:
    with RowtrailSaver(db, **QUICK) as first, RowtrailSaver(str(db), **QUICK) as second:
        in_threads(
            lambda: talk(first, "first"),
            lambda: talk(second, "second"),
            lambda: asyncio.run(atalk(first, "third")),
        )
        for name in ("first", "second", "third"):
            said(first, name)
            said(second, name)

        # Both go on from one list, in turns: what each remembers of it is not the newest.
        for number in range(6):
            saver = (first, second)[number % 2]
            found = saver.get_tuple(thread("shared"))
            before = found.checkpoint["channel_values"]["items"] if found else []
            saver.put(thread("shared"), checkpoint({"items": [*before, number]}), {}, {})
        found = first.get_tuple(thread("shared"))
        assert found is not None
        assert found.checkpoint["channel_values"]["items"] == [*range(6)]


def test_one_of_two_savers_may_close(db: Path) -> None:
    first, second = RowtrailSaver(db, **QUICK), RowtrailSaver(db, **QUICK)
    first.put(thread(), checkpoint({"n": 1}), {}, {})
    first.close()
    first.close()

    second.put(thread(), checkpoint({"n": 2}), {}, {})
    assert len([*second.list(None)]) == 2
    second.close()
    with pytest.raises(ClosedError):
        second.get_tuple(thread())


def test_a_thread_that_several_write_keeps_every_checkpoint(db: Path) -> None:
    with RowtrailSaver(db, **QUICK) as saver:

        def write(name: int) -> None:
            for number in range(10):
                items = [f"{name}", *range(number)]
                saver.put(thread(), checkpoint({"items": items}), {"of": name, "n": number}, {})  # type: ignore[typeddict-unknown-key]

        in_threads(*(lambda name=name: write(name) for name in range(5)))

        found = [*saver.list(thread())]
        assert len(found) == 50
        for each in found:
            metadata: Any = each.metadata
            expected = [f"{metadata['of']}", *range(metadata["n"])]
            assert each.checkpoint["channel_values"]["items"] == expected


WRITER = """
    import sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[3])
    from rowtrail_langgraph import RowtrailSaver
    from tests.adapters._savers import QUICK, checkpoint, thread
    from tests.adapters.test_saver_concurrency import talk
    with RowtrailSaver(sys.argv[1], **QUICK) as saver:
        print("ready", flush=True)
        sys.stdin.readline()
        talk(saver, sys.argv[2])
        for number in range(20):
            saver.put(thread("shared"), checkpoint({"items": [sys.argv[2], number]}), {}, {})
"""
ROOT = str(Path(__file__).parents[2])


def test_processes_write_one_file_at_once(db: Path) -> None:
    names = ["one", "two", "three"]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(db), name, ROOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for each in running:
        assert each.stdout is not None
        each.stdout.readline()
    for each in running:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    with RowtrailSaver(db, **QUICK) as saver:
        talk(saver, "parent")
        for each in running:
            _, errors = each.communicate(timeout=60)
            assert each.returncode == 0, errors

        for name in ("parent", *names):
            said(saver, name)
        shared = [
            each.checkpoint["channel_values"]["items"] for each in saver.list(thread("shared"))
        ]
        assert sorted(shared) == sorted([name, number] for name in names for number in range(20))


async def test_a_cancelled_task_leaves_the_saver_whole(db: Path) -> None:
    async with RowtrailSaver(db, **QUICK) as saver:
        tasks = [asyncio.create_task(atalk(saver, f"task {n}", 50)) for n in range(5)]
        await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)

        assert any(isinstance(result, asyncio.CancelledError) for result in results)
        for each in [found async for found in saver.alist(None)]:
            messages = each.checkpoint["channel_values"]["messages"]
            assert [message.id for message in messages] == [f"{n}" for n in range(len(messages))]
        await atalk(saver, "after")
        await asyncio.to_thread(said, saver, "after")


def test_a_saver_that_nobody_closed_warns_and_has_lost_nothing(db: Path) -> None:
    saver = RowtrailSaver(db, **QUICK)
    talk(saver, "left open")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del saver
        gc.collect()

    ours = [each for each in caught if "the journal" in str(each.message)]
    assert [each.category for each in ours] == [ResourceWarning]
    assert "close()" in str(ours[0].message)
    with RowtrailSaver(db, **QUICK) as again:
        said(again, "left open")


def test_python_ends_with_a_saver_open_and_loses_nothing(db: Path, child: Child) -> None:
    code = f"""
        import sys
        sys.path.insert(0, {ROOT!r})
        from rowtrail_langgraph import RowtrailSaver
        from tests.adapters._savers import QUICK
        from tests.adapters.test_saver_concurrency import talk
        saver = RowtrailSaver(sys.argv[1], **QUICK)
        talk(saver, "left open")
    """
    child(textwrap.dedent(code), db)

    with RowtrailSaver(db, **QUICK) as saver:
        said(saver, "left open")


def test_closing_waits_for_what_is_under_way(db: Path) -> None:
    saver = RowtrailSaver(db, **QUICK)
    put: list[int] = []
    started = threading.Event()

    def write() -> None:
        for number in range(10_000):
            try:
                saver.put(thread(), checkpoint({"n": number}), {}, {})
            except ClosedError:
                return
            put.append(number)
            started.set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        assert started.wait(30)
        saver.close()
        writing.result(60)

    with RowtrailSaver(db, **QUICK) as again:
        found = [each.checkpoint["channel_values"]["n"] for each in again.list(None)]
    assert found[::-1] == put
