"""Environments with some of the extras: what pip would install, linked from where it is installed.

An environment is a venv whose site-packages links only the distributions that rowtrail and the
chosen extras require, and what those require. It is made in a tenth of a second, needs no network,
and holds nothing else: neither code nor metadata.
"""

from __future__ import annotations

import os
import sys
import tomllib
import venv
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from itertools import compress
from pathlib import Path, PurePosixPath
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests._sample import spread

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
EXTRAS: dict[str, list[str]] = dict(PROJECT["optional-dependencies"])
ALL = EXTRAS.pop("all")
PACKAGES = (
    *("rowtrail", "rowtrail_clients", "rowtrail_langgraph", "rowtrail_mcp"),
    "rowtrail_adk",
    "rowtrail_openai_agents",
    "rowtrail_pydantic_ai",
)
"""What the wheel holds."""

Extras = tuple[str, ...]


def sets_of_extras() -> list[Extras]:
    """Return sets in which of each two extras both are, either one, and none; in full, all sets."""
    names = sorted(EXTRAS)
    return [tuple(compress(names, chosen)) for chosen in spread(*[(False, True)] * len(names))]


def make_environment(folder: Path, extras: Iterable[str]) -> Path:
    """Make an environment of rowtrail with these extras, and return its Python."""
    venv.EnvBuilder(symlinks=True).create(folder)
    python = folder / "bin" / "python"
    site = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    for name in PACKAGES:
        spec = find_spec(name)  # the wheel, or the sources where they are on the path
        assert spec is not None and spec.origin is not None
        (site / name).symlink_to(Path(spec.origin).parent)
    required = [*PROJECT["dependencies"], *(each for extra in extras for each in EXTRAS[extra])]
    _link(closure(required), site)
    return python


def closure(required: Iterable[str]) -> frozenset[str]:
    """Return the names of all distributions that these requirements need."""
    found: set[str] = set()
    todo = [Requirement(each) for each in required]
    asked: set[tuple[str, str]] = set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        found.add(name)
        for extra in ("", *requirement.extras):
            if (name, extra) not in asked:
                asked.add((name, extra))
                todo += _requires(name, extra)
    return frozenset(found)


def _requires(name: str, extra: str) -> Iterator[Requirement]:
    for text in metadata.requires(name) or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None:
            if not extra:
                yield requirement
        elif marker.evaluate({"extra": extra}):
            yield requirement


def _link(names: frozenset[str], site: Path) -> None:
    """Link the files of these distributions: whole folders where nobody else has files in them."""
    places, owners = _installed()
    for name in names:
        for file, place in places[name].items():
            for depth in range(1, len(file.parts) + 1):
                part = PurePosixPath(*file.parts[:depth])
                link = site / part
                if owners[part] <= names:
                    if not os.path.lexists(link):
                        up = len(file.parts) - depth
                        link.symlink_to(place.parents[up - 1] if up else place)
                    break
                link.mkdir(exist_ok=True)


@cache
def _installed() -> tuple[dict[str, dict[PurePosixPath, Path]], dict[PurePosixPath, set[str]]]:
    """Return the files of each distribution, and of each file and folder those that have it."""
    places: dict[str, dict[PurePosixPath, Path]] = {}
    owners: dict[PurePosixPath, set[str]] = defaultdict(set)
    for distribution in metadata.distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        files = places.setdefault(name, {})
        for file in distribution.files or ():
            if file.parts[0] != "..":  # a script in bin/
                files[PurePosixPath(file)] = Path(str(file.locate()))
                for part in (file, *file.parents):
                    owners[PurePosixPath(part)].add(name)
    return places, owners
