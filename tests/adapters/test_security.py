"""Hostile inputs to the saver: the holes that checkpointers had (CVE numbers beside the tests)."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ormsgpack
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from rowtrail.content import Encoded
from rowtrail.errors import CorruptRowError, RowtrailError
from rowtrail_langgraph import RowtrailSaver
from rowtrail_langgraph.values._codec import GraphCodec
from tests.adapters._savers import QUICK, checkpoint, named, thread
from tests.cases.hostile import CONSTRUCTORS, PICKLE, TEXTS, TOUCH, VALUES, assert_nothing_ran


@pytest.fixture
def saver(db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RowtrailSaver]:
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    with RowtrailSaver(db, **QUICK) as opened:
        yield opened
    assert_nothing_ran(tmp_path)


def put(saver: RowtrailSaver, thread_id: str, values: dict[str, Any], **metadata: Any) -> None:
    given: Any = metadata
    saver.put(thread(thread_id), checkpoint(values), given, {})


# CVE-2025-67644, CVE-2025-8709: SQL in the keys and values of a metadata filter.


def test_hostile_filters_match_what_they_name_and_nothing_else(saver: RowtrailSaver) -> None:
    put(saver, "secret", {"v": 1}, source="loop", owner="alice")
    for text in TEXTS:
        for wanted in (
            {text: "x"},
            {"owner": text},
            {text: text},
            {text: [None]},
            {"owner": [text]},
        ):
            try:
                found = list(saver.list(None, filter=wanted))
            except RowtrailError:
                continue
            assert found == [], wanted
    assert len(list(saver.list(None, filter={"owner": "alice"}))) == 1


def test_hostile_metadata_is_found_by_itself(saver: RowtrailSaver) -> None:
    keys = [text for text in dict.fromkeys(TEXTS) if "\0" not in text and len(text) < 1000]
    for number, text in enumerate(keys):
        put(saver, f"t{number}", {}, **{f"k{text}": f"v{text}"})
    for number, text in enumerate(keys):
        found = list(saver.list(None, filter={f"k{text}": f"v{text}"}))
        assert [named(each.config, "thread_id") for each in found] == [f"t{number}"], text


def test_hostile_ids_name_what_they_say(saver: RowtrailSaver) -> None:
    ids = [text for text in dict.fromkeys(TEXTS) if text and "\ud800" not in text]
    for number, text in enumerate(ids):
        config = saver.put(thread(text, ns=text), checkpoint({"n": number}), {}, {})
        saver.put_writes(config, [(f"c{text}", text)], text, text)
    for number, text in enumerate(ids):
        found = saver.get_tuple(thread(text, ns=text))
        assert found is not None and found.checkpoint["channel_values"] == {"n": number}, text
        [(_, _, value)] = found.pending_writes or []
        assert value == text
    for text in ids[::2]:
        saver.delete_thread(text)
    left = {named(each.config, "thread_id") for each in saver.list(None)}
    assert len(left) == len(ids[1::2])


# CVE-2025-64439, CVE-2026-28277, CVE-2026-48775: constructors hidden in JSON or msgpack.


def test_values_shaped_like_constructors_are_data(saver: RowtrailSaver) -> None:
    for number, value in enumerate(VALUES):
        messages = [
            HumanMessage(repr(value)),
            ToolMessage("x", tool_call_id="1", artifact=value if isinstance(value, dict) else None),
            AIMessage("x", additional_kwargs={"v": value} if isinstance(value, str) else {}),
        ]
        put(saver, f"t{number}", {"value": value, "list": [value], "messages": messages})
    for number, value in enumerate(VALUES):
        found = saver.get_tuple(thread(f"t{number}"))
        assert found is not None
        values = found.checkpoint["channel_values"]
        assert type(values["value"]) is type(value) and values["value"] == value
        assert values["list"] == [value]
        assert values["messages"][0].content == repr(value)


def _extension(code: int, *parts: Any) -> bytes:
    """Return msgpack of an extension, as LangGraph's serializer writes objects."""
    return ormsgpack.packb(ormsgpack.Ext(code, ormsgpack.packb(parts)))


CALLS: list[tuple[str, str, Any]] = [
    ("os", "system", TOUCH),
    ("subprocess", "getoutput", TOUCH),
    ("builtins", "eval", f"__import__('os').system('{TOUCH}')"),
    ("builtins", "exec", f"import os; os.system('{TOUCH}')"),
    ("posix", "system", TOUCH),
    ("pty", "spawn", ["touch", "rowtrail-canary"]),
    ("pathlib", "Path", "rowtrail-canary"),
    ("runpy", "run_path", "rowtrail-canary"),
    ("shutil", "rmtree", "nowhere"),
    ("langchain_core.load", "loads", json.dumps(CONSTRUCTORS[0])),
]


def _payloads() -> Iterator[tuple[str, bytes]]:
    for module, name, argument in CALLS:
        for code in range(8):
            yield "msgpack", _extension(code, module, name, argument)
            yield "msgpack", _extension(code, module, name, [argument], {}, "touch")
        hidden = {"lc": 2, "type": "constructor", "id": [module, name], "args": [argument]}
        yield "json", json.dumps(hidden).encode()
        yield "msgpack", ormsgpack.packb({"nested": [hidden]})
    yield "pickle", PICKLE
    yield "pickle+msgpack", PICKLE
    yield "msgpack", PICKLE
    yield "json", PICKLE
    yield "bytearray", PICKLE
    yield "unknown", b""
    yield "", b""


HARMLESS = (dict, list, str, bytes, bytearray, int, float, type(None), tuple, Path)


def test_tampered_values_run_nothing(saver: RowtrailSaver) -> None:
    codec = GraphCodec(saver.serde)
    tried = 0
    for kind, payload in _payloads():
        nested = {"$rowtrail": "serialized", "v": [kind, base64.b64encode(payload).decode()]}
        for stored in (
            Encoded("x", None, f"{kind}\0".encode() + payload),
            Encoded("dict", json.dumps(nested)),
            Encoded(kind or "x", payload.decode("latin-1")),
        ):
            try:
                value = codec.decode(stored)
            except CorruptRowError:
                pass
            else:
                assert isinstance(value, HARMLESS), value
            tried += 1
    assert tried >= 200


# CVE-2026-27794: pickle in a cache. Nothing that rowtrail stores is read with pickle.


def test_a_pickle_is_bytes(saver: RowtrailSaver) -> None:
    put(saver, "t", {"payload": PICKLE, "list": [PICKLE]})
    found = saver.get_tuple(thread("t"))
    assert found is not None
    assert found.checkpoint["channel_values"] == {"payload": PICKLE, "list": [PICKLE]}
