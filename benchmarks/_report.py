"""The report: a table for people, JSON for programs, and a plot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks._plot import plot
from benchmarks._row import ROWTRAIL, Bar, Judgement, Row
from benchmarks._size import Size

RESULTS = Path(__file__).parent / "results"
HEADINGS = ("workload", "measured", "rowtrail", "peer", "ratio", "bar", "verdict")
PAIRS_OF_AN_INTERVAL = 15
"""With fewer pairs an interval says little."""
SMALL = 0.2
"""Ratios below this are shown as fractions."""
FIGURES_START, FIGURES_END = "<!-- make bench -->", "<!-- end of make bench -->"
Line = tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """Everything that one run of the benchmarks found out.

    Attributes:
        seconds: How long the run took.
        curves: [turn, bytes, seconds of a turn] by contender.
    """

    size: Size
    started_at: datetime
    seconds: float
    rows: Sequence[Row]
    curves: Mapping[str, Sequence[Sequence[float]]]
    machine: Mapping[str, Any]
    versions: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON data."""
        return {
            "date": self.started_at.astimezone(UTC).isoformat(timespec="seconds"),
            "size": self.size.name,
            "seconds": round(self.seconds, 1),
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "rows": [row.as_json(is_full=self.size.is_full) for row in self.rows],
            "curves": {name: [list(point) for point in c] for name, c in self.curves.items()},
        }

    def table(self) -> str:
        """Return the table as Markdown, its columns aligned, one line for each bar or peer."""
        lines = [line for row in self.rows for line in self._lines(row)]
        widths = [max(map(len, column)) for column in zip(HEADINGS, *lines, strict=True)]
        ruled = [HEADINGS, tuple("-" * width for width in widths), *lines]
        text = "\n".join(
            "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
            for line in ruled
        )
        return f"{self._heading()}\n\n{text}\n"

    def figures(self) -> str:
        """Return the table as `docs/figures.md` shows it: a line for each row, missed bars bold."""
        lines = [
            self._heading(),
            "",
            "| workload | rowtrail | beside it | bar |",
            "|---|---|---|---|",
        ]
        for row in self.rows:
            beside = [
                f"{peer} {shown(row.value(peer), row.unit)}"
                for peer in row.peers
                if row.value(peer) is not None
            ]
            judged = [row.judged(bar, is_full=self.size.is_full) for bar in row.bars]
            bars = [_in_brief(one, row) for one in judged]
            value = shown(row.value(ROWTRAIL), row.unit) or "not measured"
            cells = (row.measure, value, ", ".join(beside), ", ".join(bars))
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"

    def write_figures(self, page: Path) -> None:
        """Put the table between the marks of a page.

        Raises:
            ValueError: The page has no marks.
        """
        start, marked, rest = page.read_text("utf-8").partition(FIGURES_START)
        _, ended, end = rest.partition(FIGURES_END)
        if not marked or not ended:
            raise ValueError(f"{page} has no {FIGURES_START!r} with a {FIGURES_END!r} below it")
        text = f"{start}{FIGURES_START}\n{self.figures()}{FIGURES_END}{end}"
        page.write_text(text, encoding="utf-8")

    def save(self, out: Path | None) -> Path:
        """Write the JSON, and the plot beside it; return the path of the JSON."""
        path = out or RESULTS / f"{self.started_at:%Y-%m-%d}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.as_json(), indent=1) + "\n", encoding="utf-8")
        if self.curves:
            path.with_suffix(".svg").write_text(plot(self.curves), encoding="utf-8")
        return path

    def _heading(self) -> str:
        machine, versions = self.machine, self.versions
        memory = f", {machine['memory_bytes'] / 2**30:.0f} GiB" if machine["memory_bytes"] else ""
        size = "" if self.size.is_full else (
            f"\nA {self.size.name} run: fewer turns, steps and rounds. Bars that depend on the "
            'size are not judged ("other size").'
        )  # fmt: skip
        return (
            f"rowtrail {versions['rowtrail']}, {self.started_at:%Y-%m-%d}, {machine['processor']}, "
            f"{machine['cores']} cores{memory}, {machine['file_system']}, "
            f"load {machine['load_average'] or 0:.1f}; Python {versions['python']}, "
            f"SQLite {versions['sqlite']}; {self.seconds:.0f} s.{size}"
        )

    def _lines(self, row: Row) -> list[Line]:
        """Return a line for each bar, then one for each peer that no bar names."""
        judged = [row.judged(bar, is_full=self.size.is_full) for bar in row.bars]
        ends = [
            (*_peer(row, one.bar.of), _bar(one.bar, row.unit), _verdict(one, row)) for one in judged
        ]
        named = {one.bar.of for one in judged}
        ends += [
            (*_peer(row, peer), "", row.missing.get(peer, ""))
            for peer in row.peers
            if peer not in named
        ]
        start = (row.workload, row.measure, shown(row.value(ROWTRAIL), row.unit))
        starts = (start, *(("", "", ""),) * len(ends))
        return [(*s, *end) for s, end in zip(starts, ends, strict=False)]


def _peer(row: Row, peer: str | None) -> tuple[str, str]:
    """Return a peer with its value, and rowtrail's ratio to it."""
    if peer is None:
        return "", ""
    value = row.value(peer)
    ratio = _ratio(row.ratio(peer))
    interval = (
        row.interval(peer) if len(row.samples.get(peer, ())) >= PAIRS_OF_AN_INTERVAL else None
    )
    if interval is not None:
        ratio += f" ({interval[0]:.2f} to {interval[1]:.2f})"
    return (peer if value is None else f"{peer}: {shown(value, row.unit)}"), ratio


def shown(value: float | None, unit: str) -> str:
    """Return a value for people, in its unit."""
    if value is None:
        return ""
    if unit == "bytes":
        return f"{value / 1e6:,.2f} MB" if value >= 100_000 else f"{value:,.0f} B"
    if unit == "count":
        return f"{value:,.0f}"
    if unit == "K instructions":
        return f"{value:,.0f} K"
    if unit == "per s":
        return f"{value:,.0f} per s"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    number = f"{value:,.{digits}f}"
    return number if unit == "share" else f"{number} {unit}"


def _ratio(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio:.2f}" if ratio >= SMALL or ratio == 0 else f"1/{1 / ratio:,.1f}"


def _bar(bar: Bar, unit: str) -> str:
    if bar.of is None:
        return f"{bar.sense} {shown(bar.limit, unit)}"
    return f"{bar.sense} {_limit(bar.limit)} x {bar.of}"


def _limit(limit: float) -> str:
    return f"{limit:g}" if limit >= SMALL else f"1/{1 / limit:g}"


def _in_brief(judgement: Judgement, row: Row) -> str:
    """Return a bar with what was measured; bold when it is missed."""
    bar, held = judgement.bar, judgement.held
    limit = shown(bar.limit, row.unit) if bar.of is None else f"{_limit(bar.limit)} x {bar.of}"
    if held is None:
        return f"{limit} (not measured)"
    text = limit if bar.of is None else f"{limit} ({_ratio(held)})"
    return f"**{text}**" if judgement.verdict == "missed" else text


def _verdict(judgement: Judgement, row: Row) -> str:
    if judgement.verdict == "no peer":
        return row.missing.get(judgement.bar.of or "", row.note or "not measured")
    if judgement.verdict != "missed" or judgement.held is None or not judgement.bar.limit:
        return judgement.verdict
    limit, held = judgement.bar.limit, judgement.held
    off = limit / held if judgement.bar.sense == "at least" and held else held / limit
    return f"**missed, {off:.2f} times off**"
