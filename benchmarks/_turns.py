"""A long conversation: bytes of the file, time of `saver.put`, time of a whole turn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks._conversation import (
    DELTA_CHANNEL,
    REPLACE_EVERY,
    ROWTRAIL_CALLS,
    ROWTRAIL_SAVER,
    SQLITE_SAVER,
    Contender,
    Conversation,
    Script,
    Shape,
    converse,
)
from benchmarks._progress import tell
from benchmarks._row import ROWTRAIL, Bar, Row
from benchmarks._scratch import remove_database
from benchmarks._size import Size

WORKLOAD = "turns"
SQLITE, DELTA = SQLITE_SAVER.name, DELTA_CHANNEL.name
APPEND = "append on rowtrail"
FIRST = "its first turns"
MB = 1_000_000

TIMED: tuple[tuple[Contender, Shape], ...] = (
    (ROWTRAIL_SAVER, "append"),
    (SQLITE_SAVER, "append"),
    (DELTA_CHANNEL, "append"),
)
ONCE: tuple[tuple[Contender, Shape], ...] = (
    (ROWTRAIL_CALLS, "append"),
    (ROWTRAIL_SAVER, "trim"),
    (SQLITE_SAVER, "trim"),
    (ROWTRAIL_SAVER, "replace"),
    (ROWTRAIL_SAVER, "fork"),
)
"""Measured for their bytes, which are the same in every round."""


@dataclass(frozen=True)
class Key:
    """One variant of the conversation."""

    contender: str
    shape: Shape
    calls_model: bool


Runs = dict[Key, list[Conversation]]


def measure(
    size: Size, folder: Path, _: Path | None
) -> tuple[list[Row], dict[str, list[list[float]]]]:
    """Return the rows, and the curves of the plot: [turn, bytes, seconds of a turn] by name."""
    runs: Runs = defaultdict(list)
    for round_number in range(size.turn_rounds):
        for contender, shape in _order(round_number):
            key = Key(contender.name, shape, contender.calls_model)
            calls = " with LLM calls" if contender.calls_model else ""
            tell(
                f"turns: round {round_number + 1} of {size.turn_rounds}: {shape} on "
                f"{contender.name}{calls}, {size.turns} turns"
            )
            path = folder / "conversation.db"
            runs[key].append(converse(contender, shape, size.turns, path))
            remove_database(path)
    _refuse_different_work(runs)
    rows = [*_byte_rows(runs, size), *_time_rows(runs, size)]
    return rows, _curves(runs)


def _order(round_number: int) -> Iterator[tuple[Contender, Shape]]:
    turned = round_number % len(TIMED)
    yield from (*TIMED[turned:], *TIMED[:turned])
    if round_number == 0:
        yield from ONCE


def _refuse_different_work(runs: Runs) -> None:
    for shape in ("append", "trim", "replace", "fork"):
        digests = {run.digest for key, done in runs.items() if key.shape == shape for run in done}
        if len(digests) != 1:
            raise RuntimeError(f"the contenders ended {shape!r} with different messages")


def _byte_rows(runs: Runs, size: Size) -> Iterator[Row]:
    def sizes(contender: str, shape: Shape, calls: bool = False) -> list[float]:
        return [float(run.bytes) for run in runs[Key(contender, shape, calls)]]

    append = sizes(ROWTRAIL, "append")
    yield Row(
        WORKLOAD,
        f"bytes, {size.turns} turns of 2 x 500 B",
        "bytes",
        {ROWTRAIL: append, SQLITE: sizes(SQLITE, "append"), DELTA: sizes(DELTA, "append")},
        (
            Bar("at most", 4 * MB),
            Bar("at most", 1 / 500, of=SQLITE),
            Bar("below", 1.0, of=DELTA),
        ),
        note="the file with its WAL truncated",
    )
    yield Row(
        WORKLOAD,
        "bytes, every LLM call journaled",
        "bytes",
        {ROWTRAIL: sizes(ROWTRAIL, "append", True), f"{SQLITE}, no calls": sizes(SQLITE, "append")},
        (Bar("at most", 6 * MB),),
        note="each request holds the whole history",
    )
    for shape, what in _shapes(size).items():
        yield Row(
            WORKLOAD,
            what,
            "bytes",
            {
                ROWTRAIL: sizes(ROWTRAIL, shape),
                APPEND: append[:1],
                **({SQLITE: sizes(SQLITE, shape)} if shape == "trim" else {}),
            },
            (Bar("at most", 1.5, of=APPEND),),
        )


def _shapes(size: Size) -> dict[Shape, str]:
    script = Script("append", size.turns)
    return {
        "trim": f"bytes, trimmed to the last {script.keep}",
        "replace": f"bytes, an old message replaced every {REPLACE_EVERY} turns",
        "fork": f"bytes, a fork every {script.fork_every} turns",
    }


def _time_rows(runs: Runs, size: Size) -> Iterator[Row]:
    many, few = max(1, size.turns // 10), max(1, size.turns // 50)
    mine = runs[Key(ROWTRAIL, "append", False)]
    peers = {name: runs[Key(name, "append", False)] for name in (SQLITE, DELTA)}
    end, start, tail = slice(-many, None), slice(0, many), slice(-few, None)
    yield Row(
        WORKLOAD,
        f"saver.put p50, last {many} turns",
        "us",
        {
            ROWTRAIL: [run.put_p50_us(end) for run in mine],
            FIRST: [run.put_p50_us(start) for run in mine],
            **{name: [run.put_p50_us(end) for run in done] for name, done in peers.items()},
        },
        (Bar("at most", 1.5, of=FIRST),),
    )
    yield Row(
        WORKLOAD,
        f"whole turn p50, last {few} turns",
        "ms",
        {
            ROWTRAIL: [run.turn_p50_ms(tail) for run in mine],
            **{name: [run.turn_p50_ms(tail) for run in done] for name, done in peers.items()},
        },
        (Bar("at most", 0.28, of=SQLITE),),
    )
    yield Row(
        WORKLOAD,
        f"whole turn p50, last {few} turns, every LLM call journaled",
        "ms",
        {
            ROWTRAIL: [run.turn_p50_ms(tail) for run in runs[Key(ROWTRAIL, "append", True)]],
            f"{SQLITE}, no calls": [run.turn_p50_ms(tail) for run in peers[SQLITE]],
        },
    )


def _curves(runs: Runs) -> dict[str, list[list[float]]]:
    return {
        f"{key.contender}, calls journaled" if key.calls_model else key.contender: [
            [turn, size, seconds] for turn, size, seconds in done[-1].curve
        ]
        for key, done in runs.items()
        if key.shape == "append"
    }
