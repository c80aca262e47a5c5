"""What a request on the wire asks: whether it is a model call, and what of it counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rowtrail.adapter import Request, Scope, llm_request, scope_here
from rowtrail.journal import Journal
from rowtrail.journal.places import log

ENDPOINTS = ("/chat/completions", "/responses", "/messages")

HEADERS_THAT_COUNT = frozenset({"anthropic-beta", "anthropic-version", "openai-beta"})
"""The others are credentials, ids of requests and traces, and how the SDK was built."""

CREDENTIALS = (
    "access_token",
    "api-key",
    "api_key",
    "code",
    "key",
    "sig",
    "subscription-key",
    "token",
)
"""Parameters of an address that neither count nor may be stored."""

PROVIDERS = {
    "anthropic.com": "anthropic",
    "api.cerebras.ai": "cerebras",
    "api.deepseek.com": "deepseek",
    "api.fireworks.ai": "fireworks",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "api.together.xyz": "together",
    "api.x.ai": "x-ai",
    "generativelanguage.googleapis.com": "google",
    "openai.azure.com": "azure",
    "openrouter.ai": "openrouter",
}
"""Who serves at an address, in the words of genai-prices: other models' prices are not OpenAI's."""

IDS = ("id", "call_id", "tool_call_id", "tool_use_id")
IDS_ARE_MADE_UP = frozenset(
    {None, "custom", "custom_tool_call", "custom_tool_call_output", "function", "function_call"}
    | {"function_call_output", "message", "reasoning", "tool_result", "tool_use"}
)
"""Types of the objects whose ids say nothing; of others they name what the provider keeps."""


@dataclass
class Recorder:
    """What the requests of one client are recorded with."""

    journal: Journal
    sdk: str
    provider: str | None
    headers: frozenset[str]
    _has_warned: bool = field(default=False, repr=False)

    def asked(self, request: Any) -> tuple[Scope, Request] | None:
        """Return whose and which model call a request is, None where it is just sent."""
        path = str(request.url.path)
        if request.method != "POST" or not path.endswith(ENDPOINTS):
            return None
        try:
            body: Any = json.loads(request.content)
        except (RuntimeError, ValueError):  # it is streamed, or no JSON
            return None
        if not isinstance(body, dict):
            return None
        name = str(body.get("model") or path.rpartition("/")[2])
        scope = scope_here(name)
        if scope is None or scope.attempt.recorder.store is not self.journal.store:
            self._warn(name)
            return None
        return scope, self._request(scope, name, request, body)

    def _request(self, scope: Scope, name: str, request: Any, body: Mapping[str, Any]) -> Request:
        counted = self.headers | HEADERS_THAT_COUNT
        headers = {key: value for key, value in request.headers.items() if key in counted}
        address = request.url.copy_with(userinfo=b"")
        for secret in CREDENTIALS:
            address = address.copy_remove_param(secret)
        to: dict[str, Any] = {"url": str(address), **({"headers": headers} if headers else {})}
        messages, parameters = _parts(body)
        return llm_request(
            scope,
            name,
            messages,
            {**parameters, **to},
            provider=self.provider or _provider(str(address.host), self.sdk),
            counted={**to, "body": _without_ids(body)},
        )

    def _warn(self, name: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            log().warning(
                "a recorded client asks %s outside a run of its journal: the call is made and not "
                "recorded; enter `with journal.run(...)` around it",
                name,
            )


def _parts(body: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the messages of a request, what is told as the system first, and the parameters."""
    parameters = {key: value for key, value in body.items() if key != "model"}
    said: list[Any] = [
        {"role": "system", "content": parameters.pop(key)}
        for key in ("system", "instructions")
        if isinstance(body.get(key), (str, list))
    ]
    for key in ("messages", "input"):
        given = body.get(key)
        if isinstance(given, str):
            said.append({"role": "user", "content": parameters.pop(key)})
        elif isinstance(given, list):
            said += parameters.pop(key)
    return said, parameters


def _without_ids(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body in which ids that were made up count by what they refer to: their order."""
    seen: dict[str, int] = {}

    def numbered(part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        found = dict(part)
        for key in IDS:
            value = part.get(key)
            if isinstance(value, str) and (key != "id" or part.get("type") in IDS_ARE_MADE_UP):
                found[key] = seen.setdefault(value, len(seen))
        for key in ("content", "tool_calls"):
            if isinstance(part.get(key), list):
                found[key] = [numbered(each) for each in part[key]]
        return found

    counted = dict(body)
    for key in ("messages", "input"):
        if isinstance(body.get(key), list):
            counted[key] = [numbered(each) for each in body[key]]
    return counted


def _provider(host: str, sdk: str) -> str:
    for known, provider in PROVIDERS.items():
        if host == known or host.endswith(f".{known}"):
            return provider
    return sdk
