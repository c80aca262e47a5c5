"""What is asked, from plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from rowtrail.adapter._record import Form
from rowtrail.content import Codec, Encoded, Prepared
from rowtrail.errors import UnstorableError, UsageError
from rowtrail.journal import Attempt, OnDoubt, Request, Scope, identity_of
from rowtrail.replay import Effect
from rowtrail.vocabulary import Message, TranslatedAnswer


def llm_request(
    scope: Scope,
    model: str,
    messages: Sequence[Any],
    parameters: Mapping[str, Any],
    *,
    provider: str | None = None,
    counted: Any = None,
) -> Request:
    """Return the request of a model's answer.

    Args:
        scope: Where the call is made.
        model: Name of the model, as its provider spells it.
        messages: What it is asked: objects in the form of OpenAI chat or Responses, Anthropic,
            Gemini, Bedrock or Ollama, or `Message`s; others are shown as they are.
        parameters: Everything else that is sent and counts: tools, temperature, a schema.
        provider: Name of the provider, by which tokens are priced.
        counted: What makes it the same request, in place of messages and parameters: they without
            ids that are made up, say.
    """
    attempt = scope.attempt
    known = _Known(attempt, messages, parameters)
    asked = {"messages": list(messages), "parameters": dict(parameters)}
    text = known.text
    if counted is not None:
        asked, text = counted, None
    identity = identity_of("llm", model, asked, attempt.canonical, text=text)
    identity.warn(model)
    thread = attempt.thread if attempt.thread is not None else f"r{attempt.run}"
    return Request(
        kind="llm",
        name=model,
        fingerprint=identity.fingerprint,
        masked_fingerprint=identity.masked,
        not_told_apart=identity.not_told_apart,
        encode=lambda: known.parameters,
        prompt=known.prompt,
        prompt_owner=f"{thread}/prompt/{model}",
        model=model,
        provider=provider,
        arguments=asked,
    )


IDS = ("id", "call_id", "tool_call_id", "tool_use_id")
IDS_ARE_MADE_UP = frozenset(
    {None, "custom", "custom_tool_call", "custom_tool_call_output", "function", "function_call"}
    | {"function_call_output", "message", "reasoning", "tool_result", "tool_use"}
)
"""Types of the objects whose ids say nothing; of others they name what the provider keeps."""


def with_numbered_ids(messages: Sequence[Any]) -> list[Any]:
    """Return messages in which ids that were made up count by what they refer to: their order."""
    seen: dict[str, int] = {}

    def numbered(part: Any) -> Any:
        if not isinstance(part, Mapping):
            return part
        fields = cast("Mapping[str, Any]", part)
        found = dict(fields)
        for key in IDS:
            value = fields.get(key)
            if isinstance(value, str) and (key != "id" or fields.get("type") in IDS_ARE_MADE_UP):
                found[key] = seen.setdefault(value, len(seen))
        for key in ("content", "tool_calls"):
            if isinstance(fields.get(key), list):
                found[key] = [numbered(each) for each in fields[key]]
        return found

    return [numbered(each) for each in messages]


class _Known:
    """The messages and parameters of a request in their stored forms.

    Attributes:
        prompt: The messages, in the words of the core.
        text: What is asked in its canonical form, None where something in it is not plain.
    """

    def __init__(
        self, attempt: Attempt, messages: Sequence[Any], parameters: Mapping[str, Any]
    ) -> None:
        self._attempt = attempt
        self._parameters = dict(parameters)
        known, codec = attempt.recorder.content.known, attempt.codec
        found = [known.find(codec, "prompt", each, self._translated) for each in messages]
        self.prompt: tuple[Prepared, ...] = tuple(
            part
            for message, each in zip(messages, found, strict=True)
            for part in (self._translated(message) if each is None else each.made)
        )
        self._shown = known.find(codec, "parameters", self._parameters, self._prepared)
        self.text: str | None = None
        if self._shown is not None and None not in found:
            said = ",".join([each.canonical for each in found if each is not None])
            # The canonical text of {"messages": [...], "parameters": {...}}.
            self.text = f'{{"messages":[{said}],"parameters":{self._shown.canonical}}}'

    @property
    def parameters(self) -> Prepared:
        """Return the parameters as they are shown."""
        stored: Prepared = (
            self._prepared(self._parameters) if self._shown is None else self._shown.made
        )
        return stored

    def _prepared(self, parameters: dict[str, Any]) -> Prepared:
        return self._attempt.prepare(self._attempt.codec.encode_shown(parameters))

    def _translated(self, message: Any) -> tuple[Prepared, ...]:
        codec, prepare = self._attempt.codec, self._attempt.prepare
        return tuple([prepare(_encoded(codec, part)) for part in _translated(message)])


def _translated(message: Any) -> Sequence[Any]:
    """Return a message in the words of the core; a provider's may hold the results of several."""
    if isinstance(message, Mapping):
        with suppress(UsageError):  # a form that is not known is shown as it is
            return Message.each_of(cast("Mapping[str, Any]", message))
    return [message]


def _encoded(codec: Codec, part: Any) -> Encoded:
    """Return a part of a prompt; what has no stored form is shown, the call is not refused."""
    try:
        return codec.encode(part)
    except UnstorableError:
        return codec.encode_shown(part)


def _answered(result: Any) -> Any:
    """Return an answer in the words of the core; one that is in them already stays as it is."""
    if type(result) is not dict:
        return result
    try:
        answer = TranslatedAnswer.of(cast("dict[str, Any]", result))
    except UsageError:  # a form that is not known is shown as it is
        return cast("Any", result)
    return answer if answer.meta and answer.original == result else cast("Any", result)


ANSWERS: Form[Any] = Form(store=_answered)
"""Answers as a provider's JSON, a message or a whole response: stored in the words of the core, and
handed back as they came."""


def tool_request(
    scope: Scope,
    name: str,
    arguments: Any,
    *,
    effect: Effect = "read",
    on_doubt: OnDoubt | None = None,
    tool_call_id: str | None = None,
    not_done_on: tuple[type[BaseException], ...] = (),
    counted: Any = None,
) -> Request:
    """Return the request of a tool's call.

    Args:
        scope: Where the call is made.
        name: Name of the tool.
        arguments: What counts of its arguments: what a model sees, not what a framework injects.
        effect: What the call does to the world.
        on_doubt: What decides where a `write` may or may not have happened.
        tool_call_id: By which the model's answer asked for it.
        not_done_on: Exceptions with which a `write` says that it did not happen.
        counted: What makes it the same request, in place of the arguments.
    """
    attempt = scope.attempt
    mask = None if effect == "write" else attempt.canonical
    identity = identity_of("tool", name, arguments if counted is None else counted, mask)
    identity.warn(name)
    return Request(
        kind="tool",
        name=name,
        fingerprint=identity.fingerprint,
        masked_fingerprint=identity.masked,
        not_told_apart=identity.not_told_apart,
        encode=lambda: attempt.prepare_arguments(attempt.codec.encode_shown(arguments)),
        effect=effect,
        on_doubt=on_doubt,
        tool_call_id=tool_call_id,
        arguments=arguments,
        not_done_on=not_done_on,
        ask=attempt.ask,
    )
