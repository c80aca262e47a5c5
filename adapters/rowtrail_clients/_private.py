"""Every private name of the SDKs and of httpx that is used, each looked for before anything else.

No SDK says in public which HTTP client it has, and none of httpx which transports.
"""

# pyright: reportPrivateUsage=false
from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar, cast

from rowtrail.errors import UnsupportedError

C = TypeVar("C")


def http_client_of(client: object) -> Any:
    """Return the HTTP client of an SDK's client.

    Raises:
        UnsupportedError: It has none, or not what is needed of it.
    """
    return _get(client, "_client")


def with_transports(http: Any, wrap: Callable[[Any], Any]) -> Any:
    """Return a copy of an HTTP client that sends over wrapped transports; it shares them.

    Raises:
        UnsupportedError: The client has no transports.
    """
    transport, mounts = _get(http, "_transport"), _get(http, "_mounts")
    twin = copy.copy(http)
    twin._transport = wrap(transport)
    twin._mounts = {at: None if each is None else wrap(each) for at, each in mounts.items()}
    return twin


def transport_of(http: Any) -> Any:
    """Return what an HTTP client sends over.

    Raises:
        UnsupportedError: There is nothing like it.
    """
    return _get(http, "_transport")


def with_http_client(client: C, http: Any) -> C:
    """Return a copy of an SDK's client that sends by another HTTP client.

    Raises:
        UnsupportedError: The SDK has another way.
    """
    twin = _get(client, "copy")(http_client=http)
    if http_client_of(twin) is not http:
        raise _unsupported(client, "copy(http_client=...)")
    return cast("C", twin)


def _get(owner: object, name: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        raise _unsupported(owner, name) from None


def _unsupported(owner: object, name: str) -> UnsupportedError:
    cls = type(owner)
    return UnsupportedError(
        f"{cls.__module__}.{cls.__qualname__} has no {name}: recorded() takes the clients of the "
        "openai SDK from 1.66 and of the anthropic SDK from 0.49, sync and async"
    )
