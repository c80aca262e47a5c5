"""What holds for the tests themselves."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

from tests._sample import IS_FULL, once, spread

HERE = Path(__file__).parent
FILES = sorted(path for path in HERE.rglob("*.py"))
APART = {
    "cases": "what is given to the tests: values, files, hostile texts",
    "crash/effects": "a tool of its own, that `make crash` runs",
    "crash/soak.py": "a tool of its own, that `make soak` runs",
    "engines": "a second engine, and what runs tests on both",
    "extras/_actions.py": "what is run in each environment",
    "lint": "what reads the source, for test_layers.py",
    "programs": "what the tests kill, and the threads and tasks that it gives work to",
}
"""What is neither a test nor wraps the product for tests."""

MAX_HELPER_LINES = 1_500
WALL_CLOCKS = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "time", "time_ns"}


def of_wall_clock(tree: ast.AST) -> Iterator[int]:
    """Yield the lines that assert how long something took; a loop may wait until a deadline."""
    named = {"monotonic", "perf_counter"}
    clocks = set[str]()

    def reads(node: ast.AST) -> bool:
        return any(
            (isinstance(each, ast.Name) and each.id in clocks | named)
            or (
                isinstance(each, ast.Attribute)
                and each.attr in WALL_CLOCKS
                and isinstance(each.value, ast.Name)
                and each.value.id == "time"
            )
            for each in ast.walk(node)
        )

    assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign | ast.AugAssign)]
    for made in [*assigned, *assigned]:  # once more for what is made of the first
        if reads(made.value):
            targets = made.targets if isinstance(made, ast.Assign) else [made.target]
            clocks |= {target.id for target in targets if isinstance(target, ast.Name)}
    waits = {
        id(part) for node in ast.walk(tree) if isinstance(node, ast.While) for part in node.body
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert) and id(node) not in waits and reads(node.test):
            yield node.lineno


def test_no_test_asserts_how_long_something_took() -> None:
    found = {
        f"{path.relative_to(HERE)}:{line}"
        for path in FILES
        for part in ast.walk(ast.parse(path.read_text()))
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)
        for line in of_wall_clock(part)
    }
    assert found == set()


def test_an_assert_on_the_clock_is_found() -> None:
    found = of_wall_clock(
        ast.parse(
            "begun = time.monotonic()\n"
            "until = begun + 5\n"
            "while waits():\n"
            "    assert time.monotonic() < until\n"
            "took = time.monotonic() - begun\n"
            "assert took < 1\n"
            "assert time.perf_counter() < 1 and True\n"
            "assert time.process_time() < 1\n"
        )
    )
    assert list(found) == [6, 7]


def test_little_stands_between_the_tests_and_the_product() -> None:
    helpers = [
        path
        for path in FILES
        if not path.name.startswith("test_")
        and not str(path.relative_to(HERE)).startswith(tuple(APART))
    ]
    lines = {str(p.relative_to(HERE)): len(p.read_text().splitlines()) for p in helpers}
    assert sum(lines.values()) <= MAX_HELPER_LINES, lines


def test_a_sample_shows_every_pair_of_values() -> None:
    axes = ("abc", range(4), (True, False))
    chosen = spread(*axes)
    assert len(chosen) < 24 or IS_FULL
    for one, other in itertools.combinations(range(3), 2):
        pairs = {(case[one], case[other]) for case in chosen}
        assert pairs == set(itertools.product(axes[one], axes[other]))
    assert {first for first, _ in once(*axes[:2])} == set("abc")
    assert {second for _, second in once(*axes[:2])} == set(range(4))
