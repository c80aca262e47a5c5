"""What is killed or failed at a system call: one thing that a journal does, and how to judge it.

A scene prepares a folder, opens what is not under test, acts, and is judged afterwards in another
process: what was acknowledged is there, and acting again finishes the work and repeats nothing that
was committed. Run as a module it forks children for commands.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import time
import traceback
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.base.id import uuid6

import rowtrail
from rowtrail import NOT_DONE, Journal, Step, current_step
from rowtrail.errors import NotRecordedError, RowtrailError
from rowtrail_langgraph import RowtrailSaver, import_sqlite_saver
from tests._forks import serve
from tests.cases.sqlite_files import write_chat
from tests.crash._strace import attached

MESSAGES = 12


class Scene:
    """One thing that a journal does."""

    def __init__(self, command: dict[str, Any]) -> None:
        self.folder = Path(command["folder"])
        self.name = str(command.get("name", "only"))
        self.base_url = str(command.get("base_url", ""))
        self.db = self.folder / "agent.db"

    def prepare(self) -> None:
        """Make what is there before."""

    def open(self) -> None:
        """Open what is not under test."""

    def act(self) -> None:
        """Do what is under test."""
        raise NotImplementedError

    def close(self) -> None:
        """Close what `open` opened."""

    def check(self) -> None:
        """Assert, in another process, that what was acknowledged is there."""

    def finished(self) -> None:
        """Assert that acting again has finished the work."""

    def note(self, book: str, line: str) -> None:
        """Write a line that is on disk when this returns."""
        # O_SYNC: a sync that is made to fail is always one of SQLite's
        how = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_SYNC
        file = os.open(self.folder / book, how, 0o600)
        os.write(file, f"{line}\n".encode())
        os.close(file)

    def noted(self, book: str) -> list[str]:
        """Return the lines of a book."""
        path = self.folder / book
        return path.read_text().splitlines() if path.exists() else []

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the views, as any program may."""
        with closing(sqlite3.connect(self.db)) as connection:
            return connection.execute(query, values).fetchall()


class FirstOpen(Scene):
    """A file comes into being."""

    def act(self) -> None:
        with Journal(self.db) as journal:
            self.note("told", "open")
            with journal.run(self.name):
                pass
            self.note("told", f"run {self.name}")

    def check(self) -> None:
        runs = {f"run {run}" for (run,) in self.rows("SELECT run_id FROM runs")}
        assert {line for line in self.noted("told") if line.startswith("run ")} <= runs

    def finished(self) -> None:
        assert self.rows("SELECT status FROM runs WHERE run_id = ?", self.name) == [("done",)]


class Migration(FirstOpen):
    """A file whose views are of another version is brought up to date."""

    def prepare(self) -> None:
        with Journal(self.db) as journal, journal.run("old"):
            pass
        with closing(sqlite3.connect(self.db)) as connection:
            connection.executescript("DROP VIEW runs; CREATE VIEW runs AS SELECT 1 AS old")

    def finished(self) -> None:
        super().finished()
        assert self.rows("SELECT status FROM runs WHERE run_id = 'old'") == [("done",)]


class EmptyFile(FirstOpen):
    """An empty file becomes a journal."""

    def prepare(self) -> None:
        self.db.touch(0o600)


class Steps(Scene):
    """A run of three steps: a model over HTTP, a write, a function."""

    def prepare(self) -> None:
        with Journal(self.db) as journal, journal.run("before"):
            pass

    def open(self) -> None:
        self.journal = Journal(self.db)

    def act(self) -> None:
        @rowtrail.step(name="ask", kind="llm")
        def ask(prompt: str) -> str:
            return asked(self.base_url, prompt)

        @rowtrail.step(name="send", kind="tool", effect="write", on_doubt=self._look)
        def send(text: str) -> str:
            self.note("effects", f"send {current_step().idempotency_key}")
            return f"sent {text}"

        @rowtrail.step(name="measure")
        def measure(text: str) -> int:
            self.note("effects", f"measure {self.name}")
            return len(text)

        with self.journal.run(self.name):
            answer = ask(f"{self.folder.name} {self.name}")
            self.note("told", f"{self.name} ask {json.dumps(answer)}")
            sent = send(answer)
            self.note("told", f"{self.name} send {json.dumps(sent)}")
            size = measure(sent)
            self.note("told", f"{self.name} measure {size}")
        self.note("said", json.dumps([answer, sent, size]))

    def _look(self, step: Step) -> Any:
        done = f"send {step.idempotency_key}" in self.noted("effects")
        return f"sent re: {self.folder.name} {self.name}" if done else NOT_DONE

    def close(self) -> None:
        self.journal.close()

    def check(self) -> None:
        steps = self.rows("SELECT run_id, name, output FROM steps WHERE status = 'done'")
        done = {f"{run} {name} {output}" for run, name, output in steps}
        assert set(self.noted("told")) <= done, (self.noted("told"), done)
        self._done = self._made_by(done)
        self._made = Counter(line.split(" ")[0] for line in self.noted("effects"))
        begun = {name for (name,) in self.rows("SELECT name FROM steps")}
        assert set(self._made) <= begun  # no tool starts without its row on disk
        for name in self._done:
            self.note("committed", name)

    def _made_by(self, done: set[str]) -> Counter[str]:
        mine = [line.split(" ")[1] for line in done if line.startswith(f"{self.name} ")]
        return Counter(mine)

    def finished(self) -> None:
        answer = f"re: {self.folder.name} {self.name}"
        sent = f"sent {answer}"
        assert json.loads(self.noted("said")[-1]) == [answer, sent, len(sent)]
        effects = self.noted("effects")
        keys = Counter(line for line in effects if line.startswith("send "))
        assert set(keys.values()) == {1}, keys
        again = Counter(line.split(" ")[0] for line in effects) - self._made  # the model's: Stage
        assert not again & self._done, (again, self._done)
        statuses = self.rows(
            "SELECT name, status FROM steps WHERE run_id = ? AND status IN ('running', 'in_doubt')",
            self.name,
        )
        assert statuses == []


def asked(base_url: str, prompt: str) -> str:
    """Ask a model over HTTP, without a client."""
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
    request = urllib.request.Request(
        f"{base_url}/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        said: str = json.load(answer)["choices"][0]["message"]["content"]
        return said


class Saving(Scene):
    """Checkpoints and pending writes are put, on what is there."""

    thread = "t"

    def prepare(self) -> None:
        with RowtrailSaver(self.db) as saver:
            for thread in ("other", self.thread):
                put_messages(saver, thread, range(MESSAGES))

    def open(self) -> None:
        self.saver = RowtrailSaver(self.db)

    def close(self) -> None:
        self.saver.close()

    def act(self) -> None:
        for n in range(MESSAGES, MESSAGES + 3):
            config = put_messages(self.saver, self.thread, [n])
            told = config["configurable"]["checkpoint_id"]
            self.note("told", f"put {told} {n + 1}")
            self.saver.put_writes(config, [("messages", f"w{n}"), ("note", {"n": n})], f"task{n}")
            self.note("told", f"writes {told} {n}")

    def check(self) -> None:
        with RowtrailSaver(self.db) as saver:
            for line in self.noted("told"):
                what, checkpoint_id, n = line.split()
                found = saver.get_tuple(config_of(self.thread, checkpoint_id))
                assert found is not None, line
                if what == "put":
                    said = found.checkpoint["channel_values"]["messages"]
                    assert [m.content for m in said] == [f"m{i}" for i in range(int(n))]
                else:
                    writes = {value for _, c, value in found.pending_writes or [] if c != "note"}
                    assert f"w{n}" in writes
            whole(saver)

    def finished(self) -> None:
        with RowtrailSaver(self.db) as saver:
            whole(saver)


class Closing(Saving):
    """A journal with work in its queue is closed."""

    def act(self) -> None:
        config = put_messages(self.saver, self.thread, [MESSAGES])
        self.note("told", f"put {config['configurable']['checkpoint_id']} {MESSAGES + 1}")
        self.saver.close()
        self.note("told", f"put {config['configurable']['checkpoint_id']} {MESSAGES + 1}")


class Deleting(Saving):
    """A thread is deleted, another copied."""

    def act(self) -> None:
        self.saver.delete_thread(self.thread)
        self.note("told", "deleted")
        self.saver.delete_thread("copy")
        self.saver.copy_thread("other", "copy")
        self.note("told", "copied")

    def check(self) -> None:
        with RowtrailSaver(self.db) as saver:
            if "deleted" in self.noted("told"):
                assert saver.get_tuple(config_of(self.thread)) is None
            if "copied" in self.noted("told"):
                assert len(texts(saver, "copy")) == MESSAGES
            whole(saver)

    def finished(self) -> None:
        with RowtrailSaver(self.db) as saver:
            assert len(texts(saver, "copy")) == MESSAGES
            whole(saver)


class Pruning(Saving):
    """Old checkpoints, then a whole thread, are pruned, and space given back."""

    def act(self) -> None:
        self.saver.journal.prune(keep=2)
        self.note("told", "kept 2")
        if self.saver.get_tuple(config_of(self.thread)) is not None:
            self.saver.journal.prune(thread_ids=[self.thread])
        self.note("told", "pruned")

    def check(self) -> None:
        with RowtrailSaver(self.db) as saver:
            told = self.noted("told")
            if "kept 2" in told:
                assert len(list(saver.list(config_of("other")))) == 2
            if "pruned" in told:
                assert saver.get_tuple(config_of(self.thread)) is None
            assert len(texts(saver, "other")) == MESSAGES
            whole(saver)

    def finished(self) -> None:
        with RowtrailSaver(self.db) as saver:
            assert len(texts(saver, "other")) == MESSAGES
            assert saver.journal.prune(keep=1000).items == 0


class Importing(Scene):
    """Threads of a SqliteSaver file are taken over."""

    def prepare(self) -> None:
        write_chat(self.folder / "old.db", "a", "b", turns=2)
        with RowtrailSaver(self.db) as saver:
            put_messages(saver, "other", range(MESSAGES))

    def open(self) -> None:
        self.saver = RowtrailSaver(self.db)

    def close(self) -> None:
        self.saver.close()

    def act(self) -> None:
        import_sqlite_saver(self.folder / "old.db", self.saver, skip_existing=True)
        self.note("told", "imported")

    def check(self) -> None:
        with RowtrailSaver(self.db) as saver:
            self._state(saver, partly="imported" not in self.noted("told"))

    def finished(self) -> None:
        with RowtrailSaver(self.db) as saver:
            self._state(saver, partly=False)

    def _state(self, saver: RowtrailSaver, *, partly: bool) -> None:
        whole(saver)
        for thread in ("a", "b"):
            found = list(saver.list(config_of(thread)))
            assert len(found) == 8 or (partly and not found), len(found)


def config_of(thread_id: str, checkpoint_id: str | None = None) -> Any:
    configurable = {"thread_id": thread_id, "checkpoint_ns": ""}
    if checkpoint_id:
        configurable["checkpoint_id"] = checkpoint_id
    return {"configurable": configurable}


def put_messages(saver: RowtrailSaver, thread_id: str, numbers: Any) -> Any:
    """Put a checkpoint for each number, whose messages are all up to it."""
    newest = saver.get_tuple(config_of(thread_id))
    config: Any = newest.config if newest else config_of(thread_id)
    for n in numbers:
        messages = [
            (AIMessage if i % 2 else HumanMessage)(f"m{i}", id=f"i{i}") for i in range(n + 1)
        ]
        checkpoint = empty_checkpoint()
        checkpoint["id"] = str(uuid6())
        checkpoint["channel_values"] = {"messages": messages, "note": {"n": n}}
        checkpoint["channel_versions"] = {"messages": n + 1, "note": n + 1}
        metadata: Any = {"source": "loop", "step": n}
        config = saver.put(config, checkpoint, metadata, checkpoint["channel_versions"])
    return config


def texts(saver: RowtrailSaver, thread_id: str) -> list[str]:
    found = saver.get_tuple(config_of(thread_id))
    return (
        [] if found is None else [m.content for m in found.checkpoint["channel_values"]["messages"]]
    )


def whole(saver: RowtrailSaver) -> None:
    """Assert that every checkpoint of the threads made by `put_messages` is whole."""
    for thread in ("other", "t", "copy"):
        for found in saver.list(config_of(thread)):
            values = found.checkpoint["channel_values"]
            n = values["note"]["n"]
            assert [m.content for m in values["messages"]] == [f"m{i}" for i in range(n + 1)]


SCENES: dict[str, type[Scene]] = {
    "first open": FirstOpen,
    "an empty file": EmptyFile,
    "migration": Migration,
    "steps": Steps,
    "checkpoints and writes": Saving,
    "deletion": Deleting,
    "pruning": Pruning,
    "close": Closing,
    "import": Importing,
}


def run(command: dict[str, Any]) -> None:
    """Do one part of a scene, as the command says."""
    scene = SCENES[command["scene"]](command)
    part = command["part"]
    if part == "prepare":
        scene.prepare()
    elif part == "act":
        _act(scene, command)
    else:
        _judge(scene)


def _act(scene: Scene, command: dict[str, Any]) -> None:
    scene.open()
    _wait_for_all(scene, command)
    limit(command)
    with attached(command.get("strace")):
        outcome = _tried(scene.act)
        closing = _tried(scene.close)
    limit({"size": resource.RLIM_INFINITY})
    (scene.folder / "outcome").write_text(json.dumps(outcome | {"closing": closing}))
    is_disturbed = bool(command.keys() & {"strace", "size"})
    assert is_disturbed or outcome["is_done"], outcome["traceback"]


def _tried(work: Callable[[], object]) -> dict[str, Any]:
    try:
        work()
    except Exception as error:
        return {
            "is_done": False,
            "error": type(error).__name__,
            "is_ours": isinstance(error, RowtrailError),
            "result": error.result if isinstance(error, NotRecordedError) else None,
            "traceback": traceback.format_exc(),
        }
    return {"is_done": True}


def limit(command: dict[str, Any]) -> None:
    """Bound the size of the files that this process writes."""
    if "size" in command:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (command["size"], resource.RLIM_INFINITY))


def _wait_for_all(scene: Scene, command: dict[str, Any]) -> None:
    """Begin when the other processes of the scene are ready too."""
    count = command.get("processes", 1)
    if count > 1:
        scene.note("ready", scene.name)
        until = time.monotonic() + 60
        while len(scene.noted("ready")) < count and time.monotonic() < until:
            time.sleep(0.002)


def _judge(scene: Scene) -> None:
    """Open after the fault, look, act again, look again."""
    if scene.db.exists():
        Journal(scene.db).close()
        scene.check()
        assert scene.rows("PRAGMA integrity_check") == [("ok",)]
    else:
        assert scene.noted("told") == []
    scene.open()
    scene.act()
    scene.close()
    scene.finished()
    assert scene.rows("PRAGMA integrity_check") == [("ok",)]
    assert {path.stat().st_mode & 0o077 for path in scene.folder.glob("agent.db*")} == {0}


if __name__ == "__main__":
    with Journal(":memory:") as journal, journal.run("imports what is needed"):
        pass
    serve(run)
