"""The machine and the versions that the figures were made with."""

from __future__ import annotations

import os
import platform
import sqlite3
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any

import rowtrail
from benchmarks._scratch import file_system_of

PACKAGES = ("langgraph", "langgraph-checkpoint-sqlite", "langchain-core", "aiosqlite", "dbos")


def machine_facts(folder: Path) -> dict[str, Any]:
    """Return what the figures depend on: processor, memory (bytes), disk, load of the machine."""
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "file_system": file_system_of(folder),
        "default_synchronous": _default_synchronous(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def version_facts() -> dict[str, str]:
    """Return the versions of rowtrail, its peers, Python and SQLite."""
    versions = {
        "rowtrail": rowtrail.__version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    found = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(found, platform.processor())


def _default_synchronous() -> int:
    """Return how SqliteSaver, which sets nothing, commits: 2 is FULL, as rowtrail does."""
    with closing(sqlite3.connect(":memory:")) as connection:
        return int(connection.execute("PRAGMA synchronous").fetchone()[0])


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
