"""Responses of httpx and httpx2, of the same shape in both.

Neither is imported: the classes are those of the module that a request is of.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Generator, Iterable
from functools import cache
from typing import Any

from rowtrail_clients._answers import Reply

_NOT_AS_SENT = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""Headers that are not true of a body whose encoding was undone."""

_EXTENSIONS = ("http_version", "reason_phrase")
"""What else of a response the SDKs look at."""


def response_to(request: Any, reply: Reply, body: Any, *, closes: Iterable[Any] = ()) -> Any:
    """Return a response of the library that the request is of.

    Args:
        body: A generator of its body, sync or async: what one reader took no other gets.
        closes: What is closed with it, after it.
    """
    module = type(request).__module__.partition(".")[0]
    headers = [each for each in reply.headers if each[0].lower() not in _NOT_AS_SENT]
    whole = [("content-length", str(len(reply.body)))] if reply.body else []
    sync, asynchronous = _body_classes(module)
    cls = asynchronous if hasattr(body, "__anext__") else sync
    return sys.modules[module].Response(
        reply.status,
        headers=[*headers, *whole],
        stream=cls(body, closes),
        extensions={key: each for key, each in reply.extensions.items() if key in _EXTENSIONS},
    )


def all_of(body: bytes) -> Generator[bytes]:
    """Yield a body in one piece."""
    yield body


async def aall_of(body: bytes) -> AsyncGenerator[bytes]:
    """Async twin of `all_of`."""
    yield body


class _Body:
    def __init__(self, parts: Any, closes: Iterable[Any]) -> None:
        self.parts = parts
        self.closes = (parts, *closes)


class _SyncBody(_Body):
    def __iter__(self) -> Any:
        return self.parts

    def close(self) -> None:
        for each in self.closes:
            each.close()


class _AsyncBody(_Body):
    def __aiter__(self) -> Any:
        return self.parts

    async def aclose(self) -> None:
        for each in self.closes:
            await each.aclose()


@cache
def _body_classes(module: str) -> tuple[type[Any], type[Any]]:
    """Return the classes of bodies, sync and async: httpx looks whose children they are."""
    httpx: Any = sys.modules[module]
    return (
        type("Body", (_SyncBody, httpx.SyncByteStream), {}),
        type("AsyncBody", (_AsyncBody, httpx.AsyncByteStream), {}),
    )
