"""Records a journal, and looks at damaged copies of it.

What comes of a look is what was handed out, and the errors: of rowtrail's own (`refused`) or any
other (`foreign`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import traceback
from pathlib import Path
from typing import Any

import rowtrail
from rowtrail import Journal
from rowtrail.errors import RowtrailError
from rowtrail_langgraph import RowtrailSaver
from tests._forks import serve
from tests.programs.scenes import put_messages

THREAD = "t"
STEPS = 12
CHECKPOINTS = 6
SECONDS = 60


def answer(n: int) -> str:
    """Return what step `n` returns: long enough to be hit by damage."""
    return f"answer {n} " + f"{n:03} " * 60


@rowtrail.step(name="ask")
def ask(n: int) -> str:
    made.append(n)
    return answer(n)


made: list[int] = []


def config(checkpoint_id: str | None = None) -> Any:
    given = {"thread_id": THREAD, "checkpoint_ns": ""}
    return {"configurable": given | ({"checkpoint_id": checkpoint_id} if checkpoint_id else {})}


def look(path: str) -> dict[str, Any]:
    """Replay the run, read the thread, ask the views: each part on its own."""
    made.clear()
    found: dict[str, Any] = {"answers": [], "replayed": [], "states": [], "errors": []}
    for part in (_replay, _list, _views):
        try:
            part(path, found)
        except RowtrailError as error:
            found["errors"].append(["refused", type(error).__name__, str(error)])
        except Exception as error:
            text = "".join(traceback.format_exception(error))
            found["errors"].append(["foreign", type(error).__name__, text])
    return found


def _replay(path: str, found: dict[str, Any]) -> None:
    with Journal(path) as journal, journal.run("r"):
        for n in range(STEPS):
            before = len(made)
            found["answers"].append([n, ask(n)])
            if len(made) == before:
                found["replayed"].append(n)


def _list(path: str, found: dict[str, Any]) -> None:
    with RowtrailSaver(path) as saver:
        for each in saver.list(config()):
            values = each.checkpoint["channel_values"]
            messages = [[m.type, m.content] for m in values.get("messages", [])]
            found["states"].append([each.checkpoint["id"], messages, values.get("note")])
        saver.get_tuple(config())


def _views(path: str, found: dict[str, Any]) -> None:
    with Journal(path) as journal:
        for view in ("runs", "steps", "messages", "checkpoints", "state", "spend"):
            journal.sql(f"SELECT * FROM {view}", limit=1000, timeout=5)


def record(path: str) -> None:
    """Write the run, not finished, and the thread."""
    with RowtrailSaver(path) as saver:
        with contextlib.suppress(KeyboardInterrupt), saver.journal.run("r"):
            for n in range(STEPS):
                ask(n)
            raise KeyboardInterrupt
        put_messages(saver, THREAD, range(CHECKPOINTS))


def run(command: dict[str, Any]) -> None:
    """Record, leaving the WAL where told to, or look at a file."""
    logging.disable()
    path = command["path"]
    if command["part"] == "record":
        record(path)
    elif command["part"] == "record and die":
        with Journal(path):
            record(path)
            os.kill(os.getpid(), signal.SIGKILL)
    else:
        signal.alarm(SECONDS)  # whatever hangs is killed
        Path(f"{path}.found").write_text(json.dumps(look(path)))


if __name__ == "__main__":
    serve(run)
