"""The checks, each of which runs the job in processes of its own."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from rowtrail.history import why
from rowtrail.journal import Journal
from rowtrail.testing.adapter_suite._processes import Processes
from rowtrail.testing.adapter_suite._stage import (
    ANSWER,
    FOUND,
    LETTER,
    MODEL_CALLS,
    QUESTION,
    SENT,
    TOOL_CALLS,
    USAGE,
    WANTED,
    Stage,
    Subject,
    respond,
    tools_run,
)
from rowtrail.testing.llm import LLMServer

RANDOM_KILLS = 10  # a few seconds for each way
SEED = 42  # the same instants every time, as far as the machine is as fast


def same(what: str, found: object, expected: object) -> None:
    """Compare: pytest shows nothing of an assertion outside of its tests.

    Raises:
        AssertionError: They differ.
    """
    if found != expected:
        raise AssertionError(f"{what}: expected {expected!r}, found {found!r}")


@dataclass(frozen=True)
class Check:
    """One check of one adapter; its text is a name for a test.

    Raises:
        AssertionError: The adapter does not do it.
    """

    subject: str
    way: str
    body: Callable[[Trial], None]

    def __call__(self, folder: Path, processes: Processes | None = None) -> None:
        """Run it in an empty folder.

        Args:
            processes: Of the same subject; one more check then starts in milliseconds.
        """
        if processes is not None:
            self.body(Trial(self.subject, self.way, folder, processes))
            return
        with Processes(self.subject) as own:
            self.body(Trial(self.subject, self.way, folder, own))

    def __str__(self) -> str:
        return f"{self.body.__name__}-{self.way}"


def checks(subject: str, *, random_kills: int = RANDOM_KILLS, every: int = 1) -> list[Check]:
    """Return every check of the adapter `module:attribute`, in every way that it runs agents.

    Args:
        random_kills: How many agents are killed in each way at an instant that chance chooses.
        every: Kill at each so many-th commit only.
    """

    def kill_at_random_instants(trial: Trial) -> None:
        trial.kill_at_random_instants(random_kills)

    def kill_at_each_commit(trial: Trial) -> None:
        trial.kill_at_commits(every)

    found: Subject[Any] = resolve_name(subject)
    in_each_way = (
        a_finished_run_costs_nothing,
        usage_is_counted_once,
        views_are_filled,
        kill_at_random_instants,
    )
    first = found.ways[:1]
    in_the_first = (kill_at_each_commit, fingerprints_are_stable, why_works)
    return [
        *(Check(subject, way, body) for body in in_each_way for way in found.ways),
        *(Check(subject, way, body) for body in in_the_first for way in first),
        *(
            Check(subject, way, kill_at_each_commit)
            for way in found.streams[:1]
            if way not in first
        ),
    ]


@dataclass
class Trial:
    """What a check works with."""

    subject: str
    way: str
    folder: Path
    processes: Processes

    @contextmanager
    def place(self, name: str) -> Generator[Place]:
        """Yield a folder of its own with a server of its own."""
        folder = self.folder / name
        folder.mkdir()
        server = LLMServer(respond, log=folder / "requests")
        place = Place(self, folder, server, resolve_name(self.subject))
        try:
            yield place
        finally:
            place.server.close()

    def kill_at_random_instants(self, kills: int) -> None:
        """Kill agents while they work, and look at what the resumed ones do."""
        with self.place("undisturbed") as place:
            begun = time.monotonic()
            place.finish()
            took_s = time.monotonic() - begun
        chance = random.Random(SEED)
        for number in range(kills):
            with self.place(str(number)) as place:
                status = place.run(kill_after_s=chance.uniform(0, took_s))
                same("killed or done", status in (0, -signal.SIGKILL), True)
                place.resumes()

    def kill_at_commits(self, every: int) -> None:
        """Kill agents right before and right after commits."""
        with self.place("undisturbed") as place:
            place.finish()
            commits = place.told["commits"]
        same("each call is committed", commits > MODEL_CALLS, True)
        seen: list[int] = []
        for at in range(1, commits + 1, every):
            for after in (False, True):
                with self.place(f"{at}-{after}") as place:
                    status = place.run(die_at=at, after=after)
                    same("killed or done", status in (0, -signal.SIGKILL), True)
                    seen.append(status)
                    place.resumes()
        # Nothing is begun after the last commit; calls made together may share one another time.
        killed = seen.count(-signal.SIGKILL)
        same(f"most died: {killed} of {len(seen)}", 4 * killed >= 3 * len(seen), True)


@dataclass
class Place:
    """One journal, its tools' traces and the server that its model is."""

    trial: Trial
    folder: Path
    server: LLMServer
    subject: Subject[Any]

    def settle(self) -> None:
        """Let no request of a killed process come late: it would count as one of the next."""
        port = int(self.server.base_url.rpartition(":")[2].partition("/")[0])
        self.server.close()
        self.server = LLMServer(respond, log=self.folder / "requests", port=port)

    def run(self, processes: Processes | None = None, **command: Any) -> int:
        """Run the job in a process of its own, and return its exit code."""
        processes = processes or self.trial.processes
        return processes.run(self.folder, self.server.base_url, self.trial.way, **command)

    def finish(self, processes: Processes | None = None, **command: Any) -> None:
        """Run the job to its answer, which must be right."""
        status = self.run(processes, **command)
        same("exit code", status, 0)
        same("answer", self.told["answer"], ANSWER)

    @property
    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "answer").read_text("utf-8"))
        return found

    @property
    def asked(self) -> int:
        """How often the model was asked."""
        return self.subject.count(self.folder)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Return what the journal says."""
        with Journal(self.folder / "agent.db") as journal:
            return journal.sql(query).to_dicts()

    def resumes(self) -> None:
        """Go on after a kill: what is on disk is not made again, and the answer is the same."""
        self.settle()
        asked, ran = self.asked, tools_run(self.folder)
        done = self.rows(
            "SELECT kind, name FROM steps WHERE status = 'done' AND kind <> 'function'"
        )
        kinds = Counter(row["kind"] for row in done)
        names = Counter(row["name"] for row in done if row["kind"] == "tool")
        self.finish(resume=True)
        paid = self.asked - asked
        same(f"asked after a kill, {kinds} on disk", paid, MODEL_CALLS - kinds["llm"])
        for name, count in TOOL_CALLS.items():
            again = tools_run(self.folder)[name] - ran.get(name, 0)
            same(f"{name} ran {again} times, {names} on disk", again <= count - names[name], True)
        same("letters sent", tools_run(self.folder)["send"], 1)
        self.finish(resume=True)
        same("asked by a finished run that is given again", self.asked - asked - paid, 0)


def a_finished_run_costs_nothing(trial: Trial) -> None:
    """The first run pays for everything, the same one given again for nothing."""
    with trial.place("place") as place:
        for _ in range(2):
            place.finish()
            same("models asked", place.asked, MODEL_CALLS)
            same("tools run", tools_run(place.folder), TOOL_CALLS)


def usage_is_counted_once(trial: Trial) -> None:
    """Tokens are those that were paid, also after a kill, and each replay says what it saved."""
    with trial.place("place") as place:
        place.run(die_at=8, after=True)
        place.finish(resume=True)
        [run] = place.rows("SELECT input_tokens, output_tokens, saved_tokens FROM runs")
        done = place.rows("SELECT * FROM llm_calls WHERE status = 'done'")
        same("answers", len(done), MODEL_CALLS)
        paid = (run["input_tokens"], run["output_tokens"])
        same("paid", paid, (MODEL_CALLS * USAGE.input_tokens, MODEL_CALLS * USAGE.output_tokens))
        replays = sum(call["replays"] for call in done)
        saved = replays * (USAGE.input_tokens + USAGE.output_tokens)
        same("saved", run["saved_tokens"], saved)
        models = place.rows(
            "SELECT tokens_source FROM steps WHERE kind = 'llm' AND status = 'done'"
        )
        sources = {row["tokens_source"] for row in models}
        same("who counted the tokens", sources, {"provider"})


def views_are_filled(trial: Trial) -> None:
    """The views say the same as those of every other adapter."""
    with trial.place("place") as place:
        place.finish()
        [run] = place.rows("SELECT * FROM runs")
        same("run", (run["status"], run["thread_id"]), ("done", Stage.thread_id))
        same("agent", run["agent"], Stage.agent)
        same("models called", run["llm_calls"], MODEL_CALLS)
        same("tools called", run["tool_calls"], sum(TOOL_CALLS.values()))
        _look_at_calls(place)
        _look_at_messages(place)


def _look_at_calls(place: Place) -> None:
    calls = place.rows("SELECT * FROM llm_calls ORDER BY step_id + 0")
    for call in calls:
        same("model", (call["model"], call["status"]), (Stage.model, "done"))
        same("provider", bool(call["provider"]), True)
        same("finish_reason", bool(call["finish_reason"]), True)
        tokens = (call["input_tokens"], call["output_tokens"], call["cache_read_tokens"])
        same("tokens", tokens, (USAGE.input_tokens, USAGE.output_tokens, USAGE.cached_tokens))
    same("answers", [call["answer"] for call in calls], [WANTED, "", ANSWER])
    wanted = [json.loads(call["tool_calls"] or "[]") for call in calls]
    names = [[each["name"] for each in some] for some in wanted]
    same("tools that answers ask for", names, [["measure"] * 2, ["send"], []])
    same("ids of calls", all(each["id"] for some in wanted for each in some), True)
    tools = place.rows("SELECT * FROM tool_calls ORDER BY name, result")
    same("tools", [tool["name"] for tool in tools], ["measure", "measure", "send"])
    same("effects", [tool["effect"] for tool in tools], ["read", "read", "write"])
    same("tools that are done", {tool["status"] for tool in tools}, {"done"})
    for tool, said in zip(tools, [*FOUND.values(), SENT], strict=True):
        same(f"{said!r} in {tool['result']!r}", said in tool["result"], True)
    same("arguments of the letter", LETTER["to"] in tools[2]["args"], True)
    same("idempotency key of the letter", bool(tools[2]["idempotency_key"]), True)


def _look_at_messages(place: Place) -> None:
    [last] = place.rows("SELECT max(step_id + 0) AS id FROM llm_calls")
    said = place.rows(
        f"SELECT * FROM messages WHERE step_id + 0 = {last['id']} ORDER BY direction, position"
    )
    told = [each for each in said if each["role"] != "system"]
    roles = ["user", "assistant", "tool", "tool", "assistant", "tool", "assistant"]
    same("roles", _merged(told), roles)
    same("question and answer", [told[0]["content"], told[-1]["content"]], [QUESTION, ANSWER])
    results = [each for each in told if each["role"] == "tool"]
    same("results", [each["content"] for each in results], [*FOUND.values(), SENT])
    same("results name their calls", all(each["tool_call_id"] for each in results), True)


def _merged(told: list[dict[str, Any]]) -> list[str]:
    """Return the roles; an answer that is told as several items is one."""
    roles = [str(each["role"]) for each in told]
    return [
        role for at, role in enumerate(roles) if role != "assistant" or roles[at - 1] != "assistant"
    ]


def fingerprints_are_stable(trial: Trial) -> None:
    """Another process, with another PYTHONHASHSEED, asks for the very same."""
    seen: list[list[dict[str, Any]]] = []
    with trial.place("server") as server:
        for seed in ("1", "2"):
            folder = trial.folder / seed
            folder.mkdir()
            place = Place(trial, folder, server.server, server.subject)
            with Processes(trial.subject, seed=seed) as processes:
                place.finish(processes)
            columns = "kind, name, fingerprint"
            seen.append(place.rows(f"SELECT {columns} FROM steps ORDER BY {columns}"))
    same("fingerprints", seen[1], seen[0])


def why_works(trial: Trial) -> None:
    """Each step says why it was made."""
    with trial.place("place") as place:
        place.finish()
        place.finish()
        with Journal(place.folder / "agent.db") as journal:
            for row in place.rows("SELECT step_id, replays FROM steps"):
                found = why(journal.store, row["step_id"])
                same(f"why of {row}", bool(found.because), True)
