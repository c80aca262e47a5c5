"""`rowtrail spend` and `rowtrail threads`: where it went, and who was active last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import rowtrail
from rowtrail import Journal
from rowtrail.adapter import ANSWERS, llm_request, record, scope_here
from rowtrail.journal import Request, active_scope, begin_call, fingerprint_of
from rowtrail.usage import Usage
from tests.plugin.conftest import Cli


def ask(model: str, prompt: str, tokens: int) -> None:
    """Make one LLM call with known usage, as an adapter does."""
    scope = active_scope()
    assert scope is not None
    attempt = scope.attempt
    call = begin_call(
        scope,
        Request(
            kind="llm",
            name=model,
            fingerprint=fingerprint_of("llm", model, prompt),
            encode=lambda: attempt.prepare(attempt.codec.encode_shown(prompt)),
            model=model,
        ),
    )
    if not call.replayed:
        call.complete(prompt, usage=Usage(tokens, tokens // 10, "provider"))


@rowtrail.step(kind="tool", name="research")
def research(topic: str) -> str:
    ask("small", topic, 50)
    return topic


@rowtrail.step(kind="tool", name="fail")
def fail() -> None:
    raise ValueError("no")


@rowtrail.step(name="die")
def die() -> None:
    raise KeyboardInterrupt


@pytest.fixture
def spent(journal: Journal, db: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    prices = {"large": 0.5}
    monkeypatch.setattr(
        "rowtrail.journal._call.price_usd", lambda *_, model, **__: prices.get(model)
    )
    with pytest.raises(KeyboardInterrupt), journal.run("a", thread_id="one", agent="writer"):
        ask("large", "question", 1000)
        research("ships")
        die()
    with journal.run("a"):
        ask("large", "question", 1000)
        research("ships")
    with journal.run("b", thread_id="two", agent="reader"):
        ask("small", "question", 200)
        with pytest.raises(ValueError, match="no"):
            fail()
    journal.close()
    return db


def groups(cli: Cli, db: Path, by: str) -> dict[str, dict[str, Any]]:
    found = cli("spend", "--by", by, "--db", db, "--json").json
    assert found["by"] == by
    return {row[by]: row for row in found["rows"]}


def test_models_and_days_are_added_up_once_and_replays_are_saved(cli: Cli, spent: Path) -> None:
    models = groups(cli, spent, "model")
    (day,) = groups(cli, spent, "day").values()

    assert (models["large"]["calls"], models["large"]["input_tokens"]) == (1, 1000)
    assert models["large"]["saved_tokens"] == 1100
    assert (models["large"]["cost_usd"], models["large"]["saved_usd"]) == (0.5, 0.5)
    assert models["small"]["cost_usd"] is None, "unknown, not 0"
    assert (models["small"]["calls"], models["small"]["input_tokens"]) == (2, 250)
    assert (day["calls"], day["input_tokens"], day["saved_tokens"]) == (3, 1250, 1155)


def test_threads_and_agents_are_added_up_by_their_runs(cli: Cli, spent: Path) -> None:
    threads = groups(cli, spent, "thread")
    agents = groups(cli, spent, "agent")

    assert (threads["one"]["calls"], threads["one"]["input_tokens"]) == (2, 1050)
    assert (agents["reader"]["runs"], agents["reader"]["input_tokens"]) == (1, 200)
    assert list(threads) == ["one", "two"], "the dearest first"


def test_every_grouping_counts_the_same_calls(cli: Cli, spent: Path) -> None:
    @rowtrail.step(kind="llm", name="large")
    def refused() -> None:
        raise ConnectionError("no")

    with (
        Journal(spent) as journal,
        pytest.raises(ConnectionError),
        journal.run("c", thread_id="one", agent="writer"),
    ):
        refused()
    totals = {
        by: cli("spend", "--by", by, "--db", spent, "--json").json["total"]["calls"]
        for by in ("model", "day", "thread", "agent", "node")
    }

    assert totals == dict.fromkeys(totals, 3)
    assert groups(cli, spent, "thread")["one"]["calls"] == 2


def test_a_tool_has_the_tokens_of_the_calls_inside_it(cli: Cli, spent: Path) -> None:
    tools = groups(cli, spent, "tool")

    assert (tools["research"]["calls"], tools["research"]["input_tokens"]) == (1, 50)
    assert (tools["research"]["replays"], tools["research"]["saved_tokens"]) == (1, 55)
    assert (tools["fail"]["failed"], tools["fail"]["input_tokens"]) == (1, 0)


@pytest.mark.parametrize("by", ["model", "day", "thread", "agent", "node", "tool"])
def test_the_total_is_that_of_all_groups(cli: Cli, spent: Path, by: str) -> None:
    whole = cli("spend", "--by", by, "--db", spent, "--json").json
    limited = cli("spend", "--by", by, "--limit", 1, "--db", spent, "--json")
    table = cli("spend", "--by", by, "--db", spent)

    assert limited.json["total"] == whole["total"]
    for column, value in whole["total"].items():
        if column == "runs":  # a run has several agents and nodes
            continue
        known = [row[column] for row in whole["rows"] if row[column] is not None]
        assert value == (sum(known) if known else None), column
    assert len(limited.json["rows"]) == 1
    assert ("only the first 1" in limited.err) == (len(whole["rows"]) > 1)
    assert table.lines[-1][0] == "total"


def test_nothing_spent_ends_with_3(cli: Cli, spent: Path, tmp_path: Path) -> None:
    Journal(tmp_path / "empty.db").close()

    assert cli("spend", "--db", tmp_path / "empty.db").code == 3
    for by in ("model", "day", "thread", "agent", "node", "tool"):
        done = cli("spend", "--by", by, "--since", "2999-01-01", "--db", spent)
        assert (done.code, done.out) == (3, ""), by


def test_threads_are_listed_by_their_last_activity(cli: Cli, spent: Path) -> None:
    with Journal(spent) as journal, journal.run("c", thread_id="one"):
        ask("large", "again", 10)

    listed = cli("threads", "--db", spent, "--json").json
    table = cli("threads", "--limit", 1, "--db", spent)
    later = cli("threads", "--since", "2999-01-01", "--db", spent)

    assert [row["thread_id"] for row in listed] == ["one", "two"]
    assert (listed[0]["runs"], listed[0]["input_tokens"]) == (2, 1060)
    assert table.lines[1][0] == "one"
    assert "last active 1 threads" in table.err
    assert (later.code, later.out) == (3, "")


def test_many_threads_are_read_in_pages(
    cli: Cli, journal: Journal, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowtrail.cli._threads.PAGE_ROWS", 7)
    for number in range(40):
        with journal.run(f"run-{number}", thread_id=f"thread-{number:02}"):
            pass

    listed = cli("threads", "--limit", 30, "--db", db, "--json").json

    assert sorted(row["thread_id"] for row in listed) == [f"thread-{n:02}" for n in range(10, 40)]


def test_agents_that_worked_at_once_under_one_name_are_one(
    cli: Cli, journal: Journal, db: Path
) -> None:
    def think(agent: str) -> None:
        scope = scope_here(agent, "read", agent=agent)
        assert scope is not None
        messages = [{"role": "user", "content": agent}]
        answer = {"role": "assistant", "content": "yes"}
        record(scope, llm_request(scope, "m", messages, {}), lambda: answer, ANSWERS)

    names = ("clerk", "clerk#2", "clerk#13", "C#", "#3", "agent7", "boss")
    with journal.run("run", agent="boss"):
        for name in names:
            think(name)

    calls = {name: row["calls"] for name, row in groups(cli, db, "agent").items()}

    assert calls == {"clerk": 3, "C#": 1, "#3": 1, "agent7": 1, "boss": 1}
