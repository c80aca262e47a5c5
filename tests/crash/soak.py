"""Agents that are killed every now and then for minutes, and what was lost: nothing.

    python -m tests.crash.soak --minutes 2 [--processes 2] [--json report.json]

Each agent works through runs of its own on one file: LLM calls, tools and writes, checkpoints. Each
is killed after 1 to 20 s, at no moment in particular, and begun anew. Another process prunes the
file. What was acknowledged and what was done to the world is in ledgers that are synced to disk.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import rowtrail
from rowtrail import NOT_DONE, Journal, Step, current_step
from rowtrail_langgraph import RowtrailSaver

STEPS_IN_A_RUN = 12
PAUSE_S = 0.05
KILL_AFTER_S = (1.0, 20.0)
PRUNE_EVERY_S = 5.0
FOLDER = Path(__file__).parents[2]


class Agent:
    """Works through runs until it is killed."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name

    def work(self, until: float) -> None:
        """Continue where the last process was killed."""

        @rowtrail.step(name="ask", kind="llm")
        def ask(run: str, n: int) -> str:
            self._note("effects", f"ask {run} {n}")
            time.sleep(PAUSE_S)
            return f"answer {run} {n}"

        @rowtrail.step(name="send", kind="tool", effect="write", on_doubt=self._look)
        def send(run: str, n: int) -> str:
            self._note("effects", f"send {run} {n} {current_step().idempotency_key}")
            return f"sent {run} {n}"

        with RowtrailSaver(self._folder / "agent.db") as saver:
            number = self._begun()
            while time.time() < until:
                run = f"{self._name}-{number}"
                with saver.journal.run(run, thread_id=run):
                    for n in range(STEPS_IN_A_RUN):
                        step, what = (send, "send") if n % 3 == 2 else (ask, "ask")
                        step(run, n)
                        self._note("told", f"{what} {run} {n}")
                self._save(saver, run)
                number += 1
                self._note("ended", str(number))

    def _save(self, saver: RowtrailSaver, run: str) -> None:
        from tests.programs.scenes import put_messages

        put_messages(saver, self._name, [saver_length(saver, self._name)])
        self._note("told", f"saved {run}")

    def _look(self, step: Step) -> Any:
        for line in self._lines("effects"):
            if line.endswith(step.idempotency_key):
                return " ".join(["sent", *line.split(" ")[1:3]])
        return NOT_DONE

    def _begun(self) -> int:
        ended = self._lines("ended")
        return int(ended[-1]) if ended else 0

    def _lines(self, book: str) -> list[str]:
        path = self._folder / f"{self._name}.{book}"
        return path.read_text().splitlines() if path.exists() else []

    def _note(self, book: str, line: str) -> None:
        how = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_SYNC
        file = os.open(self._folder / f"{self._name}.{book}", how, 0o600)
        os.write(file, f"{line}\n".encode())
        os.close(file)


def saver_length(saver: RowtrailSaver, thread: str) -> int:
    from tests.programs.scenes import texts

    return len(texts(saver, thread))


@dataclass
class Report:
    """What a soak came to; every count of what was lost or repeated should be 0."""

    minutes: float
    processes: int
    kills: int = 0
    steps: int = 0
    runs: int = 0
    replays: int = 0
    calls_in_flight: int = 0
    committed_calls_repeated: int = 0
    writes_repeated: int = 0
    acknowledged_rows_lost: int = 0
    unexpected_exits: int = 0
    integrity: str = ""
    journal_bytes: list[int] = field(default_factory=list[int])
    wal_bytes_max: int = 0
    memory_mb_max: float = 0.0
    descriptors_max: int = 0
    prunes: int = 0

    @property
    def is_clean(self) -> bool:
        lost = self.committed_calls_repeated + self.writes_repeated + self.acknowledged_rows_lost
        return lost == 0 and self.unexpected_exits == 0 and self.integrity == "ok"


class Soak:
    """Begins agents, kills them, and looks at what is left."""

    def __init__(self, folder: Path, minutes: float, processes: int, seed: int) -> None:
        self._folder, self._chance = folder, random.Random(seed)
        self._until = time.time() + minutes * 60
        self._names = [f"a{n}" for n in range(processes)]
        self.report = Report(minutes, processes)

    def run(self) -> Report:
        agents = {name: self._begin(name) for name in self._names}
        kill_at = {name: self._next_kill() for name in self._names}
        prune_at = time.time() + PRUNE_EVERY_S
        with Journal(self._folder / "agent.db") as journal:
            while time.time() < self._until:
                time.sleep(0.1)
                for name, process in agents.items():
                    self._measure(process.pid)
                    if time.time() > kill_at[name] or process.poll() is not None:
                        self._kill(process)
                        agents[name], kill_at[name] = self._begin(name), self._next_kill()
                if time.time() > prune_at:
                    journal.prune(keep=3)
                    prune_at = time.time() + PRUNE_EVERY_S
                    self.report.prunes += 1
                    self.report.journal_bytes.append(self._size("agent.db"))
            for process in agents.values():
                self._kill(process)
        self._judge()
        return self.report

    def _begin(self, name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.crash.soak", "--agent", name]
        command += ["--folder", str(self._folder), "--until", str(self._until + 60)]
        return subprocess.Popen(command, cwd=FOLDER)

    def _next_kill(self) -> float:
        return time.time() + self._chance.uniform(*KILL_AFTER_S)

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGKILL)
        status = process.wait()
        self.report.kills += status == -signal.SIGKILL
        self.report.unexpected_exits += status != -signal.SIGKILL

    def _measure(self, pid: int) -> None:
        report = self.report
        with contextlib.suppress(OSError, ValueError, StopIteration):  # not on Linux, or ended
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            resident = next(line for line in lines if line.startswith("VmRSS"))
            report.memory_mb_max = max(report.memory_mb_max, int(resident.split()[1]) / 1000)
            held = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            report.descriptors_max = max(report.descriptors_max, held)
        report.wal_bytes_max = max(report.wal_bytes_max, self._size("agent.db-wal"))

    def _size(self, name: str) -> int:
        path = self._folder / name
        return path.stat().st_size if path.exists() else 0

    def _lines(self, name: str, book: str) -> list[str]:
        path = self._folder / f"{name}.{book}"
        return path.read_text().splitlines() if path.exists() else []

    def _judge(self) -> None:
        """Let each agent end what it had begun, and compare rows with ledgers."""
        report, path = self.report, self._folder / "agent.db"
        for name in self._names:
            told = {line for line in self._lines(name, "told") if not line.startswith("saved")}
            done = self._done(path, name)
            report.acknowledged_rows_lost += len(told - done)
            made = Counter(" ".join(line.split(" ")[:3]) for line in self._lines(name, "effects"))
            repeated = made - Counter(set(made))
            report.writes_repeated += sum(n for k, n in repeated.items() if k.startswith("send"))
            asked_again = sum(n for k, n in repeated.items() if k.startswith("ask"))
            # a call that was made twice was in flight at a kill: its first row was never `done`
            failed = self._failed(path, name)
            report.calls_in_flight += asked_again
            report.committed_calls_repeated += max(0, asked_again - failed)
        with closing(sqlite3.connect(path)) as connection:
            one: Any = connection.execute("SELECT count(*), sum(replays) FROM steps").fetchone()
            report.steps, report.replays = one[0], one[1] or 0
            report.runs = connection.execute("SELECT count(*) FROM runs").fetchone()[0]
            report.integrity = connection.execute("PRAGMA integrity_check").fetchone()[0]
        report.journal_bytes.append(self._size("agent.db"))

    def _done(self, path: Path, name: str) -> set[str]:
        return self._steps(path, name, "status = 'done'")

    def _failed(self, path: Path, name: str) -> int:
        with closing(sqlite3.connect(path)) as connection:
            query = "SELECT count(*) FROM steps WHERE run_id LIKE ? AND kind = 'llm' "
            query += "AND status IN ('failed', 'superseded')"
            return int(connection.execute(query, (f"{name}-%",)).fetchone()[0])

    def _steps(self, path: Path, name: str, condition: str) -> set[str]:
        query = "SELECT name || ' ' || json_extract(input, '$.args[0]') || ' ' || "
        query += f"json_extract(input, '$.args[1]') FROM steps WHERE run_id LIKE ? AND {condition}"
        with closing(sqlite3.connect(path)) as connection:
            return {row[0] for row in connection.execute(query, (f"{name}-%",))}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--agent")
    parser.add_argument("--until", type=float, default=0.0)
    options = parser.parse_args()
    if options.agent:
        Agent(options.folder, options.agent).work(options.until)
        return 0
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        report = Soak(Path(folder), options.minutes, options.processes, options.seed).run()
    text = json.dumps(asdict(report) | {"is_clean": report.is_clean}, indent=2)
    if options.json:
        options.json.write_text(text)
    print(text)
    return 0 if report.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
