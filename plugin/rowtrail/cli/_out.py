"""Where a long output goes: standard output, or a file that appears when it is whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator

import click

from rowtrail.cli._group import Failure
from rowtrail.engine.files import sync_folder

Write = Callable[[str], object]


@contextlib.contextmanager
def writing(path: str | None, journal: str) -> Generator[Write]:
    """Yield what writes text: to standard output, or into a private file beside `path`.

    The file gets its name, in place of an older one, when the block ends without an error; else it
    is removed.

    Raises:
        Failure: The file cannot be written, or is the journal itself.
    """
    if path is None:
        yield _to_stdout
        return
    _refuse_journal(path, journal)
    part = f"{path}.{os.getpid()}.part"
    try:
        handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with open(handle, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            yield file.write
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        sync_folder(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(part)


def _to_stdout(text: str) -> None:
    click.echo(text, nl=False)


def _refuse_journal(path: str, journal: str) -> None:
    beside = (journal, f"{journal}-wal", f"{journal}-shm")
    if any(os.path.realpath(path) == os.path.realpath(name) for name in beside):
        raise Failure(f"{path!r} is the journal itself: give --out another path")


def _unwritable(path: str, error: OSError) -> Failure:
    return Failure(
        f"{path!r} cannot be written ({error.strerror}): check its folder and the room that is left"
    )
