"""Every part of every kind of message, replaced in place by every value that is nearly equal."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from rowtrail_langgraph import RowtrailSaver
from tests.adapters._savers import QUICK, checkpoint, thread

DATA: dict[str, Any] = {"a": 1, "b": {"c": [0, True, 1.0, 0.0, None, "x", {}, []]}, "d": False}

KINDS: dict[str, Callable[[], AnyMessage]] = {
    "human": lambda: HumanMessage("hi", id="1", additional_kwargs=copy.deepcopy(DATA)),
    "with a flag": lambda: HumanMessage("hi", id="1", example=True),
    "of blocks": lambda: HumanMessage([{"type": "text", "text": "hi", "n": 1}, "x"], id="1"),
    "system": lambda: SystemMessage("hi", id="1", response_metadata=copy.deepcopy(DATA)),
    "model": lambda: AIMessage(
        "hi",
        id="1",
        name="n",
        tool_calls=[{"name": "f", "args": copy.deepcopy(DATA), "id": "c"}],
        usage_metadata={"input_tokens": 1, "output_tokens": 0, "total_tokens": 1},
    ),
    "tool": lambda: ToolMessage("x", tool_call_id="c", artifact=copy.deepcopy(DATA)),
    "tool with a flag": lambda: ToolMessage("x", tool_call_id="c", artifact=True),
    "function": lambda: FunctionMessage(content="x", name="f", id="1"),
    "chat": lambda: ChatMessage(content="x", role="r", id="1"),
    "with an extra field": lambda: HumanMessage("x", id="1", mood=copy.deepcopy(DATA)),
    "plain": lambda: HumanMessage("hi"),
}

NEARLY: tuple[Any, ...] = (1, True, 1.0, 0, False, 0.0, -0.0, None, "", "1", {}, [])

Place = tuple[Any, ...]


def root(message: Any, name: str) -> Any:
    return message.__dict__ if name == "fields" else message.__pydantic_extra__


def paths(part: Any) -> Iterator[Place]:
    """Yield where each value in a dict or a list is, of every depth."""
    keys = list(part) if isinstance(part, dict) else range(len(part))
    for key in keys:
        yield (key,)
        if isinstance(part[key], dict | list):
            yield from ((key, *rest) for rest in paths(part[key]))


def holder(part: Any, path: Place) -> Any:
    for key in path[:-1]:
        part = part[key]
    return part


def changes(part: Any, path: Place) -> Iterator[Callable[[Any], None]]:
    """Yield what is done to the dict or list that has the value at this path."""
    key, around = path[-1], holder(part, path)

    def set_to(value: Any) -> Callable[[Any], None]:
        return lambda found: found.__setitem__(key, copy.deepcopy(value))

    if len(path) > 1:
        yield from (set_to(value) for value in NEARLY)
        yield lambda found: found.pop(key)
    elif key == "content":
        yield from (set_to(value) for value in ("", "1", ["hi"], []))
    elif key in {"artifact", "example", "mood"}:
        yield from (set_to(value) for value in NEARLY)
    elif key in {"id", "name"}:
        yield from (set_to(value) for value in (None, "", "1"))
    if isinstance(around, dict) and len(path) > 1:
        yield lambda found: renamed(found, key)
        yield lambda found: found.update({key: found.pop(key)})
    others = list(around) if isinstance(around, dict) else range(len(around))
    same = [each for each in others if type(around[each]) is type(around[key]) and each != "type"]
    if key != "type" and (len(path) > 1 or isinstance(around[key], dict)):
        yield from (
            lambda found, other=other: (
                found.update({key: found[other], other: found[key]})
                if isinstance(found, dict)
                else swapped(found, key, other)
            )
            for other in same
            if other != key
        )


def renamed(found: dict[Any, Any], key: Any) -> None:
    """Give a value another name, in the same place of the dict."""
    entries = [(f"{name}'" if name == key else name, value) for name, value in found.items()]
    found.clear()
    found.update(entries)


def swapped(found: list[Any], one: int, other: int) -> None:
    found[one], found[other] = found[other], found[one]


CASES = [
    pytest.param(kind, name, path, id=f"{kind}-{'.'.join(map(str, path))}")
    for kind, make in KINDS.items()
    for name in ("fields", "extra")
    for path in paths(root(make(), name) or {})
]


@pytest.fixture(scope="module")
def saver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RowtrailSaver]:
    with RowtrailSaver(Path(tmp_path_factory.mktemp("fields")) / "db", **QUICK) as opened:
        yield opened


def stored(saver: RowtrailSaver, values: list[Any], name: str) -> str:
    """Put a list, and return what another process would read."""
    saver.put(thread(name), checkpoint({"items": values}), {}, {})
    found = saver.get_tuple(thread(name))
    assert found is not None
    return repr(found.checkpoint["channel_values"]["items"])


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("kind", "name", "path"), CASES)
@pytest.mark.parametrize("is_read", [False, True])
def test_what_is_put_is_what_a_message_has_now(
    saver: RowtrailSaver, kind: str, name: str, path: Place, is_read: bool
) -> None:
    probe = KINDS[kind]()
    count = len(list(changes(root(probe, name), path)))
    for number in range(count):
        where = f"{kind} {name} {path} {number} {is_read}"
        values: list[Any] = [HumanMessage("before"), KINDS[kind](), HumanMessage("after")]
        stored(saver, values, where)
        if is_read:
            found = saver.get_tuple(thread(where))
            assert found is not None
            values = found.checkpoint["channel_values"]["items"]
        part = root(values[1], name)

        change = list(changes(part, path))[number]
        change(holder(part, path))

        fresh = copy.deepcopy(values)
        assert stored(saver, values, where) == stored(saver, fresh, f"fresh {where}")
