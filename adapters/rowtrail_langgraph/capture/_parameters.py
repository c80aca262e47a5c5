"""What a chat-model call is parametrised with: all of the model that takes part in what it asks.

Whatever is not known to be without a say counts: a field, an argument or a header that nobody has
heard of may change the answer. What never counts is on the closed lists below.

Nor does what a model changes in itself while it answers: a counter, the list of what it was asked.
On resume its recorded answers are replayed, so the counter stands where it stood at first. A field
counts as it was before the model's own changes, until somebody else changes it.
"""

from __future__ import annotations

import functools
import json
import marshal
import math
import re
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from types import FunctionType, MethodType
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import BaseTool
from pydantic import BaseModel

from rowtrail.content import TAG, canonical, counts
from rowtrail_langgraph._private import core_schema_of, extra_of, invocation_params

_VOLATILE_PARAMETERS = frozenset(
    # How an answer is delivered, traced or authorised is not what is asked.
    {
        *("stream", "stream_options", "streaming", "stream_usage", "run_manager", "callbacks"),
        *("timeout", "request_timeout", "default_request_timeout", "stream_chunk_timeout"),
        *("max_retries", "retries", "structured_output_format", "disable_streaming"),
        *("include_response_headers", "http_client", "http_async_client", "http_socket_options"),
    }
)
_VOLATILE_FIELDS = _VOLATILE_PARAMETERS | {
    # Fields of a model that only this process sees.
    *("name", "cache", "verbose", "tags", "metadata", "rate_limiter", "custom_get_token_ids"),
    *("profile", "tiktoken_model_name", "client", "async_client", "root_client"),
    *("root_async_client", "openai_proxy", "anthropic_proxy", "proxy", "proxies"),
}
_ENDPOINTS = frozenset(
    {"base_url", "openai_api_base", "anthropic_api_url", "azure_endpoint", "endpoint", "api_base"}
)
_DROPPED_WHEN_EMPTY = frozenset(
    {"model_kwargs", "extra_body", "default_query", "extra_query", "default_metadata"}
)
_HEADERS = ("headers", "default_metadata")
"""How the names of parameters that are headers end."""
_VOLATILE_HEADERS = re.compile(
    r"""
      authorization | proxy-authorization | cookie | set-cookie | .*(?:^|[-_])api[-_]key
    | .*(?:^|[-_])(?:auth|access|security|session|csrf)[-_]token | .*[-_]secret | .*[-_]signature
    | traceparent | tracestate | baggage | b3 | x-b3-.* | uber-trace-id | sentry-trace
    | (?:.*-)?(?:trace|span)(?:-.*)? | x-datadog-.*
    | (?:.*-)?(?:request|correlation|invocation)-id | (?:x-)?idempotency-key
    | user-agent | x-user-agent | x-stainless-.* | x-goog-api-client | x-amz-user-agent
    | date | x-amz-date | host | content-length | content-type | accept | accept-encoding
    | connection | x-forwarded-.* | forwarded
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Headers of credentials, of tracing, of one request only, and of the transport."""

_JSON_SCALARS = frozenset({str, int, bool, type(None)})
_NOTHING: Any = object()
_changes: dict[int, tuple[weakref.ref[Any], dict[str, tuple[Any, Any]]]] = {}
"""By the id of a model: for each field what the model left there, and what counts in its place."""
_changes_lock = threading.Lock()

_schemas: weakref.WeakKeyDictionary[type, tuple[Any, Any]] = weakref.WeakKeyDictionary()
_fields_of: weakref.WeakKeyDictionary[type, tuple[str, ...]] = weakref.WeakKeyDictionary()


class Parameters(NamedTuple):
    """The parameters of one model call.

    Attributes:
        shown: By name, without credentials.
        text: The same in canonical form.
        unclear: What in them cannot be told apart from others, None where all can.
        fields: The fields of the model that count, as they were when it was asked.
    """

    shown: dict[str, Any]
    text: str
    unclear: str | None
    fields: dict[str, Any]


def class_of(model: BaseChatModel) -> str:
    """Return the name of the class of a model, also of the copy of one that records."""
    cls = type(model)
    return f"{cls.__module__}.{cls.__qualname__}"


def model_parameters(
    model: BaseChatModel,
    stop: list[str] | None,
    kwargs: Mapping[str, Any],
    messages: Sequence[BaseMessage],
    bound: Mapping[str, Any] | None,
) -> Parameters:
    """Return what a model call is parametrised with: model, tools, temperature, address, headers.

    Args:
        messages: Those of the call: some models send an id out of an earlier answer.
        bound: The `configurable` that the model was bound to.
    """
    fields = fields_of(model)
    asked: dict[str, Any] = {**_without_own_changes(model, fields), **_kept_ids(model, messages)}
    invoked: dict[str, Any] = invocation_params(model, stop, kwargs)
    for name, value in {**invoked, **kwargs}.items():
        if name not in _VOLATILE_PARAMETERS and not name.startswith("ls_"):
            asked[name] = _parameter(name, value)
    if bound:
        asked["configurable"] = dict(bound)
    flat = _flat({name: value for name, value in asked.items() if value is not None})
    return _comparable(flat, fields)


def _flat(asked: dict[str, Any]) -> dict[str, Any]:
    """Return parameters with those of `model_kwargs` beside the others: so they are sent."""
    more = asked.get("model_kwargs")
    if isinstance(more, Mapping):
        own = {name: value for name, value in more.items() if asked.get(name, value) != value}
        sent = {name: _parameter(name, value) for name, value in more.items() if name not in own}
        asked = {**asked, **sent, "model_kwargs": own}
    asked = _with_one_set_of_headers(asked)
    if "model_name" in asked and asked.get("model") == asked["model_name"]:
        del asked["model_name"]
    return {
        name: value
        for name, value in asked.items()
        if value is not None and not (name in _DROPPED_WHEN_EMPTY and not value)
    }


def _with_one_set_of_headers(asked: dict[str, Any]) -> dict[str, Any]:
    """Return parameters whose headers are those that are sent: a call's own over the model's."""
    names = [
        name
        for name, value in asked.items()
        if name.endswith(_HEADERS) and _are_headers(name, value)
    ]
    if not names:
        return asked
    names.sort(key=lambda name: name.startswith("extra"))
    sent: dict[str, str] = {}
    for name in names:
        sent |= dict(asked[name] or ())
    rest = {name: value for name, value in asked.items() if name not in names}
    return {**rest, "headers": sent} if sent else rest


def _are_headers(name: str, value: Any) -> bool:
    """Return whether a parameter is HTTP headers: a mapping, or pairs."""
    if not name.endswith("headers") and name != "default_metadata":
        return False
    return isinstance(value, Mapping) or (
        isinstance(value, (list, tuple))
        and all(isinstance(each, (list, tuple)) and len(each) == 2 for each in value)
    )


def _comparable(asked: dict[str, Any], fields: dict[str, Any]) -> Parameters:
    """Return parameters without those whose value never counts, such as a client."""
    whole = canonical(asked)
    if whole.unclear is None:
        return Parameters(asked, whole.text, None, fields)
    forms = {name: canonical(value) for name, value in asked.items()}
    shown = {name: value for name, value in asked.items() if forms[name].unclear is None}
    unclear = (
        f"the parameter {name!r}, {each.unclear},"
        for name, each in forms.items()
        if each.unclear is not None and not each.is_opaque
    )
    return Parameters(shown, canonical(shown).text, next(unclear, None), fields)


def fields_of(model: BaseChatModel) -> dict[str, Any]:
    """Return the fields of a model that take part in what it asks, as they are now."""
    found: dict[str, Any] = {}
    values = model.__dict__
    for name in _fields_that_count(type(model)):
        value = values.get(name)
        if value is not None:
            found[name] = _snapshot(_parameter(name, value))
    for name, value in (extra_of(model) or {}).items():
        if counts(name):
            found[name] = _snapshot(_parameter(name, value))
    address = getattr(values.get("root_client"), "base_url", None)
    if address is not None:  # of the client that is asked, wherever it has it from
        found.pop("openai_api_base", None)
        found["base_url"] = _endpoint(str(address))
    return found


def _snapshot(value: Any) -> Any:
    """Return a value as it is now: what it is made of may be changed in place."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if _is_json(value):
        return marshal.loads(marshal.dumps(value))  # noqa: S302 - a copy of our own
    form = canonical(value)
    if form.unclear is None:
        return json.loads(form.text)
    if isinstance(value, (FunctionType, MethodType)):
        return f"{value.__module__}.{value.__qualname__}"  # with what it uses, that is not seen
    return value


def _is_json(value: Any) -> bool:
    """Return whether JSON gives a value back as it is: most fields are such."""
    parts = [value]
    for part in parts:
        kind = type(part)
        if kind is list:
            parts += part
        elif kind is dict and TAG not in part and all(type(key) is str for key in part):
            parts += part.values()
        elif kind is float:
            if not math.isfinite(part):
                return False
        elif kind not in _JSON_SCALARS:
            return False
    return True


def _fields_that_count(cls: type[BaseChatModel]) -> tuple[str, ...]:
    known = _fields_of.get(cls)
    if known is None:
        known = _fields_of[cls] = tuple(
            name
            for name, field in cls.model_fields.items()
            if not field.exclude and name not in _VOLATILE_FIELDS and counts(name)
        )
    return known


def _parameter(name: str, value: Any) -> Any:
    """Return a parameter without credentials and what goes with one request only."""
    if isinstance(value, str):
        return _endpoint(value) if name in _ENDPOINTS else value
    if isinstance(value, (bool, int, float)) or value is None:
        return value
    if name.endswith(_HEADERS) and _are_headers(name, value):
        return _headers(value) or None
    if name in ("client_options", "default_query", "extra_query") and isinstance(value, Mapping):
        options = cast("Mapping[str, Any]", value)
        return {key: each for key, each in options.items() if counts(str(key))}
    return _with_schema(value)


def _headers(value: Any) -> list[list[str]]:
    pairs: Iterable[Any] = value.items() if isinstance(value, Mapping) else value
    return sorted(
        [str(name).lower(), str(text)]
        for name, text in pairs
        if _VOLATILE_HEADERS.fullmatch(str(name)) is None and not hasattr(text, "get_secret_value")
    )


@functools.lru_cache(maxsize=256)
def _endpoint(address: str) -> str:
    """Return an address without user, password and keys."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    query = [
        (name, text) for name, text in parse_qsl(parts.query) if counts(name) and name != "key"
    ]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), urlencode(query), ""))


def _with_schema(value: Any) -> Any:
    """Return what a model is sent of a tool or a class whose objects are asked for: its schema."""
    if isinstance(value, Mapping):
        return {
            name: _part(name, each)
            for name, each in cast("Mapping[str, Any]", value).items()
            if not _is_credential(name, each)
        }
    if isinstance(value, (list, tuple)):
        return [_with_schema(each) for each in cast("Sequence[Any]", value)]
    if isinstance(value, type):
        return _schema(value)
    if isinstance(value, BaseTool):
        schema = value.tool_call_schema
        args: Any = schema if isinstance(schema, dict) else _schema(schema)
        return {"name": value.name, "description": value.description, "args": args}
    return value


def _part(name: Any, value: Any) -> Any:
    is_headers = isinstance(name, str) and _are_headers(name, value)
    return _headers(value) if is_headers else _with_schema(value)


def _is_credential(name: Any, value: Any) -> bool:
    """Return whether a part of a tool or server is what it is authorised with."""
    return isinstance(value, str) and isinstance(name, str) and not counts(name.lstrip("_"))


def _schema(cls: type) -> Any:
    built = core_schema_of(cls)
    known = _schemas.get(cls)
    if known is None or known[0] is not built:
        known = _schemas[cls] = (built, _made_schema(cls))
    return known[1]


def _made_schema(cls: type) -> Any:
    from pydantic import TypeAdapter

    if issubclass(cls, BaseModel):
        return cls.model_json_schema()
    try:
        return [cls.__name__, TypeAdapter(cls).json_schema()]
    except Exception:  # pydantic knows no schema: the name is all that there is
        return cls


def _kept_ids(model: BaseChatModel, messages: Sequence[BaseMessage]) -> dict[str, Any]:
    """Return the ids of what the provider kept of an earlier answer, where the model sends them."""
    found: dict[str, Any] = {}
    for flag, place, name in (
        ("use_previous_response_id", "id", "previous_response_id"),
        ("reuse_last_container", "container", "container"),
    ):
        if getattr(model, flag, None):
            kept = (m.response_metadata.get(place) for m in reversed(messages) if _answers(m))
            found[name] = next((each for each in kept if each), None)
    return found


def _answers(message: BaseMessage) -> bool:
    return isinstance(message, AIMessage)


def _without_own_changes(model: object, fields: Mapping[str, Any]) -> dict[str, Any]:
    with _changes_lock:
        left = dict(_changes_of(model))
    found = dict(fields)
    for name, (after, before) in left.items():
        if found.get(name, _NOTHING) == after:
            found[name] = before
    return {name: value for name, value in found.items() if value is not _NOTHING}


def note_changes(model: BaseChatModel, before: dict[str, Any]) -> None:
    """Note which fields a model has changed in itself while it answered.

    Args:
        before: Its fields as it was asked.
    """
    after = fields_of(model)
    if after == before:
        return
    counted = _without_own_changes(model, before)
    changed = {
        name: (after.get(name, _NOTHING), counted.get(name, _NOTHING))
        for name in {**before, **after}
        if before.get(name, _NOTHING) != after.get(name, _NOTHING)
    }
    key = id(model)
    with _changes_lock:
        known = {**_changes_of(model), **changed}
        _changes[key] = (weakref.ref(model, lambda _: _changes.pop(key, None)), known)


def _changes_of(model: object) -> dict[str, tuple[Any, Any]]:
    found = _changes.get(id(model))
    return found[1] if found is not None and found[0]() is model else {}
