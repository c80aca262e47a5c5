"""Processes that run the job: one that has imported the adapter forks a child for each command."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from rowtrail.errors import UsageError
from rowtrail.journal import Journal
from rowtrail.testing.adapter_suite._stage import Stage, Subject

SERVE = "from rowtrail.testing.adapter_suite import _processes; _processes.serve()"
TOO_LONG_S = 60  # no job takes seconds; a child that hangs is killed, and fails its check
FAILED = 1  # the exit code of a Python program that an exception ended


class Processes:
    """Starts children of one subject; each runs the job, or goes on with it.

    Args:
        subject: `module:attribute`.
        seed: `PYTHONHASHSEED` of the children.
    """

    def __init__(self, subject: str, *, seed: str = "random") -> None:
        path = os.pathsep.join(each or os.getcwd() for each in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVE, subject],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
        )

    def run(self, folder: Path, base_url: str, way: str, **command: Any) -> int:
        """Run a child, and return its exit code, negative for a signal.

        Args:
            command: `resume`, `die_at` (a commit, from 1, before which or `after` which the child
                kills itself) and `kill_after_s`.
        """
        kill_after_s = command.pop("kill_after_s", None)
        told = {"folder": str(folder), "base_url": base_url, "way": way, **command}
        pid = self._ask(told)
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        watch = threading.Timer(TOO_LONG_S, _kill, [pid])
        watch.start()
        try:
            return self._line()
        finally:
            watch.cancel()

    def close(self) -> None:
        """End the process that forks."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=TOO_LONG_S)
        self._process.stdout.close()

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _ask(self, command: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def serve() -> None:
    """Fork a child for each command on stdin; print its pid, and how it ended."""
    subject: Subject[Any] = resolve_name(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a framework prints is no answer
    for line in sys.stdin:
        pid = _fork(subject, json.loads(line))
        print(pid, file=answers, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


def _fork(subject: Subject[Any], command: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        _work(subject, command)
    except BaseException:  # the child must not go on with its parent's work, whatever came
        traceback.print_exc()
        os._exit(FAILED)
    os._exit(0)


def _work(subject: Subject[Any], command: dict[str, Any]) -> None:
    folder = Path(command["folder"])
    with Journal(folder / "agent.db") as journal:
        commits = _watch_commits(journal, command.get("die_at"), is_after=command.get("after"))
        stage = Stage(folder, command["base_url"], command["way"], journal)
        agent = subject.make(stage)
        answer = (subject.resume if command.get("resume") else subject.run)(agent, stage)
    found = {"answer": answer, "commits": len(commits)}
    (folder / "answer").write_text(json.dumps(found), "utf-8")


def _watch_commits(journal: Journal, die_at: int | None, *, is_after: bool | None) -> list[int]:
    """Count commits, and kill this process right before one of them, or right after it."""
    commits: list[int] = []

    def die() -> None:
        if len(commits) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def before() -> None:
        commits.append(len(commits) + 1)
        if not is_after:
            die()

    def after() -> None:
        if is_after:
            die()

    watch_commits: Any = getattr(journal.store, "watch_commits", None)
    if watch_commits is None:
        raise UsageError("a kill at a commit needs a journal in SQLite: nobody watches its store")
    watch_commits(before, after)
    return commits
