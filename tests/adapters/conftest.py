"""What the tests of the adapter share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import certifi
import pytest

if TYPE_CHECKING:
    from tests.adapters._child import Children
    from tests.adapters._graphs import Bench


@pytest.fixture(autouse=True, scope="module")
def _one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Trust one certificate authority: a client loads all of them, twice, for 20 ms each time."""
    end = "-----END CERTIFICATE-----\n"
    first = Path(certifi.where()).read_text().partition(end)[0]
    path = tmp_path_factory.mktemp("tls") / "authority.pem"
    path.write_text(first + end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(path))
        yield


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Return a model endpoint, a journal and a ledger of the test's own."""
    from tests.adapters._graphs import Bench  # the plain SDKs are tested without LangGraph

    with Bench(tmp_path) as bench:
        yield bench


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    """Return what starts processes that run a scenario once."""
    from tests.adapters._child import Children

    started = Children()
    yield started
    started.close()
