"""The optional peer DBOS: steps of a workflow, on SQLite as it ships."""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DBOS = "DBOS"
MISSING = "peer not installed: pip install dbos"


def is_installed() -> bool:
    """Return whether DBOS can be measured here."""
    return importlib.util.find_spec("dbos") is not None


class Workflows:
    """Runs steps on DBOS; each returns what `output` gives for its number.

    Attributes:
        step_s: Seconds of each step that a workflow made or replayed, in order.
    """

    def __init__(self, dbos: Any, output: Callable[[int], str]) -> None:
        self.step_s: list[float] = []
        self._dbos = dbos

        @dbos.step()  # type: ignore[untyped-decorator]
        def look_up(number: int) -> str:
            return output(number)

        @dbos.workflow()  # type: ignore[untyped-decorator]
        def work(first: int, count: int) -> int:
            for number in range(first, first + count):
                started = time.perf_counter()
                look_up(number)
                self.step_s.append(time.perf_counter() - started)
            return count

        self._work = work

    def run(self, first: int, count: int) -> str:
        """Make steps, and return the id of the workflow."""
        handle = self._dbos.start_workflow(self._work, first, count)
        handle.get_result()
        return str(handle.workflow_id)

    def replay(self, workflow_id: str, count: int) -> list[float]:
        """Run a workflow again on its recorded steps, and return the seconds of each."""
        self.step_s.clear()
        self._dbos.fork_workflow(workflow_id, count + 1).get_result()
        return list(self.step_s)


@contextmanager
def launched(path: Path, output: Callable[[int], str]) -> Generator[Workflows]:
    """Launch DBOS on a file of its own, silent, and shut it down at the end."""
    dbos = importlib.import_module("dbos").DBOS
    dbos(
        config={
            "name": "benchmarks",
            "system_database_url": f"sqlite:///{path}",
            "log_level": "CRITICAL",
            "run_admin_server": False,
        }
    )
    try:
        workflows = Workflows(dbos, output)
        dbos.launch()
        yield workflows
    finally:
        dbos.destroy(destroy_registry=True)
