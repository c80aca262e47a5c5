"""LangChain's messages in the journal's form of a message, and back.

The stored type of an item names the class; its JSON is that of `rowtrail.vocabulary.Message`:

- `type` is `role`, in the journal's words; it is written where it is not that of the class;
- the word for why the model stopped is moved out of `response_metadata` to `finish_reason`;
- of a tool call, `type` is left out where it is `tool_call`, else it is written in a list;
- what is sent to no model stands in `meta`, and so does what repeats the tool calls;
- fields that the class does not know stand beside the others, in `extra` where one of them has a
  name that means something else here.

What earlier, unreleased versions wrote has `type` and no `role`, and is read too.
"""

from __future__ import annotations

from typing import Any

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    ChatMessageChunk,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    SystemMessageChunk,
    ToolMessage,
    ToolMessageChunk,
)

from rowtrail.content import TypeCodec, register_form
from rowtrail.vocabulary import FINISH_PLACES, META, Place, finish_place, finish_reason
from rowtrail_langgraph._private import extra_of, set_state

MESSAGE_TYPES: tuple[type[BaseMessage], ...] = (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    ChatMessageChunk,
    FunctionMessage,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    SystemMessageChunk,
    ToolMessage,
    ToolMessageChunk,
)

_ROLES: tuple[tuple[type[BaseMessage], str], ...] = (
    (AIMessage, "assistant"),
    (HumanMessage, "user"),
    (SystemMessage, "system"),
    (ToolMessage, "tool"),
    (FunctionMessage, "tool"),
)
_EMPTY = (dict, list)
_EXTRA = "extra"
_RESERVED = frozenset(("role", "finish_reason", META, _EXTRA))
_FOR_NO_MODEL = frozenset(
    ("response_metadata", "usage_metadata", "chunk_position", "tool_call_chunks", "artifact")
)
"""Fields that are sent to no model."""
_COPIES_CALLS = "additional_kwargs"
"""A field that repeats the tool calls, where there are some, as the provider spelt them."""
_MOVED = True
"""Stands in `response_metadata` for the word that is in `finish_reason`. Behind all others, and
under the commonest key, nothing does."""
_COMMONEST: Place = ("finish_reason",)
_PLACE_KEYS = frozenset(place[0] for place in FINISH_PLACES)
_CALL_TYPE = "tool_call"
_ABSENT = object()


class _Form:
    """How one class of messages is written: its fields, and what each is when not set."""

    def __init__(self, message_type: type[BaseMessage]) -> None:
        fields = message_type.model_fields
        self._type = message_type
        self._unset = {
            name: field.get_default(call_default_factory=True) for name, field in fields.items()
        }
        self._required = {name for name, field in fields.items() if field.is_required()}
        self._containers = [
            (name, type(value)) for name, value in self._unset.items() if type(value) in _EMPTY
        ]
        self._empties = dict(self._containers)
        self._nones = frozenset(name for name, value in self._unset.items() if value is None)
        self._kind = self._unset["type"]
        self._has_role = "role" in fields
        found = (role for kind, role in _ROLES if issubclass(message_type, kind))
        self._role = next(found, None)
        self._is_answer = issubclass(message_type, AIMessage)

    def write(self, message: BaseMessage) -> dict[str, Any]:
        """Return the fields that are set, and those that the class does not know."""
        fields: dict[str, Any] = {} if self._has_role else {"role": self._role or message.type}
        meta = self._sort(message, fields)
        if self._is_answer:
            _refine(fields, meta)
        if meta:
            fields[META] = meta
        extra = extra_of(message)
        if extra:
            if _RESERVED.isdisjoint(extra):
                return {**fields, **extra}
            fields[_EXTRA] = extra
        return fields

    def _sort(self, message: BaseMessage, fields: dict[str, Any]) -> dict[str, Any]:
        """Add the fields that are set and sent to a model, and return the others that are set."""
        nones, empties = self._nones, self._empties
        meta: dict[str, Any] = {}
        for name, value in message.__dict__.items():
            if value is None:
                if name in nones:
                    continue
            elif name == "type":
                if value == self._kind:
                    continue
            elif empties.get(name) is type(value) and not value:
                continue
            if name in _FOR_NO_MODEL:
                meta[name] = value
            else:
                fields[name] = value
        return meta

    def read(self, fields: dict[str, Any]) -> BaseMessage:
        """Return the message; not validated again, which may rewrite what was recorded.

        Args:
            fields: What `write` returned; they are taken apart.

        Source: what pydantic's `model_construct` does, which takes 20 times as long.
        """
        if not self._required <= fields.keys():
            raise KeyError(f"one of {sorted(self._required)}")
        if not self._has_role:
            fields.pop("role", None)
        meta = fields.pop(META, None)
        if meta:
            fields.update(meta)
        if self._is_answer:
            _restore(fields)
        extra = fields.pop(_EXTRA, None) or {}
        values = {**self._unset, **fields}
        for name, empty in self._containers:
            if name not in fields:
                values[name] = empty()
        names = {*fields, *extra, "type"}
        if len(values) != len(self._unset):
            extra |= {name: values.pop(name) for name in fields if name not in self._unset}
        message = self._type.__new__(self._type)
        set_state(message, values, names, extra)
        return message


def _refine(fields: dict[str, Any], meta: dict[str, Any]) -> None:
    """Put what a model's message says into the journal's words."""
    calls: Any = fields.get("tool_calls")
    if calls:
        if type(calls) is list:
            fields["tool_calls"] = [_call(call) for call in calls]
        if _COPIES_CALLS in fields:
            meta[_COPIES_CALLS] = fields.pop(_COPIES_CALLS)
    metadata: Any = meta.get("response_metadata")
    if type(metadata) is not dict:
        return
    there = metadata.keys() & _PLACE_KEYS
    if not there:
        return
    word = metadata.get("finish_reason")
    place = _COMMONEST
    if len(there) > 1 or not word or type(word) is not str:
        found = finish_place(metadata)
        if found is None or any(_is_moved(metadata, each) for each in FINISH_PLACES):
            return  # no word, or it could not be said where it came from
        place, word = found, finish_reason(metadata)
    fields["finish_reason"] = word
    if place is not _COMMONEST or next(reversed(metadata)) != "finish_reason":
        meta["response_metadata"] = _replaced(metadata, place, _MOVED)
    elif len(metadata) > 1:
        meta["response_metadata"] = rest = metadata.copy()
        del rest["finish_reason"]
    else:
        del meta["response_metadata"]


def _restore(fields: dict[str, Any]) -> None:
    """Undo `_refine`."""
    calls: Any = fields.get("tool_calls")
    if calls and type(calls) is list:
        fields["tool_calls"] = [_langchains_call(call) for call in calls]
    word = fields.pop("finish_reason", None)
    if word is None:
        return
    metadata: Any = fields.get("response_metadata")
    if metadata is None:
        fields["response_metadata"] = {"finish_reason": word}
    elif metadata.get("finish_reason") is _MOVED or metadata.keys().isdisjoint(_PLACE_KEYS):
        metadata["finish_reason"] = word
    else:
        place = next((each for each in FINISH_PLACES if _is_moved(metadata, each)), _COMMONEST)
        fields["response_metadata"] = _replaced(metadata, place, word)


def _is_moved(metadata: Any, place: Place) -> bool:
    for key in place:
        metadata = metadata.get(key) if type(metadata) is dict else None
    return metadata is _MOVED


def _replaced(metadata: Any, place: Place, word: Any) -> dict[str, Any]:
    """Return metadata with another value at a place; a key that is new comes last."""
    key, *rest = place
    return {**metadata, key: _replaced(metadata[key], tuple(rest), word) if rest else word}


def _call(call: Any) -> Any:
    """Return a tool call in the journal's words."""
    if type(call) is not dict:
        return call
    found: dict[str, Any] = call.copy()
    kind = found.get("type", _ABSENT)
    if kind == _CALL_TYPE and next(reversed(found)) == "type":
        del found["type"]
    else:
        found["type"] = [] if kind is _ABSENT else [kind]
    return found


def _langchains_call(call: Any) -> Any:
    """Undo `_call`."""
    if type(call) is not dict:
        return call
    found: dict[str, Any] = call
    kind = found.setdefault("type", _CALL_TYPE)
    if type(kind) is list:
        if kind:
            found["type"] = kind[0]
        else:
            del found["type"]
    return found


_FORMS: dict[type[BaseMessage], _Form] = {each: _Form(each) for each in MESSAGE_TYPES}


def message_fields(message: BaseMessage) -> dict[str, Any]:
    """Return the stored form of a message of any class."""
    form = _FORMS.get(type(message))
    return (form or _Form(type(message))).write(message)


def message_codecs() -> tuple[TypeCodec, ...]:
    """Return how each class of messages is written and read."""
    return tuple(
        TypeCodec(message_type.__name__, message_type, form.write, form.read, flat=True)
        for message_type, form in _FORMS.items()
    )


for _type, _form in _FORMS.items():
    # of a step that returns a message outside graphs
    _tag = f"langchain.{_type.__name__}"
    register_form(TypeCodec(_tag, _type, _form.write, _form.read, flat=True))
