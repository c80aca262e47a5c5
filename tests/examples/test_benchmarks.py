"""`python -m benchmarks` at its smallest size: every workload for real, and no time asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks import _report, instructions
from benchmarks.__main__ import WORKLOADS
from benchmarks._row import OTHER, Bar, Row
from benchmarks._size import SIZES

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 280
COUNTED = "instructions"
"""Counted by valgrind, under which a process takes 50 times as long: a test of its own."""
MEASURED = [name for name in WORKLOADS if name != COUNTED]


def run_benchmarks(
    *arguments: object, module: str = "benchmarks", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "QUICK": "", **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[subprocess.CompletedProcess[str], Path]:
    folder = tmp_path_factory.mktemp("bench")
    measured = folder / "measured"
    measured.mkdir()
    out = folder / "result.json"
    page = folder / "page.md"
    page.write_text(
        f"Above.\n{_report.FIGURES_START}\nstale figures\n{_report.FIGURES_END}\nBelow.\n"
    )
    arguments = ["--size", "tiny", "--json", out, "--dir", measured, "--figures", page]
    return run_benchmarks(*arguments, "--only", ",".join(MEASURED)), out


@pytest.fixture(scope="module")
def result(finished: tuple[subprocess.CompletedProcess[str], Path]) -> dict[str, Any]:
    process, out = finished
    assert process.returncode == 0, process.stderr
    loaded: dict[str, Any] = json.loads(out.read_text())
    return loaded


def test_every_workload_is_measured_and_reports_its_peers(result: dict[str, Any]) -> None:
    assert list(dict.fromkeys(row["workload"] for row in result["rows"])) == MEASURED
    for row in result["rows"]:
        assert row["rowtrail"] is not None, row
        assert row["peers"], row
        for peer, found in row["peers"].items():
            assert found["value"] is not None or peer in row["missing"], row


def test_the_json_holds_what_a_reader_needs_to_judge_it(result: dict[str, Any]) -> None:
    assert set(result) == {"date", "size", "seconds", "machine", "versions", "rows", "curves"}
    assert result["size"] == "tiny"
    assert {"processor", "cores", "memory_bytes", "file_system"} <= set(result["machine"])
    assert {"rowtrail", "python", "sqlite", "langgraph"} <= set(result["versions"])
    assert {"measure", "unit", "samples", "bars"} <= set(result["rows"][0])
    bars = [bar for row in result["rows"] for bar in row["bars"]]
    assert {"sense", "limit", "of", "measured", "verdict"} == set(bars[0])


def test_every_bar_is_judged_or_says_why_not(result: dict[str, Any]) -> None:
    verdicts = {bar["verdict"] for row in result["rows"] for bar in row["bars"]}

    assert verdicts <= {"met", "missed", "no peer", "other size"}
    assert sum(len(row["bars"]) for row in result["rows"]) == 37


def test_another_checkout_is_measured_beside_this_one(tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    beside = ["replay", "memory"]  # the other workloads open their contenders in the same way

    process = run_benchmarks(
        "--size", "tiny", "--only", ",".join(beside), "--against", ROOT, "--json", out
    )

    assert process.returncode == 0, process.stderr
    rows = [row for row in json.loads(out.read_text())["rows"] if OTHER in row["peers"]]
    assert list(dict.fromkeys(row["workload"] for row in rows)) == beside
    # so few steps may take no further page of memory: 0 B then, and no ratio
    assert all(row["peers"][OTHER]["value"] is not None for row in rows)


def test_the_page_of_figures_gets_the_table_between_its_marks(
    finished: tuple[subprocess.CompletedProcess[str], Path], result: dict[str, Any]
) -> None:
    page = finished[1].with_name("page.md").read_text()

    assert page.startswith("Above.") and page.endswith("Below.\n") and "stale" not in page
    for row in result["rows"]:
        assert f"| {row['measure']} | " in page


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing")
    report = _report.Report(SIZES["full"], datetime.now(UTC), 1, [], {}, {}, {})

    with pytest.raises(ValueError, match="has no '<!-- make bench"):
        report.write_figures(page)
    assert page.read_text() == "nothing"


@pytest.mark.skipif(not instructions.is_installed(), reason="no valgrind on this machine")
def test_instructions_of_a_step_are_counted() -> None:
    process = run_benchmarks("bare", "--json", module="benchmarks.instructions")

    assert process.returncode == 0, process.stderr
    (row,) = json.loads(process.stdout)
    # two commits by themselves, whatever SQLite is behind them
    assert 10 < row["rowtrail"] < 10_000


def test_instructions_without_valgrind_say_what_to_install(tmp_path: Path) -> None:
    process = run_benchmarks(module="benchmarks.instructions", PATH=str(tmp_path))

    assert process.returncode == 1
    assert "apt-get install valgrind" in process.stderr


def test_many_writers_get_no_error_and_lose_nothing(result: dict[str, Any]) -> None:
    (errors,) = [row for row in result["rows"] if row["measure"].endswith(": errors")]

    assert errors["rowtrail"] == 0, errors["note"]


def test_the_plot_shows_a_curve_for_each_conversation(
    finished: tuple[subprocess.CompletedProcess[str], Path], result: dict[str, Any]
) -> None:
    drawn = ET.parse(finished[1].with_suffix(".svg")).getroot()
    lines = drawn.findall(".//{http://www.w3.org/2000/svg}polyline")

    assert len(lines) == 2 * len(result["curves"])
    for curve in result["curves"].values():
        assert [turn for turn, _, _ in curve] == sorted({turn for turn, _, _ in curve})
        assert all(size > 0 for _, size, _ in curve)


def test_the_table_goes_to_stdout_and_the_measured_files_are_removed(
    finished: tuple[subprocess.CompletedProcess[str], Path], result: dict[str, Any]
) -> None:
    process, out = finished

    assert "| workload " in process.stdout
    assert "round 1 of 1" in process.stderr
    assert list((out.parent / "measured").iterdir()) == []


def test_a_missing_peer_is_named_with_what_to_install() -> None:
    row = Row(
        "steps",
        "a step",
        "us",
        {"rowtrail": [100.0]},
        (Bar("at most", 1 / 3, of="DBOS"), Bar("at most", 50)),
        {"DBOS": "peer not installed: pip install dbos"},
    )

    found = row.as_json(is_full=True)

    assert found["peers"]["DBOS"] == {"value": None, "ratio": None, "interval": None}
    assert [bar["verdict"] for bar in found["bars"]] == ["no peer", "missed"]


@pytest.mark.parametrize(
    ("bar", "verdict"),
    [
        (Bar("at most", 0.5, of="peer"), "met"),
        (Bar("below", 0.5, of="peer"), "missed"),
        (Bar("at least", 0.6, of="peer"), "missed"),
        (Bar("at most", 10), "met"),
        (Bar("at least", 11), "missed"),
    ],
)
def test_a_bar_holds_on_its_own_side_only(bar: Bar, verdict: str) -> None:
    row = Row("w", "m", "us", {"rowtrail": [10.0], "peer": [20.0]}, (bar,))

    assert row.judged(bar, is_full=True).verdict == verdict


def test_ratios_compare_contenders_within_a_round() -> None:
    row = Row("w", "m", "us", {"rowtrail": [1.0, 20.0, 3.0], "peer": [2.0, 40.0, 6.0]})

    assert row.ratio("peer") == 0.5


@pytest.mark.parametrize(("limit", "verdict"), [(0.6, "met"), (0.4, "missed")])
def test_a_bar_by_interval_is_met_when_the_interval_reaches_it(limit: float, verdict: str) -> None:
    mine = [5.0, 7.0, 8.0, 7.0, 5.0, 9.0, 7.0, 6.0]
    bar = Bar("at most", limit, of="peer", by_interval=True)
    row = Row("w", "m", "s", {"rowtrail": mine, "peer": [10.0] * len(mine)}, (bar,))

    low, high = row.interval("peer") or (0, 0)
    assert 0.5 <= low < 0.6 < (row.ratio("peer") or 0) < high <= 0.9
    assert row.judged(bar, is_full=True).verdict == verdict


def test_a_missed_bar_is_bold() -> None:
    bars = (Bar("at most", 1.5, of="peer"), Bar("at most", 30))
    row = Row("w", "m", "us", {"rowtrail": [20.0], "peer": [10.0]}, bars)
    machine: dict[str, Any] = {"processor": "a chip", "cores": 2, "file_system": "ext4"}
    machine |= {"memory_bytes": None, "load_average": None}
    versions = {"rowtrail": "1", "python": "3", "sqlite": "3"}
    report = _report.Report(SIZES["full"], datetime.now(UTC), 1, [row], {}, machine, versions)

    assert "| m | 20.0 us | peer 10.0 us | **1.5 x peer (2.00)**, 30.0 us |" in report.figures()
    assert "**missed, 1.33 times off**" in report.table()


def test_values_are_shown_in_the_unit_that_people_read() -> None:
    assert _report.shown(5_365_760, "bytes") == "5.37 MB"
    assert _report.shown(2600, "bytes") == "2,600 B"
    assert _report.shown(0.25, "share") == "0.25"
    assert _report.shown(1234.5, "per s") == "1,234 per s"


def test_a_wrong_option_is_refused() -> None:
    process = run_benchmarks("--only", "nothing")

    assert process.returncode == 2
    assert "'nothing' is not a workload" in process.stderr
