"""What the tests of the adapter share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adapters._graphs import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Return a model endpoint, a journal and a ledger of the test's own."""
    with Bench(tmp_path) as bench:
        yield bench
