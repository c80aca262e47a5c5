"""What an import of the package loads: no framework, nothing heavy, the wheel under test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

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


def loaded_by(statement: str, cwd: Path) -> tuple[set[str], str]:
    """Give the modules that a statement loads in a new interpreter, and what it said on stderr."""
    code = LOADED_BY.format(statement=statement)
    # -P: the current folder is not searched
    command = [sys.executable, "-P", "-X", "importtime", "-c", code]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout)), done.stderr


def third_party(modules: set[str]) -> set[str]:
    tops = {name.partition(".")[0] for name in modules}
    return tops - sys.stdlib_module_names - {"rowtrail"}


def import_ms(importtime: str, module: str) -> float:
    """Read the cumulative milliseconds of one module from the output of `-X importtime`."""
    for line in importtime.splitlines():
        columns = line.removeprefix("import time:").split("|")
        if len(columns) == 3 and columns[2].strip() == module:
            return int(columns[1]) / 1000
    raise AssertionError(f"{module} was not imported")


def test_import_loads_no_framework(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    modules, importtime = loaded_by("import rowtrail", tmp_path)

    milliseconds = import_ms(importtime, "rowtrail")
    record_property("import_ms", milliseconds)
    print(f"import rowtrail: {milliseconds:.1f} ms")
    assert third_party(modules) == set()


def test_import_loads_nothing_slow_that_may_never_be_used(tmp_path: Path) -> None:
    modules, _ = loaded_by("import rowtrail", tmp_path)

    assert modules & SLOW == set()


def test_help_loads_no_framework(tmp_path: Path) -> None:
    modules, _ = loaded_by(CALL_HELP, tmp_path)

    assert third_party(modules) <= {"click", "rich", "colorama"}


@pytest.mark.skipif(
    "ROWTRAIL_TEST_WHEEL" not in os.environ, reason="only `make test` builds and installs a wheel"
)
@pytest.mark.parametrize("package", ["rowtrail", "rowtrail_langgraph", "rowtrail_mcp"])
def test_tests_run_against_the_installed_wheel(package: str) -> None:
    module = __import__(package)

    assert module.__file__ is not None
    installed = Path(module.__file__).resolve()
    assert "site-packages" in installed.parts
    assert not installed.is_relative_to(ROOT / "plugin")
    assert not installed.is_relative_to(ROOT / "adapters")
    assert (installed.parent / "py.typed").exists()
