"""A journal in a temporary file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager

from rowtrail._clock import Clock
from rowtrail.engine import Durability
from rowtrail.journal import Journal


@contextmanager
def temporary_journal(
    *, durability: Durability = "full", strict: bool = False, clock: Clock | None = None
) -> Generator[Journal]:
    """Yield an open journal in a folder of its own, closed and deleted at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="rowtrail-") as folder:
        path = os.path.join(folder, "agent.db")
        with Journal(path, durability=durability, strict=strict, clock=clock) as journal:
            yield journal
