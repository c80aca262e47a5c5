"""Values of every kind that LangGraph's serializer takes, and of subclasses made of each."""

from __future__ import annotations

import enum
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from langchain_core.messages import AIMessage, ToolMessage
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Command, Interrupt, Send
from pydantic import BaseModel

PosixOrWindowsPath = type(Path())

BASES: dict[type, tuple[Any, ...]] = {
    datetime: (2026, 11, 28, 12, 30, 1, 5, UTC),
    date: (2026, 11, 28),
    time: (1, 2, 3, 4),
    timedelta: (3, 4, 5),
    set: ([1, 2],),
    frozenset: ([3],),
    deque: ([1, 2],),
    PosixOrWindowsPath: ("/a/b",),
    dict: ([("a", 1)],),
    OrderedDict: ([("a", 1)],),
    Counter: ("aab",),
    list: ([1, 2],),
    tuple: ((1, 2),),
    str: ("text",),
    int: (7,),
    float: (1.5,),
    bytes: (b"data",),
    bytearray: (b"data",),
    complex: (1, 2),
    UUID: ("12345678123456781234567812345678",),
    Decimal: ("1.50",),
    IPv4Address: ("10.0.0.1",),
    IPv6Network: ("::/64",),
    ZoneInfo: ("Europe/Oslo",),
}


def subclass(base: type, module: str = __name__) -> type:
    """Return a new class that adds nothing; only the first of a base is where its name says."""
    return type(f"Own{base.__name__}", (base,), {"__module__": module})


OWN = {base: subclass(base) for base in BASES}
globals().update({cls.__name__: cls for cls in OWN.values()})


class Outer:
    """Holds classes whose name another class has at the top of this module."""

    Owndatetime = type("Owndatetime", (datetime,), {"__module__": __name__})
    Ownset = type("Ownset", (set,), {"__module__": __name__})


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Box:
    held: Any
    tags: list[str] = field(default_factory=list)


@dataclass
class Derived:
    n: int
    doubled: int = field(init=False)

    def __post_init__(self) -> None:
        self.doubled = 2 * self.n


class Pair(NamedTuple):
    first: Any
    second: int


class Model(BaseModel):
    held: Any = None


class Duck:
    """Looks like an old pydantic model, and is none."""

    def __init__(self, n: int) -> None:
        self.n = n

    def dict(self) -> dict[str, int]:
        return {"n": self.n}


def local_dataclass() -> Any:
    @dataclass
    class Local:
        n: int

    return Local(1)


def leaves() -> Iterator[tuple[str, Any]]:
    """Yield values by name: of each base, of a subclass that can be imported, of another."""
    for base, arguments in BASES.items():
        name = base.__name__
        yield name, base(*arguments)
        yield f"own {name}", OWN[base](*arguments)
        yield f"local {name}", subclass(base)(*arguments)
    yield "nested datetime", Outer.Owndatetime(2026, 1, 1)
    yield "nested set", Outer.Ownset([1])
    yield "enum", Colour.RED
    yield "int enum", Level.LOW
    yield "flags", Access.READ | Access.WRITE
    yield "derived", Derived(2)
    yield "duck", Duck(1)
    yield "local dataclass", local_dataclass()
    yield "default dict", defaultdict(list, a=[1])
    yield "exception", ValueError("x")


LEAVES = dict(leaves())

UNEQUAL = {"exception", "duck", "local dataclass"} | {
    f"{kind} {name}" for kind in ("own", "local") for name in ("ZoneInfo", "tuple")
}
"""Leaves that are not equal to what comes back of them: langgraph itself makes lists of tuples."""

CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "bare": lambda v: v,
    "list": lambda v: [1, v],
    "tuple": lambda v: (v, [2]),
    "dict": lambda v: {"deep": {"deeper": [v]}},
    "numbered": lambda v: {1: v, "1": 2},
    "deque": lambda v: deque([v]),
    "artifact": lambda v: ToolMessage("x", tool_call_id="c", artifact={"of": v}),
    "message": lambda v: AIMessage("x", additional_kwargs={"of": v}),
    "dataclass": Box,
    "named tuple": lambda v: Pair(v, 1),
    "model": lambda v: Model(held=v),
    "send": lambda v: Send("node", {"of": v}),
    "command": lambda v: Command(update={"of": v}),
    "interrupt": lambda v: Interrupt(value=v, id="i"),
}

KEY = b"0123456789abcdef"


def strict() -> JsonPlusSerializer:
    return JsonPlusSerializer(allowed_msgpack_modules=None)


SERDES: dict[str, Callable[[], Any]] = {
    "guarded": lambda: None,
    "permissive": JsonPlusSerializer,
    "strict": strict,
    "sealed": lambda: EncryptedSerializer.from_pycryptodome_aes(key=KEY),
    "strict and sealed": lambda: EncryptedSerializer.from_pycryptodome_aes(strict(), key=KEY),
}
