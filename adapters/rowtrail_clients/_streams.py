"""Streamed answers: recorded event by event, handed back as one piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
from typing import Any

from rowtrail.adapter import (
    Replayed,
    Request,
    Scope,
    StreamForm,
    Usage,
    arecord_stream,
    record_stream,
)
from rowtrail_clients._answers import (
    BAD_REQUEST,
    RefusedError,
    Reply,
    restored,
    stored,
    usage_of,
    value_of,
)
from rowtrail_clients._events import position, split
from rowtrail_clients._responses import aall_of, all_of, response_to

Part = Reply | bytes
"""Of a streamed response: first what came before its body, then pieces of that."""


class Collected:
    """Hands events on as they come, but those that end a part only with what follows.

    So nobody has an answer whole that is not on disk, and nothing is late before its end.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._head = Reply(0, (), b"")
        self._body = bytearray()
        self._rest = b""
        self._held: list[bytes] = []
        self._choices: set[int] = set()
        self._has_ended = False
        self._has_failed = False

    def take(self, chunk: Part) -> Iterable[Part]:
        """Keep a chunk, and return the events that may be handed on."""
        if isinstance(chunk, Reply):
            self._head = chunk
            return [chunk]
        self._body += chunk
        events, self._rest = split(self._rest + chunk)
        expected = self._request.arguments["body"].get("n") or 1
        ready: list[bytes] = []
        for event in events:
            at = position(event, self._choices, expected)
            self._has_ended = self._has_ended or at == "end"
            self._has_failed = self._has_failed or at == "error"
            self._held.append(event)
            if at == "inside" and not self._has_ended and not self._has_failed:
                ready += self._held
                self._held.clear()
        return ready

    def is_over(self) -> bool:
        """Return whether the answer is whole: what else is sent says nothing.

        Raises:
            RefusedError: The provider said in the stream that it failed.
        """
        if self._has_failed:
            raise RefusedError(self._reply)
        return self._has_ended

    def check_end(self) -> None:
        """Look at a stream that was read to its end.

        Raises:
            RefusedError: It ends before its answer does.
        """
        # a server that knows no streams sends the answer in one piece
        is_one_piece = self._rest == bytes(self._body) and value_of(self._body) is not None
        is_whole = self._has_ended or bool(self._choices) or is_one_piece
        if self._has_failed or not is_whole:
            raise RefusedError(self._reply)

    def held(self) -> Iterable[bytes]:
        """Return what was held back."""
        return [*self._held, *([self._rest] if self._rest else [])]

    def stored(self) -> Any:
        """Return what is stored of the answer, as far as it came; None where nothing did."""
        return stored(self._reply) if self._body else None

    def usage(self) -> Usage | None:
        """Return the tokens of the answer."""
        return usage_of(value_of(self._body), self._request)

    @property
    def _reply(self) -> Reply:
        return Reply(self._head.status, self._head.headers, bytes(self._body))


class _Streaming:
    """One request for a stream.

    Attributes:
        opened: The provider's response, once there is one.
        coming: Its body, once that is read.
    """

    def __init__(self, scope: Scope, call: Request, inner: Any, request: Any) -> None:
        self.scope = scope
        self.call = call
        self.inner = inner
        self.request = request
        self.collected = Collected(call)
        self.opened: list[Any] = []
        self.coming: list[Any] = []

    def refused(self, refused: RefusedError) -> Reply:
        """Return what is said in place of an answer."""
        return refused.reply if self.opened else refused.again


class Streamed(_Streaming):
    """One request for a stream, of a sync client."""

    def response(self) -> Any:
        """Return the response, of which nothing but its head was read."""
        form: StreamForm[Part] = StreamForm(lambda: self.collected, _parts)
        parts: Any = record_stream(self.scope, self.call, self._make, form)
        try:
            head = next(parts)
        except RefusedError as refused:
            reply = self.refused(refused)
            return response_to(self.request, reply, all_of(reply.body), closes=self.opened)
        except BaseException:  # Ctrl-C too: connections go back to their pool
            for each in self.opened:
                each.close()
            raise
        return response_to(self.request, head, self._body(parts), closes=[parts, *self.opened])

    def _make(self) -> Iterator[Part]:
        response = self.inner.handle_request(self.request)
        self.opened.append(response)
        if response.status_code >= BAD_REQUEST:
            raise RefusedError(Reply.of(response, response.read()))
        yield Reply.of(response)
        self.coming.append(response.iter_bytes())
        for data in self.coming[0]:
            yield data
            if self.collected.is_over():
                return
        self.collected.check_end()

    def _body(self, parts: Any) -> Generator[Any]:
        try:
            yield from parts
        except RefusedError:  # said inside the stream, which the SDK reads for itself
            yield from self.collected.held()
        for rest in self.coming:  # a connection is used again where it was read to the end
            yield from rest


class AsyncStreamed(_Streaming):
    """One request for a stream, of an async client."""

    async def response(self) -> Any:
        """Return the response, of which nothing but its head was read."""
        form: StreamForm[Part] = StreamForm(lambda: self.collected, _aparts)
        parts: Any = arecord_stream(self.scope, self.call, self._make, form)
        try:
            head = await anext(parts)
        except RefusedError as refused:
            reply = self.refused(refused)
            return response_to(self.request, reply, aall_of(reply.body), closes=self.opened)
        except BaseException:  # cancellation too: connections go back to their pool
            for each in self.opened:
                await each.aclose()
            raise
        return response_to(self.request, head, self._body(parts), closes=[parts, *self.opened])

    async def _make(self) -> AsyncGenerator[Part]:
        response = await self.inner.handle_async_request(self.request)
        self.opened.append(response)
        if response.status_code >= BAD_REQUEST:
            raise RefusedError(Reply.of(response, await response.aread()))
        yield Reply.of(response)
        self.coming.append(response.aiter_bytes())
        async for data in self.coming[0]:
            yield data
            if self.collected.is_over():
                return
        self.collected.check_end()

    async def _body(self, parts: Any) -> AsyncGenerator[Any]:
        try:
            async for part in parts:
                yield part
        except RefusedError:  # said inside the stream, which the SDK reads for itself
            for part in self.collected.held():
                yield part
        for rest in self.coming:  # a connection is used again where it was read to the end
            async for part in rest:
                yield part


def _parts(replayed: Replayed) -> Iterator[Part]:
    reply = restored(replayed)
    return iter([reply, reply.body])


async def _aparts(replayed: Replayed) -> AsyncGenerator[Part]:
    for part in _parts(replayed):
        yield part
