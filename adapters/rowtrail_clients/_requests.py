"""What a request on the wire asks: whether it is a model call, and what of it counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rowtrail.adapter import Request, Scope, llm_request, scope_here, with_numbered_ids
from rowtrail.journal import Journal
from rowtrail.journal.places import log
from rowtrail.usage import provider_at

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
            provider=self.provider or provider_at(str(address.host), self.sdk),
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
    """Return a body in which ids that were made up do not count."""
    lists = {key: each for key in ("messages", "input") if isinstance(each := body.get(key), list)}
    return {**body, **{key: with_numbered_ids(each) for key, each in lists.items()}}
