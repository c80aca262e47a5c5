"""Each combination of the extras in an environment that holds nothing else.

`make test` takes none, each alone, and all; `make extras` every combination, and the base alone as
pip installs it from the wheel.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.extras._environments import EXTRAS, ROOT, Extras, every_combination, make_environment

ACTIONS = Path(__file__).with_name("_actions.py")
IS_MAKE_EXTRAS = "ROWTRAIL_TEST_EXTRAS" in os.environ
SAMPLE = [chosen for chosen in every_combination() if len(chosen) in (0, 1, len(EXTRAS))]
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


@pytest.mark.parametrize("extras", every_combination() if IS_MAKE_EXTRAS else SAMPLE, ids="+".join)
def test_each_combination_works_and_names_what_is_missing(extras: Extras, tmp_path: Path) -> None:
    python = make_environment(tmp_path / "environment", extras)

    done = run(python, "-I", "-W", "error", ACTIONS, tmp_path, *extras, cwd=tmp_path)

    assert json.loads(done.splitlines()[-1]) == sorted(EXTRAS)


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
