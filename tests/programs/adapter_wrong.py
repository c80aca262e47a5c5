"""Adapters that do one thing wrong each: what the checks of the kit must find."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rowtrail import step
from rowtrail.adapter import ANSWERS, Form, Usage, llm_request, record, scope_here
from rowtrail.testing._wire import WIRES
from rowtrail.testing.adapter_suite import Stage, Subject, respond

EXPECTED = [
    ("UNRECORDED", "a_finished_run_costs_nothing", "models asked: expected 3, found 6"),
    ("UNRECORDED", "kill_at_each_commit", "asked by a finished run"),
    ("UNSTABLE", "fingerprints_are_stable", "fingerprints"),
    ("UNDECLARED", "views_are_filled", "effects"),
    ("UNCOUNTED", "usage_is_counted_once", "paid"),
    ("UNSHOWN", "views_are_filled", "answers|finish_reason"),
]


@dataclass
class Agent:
    """Asks the model of the job without a wire; `wrong` says what it does wrong."""

    stage: Stage
    wrong: str
    messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def ask(self) -> dict[str, Any]:
        with (self.stage.folder / "requests").open("a") as log:
            log.write("asked\n")
        request = {"messages": self.messages, "model": self.stage.model}
        return WIRES["/v1/chat/completions"].whole(request, respond(request))

    def answer(self) -> dict[str, Any]:
        scope = scope_here(self.stage.model)
        assert scope is not None
        if self.wrong == "UNRECORDED":
            return self.ask()
        parameters = {"salt": hash("salt")} if self.wrong == "UNSTABLE" else {}
        request = llm_request(scope, self.stage.model, self.messages, parameters, provider="openai")
        form: Form[Any] = Form(
            store=str if self.wrong == "UNSHOWN" else ANSWERS.store,
            restore=ANSWERS.restore,
            usage=lambda told: None if self.wrong == "UNCOUNTED" else _usage(told["usage"]),
        )
        return record(scope, request, self.ask, form)


def _usage(told: dict[str, Any]) -> Usage:
    return Usage(told["prompt_tokens"], told["completion_tokens"], "provider", 64)


def _run(agent: Agent, stage: Stage) -> str:
    effect: Any = "read" if agent.wrong == "UNDECLARED" else "write"
    tools: dict[str, Callable[..., str]] = {
        "measure": step(kind="tool", name="measure")(stage.measure),
        "send": step(kind="tool", name="send", effect=effect, on_doubt=stage.was_sent)(stage.send),
    }
    agent.messages.append({"role": "user", "content": stage.question})
    with stage.journal.run(stage.run_id, thread_id=stage.thread_id, agent=stage.agent):
        while True:
            said = agent.answer()["choices"][0]["message"]
            agent.messages.append(said)
            if not said.get("tool_calls"):
                return str(said["content"])
            for call in said["tool_calls"]:
                told = call["function"]
                result = tools[told["name"]](**json.loads(told["arguments"]))
                agent.messages.append(
                    {"role": "tool", "tool_call_id": call["id"], "content": result}
                )


def _count(folder: Any) -> int:
    path = folder / "requests"
    return len(path.read_text().splitlines()) if path.exists() else 0


def _subject(wrong: str) -> Subject[Agent]:
    return Subject(lambda stage: Agent(stage, wrong), _run, _run, _count)


UNRECORDED, UNSTABLE, UNDECLARED, UNCOUNTED, UNSHOWN = map(
    _subject, ("UNRECORDED", "UNSTABLE", "UNDECLARED", "UNCOUNTED", "UNSHOWN")
)
