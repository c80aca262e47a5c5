"""What an import says that fails, or finds a version that is too old."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rowtrail import extras
from rowtrail.errors import MissingPackageError, RowtrailError
from rowtrail.extras import Package, needed

PARTS = Package("spare-parts", "1.10", extra="search")
INSTALL = 'pip install "rowtrail[search]"'


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder from which packages are imported, and nothing known of what was there before."""
    monkeypatch.syspath_prepend(tmp_path)
    extras._version.cache_clear()
    yield tmp_path
    extras._version.cache_clear()
    sys.modules.pop("spare_parts", None)


def install(site: Path, version: str | None, code: str = "") -> None:
    (site / "spare_parts.py").write_text(code)
    if version is not None:
        folder = site / f"spare_parts-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: spare-parts\nVersion: {version}\n")
    importlib.invalidate_caches()


def load(package: Package = PARTS) -> None:
    with needed(package, by="mending"):
        importlib.import_module("spare_parts")


@pytest.mark.usefixtures("site")
def test_a_missing_package_is_named_with_the_extra_that_brings_it() -> None:
    with pytest.raises(MissingPackageError) as caught:
        load()

    error = caught.value
    assert str(error) == f"mending needs spare-parts, which is not installed: {INSTALL}"
    assert (error.package, error.extra, error.install) == ("spare-parts", "search", INSTALL)
    assert issubclass(type(error), RowtrailError) and issubclass(type(error), ImportError)
    assert isinstance(error.__cause__, ModuleNotFoundError)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_package_inside_a_namespace_is_missing_with_or_without_the_others_of_it(
    site: Path, is_there: bool
) -> None:
    if is_there:
        (site / "spare_parts").mkdir()
    parts = PARTS._replace(module="spare_parts.wheels")
    missing = pytest.raises(MissingPackageError, match="which is not installed")
    with missing, needed(parts, by="mending"):
        importlib.import_module("spare_parts.wheels")


@pytest.mark.usefixtures("site")
def test_a_package_of_no_extra_is_installed_by_its_own_name() -> None:
    with pytest.raises(MissingPackageError) as caught:
        load(PARTS._replace(extra=None))

    assert (caught.value.extra, caught.value.install) == (None, 'pip install "spare-parts>=1.10"')


def test_what_the_package_misses_itself_is_said(site: Path) -> None:
    install(site, "1.10", "import screws_and_bolts")

    says = r"needs spare-parts, which cannot be imported \(No module named 'screws_and_bolts'\)"
    with pytest.raises(MissingPackageError, match=says):
        load()


@pytest.mark.parametrize("version", ["0.9", "1.9.7", "1.2", "1", "1.9rc10", "1.9.post10"])
def test_a_package_that_is_too_old_is_named_with_its_version(site: Path, version: str) -> None:
    install(site, version)

    with pytest.raises(MissingPackageError) as caught:
        load()

    assert str(caught.value) == (
        f"mending needs spare-parts 1.10 or newer, and {version} is installed: {INSTALL}"
    )


@pytest.mark.parametrize("version", ["1.10", "1.10.0", "1.10.1", "1.11b1", "1.100", "2", None])
def test_a_package_that_is_new_enough_or_says_no_version_will_do(
    site: Path, version: str | None
) -> None:
    install(site, version)

    load()


def test_other_errors_pass_through(site: Path) -> None:
    install(site, "1.10", "raise ValueError('a fault of its own')")

    with pytest.raises(ValueError, match="a fault of its own"):
        load()
