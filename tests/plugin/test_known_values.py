"""What was asked before is found by what it is: changed in place, it is something else."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rowtrail
from rowtrail.adapter import llm_request, record, scope_here
from rowtrail.content import Codec, canonical
from rowtrail.content import _known as known_values
from rowtrail.content._known import KnownValues

Messages = list[dict[str, Any]]

LEAVES: tuple[Any, ...] = (
    *("", "a", "é", "\ud800", "\u2028", "😀", '"\\', "x" * 50),
    *(0, 1, -1, True, False, None, 2**63 - 1, 2**63, 2**70),
    *(0.0, -0.0, 1.0, 1e-5, 1e20, float("inf"), float("nan")),
    *(b"x", (), (1,)),
)
KEYS: tuple[Any, ...] = ("role", "content", "b", "é", "$rowtrail", 1)


def value_of(chance: random.Random, depth: int) -> Any:
    """Return a value: most are plain, and some differ only in a type."""
    kind = chance.randrange(8) if depth else 0
    if kind < 5:
        return chance.choice(LEAVES[:15] if chance.random() < 0.9 else LEAVES)
    parts = [value_of(chance, depth - 1) for _ in range(chance.randrange(4))]
    if kind < 6:
        return parts
    keys = KEYS[:4] if chance.random() < 0.9 else KEYS
    return {chance.choice(keys): part for part in parts}


@pytest.mark.parametrize("seed", range(4))
def test_the_text_of_known_values_is_their_canonical_text(seed: int) -> None:
    chance, known, codec = random.Random(seed), KnownValues(), Codec()
    found = 0
    for _ in range(3_000):
        value = {"args": [value_of(chance, 5) for _ in range(2)], "kwargs": {}}
        text = known.text(codec, value)
        if text is not None:
            found += 1
            assert text == canonical(value).text
    assert found > 1_000


def test_what_is_known_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_values, "MAX_KNOWN_BYTES", 1_000)
    monkeypatch.setattr(known_values, "MAX_KNOWN_VALUE_BYTES", 500)
    known, codec, made = KnownValues(), Codec(), list[Any]()
    for text in ("a" * 600, "b" * 400, "c" * 400, "d" * 400):
        known.find(codec, "test", text, made.append)
    for text in ("a" * 600, "d" * 400, "c" * 400, "b" * 400):
        known.find(codec, "test", text, made.append)
    assert [text[0] for text in made] == ["a", "b", "c", "d", "a", "b"]


def ask_by_the_door(messages: Messages) -> str:
    scope = scope_here("m")
    assert scope is not None
    return record(scope, llm_request(scope, "m", messages, {"top_p": 1}), lambda: "yes")


@rowtrail.step(name="m", kind="llm")
def ask_by_decorator(messages: Messages) -> str:
    return "yes"


@pytest.mark.parametrize("ask", [ask_by_the_door, ask_by_decorator])
@pytest.mark.parametrize(
    "change",
    [
        lambda message: message.update(content="bye"),
        lambda message: message["content"][0].update(text="bye"),
        lambda message: message["content"].append({"type": "text", "text": "!"}),
        lambda message: message.update(cached=1),
        lambda message: message.update(cached=1.0),
    ],
)
def test_a_message_that_was_changed_in_place_is_another(
    db: Path, ask: Callable[[Messages], str], change: Callable[[dict[str, Any]], object]
) -> None:
    said: dict[str, Any] = {"role": "user", "content": [{"type": "text", "text": "hi"}]}
    said["cached"] = True
    messages = [{"role": "system", "content": "be kind"}, said]
    with rowtrail.Journal(db, durability="normal") as journal, journal.run("r"):
        ask(messages)
        ask(messages)
        change(said)
        ask(messages)
    with rowtrail.Journal(db) as journal:
        rows = journal.sql("SELECT fingerprint FROM steps ORDER BY seq").rows
    prints = [row[0] for row in rows]
    assert prints[0] == prints[1] != prints[2]


def test_a_prompt_shows_what_a_message_said_when_it_was_asked(db: Path) -> None:
    said = {"role": "user", "content": "hi"}
    with rowtrail.Journal(db, durability="normal") as journal:
        with journal.run("r"):
            ask_by_the_door([said])
            said["content"] = "bye"
            ask_by_the_door([said])
        rows = journal.sql("SELECT content FROM messages WHERE direction = 'in'").rows
    assert [row[0] for row in rows] == ["hi", "bye"]
