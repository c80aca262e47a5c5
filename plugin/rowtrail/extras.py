"""Packages that the base install does not bring: which extra does, and the error without them."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

from rowtrail.errors import MissingPackageError

__all__ = ["Package", "needed"]


class Package(NamedTuple):
    """A package that a part of rowtrail needs.

    Attributes:
        name: Its name for pip.
        floor: The oldest version that will do; pip holds it only where the extra is installed.
        extra: The extra of rowtrail that brings it, None where no extra does.
        module: What of it is imported, where that is not its name.
    """

    name: str
    floor: str
    extra: str | None
    module: str | None = None


@contextmanager
def needed(package: Package, *, by: str) -> Generator[None]:
    """Say what to install where an import fails in this block, or finds a version that is too old.

    Raises:
        MissingPackageError: The package is not installed, too old, or cannot be imported.
    """
    try:
        yield
    except ImportError as error:
        module = package.module or package.name.replace("-", "_")
        is_absent = bool(error.name) and f"{module}.".startswith(f"{error.name}.")
        why = "is not installed" if is_absent else f"cannot be imported ({error})"
        raise _missing(package, f"{by} needs {package.name}, which {why}") from error
    found = _version(package.name)
    if found is not None and _release(found) < _release(package.floor):
        says = f"{by} needs {package.name} {package.floor} or newer, and {found} is installed"
        raise _missing(package, says)


def _missing(package: Package, says: str) -> MissingPackageError:
    named = f"{package.name}>={package.floor}"
    install = f'pip install "{named if package.extra is None else f"rowtrail[{package.extra}]"}"'
    return MissingPackageError(
        f"{says}: {install}", package=package.name, extra=package.extra, install=install
    )


@cache
def _version(name: str) -> str | None:
    """Return the version of a package; None where nothing says it, as in a frozen program."""
    from importlib import metadata  # 20 ms

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, without zeros at the end: 1.2 is 1.2.0, and 1.2rc1 too."""
    numbers = [int(number) for number in re.findall(r"\d+", re.split(r"[^\d.]", version)[0])]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
