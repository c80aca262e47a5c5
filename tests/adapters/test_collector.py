"""The garbage collector: it rests while a checkpoint is read, and is afterwards as it was."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from rowtrail.errors import UsageError
from rowtrail_langgraph import RowtrailSaver
from rowtrail_langgraph.saver._collector import collector
from tests.adapters._savers import QUICK, checkpoint, thread

SET = (700, 11, 12)
"""Thresholds that no Python begins with."""


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*SET)
    yield
    gc.set_threshold(*before)


def test_a_long_thread_is_read_without_a_collection(db: Path) -> None:
    values: list[Any] = [HumanMessage(str(n), id=str(n)) for n in range(3_000)]
    with RowtrailSaver(db, **QUICK) as saver:
        saver.put(thread(), checkpoint({"items": values}), {}, {})
        seen: list[str] = []

        def collected(phase: str, info: dict[str, int]) -> None:
            if gc.get_threshold()[0] == 0:
                seen.append(f"{phase} {info['generation']}")

        gc.callbacks.append(collected)
        try:
            for _ in range(3):
                found = saver.get_tuple(thread())
                assert found is not None
                assert found.checkpoint["channel_values"]["items"] == values
                assert gc.get_threshold() == SET
        finally:
            gc.callbacks.remove(collected)
    assert seen == []


def test_it_runs_again_where_reading_fails(db: Path) -> None:
    with RowtrailSaver(db, **QUICK) as saver, pytest.raises(UsageError):
        saver.get_tuple({"configurable": {}})
    assert gc.get_threshold() == SET

    def stopped() -> None:
        assert gc.get_threshold()[0] == 0
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            collector.paused(stopped)
        assert gc.get_threshold() == SET


def test_a_pause_is_not_prolonged_by_another() -> None:
    inside, done = threading.Event(), threading.Event()

    def linger() -> None:
        inside.set()
        done.wait()

    other = threading.Thread(target=collector.paused, args=(linger,))

    def pauses() -> None:
        collector.paused(lambda: None)
        assert gc.get_threshold()[0] == 0
        other.start()
        inside.wait()

    collector.paused(pauses)

    assert gc.get_threshold() == SET  # though the other goes on
    done.set()
    other.join()
    assert gc.get_threshold() == SET


@pytest.mark.parametrize("enabled", [True, False])
def test_what_the_program_sets_meanwhile_stays(enabled: bool) -> None:
    def sets() -> None:
        (gc.enable if enabled else gc.disable)()
        gc.set_threshold(900, 5, 5)

    try:
        collector.paused(sets)
        assert gc.isenabled() is enabled
        assert gc.get_threshold() == (900, 5, 5)
    finally:
        gc.enable()


def test_a_program_without_a_collector_keeps_none() -> None:
    gc.set_threshold(0)
    collector.paused(lambda: None)
    assert gc.get_threshold()[0] == 0


def test_threads_that_read_at_once_leave_it_running(db: Path) -> None:
    values: list[Any] = [HumanMessage(str(n), id=str(n)) for n in range(200)]
    with RowtrailSaver(db, **QUICK) as saver:
        saver.put(thread(), checkpoint({"items": values}), {}, {})
        threads = [
            threading.Thread(target=lambda: [saver.get_tuple(thread()) for _ in range(50)])
            for _ in range(8)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert gc.get_threshold() == SET


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_runs_in_a_child_that_was_forked_meanwhile() -> None:
    def fork() -> int:
        child = os.fork()
        if child == 0:
            is_restored = gc.get_threshold() == SET
            is_paused = collector.paused(gc.get_threshold)[0] == 0
            os._exit(0 if is_restored and is_paused else 1)
        assert gc.get_threshold()[0] == 0
        return child

    child = collector.paused(fork)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert gc.get_threshold() == SET
