"""Which agent makes a call: the innermost graph around it that has a name.

`create_agent(name=)`, `compile(name=)` and deepagents' `task` name a graph; `create_agent` and
deepagents write the name into the metadata of its config too, which graphs inside inherit. Several
graphs of one name that run at once are told apart by a number: `writer`, `writer#2`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rowtrail_langgraph.capture._marker import AGENT_KEY

UNNAMED = "LangGraph"
"""What LangGraph calls a graph to which nobody gave a name."""

_NAME_KEY = "lc_agent_name"
_TASK_END = re.compile(r"[>(]")
"""Where the name of a scope goes on behind that of its task: a call in a tool, or of a `@task`."""


def agent_of(config: Mapping[str, Any]) -> str | None:
    """Return who makes the calls of a task with this config, None for the agent of the run."""
    agent: str | None = (config.get("configurable") or {}).get(AGENT_KEY)
    return agent


def name_of(graph_name: str, config: Mapping[str, Any], around: Mapping[str, Any]) -> str | None:
    """Return the name of an agent that a graph is, None where it has none of its own.

    Args:
        graph_name: What the graph is called.
        config: The config that it is invoked with, merged.
        around: The config of the code that invokes it.
    """
    given = (config.get("metadata") or {}).get(_NAME_KEY)
    if isinstance(given, str) and given != (around.get("metadata") or {}).get(_NAME_KEY):
        return given
    return None if graph_name == UNNAMED else graph_name


@dataclass
class _Family:
    """Graphs of one name that tasks of one superstep invoke, by their numbers from 0."""

    recorded: list[tuple[str, int]]
    """Scopes that earlier attempts recorded, each with the number in the name of its agent."""
    owners: dict[int, str] = field(default_factory=dict)
    active: set[int] = field(default_factory=set)

    def enter(self, task: str, scope: str) -> int:
        """Return the number of a graph that `task` invokes in `scope`: one that it had before."""
        known = sorted({n for name, n in self.recorded if name.startswith(f"{scope}|")})
        own = sorted(n for n, owner in self.owners.items() if owner == task)
        number = next((n for n in (*known, *own) if n not in self.active), None)
        if number is None:
            taken = {*self.owners, *(n for _, n in self.recorded)}
            number = next(n for n in range(len(taken) + 1) if n not in taken)
        self.owners[number] = task
        self.active.add(number)
        return number


class Agents:
    """Numbers the graphs of one name: those of different tasks of a superstep, and of one task
    those that run at the same time. A resumed run gives the numbers that are recorded.
    """

    def __init__(self) -> None:
        self._families: dict[tuple[str, str], _Family] = {}
        self._lock = threading.Lock()

    def knows(self, scope: str, name: str) -> bool:
        """Return whether a graph of this name was invoked in the superstep of a scope."""
        return (superstep_of(scope), name) in self._families

    def enter(self, scope: str, name: str, recorded: Iterable[tuple[str, str]]) -> Seat:
        """Return the place of a graph that is invoked in a scope.

        Args:
            scope: Name of the scope.
            name: Of the graph.
            recorded: Scopes that earlier attempts recorded in the superstep, each with its agent.
        """
        superstep = superstep_of(scope)
        task = scope[: len(superstep)] + _TASK_END.split(scope[len(superstep) :])[0]
        with self._lock:
            family = self._families.get((superstep, name))
            if family is None:
                family = self._families[superstep, name] = _Family(list(_numbers(name, recorded)))
            number = family.enter(task, scope)
        return Seat(self, family, number, f"{name}#{number + 1}" if number else name)

    def leave(self, seat: Seat) -> None:
        """Let the next graph of a task have a number whose graph has ended."""
        with self._lock:
            seat.family.active.discard(seat.number)


class Seat(NamedTuple):
    """The number of a graph among those of its name, until the graph has ended."""

    agents: Agents
    family: _Family
    number: int
    agent: str

    def leave(self) -> None:
        """Give the number back."""
        self.agents.leave(self)


def superstep_of(scope: str) -> str:
    """Return what the names of all scopes of a superstep begin with."""
    prefix, _, task = scope.rpartition("|")
    step = task.partition("/")[0]
    return f"{prefix}|{step}/" if prefix else f"{step}/"


def _numbers(name: str, recorded: Iterable[tuple[str, str]]) -> Iterable[tuple[str, int]]:
    for scope, agent in recorded:
        if agent == name:
            yield scope, 0
        elif agent.startswith(f"{name}#") and agent[len(name) + 1 :].isdecimal():
            yield scope, int(agent[len(name) + 1 :]) - 1
