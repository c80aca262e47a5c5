"""An agent on the template adapter is killed inside its second answer, and resumed.

    python -m examples.template_adapter

Prints what the second process asked the model for.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from examples.template_adapter.adapter import install
from examples.template_adapter.framework import Agent, Message, Model, Tool
from rowtrail import Journal

ROOT = Path(__file__).resolve().parents[2]
ASK_FOR_TOOL: Message = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "call_1", "name": "measure", "args": {"what": "the river"}}],
}


def work(folder: Path, *, dies: bool) -> str:
    """Run the agent; each call of the model or the tool leaves a line in a ledger."""

    def note(what: str) -> None:
        with (folder / "ledger").open("a") as ledger:
            ledger.write(f"{what}\n")

    def send(messages: list[Message]) -> Message:
        note(f"model asked with {len(messages)} messages")
        if len(messages) == 1:
            return ASK_FOR_TOOL
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"role": "assistant", "content": f"It is {messages[-1]['content']} long."}

    def measure(what: str) -> str:
        note(f"measured {what}")
        return "12 km"

    install()
    agent = Agent(Model("toy-1", send), (Tool(measure, writes=True),))
    with Journal(folder / "agent.db") as journal, journal.run("report"):
        return agent.run("How long is the river?")


def main() -> None:
    """Let the agent die in a process of its own, resume it here, and say what each paid."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "examples.template_adapter", name]
        died = subprocess.run(command, cwd=ROOT, check=False)
        assert died.returncode == -signal.SIGKILL, died.returncode
        before = (folder / "ledger").read_text().splitlines()
        print("killed after:", *before, sep="\n  ")
        answer = work(folder, dies=False)
        after = (folder / "ledger").read_text().splitlines()[len(before) :]
        print("resumed with:", *after, sep="\n  ")
        print(answer)


if __name__ == "__main__":
    if sys.argv[1:]:
        work(Path(sys.argv[1]), dies=True)
    else:
        main()
