"""One truth about the extras: pyproject.toml, the errors, the README and the docs say the same."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

from rowtrail.extras import Package
from tests.extras._environments import ALL, EXTRAS, PACKAGES, PROJECT, PYPROJECT, ROOT
from tests.test_layers import CORE_MAY_IMPORT

FLOORS = {
    Requirement(each).name: (extra, Requirement(each).specifier)
    for extra, required in EXTRAS.items()
    for each in required
}
SOURCES = [*sorted(ROOT.glob("plugin/**/*.py")), *sorted(ROOT.glob("adapters/**/*.py"))]
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted(ROOT.glob("docs/*.md"))]
NAMES_EXTRAS = re.compile(r"rowtrail\[([\w,-]+)\]|\bextras? `([\w-]+)`")
COMES_WITH_VALUES = {"numpy", "pandas", "pytz"}
"""Whoever has values of these has loaded them."""

EXTRAS_OF_THE_CORE = {"cost", "fast", "search", "tokens"}
"""The others bring what an adapter is for."""


def packages(path: Path) -> Iterator[Package]:
    """Yield what one file says it needs: `Package("name", "floor", extra=...)`."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Package":
            given = [ast.literal_eval(argument) for argument in node.args]
            named = {str(each.arg): ast.literal_eval(each.value) for each in node.keywords}
            yield Package(*given, **named)


def test_all_is_every_extra() -> None:
    (everything,) = map(Requirement, ALL)

    assert everything.name == "rowtrail"
    assert everything.extras == set(EXTRAS)


def test_what_the_code_needs_is_in_the_extra_that_it_names() -> None:
    needed = [package for path in SOURCES for package in packages(path)]
    brought = {package.name: package for package in needed if package.extra is not None}

    assert set(brought) >= {"apsw", "langgraph", "mcp"}
    for package in brought.values():
        extra, specifier = FLOORS[package.name]
        assert package.extra == extra
        assert f">={package.floor}" in str(specifier).split(","), package
    assert {package.name for package in needed} - set(FLOORS) == {"langchain", "langchain-openai"}


def test_every_package_with_a_floor_is_looked_at_or_falls_back() -> None:
    looked_at = {package.name for path in SOURCES for package in packages(path)}

    # without these figures are estimates, or NULL, and values are written by `json`
    assert set(FLOORS) - looked_at == {"genai-prices", "orjson", "tiktoken"}


def test_the_core_imports_what_it_brings_and_its_extras() -> None:
    base = {Requirement(each).name for each in PROJECT["dependencies"]}
    optional = {name for name, (extra, _) in FLOORS.items() if extra in EXTRAS_OF_THE_CORE}
    modules = {name.replace("-", "_") for name in base | optional}

    assert modules | COMES_WITH_VALUES | {"rowtrail"} == CORE_MAY_IMPORT


def test_every_extra_that_is_named_is_one_of_pyproject() -> None:
    named = {path: NAMES_EXTRAS.findall(path.read_text("utf-8")) for path in [*SOURCES, *PAGES]}
    found = {
        (path.name, name)
        for path, pairs in named.items()
        for name in ",".join(map(",".join, pairs)).split(",")
        if name
    }

    assert {name for _, name in found} >= {"langgraph", "mcp", "search"}
    assert [(path, name) for path, name in found if name not in {*EXTRAS, "all"}] == []


def test_the_readme_names_every_extra() -> None:
    text = (ROOT / "README.md").read_text("utf-8")

    assert 'pip install "rowtrail[langgraph]"' in text
    assert [name for name in [*EXTRAS, "all"] if f"`{name}`" not in text] == []


def test_the_wheel_has_the_packages_of_the_environments() -> None:
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]

    assert {name.partition("/")[2] for name in wheel} == set(PACKAGES)
