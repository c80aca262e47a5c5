"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """The amounts of one run.

    Attributes:
        name: `full`, `quick` or `tiny`; the bars are set for `full`.
        rounds: Rounds of every workload; results are medians over them.
        turns: Turns of a conversation.
        turn_rounds: Rounds of the conversations that are timed; the others run once.
        steps: Journaled steps of one round.
        replayed: Recorded steps that are replayed.
        agent_runs: Runs of an agent.
        reads: How often a long thread is read.
        pairs: How often a process is started beside its peer.
        memory_start: Steps of a run before its memory is looked at.
        memory_steps: Steps over which it then grows.
        coroutines: Coroutines that write at once.
        puts_each: Checkpoints that each of them writes.
        processes: Processes that write one file.
        seconds: For how long they write.
        journal_steps: Steps of the large journal.
        queries: How often each query of the large journal is asked.
        searched: Messages that are searched.
        is_apart: Whether each contender has a process of its own.
    """

    name: str
    rounds: int
    turns: int
    turn_rounds: int
    steps: int
    replayed: int
    agent_runs: int
    reads: int
    pairs: int
    memory_start: int
    memory_steps: int
    coroutines: int
    puts_each: int
    processes: int
    seconds: float
    journal_steps: int
    queries: int
    searched: int
    is_apart: bool = True

    @property
    def is_full(self) -> bool:
        """Return whether the bars that depend on the amounts apply."""
        return self.name == "full"


FULL = Size(
    name="full",
    rounds=5,
    turns=1000,
    turn_rounds=3,
    steps=1000,
    replayed=1000,
    agent_runs=60,
    reads=15,
    pairs=30,
    memory_start=10_000,
    memory_steps=40_000,
    coroutines=32,
    puts_each=25,
    processes=8,
    seconds=5.0,
    journal_steps=1_000_000,
    queries=15,
    searched=100_000,
)
QUICK = Size(
    name="quick",
    rounds=2,
    turns=100,
    turn_rounds=2,
    steps=200,
    replayed=300,
    agent_runs=10,
    reads=5,
    pairs=5,
    memory_start=1_000,
    memory_steps=4_000,
    coroutines=32,
    puts_each=10,
    processes=8,
    seconds=1.0,
    journal_steps=100_000,
    queries=5,
    searched=10_000,
)
TINY = Size(
    name="tiny",
    rounds=1,
    turns=12,
    turn_rounds=1,
    steps=8,
    replayed=8,
    agent_runs=2,
    reads=1,
    pairs=1,
    memory_start=50,
    memory_steps=50,
    coroutines=4,
    puts_each=3,
    processes=2,
    seconds=0.3,
    journal_steps=2_000,
    queries=2,
    searched=300,
    is_apart=False,
)

SIZES = {size.name: size for size in (FULL, QUICK, TINY)}
