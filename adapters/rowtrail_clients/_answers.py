"""What came back: kept in the words of the core, and handed back byte for byte."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from rowtrail.adapter import Answer, Form, Replayed, Request, Usage
from rowtrail.errors import UsageError
from rowtrail.usage import count_tokens
from rowtrail_clients._events import assembled

OK, BAD_REQUEST = 200, 400
KEPT_HEADERS = frozenset({"content-type", "request-id", "x-request-id"})
"""Of an answer; the limits, dates and cookies of then are not true any more."""

HTTP = "http"
"""Key in the `meta` of an answer."""


@dataclass(frozen=True)
class Reply:
    """A response, whole.

    Attributes:
        body: As it is after any encoding of the transfer was undone.
        extensions: What httpx says beside it, such as the version of HTTP.
    """

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes = b""
    extensions: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def of(cls, response: Any, body: bytes = b"") -> Reply:
        """Return what a response of httpx or httpx2 says."""
        headers = tuple(response.headers.multi_items())
        return cls(response.status_code, headers, body, response.extensions)

    def kept_headers(self) -> dict[str, str]:
        """Return the headers that stay true."""
        return {key: each for key, each in self.headers if key.lower() in KEPT_HEADERS}


class RefusedError(Exception):
    """A provider answered with a status of 400 or more, or with an error in the stream."""

    # a failure that the program handled is built again of its plain attributes, on replay
    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.status = reply.status
        self.headers = reply.kept_headers()
        self.body = reply.body.decode("utf-8", "replace")
        super().__init__(f"{reply.status} {_error_text(self.body)}")

    @property
    def again(self) -> Reply:
        """What is replayed of it; that the SDK waits, and asks once more, would change nothing."""
        headers = [*self.headers.items(), ("x-should-retry", "false")]
        return Reply(self.status, headers, self.body.encode())


def form_of(request: Request) -> Form[Reply]:
    """Return how the whole answer to a request is stored, counted and handed back."""
    return Form(
        store=stored,
        restore=restored,
        usage=lambda reply: usage_of(value_of(reply.body), request),
        failure=lambda reply: RefusedError(reply) if reply.status >= BAD_REQUEST else None,
    )


def stored(reply: Reply) -> Any:
    """Return what is stored of a response."""
    told, said = _json(reply.body), value_of(reply.body)
    kept: dict[str, Any] = {"headers": reply.kept_headers()}
    if reply.status != OK:
        kept["status"] = reply.status
    try:
        answer = Answer.of(said or {})
    except UsageError:
        return {HTTP: kept | _packed(reply.body), "body": said}
    written = next((n for n, write in enumerate(WRITERS) if write(told) == reply.body), None)
    if told is None or written is None:
        return replace(answer, meta={HTTP: kept | _packed(reply.body)})
    return replace(answer, meta={**answer.meta, HTTP: kept | {"written": written}})


def restored(replayed: Replayed) -> Reply:
    """Return the response that was stored."""
    answer = replayed.result
    meta = answer.meta if isinstance(answer, Answer) else answer
    kept = meta[HTTP]
    if "packed" in kept:
        body = zlib.decompress(base64.b85decode(kept["packed"]))
    else:
        body = WRITERS[kept["written"]](answer.original)
    return Reply(kept.get("status", OK), tuple(kept["headers"].items()), body)


def _write(told: Any, **how: Any) -> bytes:
    try:
        return json.dumps(told, **how).encode("utf-8")
    except (UnicodeEncodeError, ValueError):
        return b""


WRITERS = (
    partial(_write, separators=(",", ":"), ensure_ascii=False),
    partial(_write, indent=2, ensure_ascii=False),
    partial(_write),
    partial(_write, separators=(",", ":")),
    partial(_write, ensure_ascii=False),
)
"""How providers write JSON: one of these gives their very bytes, and nothing is stored twice."""


def _packed(body: bytes) -> dict[str, str]:
    return {"packed": base64.b85encode(zlib.compress(body)).decode("ascii")}


def value_of(body: bytes | bytearray) -> dict[str, Any] | None:
    """Return the JSON object that a body is, or that its events make up; None where it is none."""
    return _json(body) or assembled(bytes(body))


def _json(body: bytes | bytearray) -> dict[str, Any] | None:
    try:
        told = json.loads(body)
    except (RecursionError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def _error_text(body: str) -> str:
    told = _json(body.encode()) or {}
    error = told.get("error")
    message = error.get("message") if isinstance(error, dict) else error or told.get("message")
    return str(message or body)[:500]


def usage_of(told: Mapping[str, Any] | None, request: Request) -> Usage | None:
    """Return the tokens of an answer: as its provider told them, else counted.

    Source: the API references of OpenAI (chat; Responses) and Anthropic, November 2026.
    """
    usage = (told or {}).get("usage")
    if not told or not isinstance(usage, dict):
        return _counted(told, request)
    read = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    made = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
    cached = usage.get("cache_read_input_tokens")  # Anthropic tells it beside the input
    written = usage.get("cache_creation_input_tokens")
    return Usage(
        (usage.get("prompt_tokens") or usage.get("input_tokens") or 0)
        + (cached or 0)
        + (written or 0),
        usage.get("completion_tokens") or usage.get("output_tokens") or 0,
        "provider",
        cache_read_tokens=read.get("cached_tokens", cached),
        cache_write_tokens=written,
        cache_write_1h_tokens=(usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens"),
        reasoning_tokens=made.get("reasoning_tokens"),
        input_audio_tokens=read.get("audio_tokens"),
        output_audio_tokens=made.get("audio_tokens"),
        service_tier=usage.get("service_tier") or told.get("service_tier"),
    )


def _counted(told: Mapping[str, Any] | None, request: Request) -> Usage | None:
    """Count what was asked and answered, where the provider says no figures."""
    try:
        answer = Answer.of(told or {})
    except UsageError:
        return None
    body = request.arguments["body"]
    asked = [body.get(key) for key in ("system", "instructions", "messages", "input", "tools")]
    calls = [[call.name, call.args] for call in answer.tool_calls]
    read, source = count_tokens(json.dumps([each for each in asked if each]), request.model)
    made = answer.text + (json.dumps(calls) if calls else "")
    return Usage(read, count_tokens(made, request.model)[0], source)
