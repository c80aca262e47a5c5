"""What an import of the package loads: no framework, nothing heavy, the wheel under test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
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
ROOMS_OF_STEPS = {
    *("_clock", "adapter", "content", "engine", "errors", "journal", "lazy", "replay"),
    *("usage", "vocabulary"),
}
LEFT_TO_WHO_ASKS = {
    *("rowtrail.cli", "rowtrail.history", "rowtrail.retention", "rowtrail.verify"),
    *("rowtrail_langgraph._history", "rowtrail_langgraph.demo", "rowtrail_langgraph.explicit"),
    "rowtrail_langgraph.importing",
}
"""What `import rowtrail_langgraph` leaves to whoever uses it."""
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

    # not even typing, re and enum, which take longer than all of these
    assert modules <= {"rowtrail", "rowtrail.errors", "rowtrail.lazy", "__future__"}


def test_a_name_loads_its_own_room_only(tmp_path: Path) -> None:
    modules = loaded_by("from rowtrail import Journal, step", tmp_path)

    rooms = {".".join(name.split(".")[:2]) for name in modules if name.startswith("rowtrail.")}
    assert rooms == {f"rowtrail.{room}" for room in ROOMS_OF_STEPS}


def test_the_adapter_for_langgraph_loads_what_a_resume_needs(tmp_path: Path) -> None:
    frameworks = "import langgraph.graph, langchain_core.language_models.chat_models"
    loaded = loaded_by(frameworks, tmp_path)

    modules = loaded_by(f"{frameworks}; import rowtrail_langgraph", tmp_path) - loaded

    rooms = {".".join(name.split(".")[:2]) for name in modules if name.startswith("rowtrail")}
    assert rooms & LEFT_TO_WHO_ASKS == set()
    others = {
        name for name in modules - set(sys.builtin_module_names) if not name.startswith("rowtrail")
    }
    # it records tools, and stores documents
    assert {name.partition(".")[0] for name in others} <= {"langchain_core", "pydantic", "pkgutil"}
    assert modules & SLOW == set()


def test_every_name_of_the_adapter_for_langgraph_is_there_and_listed(tmp_path: Path) -> None:
    loaded_by(
        "import rowtrail_langgraph as package; assert set(dir(package)) >= set(package.__all__); "
        "print([getattr(package, name) for name in package.__all__], file=sys.stderr)",
        tmp_path,
    )


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
    "package", ["rowtrail", *(path.name for path in (ROOT / "adapters").glob("rowtrail_*"))]
)
def test_tests_run_against_the_installed_wheel(package: str) -> None:
    spec = find_spec(package)  # its framework may be missing

    assert spec is not None and spec.origin is not None
    installed = Path(spec.origin).resolve()
    assert "site-packages" in installed.parts
    assert not installed.is_relative_to(ROOT / "plugin")
    assert not installed.is_relative_to(ROOT / "adapters")
    assert (installed.parent / "py.typed").exists()
