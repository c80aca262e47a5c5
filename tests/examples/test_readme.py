"""Every code block of the README runs: Python as a script, console sessions as commands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from rowtrail.testing import LLMServer, Reply

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SCRIPTS = [text for language, text in BLOCKS if language == "python"]
SESSIONS = [text for language, text in BLOCKS if language == "console"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


@pytest.fixture(scope="module")
def server() -> Iterator[LLMServer]:
    with LLMServer(lambda request: Reply("All of it.")) as server:
        yield server


def run(arguments: list[str], folder: Path, server: LLMServer) -> str:
    environment = {**os.environ, "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "none"}
    done = subprocess.run(
        arguments,
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_block_is_of_a_kind_that_is_run() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "console"}
    assert len(SCRIPTS) >= 3


@pytest.fixture(scope="module")
def written(folder: Path, server: LLMServer) -> Path:
    """The folder in which each script of the page ran once."""
    for number, script in enumerate(SCRIPTS):
        path = folder / f"block{number}.py"
        path.write_text(script)
        run([sys.executable, str(path)], folder, server)
    assert server.calls == 2  # the graph's two model calls
    return folder


def test_scripts_run_and_run_again(written: Path, server: LLMServer) -> None:
    plain = next(number for number, text in enumerate(SCRIPTS) if "plain.db" in text)
    assert "All about journals" in run([sys.executable, f"block{plain}.py"], written, server)


def test_sessions_print_what_the_page_shows(written: Path, server: LLMServer) -> None:
    for session in SESSIONS:
        for command, shown in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", session, re.MULTILINE):
            name, *arguments = shlex.split(command)
            if name == "make":
                run(["make", "-n", *arguments], ROOT, server)
                continue
            if name == "pip":  # tests/extras installs it
                assert arguments[0] == "install" and Requirement(arguments[1]).name == "rowtrail"
                continue
            assert name == "rowtrail", command
            output = run([sys.executable, "-m", "rowtrail", *arguments], written, server)
            printed = [line.split() for line in output.splitlines() if line.strip()]
            for line in shown.splitlines():
                assert line.split() in printed, f"{command!r} printed:\n{output}"


def test_linked_files_exist() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
