"""What an import of the package loads: no framework, nothing heavy, the wheel under test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rowtrail

ROOT = Path(__file__).resolve().parents[2]

# prints, as JSON, what `statement` added to sys.modules
LOADED_BY = """
import json, sys
before = set(sys.modules)
{statement}
print(json.dumps(sorted(set(sys.modules) - before)))
"""

# each takes 2 to 40 ms; what needs one imports it when it is called
SLOW = {
    "asyncio",
    "concurrent.futures",
    "decimal",
    "hashlib",
    "importlib.resources",
    "logging",
    "pathlib",
    "socket",
    "subprocess",
    "tempfile",
    "urllib.parse",
    "uuid",
    "zoneinfo",
}

ALL_NAMES = "from rowtrail import *"
JOURNAL = {"dataclasses", "rowtrail.adapter", "rowtrail.engine", "rowtrail.journal"}
"""What `import rowtrail` leaves to whoever uses one of its names."""
SQLITE = {"rowtrail.engine.sqlite", "sqlite3"}
"""What is left to whoever opens a journal."""

CALL_HELP = """
from rowtrail.cli import main
sys.argv = ["rowtrail", "--help"]
stdout, sys.stdout = sys.stdout, sys.stderr
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
finally:
    sys.stdout = stdout
"""


def loaded_by(statement: str, cwd: Path) -> set[str]:
    """Give the modules that a statement loads in a new interpreter."""
    # -P: the current folder is not searched
    command = [sys.executable, "-P", "-c", LOADED_BY.format(statement=statement)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def third_party(modules: set[str]) -> set[str]:
    tops = {name.partition(".")[0] for name in modules}
    return tops - sys.stdlib_module_names - {"rowtrail"}


def test_import_loads_no_framework(tmp_path: Path) -> None:
    modules = loaded_by(ALL_NAMES, tmp_path)

    assert third_party(modules) == set()
    assert modules >= JOURNAL
    assert modules & SQLITE == set()


def test_opening_a_journal_loads_its_engine(tmp_path: Path) -> None:
    modules = loaded_by("import rowtrail; rowtrail.Journal(':memory:').close()", tmp_path)

    assert modules >= SQLITE


def test_import_loads_nothing_slow_that_may_never_be_used(tmp_path: Path) -> None:
    modules = loaded_by(ALL_NAMES, tmp_path)

    assert modules & SLOW == set()


def test_import_leaves_the_journal_to_who_uses_it(tmp_path: Path) -> None:
    modules = loaded_by("import rowtrail; rowtrail.RowtrailError, rowtrail.errors", tmp_path)

    assert modules & (JOURNAL | SQLITE | SLOW) == set()


def test_every_public_name_is_there_and_listed(tmp_path: Path) -> None:
    named = "import rowtrail; assert set(dir(rowtrail)) >= set(rowtrail.__all__); "
    for name in rowtrail.__all__:
        loaded_by(f"{named} rowtrail.{name}; assert '{name}' in vars(rowtrail)", tmp_path)
    assert not hasattr(rowtrail, "jornal")


def test_help_loads_neither_the_journal_nor_a_framework(tmp_path: Path) -> None:
    modules = loaded_by(CALL_HELP, tmp_path)

    assert third_party(modules) <= {"click", "rich", "colorama"}
    assert {name for name in modules & (JOURNAL | SQLITE) if name != "dataclasses"} == set()


@pytest.mark.skipif(
    "ROWTRAIL_TEST_WHEEL" not in os.environ, reason="only `make test` builds and installs a wheel"
)
@pytest.mark.parametrize(
    "package",
    [
        *("rowtrail", "rowtrail_clients", "rowtrail_langgraph", "rowtrail_mcp"),
        "rowtrail_pydantic_ai",
    ],
)
def test_tests_run_against_the_installed_wheel(package: str) -> None:
    module = __import__(package)

    assert module.__file__ is not None
    installed = Path(module.__file__).resolve()
    assert "site-packages" in installed.parts
    assert not installed.is_relative_to(ROOT / "plugin")
    assert not installed.is_relative_to(ROOT / "adapters")
    assert (installed.parent / "py.typed").exists()
