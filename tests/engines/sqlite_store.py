"""The store of a journal as its engine has it, for tests of SQLite itself."""

from __future__ import annotations

from rowtrail import Journal
from rowtrail.engine import Store
from rowtrail.engine.sqlite import SqliteStore


def sqlite_store(owner: Journal | Store) -> SqliteStore:
    """Return the open file of a journal."""
    store = owner.store if isinstance(owner, Journal) else owner
    assert isinstance(store, SqliteStore)
    return store
