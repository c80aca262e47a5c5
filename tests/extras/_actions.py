"""What rowtrail does with some extras: run in an environment that holds nothing else.

    python _actions.py FOLDER EXTRA...

Each action is done, where its extra is missing the error is looked at. Prints what was done.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from click.testing import CliRunner

import rowtrail
from rowtrail.cli import main
from rowtrail.errors import MissingPackageError, UnsupportedError
from rowtrail.usage import Usage, count_tokens, has_prices, price_usd

FOLDER, EXTRAS = Path(sys.argv[1]), sys.argv[2:]
DB = FOLDER / "agent.db"
VOCABULARY = b"".join(b"%d\n" % n for n in range(256))


def command(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, list(map(str, arguments)), env={"ROWTRAIL_DB": str(DB)})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


@contextmanager
def missing(extra: str, package: str) -> Generator[None]:
    """Expect the error that names the extra."""
    error: ImportError | None = None
    try:
        yield
    except ImportError as raised:
        error = raised
    assert isinstance(error, MissingPackageError), f"nobody misses {package}: {error!r}"
    assert (error.extra, error.package) == (extra, package), vars(error)
    assert error.install == f'pip install "rowtrail[{extra}]"', error.install
    assert error.install in str(error), str(error)


def is_refused(extra: str, *arguments: object) -> None:
    """Expect that a command ends with the error that names the extra."""
    status, out, err = command(*arguments)
    assert (status, out) == (1, ""), (status, out, err)
    assert f'pip install "rowtrail[{extra}]"' in err, err


def base() -> None:
    calls: list[str] = []

    @rowtrail.step(effect="write")
    def send(to: str) -> tuple[str, int]:
        calls.append(to)
        return f"sent to {to}", len(calls)

    for _ in range(2):  # the second time it is replayed
        with rowtrail.Journal(DB) as journal, journal.run("run"):
            assert send("a@example.org") == ("sent to a@example.org", 1)
    assert calls == ["a@example.org"]
    status, out, err = command("runs", "--json")
    assert status == 0, err
    assert [run["run_id"] for run in json.loads(out)] == ["run"]
    assert json.loads(out)[0]["status"] == "done"
    for arguments in (["show", "run"], ["sql", "@spend"], ["verify"], ["doctor"], ["schema"]):
        status, out, err = command(*arguments)
        assert (status, bool(out)) == (0, True), (arguments, err)


def langgraph(is_here: bool) -> None:
    if not is_here:
        for _ in range(2):  # the second import fails like the first
            with missing("langgraph", "langgraph"):
                import_module("rowtrail_langgraph")
        is_refused("langgraph", "demo", "--dir", FOLDER / "demo")
        is_refused("langgraph", "import", "langgraph", DB)
        status, out, _ = command("verify")
        assert (status, 'pip install "rowtrail[langgraph]"' in out) == (0, True), out
        return
    from langchain_core.language_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage
    from langgraph.graph import START, MessagesState, StateGraph

    from rowtrail_langgraph import RowtrailSaver

    model = GenericFakeChatModel(messages=iter([AIMessage("An answer of six words, all of it.")]))

    def ask(state: MessagesState) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node(ask)
    builder.add_edge(START, "ask")
    with RowtrailSaver(DB) as saver:
        graph: Any = builder.compile(checkpointer=saver)
        config: Any = {"configurable": {"thread_id": "t"}}
        asked = {"messages": [("user", "What is it?")]}
        assert len(graph.invoke(asked, config)["messages"]) == 2
        asked_of = "SELECT answer, status FROM llm_calls WHERE thread_id = 't'"
        (call,) = saver.journal.sql(asked_of).to_dicts()
        assert call == {"answer": "An answer of six words, all of it.", "status": "done"}
    status, out, _ = command("verify")
    assert (status, "note: " in out) == (0, False), out


def search(is_here: bool) -> None:
    with rowtrail.Journal(DB, embedder=lambda texts: [[len(text), 1.0] for text in texts]) as kept:
        if is_here:
            for mode in ("keyword", "semantic"):
                assert kept.search("example", mode=mode).rows, mode
        else:
            with missing("search", "apsw"):
                kept.search("example")
            with missing("search", "apsw"):
                kept.index(rebuild=True)
    if is_here:
        assert command("search", "example")[0] == command("index")[0] == 0
    else:
        is_refused("search", "search", "example")
        is_refused("search", "index")


def history_tool(has_search: bool) -> None:
    from rowtrail_langgraph import history_tool

    with rowtrail.Journal(DB) as journal:
        if has_search:
            tools = history_tool(journal, scope="all")
            assert "example" in tools[1].invoke({"text": "example"})
        else:
            with missing("search", "apsw"):
                history_tool(journal)


def tokens(is_here: bool) -> None:
    """Count with a vocabulary of bytes in the place of OpenAI's, which is downloaded."""
    from rowtrail.usage import _count

    os.environ["TIKTOKEN_CACHE_DIR"] = str(FOLDER)
    (FOLDER / "fb374d419588a4632f3f557e76b4b70aebbca790").write_bytes(VOCABULARY)
    _count._SHA256["o200k_base"] = hashlib.sha256(VOCABULARY).hexdigest()
    if is_here:
        import tiktoken

        ranks = {bytes([n]): n for n in range(256)}
        by_bytes = tiktoken.Encoding(
            "bytes", pat_str=r"\w+|\s+", mergeable_ranks=ranks, special_tokens={}
        )

        def get_encoding(encoding_name: str) -> tiktoken.Encoding:
            assert encoding_name == "o200k_base"
            return by_bytes

        tiktoken.get_encoding = get_encoding
    expected = (12, "tiktoken") if is_here else (3, "estimate")
    assert count_tokens("twelve bytes", "gpt-4o") == expected


def clients(_: bool) -> None:
    """The extra brings nothing: the SDK is the user's, and any other client is refused."""
    from rowtrail_clients import recorded

    refused: UnsupportedError | None = None
    with rowtrail.Journal(DB) as journal:
        try:
            recorded(object(), journal)
        except UnsupportedError as error:
            refused = error
    assert "openai" in str(refused), refused


def cost(is_here: bool) -> None:
    paid = price_usd(
        Usage(1000, 100, "provider"), model="gpt-4o", provider="openai", at_ms=1_795_000_000_000
    )
    is_here = is_here or "pydantic-ai" in EXTRAS  # which needs genai-prices itself
    assert has_prices() is (paid is not None) is is_here, paid


def fast(is_here: bool) -> None:
    """What is stored is the same; who writes it is another."""
    from rowtrail.content import _plain

    value = {"ä": [1, 2.5, None, True], "\u2028": '"'}
    quick = _plain.write_fast(value)
    assert quick == (_plain.write_plain(value) if is_here else None), quick


def mcp(is_here: bool) -> None:
    if not is_here:
        with missing("mcp", "mcp"):
            import_module("rowtrail_mcp")
        is_refused("mcp", "mcp")
        return
    from rowtrail_mcp import history_server

    served = asyncio.run(history_server(str(DB)).list_tools())
    assert "search" in {tool.name for tool in served}


def openai_agents(is_here: bool) -> None:
    if not is_here:
        with missing("openai-agents", "openai-agents"):
            import_module("rowtrail_openai_agents")
        return
    from agents import Agent, Model, ModelResponse, set_tracing_disabled
    from agents import Usage as AgentsUsage
    from openai.types.responses import ResponseOutputMessage

    from rowtrail_openai_agents import RowtrailRunner

    class Parrot(Model):
        calls = 0

        async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
            self.calls += 1
            told = {"type": "output_text", "text": "An answer.", "annotations": []}
            said = {"id": "m", "type": "message", "role": "assistant", "status": "completed"}
            message = ResponseOutputMessage.model_validate({**said, "content": [told]})
            return ModelResponse([message], AgentsUsage(1, 12, output_tokens=2), None)

        def stream_response(self, *args: Any, **kwargs: Any) -> Any:
            raise NotImplementedError

    set_tracing_disabled(True)
    parrot = Parrot()
    agent = Agent[Any](name="parrot", model=parrot)
    with RowtrailRunner(DB) as runner:
        for _ in range(2):  # the second time it is replayed
            result = runner.run_sync(agent, "What is it?", run_id="agents")
            assert result.final_output == "An answer."
    assert parrot.calls == 1
    asyncio.get_event_loop().close()


def pydantic_ai(is_here: bool) -> None:
    if not is_here:
        with missing("pydantic-ai", "pydantic-ai-slim"):
            import_module("rowtrail_pydantic_ai")
        return
    import asyncio

    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelResponse, TextPart
    from pydantic_ai.models.function import FunctionModel

    from rowtrail_pydantic_ai import RowtrailDurability

    def answer(messages: Any, info: Any) -> ModelResponse:
        return ModelResponse([TextPart("An answer.")])

    with RowtrailDurability(DB) as durability:
        agent = Agent(FunctionModel(answer), name="parrot", capabilities=[durability])
        for _ in range(2):  # the second time it is replayed
            result = asyncio.run(agent.run("What is it?", run_id="parrot"))
            assert result.output == "An answer."
        [step] = durability.journal.steps("parrot")
        assert step["replays"] == 1


def adk(is_here: bool) -> None:
    if not is_here:
        with missing("adk", "google-adk"):
            import_module("rowtrail_adk")
        return
    from google.adk.agents.llm_agent import LlmAgent
    from google.adk.apps.app import App
    from google.adk.models.base_llm import BaseLlm
    from google.adk.models.llm_response import LlmResponse
    from google.adk.runners import Runner
    from google.adk.sessions import InMemorySessionService
    from google.genai import types

    from rowtrail_adk import RowtrailPlugin

    class Parrot(BaseLlm):
        async def generate_content_async(
            self, *args: Any, **kwargs: Any
        ) -> AsyncGenerator[LlmResponse]:
            yield LlmResponse(content=types.ModelContent("An answer."))

    async def ask(plugin: RowtrailPlugin) -> None:
        agent = LlmAgent(name="parrot", model=Parrot(model="parrot"))
        app = App(name="desk", root_agent=agent, plugins=[plugin])
        sessions = InMemorySessionService()
        runner = Runner(app=app, session_service=sessions, auto_create_session=True)
        asked: Any = {"new_message": types.UserContent("What is it?"), "invocation_id": "adk"}
        async for event in runner.run_async(user_id="u", session_id="s", **asked):
            assert event.content is not None and event.content.parts is not None
            assert event.content.parts[0].text == "An answer."

    with rowtrail.Journal(DB) as journal:
        for _ in range(2):  # the second time it is replayed
            asyncio.run(ask(RowtrailPlugin(journal)))
        [step] = journal.steps("adk")
        assert step["replays"] == 1


ACTIONS: dict[str, Callable[[bool], None]] = {
    "adk": adk,
    "clients": clients,
    "cost": cost,
    "fast": fast,
    "langgraph": langgraph,
    "mcp": mcp,
    "openai-agents": openai_agents,
    "pydantic-ai": pydantic_ai,
    "search": search,
    "tokens": tokens,
}

ALSO_BRINGS = {"langgraph": {"fast"}, "openai-agents": {"mcp"}}
"""Extras whose packages need those of other extras."""

if __name__ == "__main__":
    base()
    here = {*EXTRAS}.union(*(ALSO_BRINGS.get(extra, set[str]()) for extra in EXTRAS))
    for name, action in ACTIONS.items():
        action(name in here)
    if "langgraph" in EXTRAS:
        history_tool("search" in EXTRAS)
    print(json.dumps(sorted(ACTIONS)))
