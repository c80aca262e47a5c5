"""Transports of httpx and httpx2, sync and async, that record what passes.

At this place a request is whole, each retry of the SDK is a request of its own, and nothing was
read of the answer yet.
"""

from __future__ import annotations

from contextlib import aclosing, closing
from typing import Any

from rowtrail.adapter import arecord, record
from rowtrail_clients._answers import RefusedError, Reply, form_of
from rowtrail_clients._requests import Recorder
from rowtrail_clients._responses import aall_of, all_of, response_to
from rowtrail_clients._streams import AsyncStreamed, Streamed


class _Wrapped:
    def __init__(self, inner: Any, recorder: Recorder, owner: Any) -> None:
        self.inner = inner
        self.recorder = recorder
        self.owner = owner
        """The HTTP client of the transport: those of the SDKs close it when they are collected."""


class Transport(_Wrapped):
    """Records the requests that a sync client sends over another transport."""

    def __enter__(self) -> Transport:
        self.inner.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.inner.__exit__(*error)

    def close(self) -> None:
        """Close the connections."""
        self.inner.close()

    def handle_request(self, request: Any) -> Any:
        """Return the response to a request, recorded where it is a model call of a run."""
        asked = self.recorder.asked(request)
        if asked is None:
            return self.inner.handle_request(request)
        scope, call = asked
        if call.arguments["body"].get("stream") is True:
            return Streamed(scope, call, self.inner, request).response()

        def make() -> Reply:
            with closing(self.inner.handle_request(request)) as response:
                return Reply.of(response, response.read())

        try:
            reply = record(scope, call, make, form_of(call))
        except RefusedError as refused:  # the program has handled it before, and is shown it again
            reply = refused.again
        return response_to(request, reply, all_of(reply.body))


class AsyncTransport(_Wrapped):
    """Records the requests that an async client sends over another transport."""

    async def __aenter__(self) -> AsyncTransport:
        await self.inner.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.inner.__aexit__(*error)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.inner.aclose()

    async def handle_async_request(self, request: Any) -> Any:
        """Return the response to a request, recorded where it is a model call of a run."""
        asked = self.recorder.asked(request)
        if asked is None:
            return await self.inner.handle_async_request(request)
        scope, call = asked
        if call.arguments["body"].get("stream") is True:
            return await AsyncStreamed(scope, call, self.inner, request).response()

        async def make() -> Reply:
            async with aclosing(await self.inner.handle_async_request(request)) as response:
                return Reply.of(response, await response.aread())

        try:
            reply = await arecord(scope, call, make, form_of(call))
        except RefusedError as refused:  # the program has handled it before, and is shown it again
            reply = refused.again
        return response_to(request, reply, aall_of(reply.body))
