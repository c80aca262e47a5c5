"""What the environment says of a journal and a run: how `rowtrail resume` tells a program."""

from __future__ import annotations

import os
import threading

from rowtrail.errors import UsageError

DB_VARIABLE = "ROWTRAIL_DB"
"""Variable with the path of the journal."""

RUN_VARIABLE = "ROWTRAIL_RUN"
"""Variable with the id of the run that is to be continued."""

RUN_FROM_ENVIRONMENT = "$ROWTRAIL_RUN"
"""Stands for the run that the environment names; no run has this id."""

THREAD_VARIABLE = "ROWTRAIL_THREAD"
"""Variable with the thread of that run, where it has one."""

DEFAULT_PATH = "./agent.db"

_taking = threading.Lock()


def journal_path(given: str | os.PathLike[str] | None = None) -> str:
    """Return the path of the journal: the one that a program gives, else the environment's.

    Raises:
        UsageError: The path is empty.
    """
    if given is None:
        return os.environ.get(DB_VARIABLE) or DEFAULT_PATH
    path = os.fsdecode(given)
    if not path:
        raise UsageError("the path of the journal is empty: name a file, or ':memory:'")
    return path


def take_run_id() -> str | None:
    """Return the id of the run that is to be continued, once: it names one run, not the next too.

    The variable is taken out of the environment, so that programs started from here do not take it.
    """
    with _taking:
        return os.environ.pop(RUN_VARIABLE, None) or None


def check_id(name: str, value: object) -> None:
    """Refuse what is no id.

    Raises:
        UsageError: The value is empty, or no text.
    """
    try:
        valid = isinstance(value, str) and value.encode() != b""
    except UnicodeEncodeError:
        valid = False
    if not valid:
        raise UsageError(f"{name}={value!r} is not an id: give a text that names it")
