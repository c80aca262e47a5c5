"""The MCP server: the SDK's own client asks a real subprocess about a real journal."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from mcp import StdioServerParameters
from mcp.client.stdio import stdio_client

import rowtrail
from rowtrail import Journal
from rowtrail.history import named_queries, schema_text
from rowtrail.schema import PUBLIC_VIEWS
from rowtrail.usage import count_tokens

try:
    from mcp import MCPError
except ImportError:  # version 1
    from mcp import McpError as MCPError  # type: ignore[attr-defined, no-redef]

SECRET = "SECRET"
LONG = "".join(f"{number:05d} " for number in range(5_000))  # 30,000 characters
TIMEOUT_S = 60
TOOLS = ["query", "search", "list_runs", "get_run", "get_step"]


@dataclass(frozen=True)
class Client:
    """A client of the SDK, version 1 or 2: it answers as plain data, named as the protocol says."""

    session: Any

    async def tools(self) -> list[dict[str, Any]]:
        return _plain(await self.session.list_tools())["tools"]  # type: ignore[no-any-return]

    async def resources(self) -> tuple[list[str], list[str]]:
        """Return the URIs of the resources, and the templates of URIs."""
        found = _plain(await self.session.list_resources())["resources"]
        templates = _plain(await self.session.list_resource_templates())["resourceTemplates"]
        return [each["uri"] for each in found], [each["uriTemplate"] for each in templates]

    async def call(self, tool: str, arguments: dict[str, Any]) -> tuple[str, bool]:
        """Return the text that a tool answers, and whether it is an error."""
        answer = _plain(await self.session.call_tool(tool, arguments))
        (content,) = answer["content"]
        return content["text"], answer["isError"]

    async def read(self, uri: str) -> str:
        (content,) = _plain(await self.session.read_resource(uri))["contents"]
        return content["text"]  # type: ignore[no-any-return]


def _plain(answer: Any) -> dict[str, Any]:
    return answer.model_dump(by_alias=True, mode="json")  # type: ignore[no-any-return]


@asynccontextmanager
async def connected(parameters: StdioServerParameters) -> AsyncGenerator[Client]:
    """Start a server, and return a client of it."""
    try:
        from mcp import Client as SdkClient
    except ImportError:
        from mcp import ClientSession

        async with (
            stdio_client(parameters) as (reads, writes),
            ClientSession(reads, writes, timedelta(seconds=TIMEOUT_S)) as session,  # type: ignore[arg-type]
        ):
            await session.initialize()
            yield Client(session)
    else:
        async with SdkClient(stdio_client(parameters), read_timeout_seconds=TIMEOUT_S) as client:
            yield Client(client)


Serve = Callable[..., AbstractAsyncContextManager[Client]]


@rowtrail.step(kind="tool", name="fetch")
def fetch(url: str) -> str:
    if "broken" in url:
        raise ValueError(f"no answer from {url}")
    return LONG if "long" in url else f"page of {url}"


@pytest.fixture
def filled(db: Path) -> Path:
    with Journal(db) as journal:
        with journal.run("first", thread_id="mine", agent="clerk"):
            fetch("a.example")
            fetch("long.example\x1b[2J")
        with (
            pytest.raises(ValueError, match="no answer"),
            journal.run("a/../b c", thread_id="mine"),
        ):
            fetch("broken.example")
        with journal.run("other", thread_id="other"):
            for number in range(60):
                fetch(f"{SECRET}-{number}")
    return db


@pytest.fixture
def serve(filled: Path) -> Serve:
    """Return what starts a server on the journal and a client for it."""

    @asynccontextmanager
    async def start(*options: str) -> AsyncGenerator[Client]:
        arguments = ["-m", "rowtrail", "mcp", "--db", str(filled), *options]
        environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
        parameters = StdioServerParameters(
            command=sys.executable, args=arguments, env=environment, cwd=filled.parent
        )
        async with connected(parameters) as client:
            yield client

    return start


async def told(client: Client, tool: str, **arguments: Any) -> str:
    """Return what a tool answers."""
    text, is_error = await client.call(tool, arguments)
    assert not is_error, text
    return text


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    """Return why a tool refuses."""
    text, is_error = await client.call(tool, arguments)
    assert is_error
    return text


async def test_client_finds_tools_and_resources_that_only_read(serve: Serve) -> None:
    async with serve() as client:
        tools = await client.tools()
        resources, templates = await client.resources()
        schema = await client.read("rowtrail://schema")

    assert [tool["name"] for tool in tools] == TOOLS
    for tool in tools:
        assert tool["annotations"]["readOnlyHint"] and not tool["annotations"]["openWorldHint"]
        assert tool["description"] and tool.get("outputSchema") is None
    assert schema_text() in tools[0]["description"]
    assert resources == ["rowtrail://schema"]
    assert templates == ["rowtrail://runs/{run_id}"]
    assert schema == schema_text()


async def test_client_goes_from_the_runs_to_one_step(serve: Serve) -> None:
    async with serve() as client:
        runs = await told(client, "list_runs")
        failed = await told(client, "list_runs", status="failed")
        older = await told(client, "list_runs", before="2000-01-01")
        run = await told(client, "get_run", run_id="first")
        resource = await client.read("rowtrail://runs/first")
        step = await told(client, "get_step", step_id="1")

    assert [line.split(" | ")[0] for line in runs.splitlines()] == [
        "run_id", "other", "a/../b c", "first"
    ]  # fmt: skip
    assert "a/../b c" in failed and "no answer from broken.example" in failed
    assert "other" not in failed
    assert older.endswith("(no rows)")
    assert "run_id: first" in run and "agent: clerk" in run and "page of a.example" in run
    assert resource == run
    assert "name: fetch" in step and "status: done" in step and '"page of a.example"' in step


async def test_long_values_are_read_part_by_part(serve: Serve) -> None:
    async with serve() as client:
        first = await told(client, "get_step", step_id="2")
        parts: list[str] = []
        while sum(map(len, parts)) < len(LONG) + 2:
            at = sum(map(len, parts))
            text = await told(
                client, "get_step", step_id="2", value="output", offset=at, chars=12_000
            )
            parts.append(text.partition("\n")[2])

    assert "(go on with value='output', offset=4000)" in first
    assert "\\u001b[2J" in first and "\x1b" not in first
    assert "".join(parts) == json.dumps(LONG)
    assert len(parts) == 3


async def test_steps_of_a_long_run_are_paged(serve: Serve) -> None:
    async with serve() as client:
        seen: list[int] = []
        text = ""
        while not seen or "go on with after_seq=" in text:
            after = seen[-1] if seen else 0
            text = await told(client, "get_run", run_id="other", after_seq=after, max_tokens=600)
            assert count_tokens(text, None)[0] <= 600
            lines = [line.split(" | ") for line in text.splitlines()]
            seen += [int(line[0]) for line in lines if len(line) > 5 and line[0].isdecimal()]

    assert seen == list(range(1, 61))


async def test_runs_are_paged_also_while_others_begin(serve: Serve, filled: Path) -> None:
    with Journal(filled) as journal:
        for number in range(70):
            with journal.run(f"run-{number}"):
                pass
    async with serve() as client:
        seen: list[str] = []
        asked: dict[str, Any] = {"max_tokens": 400}
        while True:
            text = await told(client, "list_runs", **asked)
            assert count_tokens(text, None)[0] <= 400
            lines = [line.split(" | ") for line in text.splitlines()[1:]]
            seen += [line[0] for line in lines if len(line) > 5]
            more = re.search(r"go on with cursor='(.+)'", text)
            if more is None:
                break
            asked["cursor"] = more[1]
            with Journal(filled) as journal, journal.run(f"later-{len(seen)}"):
                pass

    expected = [f"run-{number}" for number in reversed(range(70))]
    assert seen == [*expected, "other", "a/../b c", "first"]


async def test_a_run_with_a_long_error_keeps_to_its_budget(serve: Serve, filled: Path) -> None:
    with (
        Journal(filled) as journal,
        pytest.raises(ValueError, match="no answer"),
        journal.run("wordy"),
    ):
        fetch(f"broken {LONG}")
    async with serve() as client:
        run = await told(client, "get_run", run_id="wordy", max_tokens=800)
        little = await told(client, "get_run", run_id="wordy", max_tokens=200)
        step = await told(client, "get_step", step_id="1")

    assert count_tokens(run, None)[0] <= 800 and count_tokens(little, None)[0] <= 200
    assert "SELECT error FROM runs" in run and "fetch" in run
    assert "run_id: wordy" in little and "raise max_tokens" in little
    assert "None" not in step


async def test_queries_and_searches_keep_to_their_budget(serve: Serve) -> None:
    async with serve() as client:
        rows = await told(client, "query", sql="SELECT * FROM steps", max_tokens=300)
        named = await told(client, "query", sql="@tried", params={"args": "a.example"})
        found = await told(client, "search", text=f"{SECRET}-7 example", limit=5, max_tokens=200)

    assert count_tokens(rows, None)[0] <= 300 and "in 300 tokens" in rows
    assert "page of a.example" in named and SECRET not in named
    assert count_tokens(found, None)[0] <= 200 and "fetch" in found


@pytest.mark.parametrize(("option", "value"), [("--thread", "mine"), ("--run", "first")])
async def test_server_of_one_thread_or_run_serves_nothing_else(
    serve: Serve, option: str, value: str
) -> None:
    async with serve(option, value) as client:
        texts = [await told(client, "query", sql=f"SELECT * FROM {view}") for view in PUBLIC_VIEWS]
        texts += [await told(client, "query", sql=name) for name in named_queries()]
        texts.append(await told(client, "list_runs"))
        texts.append(await told(client, "search", text=SECRET))
        hidden = await refused(client, "get_run", run_id="other")
        step = await refused(client, "get_step", step_id="4")
        thread = await refused(client, "search", text="a", thread_id="other", run_id="other")
        with pytest.raises(MCPError, match="no run has the id 'other'"):
            await client.read("rowtrail://runs/other")
        assert "run_id: first" in await told(client, "get_run", run_id="first")

    assert SECRET not in "".join(texts)
    assert "no run has the id 'other'" in hidden
    assert "no step has the id '4'" in step
    assert "is served" in thread


HOSTILE: list[tuple[str, dict[str, Any], str]] = [
    ("query", {"sql": "DELETE FROM steps"}, "only reading is allowed"),
    ("query", {"sql": "ATTACH 'x.db' AS x"}, "only reading is allowed"),
    ("query", {"sql": "SELECT * FROM step"}, "did you mean 'steps'"),
    ("query", {"sql": "SELECT tokens FROM steps"}, "did you mean 'input_tokens'"),
    ("query", {"sql": "SELECT load_extension('x')"}, "not allowed"),
    ("query", {"sql": "@failure"}, "did you mean '@failures'"),
    ("query", {"sql": "SELECT 1", "max_tokens": 10**9}, "max_tokens"),
    (
        "query",
        {"sql": "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n FROM c) SELECT sum(n) FROM c"},
        "was stopped after 2 s",
    ),
    ("search", {"text": "a", "since": "soon"}, "'soon' is not a time"),
    ("search", {"text": "a", "run_id": "none"}, "no run has the id 'none'"),
    ("list_runs", {"cursor": "1 OR 1"}, "is not of this listing"),
    ("list_runs", {"before": "soon"}, "'soon' is not a time"),
    ("list_runs", {"status": "odd"}, "status"),
    ("get_run", {"run_id": "../../etc/passwd"}, "no run has the id"),
    ("get_step", {"step_id": "1 OR 1"}, "no step has the id"),
    ("get_step", {"step_id": "1", "offset": -1}, "offset"),
]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def test_hostile_or_wrong_questions_are_answered_and_change_nothing(
    serve: Serve, filled: Path
) -> None:
    before = digest(filled)
    async with serve() as client:
        for tool, arguments, says in HOSTILE:
            assert says in await refused(client, tool, **arguments)
        assert "a/../b c" in await client.read("rowtrail://runs/a%2F..%2Fb%20c")
        assert "first" in await told(client, "list_runs")  # still there

    assert digest(filled) == before


async def test_server_sees_what_an_agent_records_meanwhile(serve: Serve, filled: Path) -> None:
    async with serve() as client:
        with Journal(filled) as journal, journal.run("meanwhile"):
            fetch("c.example")
            assert "running" in await told(client, "get_run", run_id="meanwhile")


def test_missing_or_wrong_file_is_told_at_the_start(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.db"
    wrong.write_text("no journal")
    command = [sys.executable, "-m", "rowtrail", "mcp", "--db"]

    def ends(path: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, str(path)], capture_output=True, text=True, timeout=60, input="", check=False
        )

    missing = ends(tmp_path / "none.db")
    assert (missing.returncode, missing.stdout) == (3, "") and "no journal" in missing.stderr
    assert (ends(wrong).returncode, ends(wrong).stdout) == (1, "")
    assert not (tmp_path / "none.db").exists()


WITHOUT_SDK = """
import sys
sys.modules["mcp"] = None
from rowtrail.cli import main
main(["mcp", "--db", sys.argv[1]], prog_name="rowtrail")
"""


def test_without_the_sdk_the_extra_is_named(filled: Path, child: Any) -> None:
    done = child(WITHOUT_SDK, filled, status=1)

    assert 'pip install "rowtrail[mcp]"' in done.stderr
    assert done.stdout == "" and "Traceback" not in done.stderr
