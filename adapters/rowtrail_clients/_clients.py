"""`recorded`: a copy of a client whose requests go through the journal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from rowtrail.errors import UsageError
from rowtrail.journal import Journal
from rowtrail_clients._private import (
    http_client_of,
    transport_of,
    with_http_client,
    with_transports,
)
from rowtrail_clients._requests import Recorder
from rowtrail_clients._transports import AsyncTransport, Transport

C = TypeVar("C")


def recorded(
    client: C, journal: Journal, *, provider: str | None = None, headers: Iterable[str] = ()
) -> C:
    """Return a copy of a client whose model calls are recorded inside the runs of a journal.

    The copy shares the connections of the client, which stays as it is. A client that is recorded
    already is returned.

    Args:
        client: `OpenAI`, `AsyncOpenAI`, `Anthropic`, `AsyncAnthropic`, or one for Azure.
        journal: Whose runs are recorded.
        provider: By which tokens are priced; else it is found by the address, or is the SDK's.
        headers: Names of further request headers that count, such as those of a router.

    Raises:
        UnsupportedError: It is another client, or of a version that lacks what is needed.
        UsageError: It is recorded in another journal.
    """
    http = http_client_of(client)
    transport = transport_of(http)
    if isinstance(transport, (Transport, AsyncTransport)):
        if transport.recorder.journal.store is not journal.store:
            raise UsageError("this client is recorded in another journal: give the original one")
        return client
    recorder = Recorder(
        journal,
        type(client).__module__.partition(".")[0],
        provider,
        frozenset(map(str.lower, headers)),
    )
    cls: Any = AsyncTransport if hasattr(http, "aclose") else Transport
    twin = with_transports(http, lambda inner: cls(inner, recorder, http))
    return with_http_client(client, twin)
