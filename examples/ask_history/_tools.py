"""The agent's tools: real ones, over real files."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from pathlib import Path

from langchain_core.tools import BaseTool, tool

from examples.ask_history._world import Ledger, Registry

MAX_MATCHES = 20


def build_tools(folder: Path, registry: Registry, ledger: Ledger) -> list[BaseTool]:
    """Return the tools over the files in `folder`."""
    tools = [*_reading(folder), *_measuring(folder), *_outside(registry, ledger)]
    for each in tools:
        each.metadata = {"rowtrail": {"effect": "read"}, **(each.metadata or {})}
    return tools


def _reading(folder: Path) -> list[BaseTool]:
    @tool
    def list_files() -> str:
        """List the names of the files, one per line."""
        return "\n".join(sorted(path.name for path in folder.iterdir()))

    @tool
    def read_lines(name: str, start: int, count: int = 25) -> str:
        """Read some lines of a file, from line `start`, with their numbers."""
        lines = _text(folder, name).splitlines()
        part = list(enumerate(lines, 1))[start - 1 : start - 1 + count]
        last = min(start - 1 + count, len(lines))
        shown = [f"{name}, lines {start} to {last} of {len(lines)}"]
        return "\n".join([*shown, *(f"{number}: {line}" for number, line in part)])

    @tool
    def grep(name: str, pattern: str) -> str:
        """Find the lines of a file that match a regular expression."""
        numbered = enumerate(_text(folder, name).splitlines(), 1)
        found = [f"{name}:{n}: {line}" for n, line in numbered if re.search(pattern, line)]
        return "\n".join([f"{len(found)} matching lines", *found[:MAX_MATCHES]])

    return [list_files, read_lines, grep]


def _measuring(folder: Path) -> list[BaseTool]:
    @tool
    def measure_file(name: str) -> str:
        """Count the lines, words and bytes of a file."""
        text = _text(folder, name)
        size = {"lines": len(text.splitlines()), "words": len(text.split())}
        return json.dumps({**size, "bytes": len(text.encode())})

    @tool
    def checksum(name: str) -> str:
        """Return the first 16 digits of a file's SHA-256."""
        return hashlib.sha256(_text(folder, name).encode()).hexdigest()[:16]

    @tool
    def sum_orders(name: str, status: str) -> str:
        """Add up the orders of a CSV file that have a status: how many, and their cents."""
        with (folder / _known(folder, name)).open(encoding="utf-8", newline="") as rows:
            chosen = [row for row in csv.DictReader(rows) if row["status"] == status]
        cents = sum(int(row["quantity"]) * int(row["cents"]) for row in chosen)
        return json.dumps({"orders": len(chosen), "cents": cents})

    return [measure_file, checksum, sum_orders]


def _outside(registry: Registry, ledger: Ledger) -> list[BaseTool]:
    @tool
    def look_up_owner(name: str) -> str:
        """Ask the registry which team owns a file. It does not always answer."""
        return registry.owner(name)

    @tool
    def record_finding(file: str, finding: str) -> str:
        """Record what was found in a file, for good."""
        return f"recorded as number {ledger.append(file, finding)}"

    record_finding.metadata = {"rowtrail": {"effect": "write", "on_doubt": "ask"}}
    return [look_up_owner, record_finding]


def _known(folder: Path, name: str) -> str:
    if Path(name).name != name or not (folder / name).is_file():
        raise ValueError(f"{name!r} is not the name of one of the files")
    return name


def _text(folder: Path, name: str) -> str:
    return (folder / _known(folder, name)).read_text("utf-8")
