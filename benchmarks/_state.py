"""`get_tuple` of long threads, in a process that reads the same thread again and again."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from langgraph.checkpoint.sqlite import SqliteSaver

from benchmarks._checkpoint import Thread
from benchmarks._contenders import Contender, Work, in_turns, opened, with_other
from benchmarks._progress import tell
from benchmarks._row import NO_OTHER, OTHER, Bar, Row
from benchmarks._size import Size
from benchmarks._step_contenders import timed
from rowtrail_langgraph import RowtrailSaver

SQLITE = "SqliteSaver"
SHORT, LONG = 2_000, 8_000
BARS = {SHORT: 0.5, LONG: 0.3}


def measure(size: Size, folder: Path, against: Path | None) -> list[Row]:
    """Return the rows of `get_tuple`."""
    samples: dict[tuple[int, str], list[float]] = {}
    contenders = {
        (length, contender.name): contender
        for length, name in ((SHORT, "short"), (LONG, "long"))
        for contender in (
            *with_other(f"{__name__}:{name}", against),
            Contender(SQLITE, f"{__name__}:{name}_sqlite"),
        )
    }
    tell(f"state: get_tuple of {SHORT:,} and {LONG:,} messages, {size.reads} each")
    with opened(contenders, folder, size) as workers:
        in_turns(workers, 1, 1)  # the first read decodes what later ones find
        for key, each in in_turns(workers, size.reads, 1).items():
            samples[key] = [one * 1e3 for one in each]
    return [
        Row(
            "state",
            f"get_tuple of {length:,} messages",
            "ms",
            {name: each for (of, name), each in samples.items() if of == length},
            (Bar("at most", limit, of=OTHER, any_size=True),),
            {} if (length, OTHER) in samples else {OTHER: NO_OTHER},
        )
        for length, limit in BARS.items()
    ]


@contextmanager
def _reads(open_saver: Callable[[str], Any], length: int, path: Path, _: int) -> Generator[Work]:
    with open_saver(str(path)) as saver:
        config = saver.put(*Thread("thread", [length], seed=1, answered=True).next())

        def read(number: int) -> None:
            found = saver.get_tuple(config)
            if len(found.checkpoint["channel_values"]["messages"]) != length:
                raise RuntimeError("messages are missing")

        yield timed(read)


short = partial(_reads, RowtrailSaver.from_conn_string, SHORT)
long = partial(_reads, RowtrailSaver.from_conn_string, LONG)
short_sqlite = partial(_reads, SqliteSaver.from_conn_string, SHORT)
long_sqlite = partial(_reads, SqliteSaver.from_conn_string, LONG)
