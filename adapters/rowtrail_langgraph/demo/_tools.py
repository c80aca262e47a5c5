"""The tools of the demo's agent: three that read real files, one that writes to the ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool, tool

import rowtrail
from rowtrail_langgraph.demo._ledger import Entry, Ledger
from rowtrail_langgraph.demo._probe import Probe


def build_tools(folder: Path, ledger: Ledger, probe: Probe, *, journaled: bool) -> list[BaseTool]:
    """Return the tools over the files in `folder`; `journaled` says that rowtrail records them."""
    reading = _reading_tools(folder, probe)
    for each in reading:
        each.metadata = {"rowtrail": {"effect": "read"}}
    return [*reading, _writing_tool(ledger, probe, journaled)]


def _reading_tools(folder: Path, probe: Probe) -> list[BaseTool]:
    @tool
    def list_files() -> str:
        """List the names of the files, as a JSON array."""
        with probe.tool_run("list_files"):
            return json.dumps(sorted(path.name for path in folder.iterdir()))

    @tool
    def measure_file(name: str) -> str:
        """Count the lines, words and bytes of one file."""
        with probe.tool_run(f"measure_file {name}"):
            content = _read(folder, name)
            lines, words = len(content.splitlines()), len(content.split())
            size = {"lines": lines, "words": words, "bytes": len(content)}
            return json.dumps({"file": name, **size})

    @tool
    def longest_line(name: str) -> str:
        """Find the longest line of one file: its number and its length in characters."""
        with probe.tool_run(f"longest_line {name}"):
            probe.hold(f"longest_line {name}")
            lines = _read(folder, name).decode("utf-8").splitlines()
            chars, number = max((len(line), -n) for n, line in enumerate(lines, 1))
            return json.dumps({"file": name, "line": -number, "chars": chars})

    return [list_files, measure_file, longest_line]


def _writing_tool(ledger: Ledger, probe: Probe, journaled: bool) -> BaseTool:
    @tool
    def record_finding(finding: str) -> str:
        """Record a finding in the ledger, for good."""
        with probe.tool_run("record_finding"):
            key = rowtrail.current_step().idempotency_key if journaled else None
            ledger.append(Entry(finding, key))
            probe.emit("effect", finding=finding)
            probe.hold("record_finding")
            return _recorded(finding)

    def look_in_ledger(step: Any) -> Any:
        """Decide a call in doubt: what happened is in the ledger, under the step's key."""
        entry = ledger.find(step.idempotency_key)
        probe.emit("reconciled", tool=step.name, found=entry is not None)
        return rowtrail.NOT_DONE if entry is None else _recorded(entry.finding)

    record_finding.metadata = {"rowtrail": {"effect": "write", "on_doubt": look_in_ledger}}
    return record_finding


def _recorded(finding: str) -> str:
    return f"recorded: {finding}"


def _read(folder: Path, name: str) -> bytes:
    if Path(name).name != name:
        raise ValueError(f"{name!r} is not the name of one of the files")
    return (folder / name).read_bytes()
