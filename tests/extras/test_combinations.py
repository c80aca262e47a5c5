"""Combinations of the extras, each in an environment that holds nothing else.

`make test` takes none, each alone, and all. `make extras` adds so many that each two extras are
tried together, each without the other, and both missing, and the base alone as pip installs it
from the wheel; with ROWTRAIL_KILLS=full it takes every combination, whose number doubles with each
extra.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests._sample import IS_FULL
from tests.extras._environments import EXTRAS, ROOT, Extras, make_environment, sets_of_extras

ACTIONS = Path(__file__).with_name("_actions.py")
IS_MAKE_EXTRAS = "ROWTRAIL_TEST_EXTRAS" in os.environ
NAMES = sorted(EXTRAS)
SAMPLE: list[Extras] = [(), *((name,) for name in NAMES), tuple(NAMES)]
CHOSEN = list(dict.fromkeys([*SAMPLE, *(sets_of_extras() if IS_MAKE_EXTRAS or IS_FULL else ())]))
MAX_PACKAGES = 8


def run(*command: object, cwd: Path) -> str:
    outside = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    environment = {name: value for name, value in os.environ.items() if name not in outside}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("extras", CHOSEN, ids="+".join)
def test_each_combination_works_and_names_what_is_missing(extras: Extras, tmp_path: Path) -> None:
    python = make_environment(tmp_path / "environment", extras)

    done = run(python, "-I", "-W", "error", ACTIONS, tmp_path, *extras, cwd=tmp_path)

    assert json.loads(done.splitlines()[-1]) == sorted(EXTRAS)


def test_make_extras_tries_each_pair_in_few_environments() -> None:
    chosen = sets_of_extras()

    tried = {
        (one, other, one in extras, other in extras)
        for extras in chosen
        for one, other in itertools.combinations(NAMES, 2)
    }
    assert len(tried) == 4 * len(list(itertools.combinations(NAMES, 2)))
    assert len(chosen) < 2 * len(NAMES) or IS_FULL


def test_an_environment_holds_nothing_but_what_its_extras_need(tmp_path: Path) -> None:
    listed = "from importlib.metadata import distributions as d; print(*(x.name for x in d()))"
    python = make_environment(tmp_path / "search", ["search"])

    names = set(run(python, "-I", "-c", listed, cwd=tmp_path).split())

    assert {"apsw", "click", "rich", "sqlite-vec"} <= names
    assert names.isdisjoint({"langgraph", "mcp", "pip", "pydantic", "pytest", "tiktoken"})
    for module in ("langgraph", "pydantic", "pytest", "numpy"):
        with pytest.raises(AssertionError, match=f"No module named '{module}'"):
            run(python, "-I", "-c", f"import {module}", cwd=tmp_path)


@pytest.mark.skipif(not IS_MAKE_EXTRAS, reason="only `make extras` asks pip, which asks PyPI")
def test_the_base_alone_is_light_and_works(tmp_path: Path) -> None:
    (wheel,) = Path(sys.prefix, "dist").glob("rowtrail-*.whl")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python"]
    fresh = tmp_path / "fresh"
    run(sys.executable, "-m", "venv", "--without-pip", fresh, cwd=tmp_path)
    python = fresh / "bin" / "python"

    run(*pip, python, "install", "-q", "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path)

    listed = json.loads(run(*pip, python, "list", "--format=json", cwd=tmp_path))
    names = {package["name"] for package in listed}
    assert {"click", "rich", "rowtrail"} <= names and len(names) <= MAX_PACKAGES, names
    assert "in-doubt" in run(fresh / "bin" / "rowtrail", "--help", cwd=tmp_path)
    run(python, "-I", "-W", "error", ACTIONS, tmp_path, cwd=tmp_path)
    assert "run" in run(fresh / "bin" / "rowtrail", "runs", "--db", "agent.db", cwd=tmp_path)
