"""What a model answered: stored as the provider's JSON, and handed back as the SDK's objects."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import AsyncGenerator, Iterable
from typing import Any

from agents import ModelResponse
from agents.items import TResponseStreamEvent
from agents.usage import Usage as FrameworkUsage
from openai.types import responses
from openai.types.responses import Response, ResponseCompletedEvent

from rowtrail.adapter import ANSWERS, Answer, Form, Replayed, Request, StreamForm, Usage
from rowtrail.errors import UsageError
from rowtrail.usage import count_tokens

ENDS = ("response.completed", "response.incomplete")
FAILURES = ("response.failed", "response.error", "error")
DONE_ENDING = ".done"
"""What ends a part of a response: the last of them shows the whole."""


class ModelFailedError(Exception):
    """A provider said in the stream that it failed, or the stream ended before the answer."""

    # a failure that the program handled is built again of its plain attributes, on replay
    def __init__(self, events: list[list[Any]]) -> None:
        self.events = events
        super().__init__(str(events[-1][1])[:500] if events else "the stream ended too early")


def form_of(request: Request) -> Form[ModelResponse]:
    """Return how the whole answer to a request is stored, counted and handed back."""
    return Form(
        store=lambda answer: ANSWERS.store(_shape(answer)),
        restore=lambda replayed: _answer(replayed.result),
        usage=lambda answer: _usage(answer.usage, request, answer.output),
    )


def stream_form_of(request: Request) -> StreamForm[TResponseStreamEvent]:
    """Return how a streamed answer is collected and handed back."""
    return StreamForm(lambda: Collected(request), _replayed_events)


class Collected:
    """Hands events on as they come, but those that end a part only with what follows."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._events: list[TResponseStreamEvent] = []
        self._held: list[TResponseStreamEvent] = []
        self._items: list[Any] = []
        self._response: Response | None = None

    def take(self, chunk: TResponseStreamEvent) -> Iterable[TResponseStreamEvent]:
        """Keep an event, and return those that may be handed on.

        Raises:
            ModelFailedError: The provider says that it failed.
        """
        self._events.append(chunk)
        self._held.append(chunk)
        kind = str(chunk.type)
        if kind in FAILURES:
            raise self.failure()
        if kind in ENDS:
            self._response = getattr(chunk, "response", None)
        elif kind == "response.output_item.done":
            self._items.append(getattr(chunk, "item", None))
        if kind in ENDS or kind.endswith(DONE_ENDING) or self._response is not None:
            return ()
        ready, self._held = self._held, []
        return ready

    def failure(self) -> ModelFailedError:
        """Return what is raised in place of an answer, with what was not handed on."""
        return ModelFailedError([_event_shape(each) for each in self._held])

    def check_end(self) -> None:
        """Look at a stream that was read to its end.

        Raises:
            ModelFailedError: It ends before its answer does.
        """
        if self._response is None:
            raise self.failure()

    def held(self) -> Iterable[TResponseStreamEvent]:
        """Return what was held back."""
        return self._held

    def stored(self) -> Any:
        """Return what is stored of the answer, as far as it came; None where nothing did."""
        if not self._events:
            return None
        whole = self._response
        shape: dict[str, Any] = {
            "object": "response",
            "id": getattr(whole, "id", None),
            "status": getattr(whole, "status", None) or ("completed" if whole else "incomplete"),
            "output": [_json(each) for each in self._output],
        }
        events = json.dumps([_event_shape(each) for each in self._events]).encode()
        packed = base64.b85encode(zlib.compress(events)).decode("ascii")
        return ANSWERS.store({**shape, "events": packed})

    def usage(self) -> Usage | None:
        """Return the tokens of the answer."""
        return _usage(getattr(self._response, "usage", None), self._request, self._output)

    @property
    def _output(self) -> list[Any]:
        """Return the items; some providers leave them out at the end."""
        return list(getattr(self._response, "output", None) or self._items)


def events_of(shapes: Iterable[list[Any]]) -> list[TResponseStreamEvent]:
    """Return the events of what was stored of them; without checks, as the SDK made them."""
    return [getattr(responses, name).construct(**fields) for name, fields in shapes]


def _shape(answer: ModelResponse) -> dict[str, Any]:
    return {
        "object": "response",
        "id": answer.response_id,
        "request_id": answer.request_id,
        "status": "completed",
        "output": [_json(each) for each in answer.output],
    }


def _json(item: Any) -> Any:
    """Return an item as it came: what a provider left out must stay out of the next request."""
    if not hasattr(item, "model_dump"):
        return item
    return item.model_dump(mode="json", exclude_unset=True, by_alias=True, warnings=False)


def _event_shape(event: TResponseStreamEvent) -> list[Any]:
    return [type(event).__name__, _json(event)]


def _answer(shape: dict[str, Any]) -> ModelResponse:
    """Return an answer that is not paid again: the framework counts what `usage` says."""
    return ModelResponse(
        output=Response.construct(output=shape["output"]).output,
        usage=FrameworkUsage(),
        response_id=shape.get("id"),
        **({"request_id": shape["request_id"]} if shape.get("request_id") else {}),
    )


async def _replayed_events(replayed: Replayed) -> AsyncGenerator[TResponseStreamEvent]:
    shape = replayed.result
    if "events" not in shape:  # it was recorded whole
        yield ResponseCompletedEvent.construct(
            type="response.completed",
            sequence_number=0,
            response=Response.construct(**{key: shape[key] for key in ("id", "output", "status")}),
        )
        return
    for event in events_of(json.loads(zlib.decompress(base64.b85decode(shape["events"])))):
        if str(event.type) in ENDS:
            event.response.usage = None  # type: ignore[union-attr]
        yield event


def _usage(told: Any, request: Request, output: Iterable[Any]) -> Usage | None:
    """Return the tokens of an answer: as its provider told them, else counted."""
    if told is None or not (told.input_tokens or told.output_tokens):
        return _counted(request, [_json(each) for each in output])
    read, made = told.input_tokens_details, told.output_tokens_details
    return Usage(
        told.input_tokens,
        told.output_tokens,
        "provider",
        cache_read_tokens=getattr(read, "cached_tokens", None),
        cache_write_tokens=getattr(read, "cache_write_tokens", None),
        reasoning_tokens=getattr(made, "reasoning_tokens", None),
    )


def _counted(request: Request, output: list[Any]) -> Usage | None:
    try:
        answer = Answer.of({"object": "response", "output": output})
    except UsageError:
        return None
    calls = [[call.name, call.args] for call in answer.tool_calls]
    read, source = count_tokens(json.dumps(request.arguments, default=str), request.model)
    made = answer.text + (json.dumps(calls) if calls else "")
    return Usage(read, count_tokens(made, request.model)[0], source)
