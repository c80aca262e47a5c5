"""The stores of this process: one for each file, whatever paths lead to it."""

from __future__ import annotations

import os
import threading

from rowtrail._clock import Clock
from rowtrail.engine._contract import Durability
from rowtrail.engine.sqlite._home import MEMORY, refuse_second_name_here
from rowtrail.engine.sqlite._store import SqliteStore, forked

_registry: dict[object, SqliteStore] = {}
_registry_lock = threading.RLock()

_inherited: dict[object, int] = {}
"""Files that a parent process had open at `fork()`, and its pid."""


def open_store(target: str, durability: Durability, clock: Clock) -> SqliteStore:
    """Open the file, or share the store that this process has open on it.

    Raises:
        StorageError: The file cannot be opened; the leaf and the message say why.
    """
    path = target if target == MEMORY else os.path.abspath(target)  # a process may change folder
    with _registry_lock:
        key = _key(path)
        if key in _inherited:
            raise forked(path, _inherited[key])
        store = _registry.get(key)
        if store is not None and store.has_lost_its_file:  # the file is back: open it anew
            _registry[object()] = _registry.pop(key)
            store = None
        refuse_second_name_here(path)
        if store is None or not store.is_open:
            _forget_ended()
            store = SqliteStore(path, durability, clock, release=_release)
            _registry[_key(path)] = store
        store.require(durability)
        store.owners += 1
        return store


def _release(store: SqliteStore) -> None:
    with _registry_lock:
        store.owners -= 1
        if store.owners > 0:
            return
        store.retire()
    store.shut()
    with _registry_lock:
        _forget_ended()


def _forget_ended() -> None:
    """Drop the stores whose writer has ended.

    One that closes on its own writer's thread, as an unclosed journal's does, has not: the end of
    Python must still wait for it.
    """
    for key in [key for key, kept in _registry.items() if kept.writer.has_ended]:
        del _registry[key]


def _key(path: str) -> object:
    if path == MEMORY:
        return object()  # each one is a database of its own
    try:
        found = os.stat(path)
    except OSError:
        return path
    return (found.st_dev, found.st_ino)


def close_all() -> None:
    """Close the files that this process has open, at its end."""
    for store in list(_registry.values()):
        store.shut()


def _before_fork() -> None:
    _registry_lock.acquire()  # not a bound method: a child has another lock


def _after_fork_in_parent() -> None:
    _registry_lock.release()


def _after_fork_in_child() -> None:
    for key, store in _registry.items():
        store.disown()
        _inherited[key] = store.pid
    _registry.clear()
    # Whatever thread held the lock does not exist here.
    globals()["_registry_lock"] = threading.RLock()


if hasattr(os, "register_at_fork"):
    # A fork waits for a file that is just being opened: the child must find it in the registry.
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
