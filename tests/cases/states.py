"""Values of every kind that graphs keep in their state; at the top of a module, as serde needs."""

from __future__ import annotations

import enum
import re
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import Command, Interrupt, Overwrite, Send
from pydantic import BaseModel, SecretStr


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    YES = "yes"


class Point(NamedTuple):
    x: int
    y: list[int]


@dataclass
class Note:
    text: str
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Frozen:
    note: Note
    at: datetime


class Inner(BaseModel):
    n: int = 0
    when: datetime | None = None


class Profile(BaseModel):
    name: str
    inner: Inner = Inner()
    extra: dict[str, Any] = {}


class OwnMessage(HumanMessage):
    """A message class of the user's."""

    mood: str = "calm"


NOON = datetime(2026, 2, 28, 12, 0, 0, 123456, tzinfo=UTC)

# What is stored as JSON, and comes back equal and of the same type, all the way down.
EXACT: dict[str, Any] = {
    "none": None,
    "booleans": [True, False],
    "integers": [0, -1, 2**63 - 1, -(2**63), 2**64, 10**5000],
    "floats": [0.0, -0.0, 1.5, 1e308, 5e-324, float("inf"), float("-inf"), 1.0],
    "texts": ["", "é 🎈", "\x00\x01", "line\nbreak", '"quoted"', "\ud83d\ude00", "\ud800 lone"],
    "bytes": b"\x00\xff binary",
    "empty list": [],
    "empty dict": {},
    "empty tuple": (),
    "tuple": (1, [2, (3,)], {"k": ()}),
    "set": {1, 2, "three"},
    "frozenset": frozenset({(1, 2), None}),
    "dict of any keys": {1: "int", "1": "text", (2, 3): "tuple", None: 0, 1.5: [], b"b": {}},
    "dict with our tag": {"$rowtrail": "set", "v": [1]},
    "nested tag": [{"$rowtrail": {"$rowtrail": 1}}],
    "order of keys": {"b": 1, "a": 2, "c": {"z": 1, "y": 2}},
    "datetime": [NOON, NOON.replace(tzinfo=None), NOON.astimezone(timezone(timedelta(hours=5.5)))],
    "date and time": [date(1, 1, 1), time(23, 59, 59, 999999), timedelta(days=-1, microseconds=1)],
    "decimal": [Decimal("0.10"), Decimal("-1E+30"), Decimal("Infinity")],
    "uuid": UUID(int=2**128 - 1),
    "complex": complex(1, -2),
    "numbers": [float(n) for n in range(200)],
    "mixed": [None, 1, "a", {"b": [{"c": (1,)}]}, b"d"],
    "document": Document("text", metadata={"page": 1}, id="d1"),
    "send": [Send("node", {"x": [HumanMessage("hi", id="1")]})],
    "command": Command(goto="a", update={"x": (1,)}, resume={"k": 1}, graph=Command.PARENT),
    "interrupt": (Interrupt(value={"ask": 1}, id="i1"),),
    "overwrite": Overwrite([1, 2]),
}

# What only LangGraph's serializer can hold; it gives an equal value back.
SERIALIZED: dict[str, Any] = {
    "pydantic": Profile(name="x", inner=Inner(n=3, when=NOON), extra={"a": [1]}),
    "dataclass": Note("text", ["a"]),
    "frozen dataclass": Frozen(Note("t"), NOON),
    "enum": Color.RED,
    "int enum": Level.LOW,
    "text enum": Word.YES,
    "named tuple": Point(1, [2]),
    "deque": deque([1, 2]),
    "path": Path("/a/b"),
    "address": IPv4Address("10.0.0.1"),
    "pattern": re.compile("a.*b", re.IGNORECASE),
    "secret": SecretStr("hidden"),
    "bytearray": bytearray(b"x"),
    "message of one's own": OwnMessage(content="hi", mood="merry", id="1"),
    "nested": {"list": [Profile(name="y"), Color.RED], "note": Note("n")},
}

# Subclasses of plain types, which LangGraph's serializer makes plain; so do its own savers.
MADE_PLAIN: dict[str, Any] = {
    "ordered dict": OrderedDict(a=1, b=2),
    "default dict": defaultdict(list, a=[1]),
}

UNSTORABLE: dict[str, Any] = {
    "function": lambda: None,
    "class": Note,
    "generator": iter([]),
    "object": object(),
    "fraction": Fraction(1, 3),
}

_CALL = {"name": "f", "args": {"x": [1, None], "y": {"z": 1.5}}, "id": "c1", "type": "tool_call"}
_USAGE = {
    "input_tokens": 10,
    "output_tokens": 5,
    "total_tokens": 15,
    "input_token_details": {"cache_read": 3},
}

MESSAGES: dict[str, BaseMessage] = {
    "human": HumanMessage("hi", id="1", name="Ann"),
    "system": SystemMessage("be brief", id="2", additional_kwargs={"k": [1]}),
    "ai": AIMessage(
        "answer",
        id="3",
        tool_calls=[_CALL],
        invalid_tool_calls=[
            {"name": "g", "args": "{", "id": "c2", "error": "bad", "type": "invalid_tool_call"}
        ],
        usage_metadata=_USAGE,
        response_metadata={"model_name": "m", "logprobs": None, "finish_reason": "stop"},
        additional_kwargs={"refusal": None, "function_call": {"name": "f", "arguments": "{}"}},
    ),
    "chunk": AIMessageChunk(
        content="part",
        id="4",
        tool_call_chunks=[
            {"name": "f", "args": '{"a', "id": "c", "index": 0, "type": "tool_call_chunk"}
        ],
        usage_metadata=_USAGE,  # type: ignore[arg-type]
        chunk_position="last",
    ),
    "tool": ToolMessage("result", tool_call_id="c1", id="5", name="f", artifact={"rows": (1, 2)}),
    "tool error": ToolMessage("boom", tool_call_id="c1", status="error"),
    "tool with an empty artifact": ToolMessage("x", tool_call_id="c1", artifact=[]),
    "tool with a false artifact": ToolMessage("x", tool_call_id="c1", artifact=False),
    "multimodal": HumanMessage(
        [
            {"type": "text", "text": "what is this"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
            "plain",
        ],
        id="6",
    ),
    "empty content": AIMessage([], id="7"),
    "remove": RemoveMessage(id="8"),
    "remove all": RemoveMessage(id=REMOVE_ALL_MESSAGES),
    "chat": ChatMessage(content="hi", role="critic", id="9"),
    "function": FunctionMessage(content="r", name="f", id="10"),
    "extra fields": HumanMessage("hi", id="11", mood="calm", scores=[1, (2,)], nothing=None),
    "odd kwargs": AIMessage("x", id="12", additional_kwargs={"when": NOON, "seen": {1, 2}}),
    "no id": HumanMessage("no id"),
}
