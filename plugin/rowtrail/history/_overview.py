"""How a journal stands as a whole: what goes on, what is in doubt, what may need a look."""

from __future__ import annotations

from dataclasses import dataclass

from rowtrail.history._source import Source, Tx, reader_of

STEPS_WITH_TOOLS = 10_000
"""Bounds the time in a journal of millions; tools that are used are among the newest."""


@dataclass(frozen=True)
class Overview:
    """How a journal stands.

    Attributes:
        runs: How many runs there are, by status.
        in_flight: How many calls live processes are making, by kind.
        doubts: How many steps may or may not have happened.
        changed: How many of the newest 10,000 steps were made again as their request had changed.
        reading_tools: Of the newest 10,000 steps, the names of tools that count as `read` only,
            the busiest first.
    """

    runs: dict[str, int]
    in_flight: dict[str, int]
    doubts: int
    changed: int
    reading_tools: tuple[str, ...]


def overview(source: Source) -> Overview:
    """Return how a journal stands, in one snapshot.

    Raises:
        StorageError: The journal cannot be read.
    """

    def work(tx: Tx) -> Overview:
        return Overview(
            runs={row["status"]: row["n"] for row in tx.all("runs_by_status")},
            in_flight={row["kind"]: row["n"] for row in tx.all("steps_in_flight")},
            doubts=tx.value("doubt_count"),
            changed=tx.value("changed_count"),
            reading_tools=tuple(
                row["name"] for row in tx.all("tools_that_read", limit=STEPS_WITH_TOOLS)
            ),
        )

    return reader_of(source).read(work)


def has_dead_attempts(source: Source) -> bool:
    """Return whether an attempt is recorded as going on whose process has died.

    The views take a process for dead that was silent for 15 s; its identity tells it at once.
    `rowtrail.Journal.recover` writes down what this finds.
    """
    reader = reader_of(source)
    going_on = reader.read(lambda tx: tx.all("open_attempts"))
    return not all(reader.is_alive(row) for row in going_on)


def check_readable(source: Source) -> None:
    """Open the journal.

    Raises:
        StorageError: It cannot be read; the leaf and the message say why.
    """
    reader_of(source).read(lambda tx: None)
