"""Which engine a journal has, by its path or URL."""

from __future__ import annotations

import atexit
import re
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from rowtrail.errors import UnsupportedError

if TYPE_CHECKING:
    from rowtrail._clock import Clock
    from rowtrail.engine._contract import Durability, Engine, Reader, Store

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # two letters and more: `C:` is a drive

LOADED: dict[str, Engine] = {}


def _sqlite() -> Engine:
    from rowtrail.engine import sqlite  # not for `import rowtrail`

    return sqlite


ENGINES: dict[str, Callable[[], Engine]] = {"": _sqlite}
"""By the scheme of a URL, what loads the engine; a path has none."""


def engine_of(target: str) -> Engine:
    """Return the engine of a path or URL, which is loaded by this.

    Raises:
        UnsupportedError: There is none for URLs of this kind.
    """
    url = _SCHEME.match(target)
    scheme = "" if url is None else url[1].lower()
    engine = LOADED.get(scheme)
    if engine is None:
        if scheme not in ENGINES:
            raise UnsupportedError(
                f"this rowtrail has no engine for {scheme}:// URLs: give the path of a file"
            )
        engine = LOADED[scheme] = ENGINES[scheme]()
    return engine


# Here, not where an engine is loaded: what a program registers after its imports runs before this.
@atexit.register
def _close_left_open() -> None:
    for engine in LOADED.values():
        engine.close_all()


def open_store(target: str, durability: Durability, clock: Clock) -> Store:
    """Open a journal, or share the store that this process has open on it.

    Raises:
        StorageError: It cannot be opened; the leaf and the message say why.
        UnsupportedError: No engine can open it, or this machine lacks what the engine needs.
    """
    return engine_of(target).open_store(target, durability, clock)


def open_reader(target: str) -> Reader:
    """Return a reader of a journal; it is opened at its first `read`.

    Raises:
        UnsupportedError: No engine can open it.
    """
    return engine_of(target).open_reader(target)


def exists(target: str) -> bool:
    """Return whether there is a journal, or something else, at a path or URL."""
    return engine_of(target).exists(target)


def is_lasting(target: str) -> bool:
    """Return whether a journal of this name outlives its process."""
    return engine_of(target).is_lasting(target)


def absolute(target: str) -> str:
    """Return the path or URL of a journal as it can be opened in any folder."""
    return engine_of(target).absolute(target)


def refuse_unusable(target: str) -> None:
    """Report early, without opening anything, that a journal cannot be opened there.

    Raises:
        StorageError: So it is.
    """
    engine_of(target).refuse_unusable(target)


def warn_unclosed(owner: object, store: Store) -> weakref.finalize[..., object]:
    """Warn when `owner` is collected without being closed; what it wrote is safe either way."""
    return weakref.finalize(owner, _close_and_warn, store)


def _close_and_warn(store: Store) -> None:
    if store.close_unowned():
        import warnings

        warnings.warn(
            f"the journal {store.where!r} was not closed: use it in a `with` block or call close()",
            ResourceWarning,
            stacklevel=2,
        )
