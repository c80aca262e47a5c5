"""Files that get their name when they are whole: built beside it, synced, put over no other."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator

from rowtrail.errors import StorageError

SIDE_FILES = ("", "-wal", "-shm", "-journal")
"""What SQLite may put beside a file, and the file itself."""


def refuse_existing(target: str, suffixes: tuple[str, ...] = ("",)) -> None:
    """Refuse a path at which something is already.

    Raises:
        StorageError: So it is.
    """
    for suffix in suffixes:
        if os.path.lexists(target + suffix):
            raise _exists(target + suffix)


@contextlib.contextmanager
def beside(target: str) -> Generator[str]:
    """Yield the path of a new file, empty and of mode 0600, which is removed in the end.

    Raises:
        StorageError: The folder cannot be written.
    """
    part = f"{target}.{os.getpid()}.part"
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except OSError as error:
        raise StorageError(
            f"{target!r} cannot be written ({error.strerror}): check that its folder exists and "
            "may be written",
            path=target,
        ) from error
    try:
        yield part
    finally:
        for suffix in SIDE_FILES:
            with contextlib.suppress(OSError):
                os.unlink(part + suffix)


def give_name(part: str, target: str) -> None:
    """Put a file on disk under its name.

    Raises:
        StorageError: A file of this name was made meanwhile.
    """
    _sync(part, os.O_RDWR)
    try:
        os.link(part, target)
    except FileExistsError as error:
        raise _exists(target) from error
    except OSError:  # a file system without links
        os.rename(part, target)
    sync_folder(target)


def sync_folder(path: str) -> None:
    """Put the name of a file on disk, where folders can be synced."""
    with contextlib.suppress(OSError):  # Windows opens no folders
        _sync(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)


def _sync(path: str, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _exists(target: str) -> StorageError:
    return StorageError(f"{target!r} exists: give the path of a new file", path=target)
