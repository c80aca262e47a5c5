"""Every code block of the README and of docs/ runs, and prints what the page shows.

Python runs as a script, and a block of text behind it is what it prints; console sessions run as
commands, and each line that is shown is one that the command prints, times and durations aside. The
blocks of a page run in order and in one folder.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from rowtrail.testing import LLMServer, Reply

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
DIFFERS = re.compile(r"\d\d:\d\d:\d\d|[\d.]+ m?s$")
"""What a command prints otherwise each time: the time of day, how long a call took."""

DRAWING = "architecture.md"
"""Its block is a drawing."""

WITH_CODE = [page for page in PAGES if "```" in page.read_text("utf-8") and page.name != DRAWING]
MODEL_CALLS = {
    "README.md": 2,
    "clients.md": 1,
    "google_adk.md": 1,
    "openai_agents.md": 2,
    "pydantic_ai.md": 1,
}
OF_FRAMEWORKS = {
    "google_adk.md": "google.adk",
    "openai_agents.md": "agents",
    "pydantic_ai.md": "pydantic_ai",
}
"""Pages, and what `make test-lowest` goes without."""


@pytest.fixture
def server() -> Iterator[LLMServer]:
    with LLMServer(lambda request: Reply("All of it.")) as server:
        yield server


def run(arguments: list[str], folder: Path, server: LLMServer) -> str:
    environment = {**os.environ, "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "none"}
    environment["OPENAI_AGENTS_DISABLE_TRACING"] = "1"
    environment["GOOGLE_GEMINI_BASE_URL"] = server.base_url.removesuffix("/v1")
    environment["GOOGLE_API_KEY"] = "none"
    done = subprocess.run(
        arguments,
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout


def words_of(line: str) -> list[str]:
    return DIFFERS.sub("*", line.strip()).split()


def run_session(session: str, folder: Path, server: LLMServer) -> None:
    commands = COMMAND.findall(session)
    assert commands
    for command, shown in commands:
        name, *arguments = shlex.split(command)
        if name == "pip":  # tests/extras installs it
            assert arguments[0] == "install" and Requirement(arguments[1]).name == "rowtrail"
            continue
        assert name == "rowtrail", command
        output = run([sys.executable, "-m", "rowtrail", *arguments], folder, server)
        printed = [words_of(line) for line in output.splitlines()]
        for line in shown.splitlines():
            assert words_of(line) in printed, f"{command!r} printed:\n{output}"


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
def test_blocks_run_and_print_what_the_page_shows(
    page: Path, tmp_path: Path, server: LLMServer
) -> None:
    if page.name in OF_FRAMEWORKS:
        pytest.importorskip(OF_FRAMEWORKS[page.name])
    printed = ""
    for language, text in BLOCK.findall(page.read_text("utf-8")):
        if language == "python":
            script = tmp_path / "block.py"
            script.write_text(text)
            printed = run([sys.executable, str(script)], tmp_path, server)
        elif language == "console":
            run_session(text, tmp_path, server)
        else:
            assert (language, text) == ("text", printed)
    assert server.calls == MODEL_CALLS.get(page.name, 0)


def test_the_readme_is_read_in_one_sitting() -> None:
    lines = README.read_text("utf-8").splitlines()

    assert len(lines) <= 150
    assert lines.index("```python") < 50


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_linked_files_and_headings_exist_and_are_in_the_sdist(page: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    shipped = project["tool"]["hatch"]["build"]["targets"]["sdist"]["only-include"]

    for link in re.findall(r"\]\(([^):]+)\)", page.read_text("utf-8")):
        name, _, heading = link.partition("#")
        file = (page.parent / name).resolve()
        assert file.exists(), link
        assert file.relative_to(ROOT).parts[0] in shipped
        if heading:
            headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
            assert heading in {each.lower().replace(" ", "-") for each in headings}


def test_the_readme_links_every_page() -> None:
    text = README.read_text("utf-8")

    assert [page.name for page in PAGES[1:] if f"(docs/{page.name})" not in text] == []


def test_make_has_the_targets_that_the_readme_names() -> None:
    for target in re.findall(r"`make (\w+)`", README.read_text("utf-8")):
        subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=True)
