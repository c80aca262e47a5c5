"""Where the measured files live, and how large they are."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs")


@contextmanager
def scratch_folder(parent: Path | None = None) -> Generator[Path]:
    """Make a folder on a real disk and remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="rowtrail-bench-", dir=parent or _disk_folder()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _disk_folder() -> Path:
    """Return the system's temporary folder, or another one when that one is kept in memory."""
    for folder in (Path(tempfile.gettempdir()), Path("/var/tmp"), Path.home(), Path.cwd()):
        writable = folder.is_dir() and os.access(folder, os.W_OK)
        if writable and file_system_of(folder) not in MEMORY_FILE_SYSTEMS:
            return folder
    return Path.cwd()


def file_system_of(folder: Path) -> str:
    """Return the type of the file system that a folder is on, "" where the system does not say."""
    try:
        mounts = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return ""
    found = max(
        (line.split()[:3] for line in mounts if folder.resolve().is_relative_to(line.split()[1])),
        key=lambda mount: len(mount[1]),
        default=["", "", ""],
    )
    return found[2]


def file_bytes(path: Path) -> int:
    """Return the size of a SQLite file once its WAL is written back and cut to nothing."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size


def committed_bytes(path: Path) -> int:
    """Return the size that a SQLite file in use has with its WAL written back."""
    with closing(sqlite3.connect(path)) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    return int(pages) * int(page_bytes)


def remove_database(path: Path) -> None:
    """Remove a SQLite file with all that lies beside it: a conversation may take gigabytes."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink(missing_ok=True)


def copy_database(source: Path, target: Path) -> None:
    """Replace a SQLite file by a copy of another one that no process has open."""
    remove_database(target)
    for suffix in ("", "-wal"):
        if source.with_name(source.name + suffix).exists():
            shutil.copyfile(f"{source}{suffix}", f"{target}{suffix}")
