"""Where the WAL of a journal lies, and whether the file is in use under a name with another one.

SQLite puts the WAL beside the name by which a file is opened. A second name of the same file (a
hard link, or a mount of the file itself) has another WAL, and neither side sees what the other
commits. So each journal says in its own file, never only in a WAL, under which name it was opened
last (`home` in the table `meta`). Whoever comes by another name has to find it unused.
Source: https://www.sqlite.org/howtocorrupt.html section 2.5.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from dataclasses import asdict, dataclass
from typing import Any

from rowtrail.engine.sqlite._faults import named_errors
from rowtrail.errors import SecondNameError

MEMORY = ":memory:"
HOME = "home"
PROBE_MS = 700
"""How long a file must stay in use before that counts: others may just be opening it."""

_open_here: dict[tuple[int, int], list[Home]] = {}
"""By device and inode, the names under which stores of this process have files open."""

_noting = threading.Lock()


@dataclass(frozen=True)
class Home:
    """The place of a journal's WAL.

    Attributes:
        path: Real path of the file, without symbolic links.
        device: Of its folder, which other mounts and other boots may number otherwise.
        folder: Inode of its folder.
        is_mount: The file itself is a mount point: its folder is on another file system.
    """

    path: str
    device: int
    folder: int
    is_mount: bool

    @classmethod
    def of(cls, path: str) -> Home:
        """Return the home of a file that is opened by this path."""
        real = os.path.realpath(path)
        folder = os.stat(os.path.dirname(real))
        return cls(real, folder.st_dev, folder.st_ino, _is_mount(real))

    @classmethod
    def from_text(cls, text: str | None) -> Home | None:
        """Return the home that a journal records, None where it records none."""
        try:
            recorded = json.loads(text or "null")
            return cls(
                str(recorded["path"]),
                recorded["device"],
                recorded["folder"],
                bool(recorded["is_mount"]),
            )
        except (ValueError, TypeError, KeyError):
            return None

    def as_text(self) -> str:
        """Return the form in which the journal keeps it; a path that is not a text is escaped."""
        return json.dumps(asdict(self))

    def is_same(self, other: Home) -> bool:
        """Return whether both names have one WAL; a folder may be mounted at several places."""
        if (self.folder, os.path.basename(self.path)) != (
            other.folder,
            os.path.basename(other.path),
        ):
            return False
        # Hard links are on one file system, where the inode of the folder is enough.
        return self.device == other.device or not (self.is_mount or other.is_mount)


def wal_of(path: str) -> str:
    """Return the path of the WAL, which lies beside the file itself, not beside a symbolic link."""
    return f"{os.path.realpath(path)}-wal"


def beside_file(path: str, suffix: str) -> str | None:
    """Return the path of a file beside a journal, None for one in memory."""
    return None if path == MEMORY else os.path.abspath(path) + suffix


def has_wal(path: str) -> bool:
    """Return whether the file has a WAL beside it that is not empty."""
    try:
        return os.stat(wal_of(path)).st_size > 0
    except OSError:
        return False


def _is_mount(real: str) -> bool:
    """Return whether a file is a mount point, which `os.path.ismount` knows of folders only."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            points = (line.split(" ", 5)[4] for line in mounts)
            return real in (_unescaped(point) for point in points)
    except (OSError, IndexError):  # no Linux
        return False


def _unescaped(point: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(code, char)
    return point


def recorded_home(connection: sqlite3.Connection, schema: str = "main") -> Home | None:
    """Return under which name a journal was opened last, None where it does not say."""
    query = f"SELECT value FROM {schema}.meta WHERE key = '{HOME}'"
    found = connection.execute(query).fetchone()
    return None if found is None else Home.from_text(found[0])


def home_if_sound(connection: sqlite3.Connection, schema: str = "main") -> Home | None:
    """As `recorded_home`, of a file that may be damaged: that is found where it is read."""
    try:
        return recorded_home(connection, schema)
    except sqlite3.Error:
        return None


# Within this process.


def note_open(path: str) -> tuple[int, int] | None:
    """Note that a store of this process has the file open, and return the key to `note_closed`."""
    if path == MEMORY:
        return None
    found, home = os.stat(path), Home.of(path)
    key = (found.st_dev, found.st_ino)
    with _noting:
        _open_here[key] = [*_open_here.get(key, ()), home]
    return key


def note_closed(key: tuple[int, int] | None) -> None:
    """Note that one of the stores that had the file open has closed it."""
    if key is not None:
        with _noting:
            left = _open_here.pop(key)[1:]
            if left:
                _open_here[key] = left


def refuse_second_name_here(path: str) -> None:
    """Refuse a file that this process has open under another name.

    SQLite shares its memory of a WAL between all names that one process opens a file by.

    Raises:
        SecondNameError: So it is.
    """
    try:
        found = os.stat(path)
        homes = _open_here.get((found.st_dev, found.st_ino), ())
        mine = Home.of(path) if homes else None
    except OSError:
        return
    for home in homes:
        if mine is not None and not home.is_same(mine):
            raise in_use(path, home.path)


# Between processes.


def refuse_wal_elsewhere(path: str, recorded: Home | None) -> None:
    """Refuse a file that was not closed under the other name that it records, as far as one sees.

    Raises:
        SecondNameError: Its newest rows are in the WAL of the other name.
    """
    if (
        recorded is None
        or not has_wal(recorded.path)
        or _is_same_file(wal_of(recorded.path), wal_of(path))
    ):
        return
    if _is_same_file(recorded.path, path):
        raise in_use(path, recorded.path)
    if not os.path.lexists(recorded.path) and not has_wal(path):
        left, mine = wal_of(recorded.path), wal_of(path)
        raise SecondNameError(
            f"{path!r} was moved here from {recorded.path!r} without its newest rows, which are in "
            f"{left!r}: end the program that may still have it open, then move that file to "
            f"{mine!r}, or delete it to go without those rows",
            path=path,
            other=recorded.path,
        )


def may_have_other_names(path: str, recorded: Home | None) -> bool:
    """Return whether somebody whom one cannot see may have the file open under another name."""
    return (
        os.stat(path).st_nlink > 1
        or (recorded is not None and recorded.is_mount)
        or _is_mount(os.path.realpath(path))
    )


def move_home(path: str) -> None:
    """Write into a journal under which name it is open from now on.

    Where it may have other names, nobody else can have it open meanwhile. What a crash left in the
    WAL of the name before is moved into the file first.

    Raises:
        SecondNameError: It is in use under another name, or left its WAL there.
    """
    with contextlib.closing(_connection(path)) as connection, named_errors(path):
        recorded, mine = recorded_home(connection), Home.of(path)
    if recorded is not None:
        _recover(path, recorded.path)
    refuse_wal_elsewhere(path, recorded)
    with contextlib.closing(_connection(path)) as connection, named_errors(path):
        if may_have_other_names(path, recorded):
            _use_alone(connection, path, None if recorded is None else recorded.path)
            refuse_wal_elsewhere(path, recorded_home(connection))  # it may have crashed meanwhile
        connection.execute(
            "INSERT INTO meta (key, value) VALUES (?, ?) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (HOME, mine.as_text()),
        )
        # Into the file itself: the other names do not see this WAL.
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _recover(path: str, other: str) -> None:
    """Move into the file what is left in the WAL of its other name, if nobody uses that."""
    if has_wal(other) and _is_same_file(other, path) and wal_of(other) != wal_of(path):
        with contextlib.closing(_connection(other)) as connection, named_errors(other):
            _use_alone(connection, path, other)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def is_in_use(path: str) -> bool:
    """Return whether anybody has the file open by any name; False where that is unknown."""
    try:
        with contextlib.closing(_connection(path)) as connection:
            _use_alone(connection, path, None)
    except SecondNameError:
        return True
    except sqlite3.Error:  # a folder that cannot be written, say
        return False
    return False


def _connection(path: str) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=PROBE_MS / 1000, isolation_level=None)


def _use_alone(connection: sqlite3.Connection, path: str, other: str | None) -> None:
    """Lock the file itself, which whoever has it open holds a shared lock of under any name.

    Raises:
        SecondNameError: Somebody has it open.
    """
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        raise in_use(path, other) from error


def in_use(path: str, other: str | None) -> SecondNameError:
    """Return the error of opening by this path a file that is open by another."""
    name = "another name" if other is None else f"its other name {other!r}"
    return SecondNameError(
        f"{path!r} is open under {name}, or was not closed there: SQLite keeps the newest rows "
        "beside that name, and what is written by two names is lost; use that name, or end the "
        "program that has it open; of containers, mount the folder, not the file",
        path=path,
        other=other,
    )


def _is_same_file(one: Any, other: Any) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
