"""What calls cost: usage as the packages of providers tell it, to columns, prices and sums."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_openai.chat_models.base import (
    _create_usage_metadata,
    _create_usage_metadata_responses,
)
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic import PrivateAttr

from rowtrail_langgraph import RowtrailSaver

MILLION = 1_000_000


@dataclass(frozen=True)
class Tokens:
    """What a call used: `fresh`, `read`, `write_5m` and `write_1h` do not overlap."""

    fresh: int
    output: int
    read: int = 0
    write_5m: int = 0
    write_1h: int = 0
    reasoning: int = 0

    @property
    def input(self) -> int:
        return self.fresh + self.read + self.write_5m + self.write_1h


@dataclass(frozen=True)
class Prices:
    """Dollars for a million tokens."""

    fresh: float
    output: float
    read: float
    write_5m: float = 0
    write_1h: float = 0

    def of(self, used: Tokens) -> float:
        names = ("fresh", "output", "read", "write_5m", "write_1h")
        dollars: float = sum(getattr(self, name) * getattr(used, name) for name in names)
        return dollars / MILLION


Message = tuple[dict[str, Any], dict[str, Any]]
"""Usage metadata and response metadata."""


def openai_chat(used: Tokens, tier: str | None) -> Message:
    told = {
        "prompt_tokens": used.input,
        "completion_tokens": used.output,
        "total_tokens": used.input + used.output,
        "prompt_tokens_details": {"cached_tokens": used.read, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": used.reasoning, "audio_tokens": 0},
    }
    return dict(_create_usage_metadata(told, tier)), {"service_tier": tier} if tier else {}


def openai_responses(used: Tokens, tier: str | None) -> Message:
    told = {
        "input_tokens": used.input,
        "output_tokens": used.output,
        "total_tokens": used.input + used.output,
        "input_tokens_details": {"cached_tokens": used.read},
        "output_tokens_details": {"reasoning_tokens": used.reasoning},
    }
    usage = dict(_create_usage_metadata_responses(told, tier))
    return usage, {"service_tier": tier} if tier else {}


def anthropic(used: Tokens, tier: str | None) -> Message:
    """Source: `_create_usage_metadata` of langchain-anthropic 1.7: 0 stands for the sum."""
    written = {
        "ephemeral_5m_input_tokens": used.write_5m,
        "ephemeral_1h_input_tokens": used.write_1h,
    }
    details = {"cache_read": used.read, "cache_creation": 0, **written}
    told = {"usage": {"service_tier": tier}} if tier else {}
    return _usage(used, details, {"reasoning": used.reasoning}), told


def anthropic_before_1h(used: Tokens, tier: str | None) -> Message:
    """Older ones, and streams of langchain-aws, tell only the sum."""
    assert not used.write_1h
    details = {"cache_read": used.read, "cache_creation": used.write_5m}
    return _usage(used, details, {}), {"usage": {"service_tier": tier}} if tier else {}


def bedrock(used: Tokens, tier: str | None) -> Message:
    """Source: `_extract_usage_metadata` of langchain-aws 1.9: a part of 0 is not told."""
    parts = {
        "ephemeral_5m_input_tokens": used.write_5m,
        "ephemeral_1h_input_tokens": used.write_1h,
    }
    details = {"cache_read": used.read, "cache_creation": 0}
    details |= {name: count for name, count in parts.items() if count}
    told = {"serviceTier": {"type": tier}} if tier else {}
    return _usage(used, details, {"reasoning": used.reasoning}), told


def gemini(used: Tokens, tier: str | None) -> Message:
    made = {"reasoning": used.reasoning} if used.reasoning else {}
    return _usage(used, {"cache_read": used.read}, made), {}


def _usage(used: Tokens, read: dict[str, int], made: dict[str, int]) -> dict[str, Any]:
    return {
        "input_tokens": used.input,
        "output_tokens": used.output,
        "total_tokens": used.input + used.output,
        "input_token_details": read,
        "output_token_details": made,
    }


@dataclass(frozen=True)
class Way:
    """How a model of a provider is asked, and what it costs by tier; None where nobody knows."""

    provider: str
    model: str
    tell: Callable[[Tokens, str | None], Message]
    prices: dict[str | None, Prices | None]
    writes_5m: bool = False
    writes_1h: bool = False


GPT_5 = Prices(1.25, 10, 0.125)
GPT_5_TIERS: dict[str | None, Prices | None] = {
    None: GPT_5,
    "default": GPT_5,
    "flex": Prices(0.625, 5, 0.0625),
    "priority": Prices(2.5, 20, 0.25),
    "scale": None,
}
HAIKU = Prices(1, 5, 0.1, 1.25, 2)
HAIKU_TIERS: dict[str | None, Prices | None] = {
    None: HAIKU,
    "standard": HAIKU,
    "batch": Prices(0.5, 2.5, 0.05, 0.625, 1),
    "priority": None,
}
UNKNOWN: dict[str | None, Prices | None] = {None: None, "default": None, "priority": None}
BEDROCK = Prices(3.3, 16.5, 0.33, 4.125, 6.6)
GROQ = Prices(0.59, 0.79, 0.59)

WAYS = [
    Way("openai", "gpt-5", openai_chat, GPT_5_TIERS),
    Way("openai", "gpt-5", openai_responses, GPT_5_TIERS),
    # a tier that this model has no price for
    Way("openai", "gpt-5-nano", openai_chat, {"priority": None, None: Prices(0.05, 0.4, 0.005)}),
    # prices of OpenAI's own tiers are not those of Azure
    Way("azure", "gpt-5", openai_chat, {None: GPT_5, "default": GPT_5, "priority": None}),
    Way("openai", "our-own-model", openai_chat, UNKNOWN),
    Way("anthropic", "claude-haiku-4-5", anthropic, HAIKU_TIERS, True, True),
    Way("anthropic", "claude-haiku-4-5", anthropic_before_1h, HAIKU_TIERS, True),
    Way(
        "amazon_bedrock",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        bedrock,
        {None: BEDROCK, "default": BEDROCK, "priority": None, "flex": None},
        True,
        True,
    ),
    Way("google_genai", "gemini-2.5-flash", gemini, {None: Prices(0.3, 2.5, 0.03)}),
    Way(
        "groq",
        "llama-3.3-70b-versatile",
        openai_chat,
        {None: GROQ, "on_demand": GROQ, "flex": GROQ},
    ),
]


@dataclass(frozen=True)
class Asked:
    """One question, `again` where an earlier call of the same made the cache answer."""

    way: Way
    tier: str | None
    used: Tokens
    times: int
    streams: bool


@st.composite
def questions(draw: st.DrawFn) -> Asked:
    way = draw(st.sampled_from(WAYS))
    counts = st.integers(0, 20_000)
    output = draw(counts)
    used = Tokens(
        draw(counts),
        output,
        draw(counts),
        draw(counts) if way.writes_5m else 0,
        draw(counts) if way.writes_1h else 0,
        draw(st.integers(0, output)),
    )
    tier = draw(st.sampled_from(list(way.prices)))
    return Asked(way, tier, used, draw(st.integers(1, 3)), draw(st.booleans()))


class Told(BaseChatModel):
    """A model that tells its usage as `asked` says, in a message or in two chunks."""

    label: str
    _asked: Asked = PrivateAttr()

    @property
    def _llm_type(self) -> str:
        return "told"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self._asked.way.model, "label": self.label}

    def _get_ls_params(self, stop: Any = None, **kwargs: Any) -> Any:
        return {"ls_provider": self._asked.way.provider, "ls_model_name": self._asked.way.model}

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        usage, metadata = self._asked.way.tell(self._asked.used, self._asked.tier)
        answer = AIMessage("fine", response_metadata=metadata)
        answer.usage_metadata = usage  # type: ignore[assignment]  # not checked, as packages do it
        return ChatResult(generations=[ChatGeneration(message=answer)])


class Streams(Told):
    """The same in chunks; the usage comes with the last."""

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        usage, metadata = self._asked.way.tell(self._asked.used, self._asked.tier)
        yield ChatGenerationChunk(message=AIMessageChunk(content="fi"))
        last = AIMessageChunk(content="ne", response_metadata=metadata)
        last.usage_metadata = usage  # type: ignore[assignment]
        yield ChatGenerationChunk(message=last)


def model_of(
    asked: Asked, label: str, cache: InMemoryCache | None = None, kind: type[Told] = Told
) -> BaseChatModel:
    model = (Streams if asked.streams else kind)(label=label, cache=cache)
    model._asked = asked
    return model


def ask(model: BaseChatModel, saver: RowtrailSaver, thread: str, *, streams: bool = False) -> None:
    """Ask a model in a graph of one node."""

    def node(state: MessagesState) -> dict[str, Any]:
        if streams:
            assert list(model.stream("q"))
        else:
            model.invoke("q")
        return {}

    builder = StateGraph(MessagesState)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    config: Any = {"configurable": {"thread_id": thread}}
    given: Any = {"messages": [("user", thread)]}
    builder.compile(checkpointer=saver).invoke(given, config)


def rows(db: Path, query: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(db)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)


def check_row(row: dict[str, Any], asked: Asked, *, is_cached: bool) -> None:
    used, prices = asked.used, asked.way.prices[asked.tier]
    assert row["tokens_source"] == "provider"
    if is_cached:
        assert [row[name] for name in COUNTS] == [0, 0, None, None, None]
        assert row["cost_usd"] in (0, None) and "LLM cache" in row["reason"]
        assert row["cost_usd"] is not None or asked.way.prices is UNKNOWN
        return
    written = used.write_5m + used.write_1h
    expected = (used.input, used.output, used.read, written, used.reasoning)
    # a part of which there is none may be told as 0, or not at all
    assert tuple(row[name] or 0 for name in COUNTS[:4]) == expected[:4]
    assert row["reasoning_tokens"] in (used.reasoning, None)
    assert "cache" not in row["reason"]
    if prices is None:
        assert row["cost_usd"] is None
    else:
        assert row["cost_usd"] == pytest.approx(prices.of(used), abs=1e-12)


def check_sums(db: Path) -> None:
    """What steps say adds up to what runs, threads and days say."""
    totals = "sum(input_tokens) AS i, sum(output_tokens) AS o"
    [steps], [runs], [days], [threads] = (
        rows(db, f"SELECT {totals} FROM {view}") for view in ("steps", "runs", "spend", "threads")
    )
    assert steps == runs == days == threads
    costs = [
        rows(db, f"SELECT sum(cost_usd) AS c FROM {view}")[0]["c"]
        for view in ("steps", "runs", "spend", "llm_calls")
    ]
    assert costs == [None] * 4 or costs == [pytest.approx(costs[0], abs=1e-12)] * 4


@settings(max_examples=40, deadline=None)
@given(st.lists(questions(), min_size=1, max_size=4))
def test_usage_as_providers_tell_it_is_counted_priced_and_summed(asked: list[Asked]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder) / "agent.db"
        expected: list[tuple[Asked, bool]] = []
        with RowtrailSaver(db) as saver:
            for number, question in enumerate(asked):
                model = model_of(question, str(number), InMemoryCache())
                for time in range(question.times):
                    # LangChain's cache is not asked where the caller streams
                    ask(model, saver, f"{number}.{time}", streams=question.streams)
                    expected.append((question, time > 0 and not question.streams))
        calls = rows(db, "SELECT * FROM steps WHERE kind = 'llm' ORDER BY step_id + 0")
        assert len(calls) == len(expected)
        for row, (question, is_cached) in zip(calls, expected, strict=True):
            check_row(row, question, is_cached=is_cached)
        check_sums(db)


@pytest.mark.parametrize("way", ["of the model", "of the process"])
@pytest.mark.parametrize("streams", [False, True], ids=["in one", "in chunks"])
def test_an_answer_of_langchains_cache_is_not_paid_again(
    tmp_path: Path, way: str, streams: bool
) -> None:
    cache = InMemoryCache()
    question = Asked(WAYS[0], None, Tokens(1000, 10), 2, streams)
    model = model_of(question, "m", cache if way == "of the model" else None)
    set_llm_cache(cache if way == "of the process" else None)
    try:
        with RowtrailSaver(tmp_path / "agent.db") as saver:
            for name in ("first", "second"):
                ask(model, saver, name)
    finally:
        set_llm_cache(None)
    first, second = rows(tmp_path / "agent.db", "SELECT * FROM steps ORDER BY step_id + 0")
    assert (first["input_tokens"], second["input_tokens"]) == (1000, 0)
    assert first["cost_usd"] > 0 and second["cost_usd"] == 0
    assert second["reason"].startswith("answered by LangChain's LLM cache")
    assert json.loads(second["output"])["content"] == "fine"
    check_sums(tmp_path / "agent.db")


def test_a_cached_answer_without_usage_is_free_too(tmp_path: Path) -> None:
    class Silent(Told):
        def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
            return ChatResult(generations=[ChatGeneration(message=AIMessage("fine"))])

    question = Asked(WAYS[0], None, Tokens(0, 0), 2, False)
    model = model_of(question, "m", InMemoryCache(), Silent)
    with RowtrailSaver(tmp_path / "agent.db") as saver:
        for name in ("first", "second"):
            ask(model, saver, name)
    first, second = rows(tmp_path / "agent.db", "SELECT * FROM steps ORDER BY step_id + 0")
    assert first["tokens_source"] != "provider" and first["cost_usd"] is None
    assert (second["tokens_source"], second["input_tokens"]) == ("provider", 0)


@pytest.mark.parametrize(
    "details",
    [
        {"cache_read": "many"},
        {"cache_read": float("nan"), "audio": float("inf")},
        {"audio": 10, "image": 5, "video": 3},
        {"audio": 900, "cache_read": 900},
        {"ephemeral_1h_input_tokens": None, "cache_creation": None},
        {"flex": 10, "priority": 10, "flex_cache_read": True},
        {"cache_read": -5, "text": 10**30},
    ],
)
def test_details_of_any_kind_break_nothing(tmp_path: Path, details: dict[str, Any]) -> None:
    counts = {"input_tokens": 1000, "output_tokens": 10, "total_tokens": 1010}
    usage = {**counts, "input_token_details": details, "output_token_details": dict(details)}

    def tell(used: Tokens, tier: str | None) -> Message:
        return usage, {"usage": "none", "service_tier": 7, "serviceTier": "flex"}

    question = Asked(Way("openai", "gpt-realtime", tell, {}), None, Tokens(0, 0), 1, False)
    with RowtrailSaver(tmp_path / "agent.db") as saver:
        ask(model_of(question, "m"), saver, "t")
    [row] = rows(tmp_path / "agent.db", "SELECT * FROM steps")
    assert (row["status"], row["input_tokens"], row["output_tokens"]) == ("done", 1000, 10)
    assert row["cost_usd"] is None or row["cost_usd"] > 0
