"""`python -m benchmarks.trace_calls`: through how many files and functions one operation passes.

It traces one `put` of a checkpoint (alone, and as a graph makes it), one recorded LLM call and one
recorded tool call of a LangGraph graph, sync, after a warm-up, in the calling thread and in
rowtrail's own threads, and prints what a reader has to follow:

- files: source files of `rowtrail` and `rowtrail_langgraph` with a function that was called;
- functions: distinct ones, lambdas too; comprehensions and generator expressions belong to the
  function around them;
- calls: how often one was called; to resume a generator or a coroutine is none;
- re-entries: calls into a file that was entered before in this operation, out of another file. The
  file that calls is that of the nearest frame of ours below it on its stack, whatever foreign
  frames (contextlib, LangGraph) lie between; where there is none, the framework calls, which is
  another file too;
- resumes: how often a generator or coroutine of ours went on, out of another file;
- longest: lines of the longest of these files.

Then it prints figures of the sources of `plugin` and `adapters`: see `benchmarks._sources`. Each
stands beside the bar that rowtrail sets itself. No time is measured; a missed bar is no failure.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.graph import END, START, MessagesState, StateGraph

import rowtrail
import rowtrail_langgraph
from benchmarks._checkpoint import Thread
from benchmarks._scratch import scratch_folder
from benchmarks._sources import Sources, sources
from rowtrail_langgraph import RowtrailSaver

WARM_UP = 20
EFFECTS: dict[str, Any] = {"look_up": "read"}
OUR_THREADS = "rowtrail"
"""What the names of threads that rowtrail starts begin with."""

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = tuple(Path(package.__file__ or "").parent for package in (rowtrail, rowtrail_langgraph))
_INNER = {"<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>", "<module>"}
_RESUMABLE = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR

BARS: dict[str, dict[str, int]] = {
    "put": {"files": 14, "functions": 40},
    "put in a graph": {"files": 14, "functions": 40},
    "LLM call": {"files": 18, "reentries": 60, "longest": 400},
    "tool call": {},
}
COLUMNS = ("files", "functions", "calls", "reentries", "resumes", "longest")


@dataclass
class Passed:
    """What one operation passed through."""

    operation: str
    files: int = 0
    functions: int = 0
    calls: int = 0
    reentries: int = 0
    resumes: int = 0
    longest: int = 0
    entered: dict[str, int] = field(default_factory=dict[str, int])
    """By file, how often it was called."""
    tree: list[str] = field(default_factory=list[str])
    """The calls in their order, indented by how deep they lie among files of ours."""


class Tracer:
    """Counts the calls of one operation; each thread must have its `profile` from its start."""

    def __init__(self) -> None:
        self._passed: Passed | None = None
        self._thread = 0
        self._functions: set[CodeType] = set()
        self._begun: set[FrameType] = set()
        self._lock = threading.Lock()

    @contextmanager
    def operation(self, name: str) -> Generator[Passed]:
        """Trace what the calling thread, and rowtrail's, do until the end of the block."""
        passed = Passed(name)
        self._functions, self._begun, self._thread = set(), set(), threading.get_ident()
        self._passed = passed
        try:
            yield passed
        finally:
            self._passed = None
            self._begun = set()
        passed.files, passed.functions = len(passed.entered), len(self._functions)
        passed.longest = max((_lines(file) for file in passed.entered), default=0)

    def profile(self, frame: FrameType, event: str, _: Any) -> None:
        """Note a call: for `sys.setprofile`."""
        passed = self._passed
        if passed is None or event != "call" or not self._counts():
            return
        code = frame.f_code
        file = _ours(code)
        if file is None or code.co_name in _INNER:
            return
        with self._lock:
            is_from_outside = _caller(frame) != file
            if code.co_flags & _RESUMABLE:
                if frame in self._begun:
                    passed.resumes += is_from_outside
                    return
                self._begun.add(frame)
            self._functions.add(code)
            passed.tree.append(f"{'  ' * _depth(frame)}{code.co_qualname}  {file}")
            passed.calls += 1
            passed.reentries += is_from_outside and file in passed.entered
            passed.entered[file] = passed.entered.get(file, 0) + 1

    def _counts(self) -> bool:
        thread = threading.current_thread()
        return thread.ident == self._thread or thread.name.startswith(OUR_THREADS)


def _caller(frame: FrameType) -> str | None:
    """Return the file of the nearest frame of ours below a frame."""
    below = frame.f_back
    while below is not None:
        file = _ours(below.f_code)
        if file is not None:
            return file
        below = below.f_back
    return None


def _depth(frame: FrameType) -> int:
    """Return how many frames of ours a frame lies on."""
    depth, below = 0, frame.f_back
    while below is not None:
        depth += _ours(below.f_code) is not None
        below = below.f_back
    return depth


def _ours(code: CodeType) -> str | None:
    return _named(code.co_filename)


@cache
def _named(filename: str) -> str | None:
    """Return the path of a file of ours from its package on, None for any other."""
    path = Path(filename)
    for package in PACKAGES:
        if path.is_relative_to(package):
            return str(path.relative_to(package.parent))
    return None


@cache
def _lines(file: str) -> int:
    for package in PACKAGES:
        path = package.parent / file
        if path.is_relative_to(package):
            return len(path.read_text("utf-8").splitlines())
    return 0


class _TracedSaver(RowtrailSaver):
    """A saver whose next `put` is traced, once it is armed."""

    armed: Callable[[], Any] | None = None

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        if self.armed is None:
            return super().put(config, checkpoint, metadata, new_versions)
        armed, self.armed = self.armed, None
        with armed():
            return super().put(config, checkpoint, metadata, new_versions)


def trace(folder: Path) -> list[Passed]:
    """Return what each operation passes through, on a new journal in a folder."""
    tracer = Tracer()
    threading.setprofile(tracer.profile)
    sys.setprofile(tracer.profile)
    try:
        with _TracedSaver.from_conn_string(str(folder / "trace.db"), effects=EFFECTS) as saver:
            assert isinstance(saver, _TracedSaver)
            return [
                _put(tracer, saver),
                _put_in_a_graph(tracer, saver),
                _in_a_node(tracer, saver, "LLM call", _model_call()),
                _in_a_node(tracer, saver, "tool call", _tool_call()),
            ]
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # pyright: ignore[reportArgumentType]


def _put(tracer: Tracer, saver: RowtrailSaver) -> Passed:
    thread = Thread("alone", list(range(1, WARM_UP + 2)), seed=1)
    for _ in range(WARM_UP):
        saver.put(*thread.next())
    asked = thread.next()
    with tracer.operation("put") as passed:
        saver.put(*asked)
    return passed


def _put_in_a_graph(tracer: Tracer, saver: _TracedSaver) -> Passed:
    found: list[Passed] = []

    @contextmanager
    def traced() -> Generator[None]:
        with tracer.operation("put in a graph") as passed:
            yield
        found.append(passed)

    def arm() -> None:
        saver.armed = traced  # the next one is that of what the node returns

    _run(saver, "put", lambda: None, arm)
    return found[0]


def _in_a_node(
    tracer: Tracer, saver: RowtrailSaver, operation: str, call: Callable[[], object]
) -> Passed:
    found: list[Passed] = []

    def traced() -> None:
        with tracer.operation(operation) as passed:
            call()
        found.append(passed)

    _run(saver, operation, call, traced)
    return found[0]


def _run(
    saver: RowtrailSaver, thread_id: str, warm: Callable[[], object], last: Callable[[], object]
) -> None:
    """Run a graph of one node again and again: `warm` in each, and `last` in the last."""
    work = [*[warm] * WARM_UP, last]

    def node(state: MessagesState) -> dict[str, Any]:
        work.pop(0)()
        return {"messages": [HumanMessage("done")]}

    builder = StateGraph(MessagesState)
    builder.add_node("node", node)  # pyright: ignore[reportUnknownMemberType]
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    graph = builder.compile(checkpointer=saver)  # pyright: ignore[reportUnknownMemberType]
    config: RunnableConfig = {"configurable": {"thread_id": thread_id}}
    for number in range(len(work)):
        graph.invoke(  # pyright: ignore[reportUnknownMemberType]
            {"messages": [HumanMessage(f"question {number}")]}, config, durability="sync"
        )


def _model_call() -> Callable[[], object]:
    model = FakeListChatModel(responses=["an answer"])
    asked = [HumanMessage(f"message {number}", id=str(number)) for number in range(5)]
    return lambda: model.invoke(asked)


def _tool_call() -> Callable[[], object]:
    @tool
    def look_up(topic: str) -> str:
        """Look a topic up."""
        return f"about {topic}"

    return lambda: look_up.invoke(  # pyright: ignore[reportUnknownMemberType]
        {"type": "tool_call", "id": "call-1", "name": "look_up", "args": {"topic": "journals"}}
    )


def _table(found: Sequence[Passed]) -> str:
    heads = ("operation", *COLUMNS)
    rows: list[tuple[str, ...]] = [heads]
    for passed in found:
        bars = BARS[passed.operation]
        cells = [_cell(getattr(passed, column), bars.get(column)) for column in COLUMNS]
        rows.append((passed.operation, *cells))
    widths = [max(len(row[at]) for row in rows) for at in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _cell(value: int, bar: int | None) -> str:
    if bar is None:
        return str(value)
    return f"{value} (bar {bar}{'' if value <= bar else ', missed'})"


def _as_json(found: Sequence[Passed], read: Sources) -> str:
    return json.dumps(
        {
            "operations": [{**asdict(passed), "bars": BARS[passed.operation]} for passed in found],
            "sources": asdict(read),
        },
        indent=2,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Trace and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.trace_calls",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--files", action="store_true", help="name the files, with their calls")
    parser.add_argument("--tree", action="store_true", help="print the calls in their order")
    given = parser.parse_args(arguments)
    with scratch_folder() as folder:
        found = trace(folder)
    read = sources(ROOT / "plugin", ROOT / "adapters")
    if given.json:
        print(_as_json(found, read))
        return 0
    print(_table(found))
    if given.files:
        for passed in found:
            print(f"\n{passed.operation}:")
            for file, calls in sorted(passed.entered.items()):
                print(f"  {calls:>4}  {file} ({_lines(file)} lines)")
    if given.tree:
        for passed in found:
            print("\n".join([f"\n{passed.operation}:", *passed.tree]))
    print(f"\n{read.text()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
