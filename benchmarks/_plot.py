"""The plot: bytes of the file and time of a turn, against the number of turns, as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

Curves = Mapping[str, Sequence[Sequence[float]]]
Point = tuple[float, float]

WIDTH, HEIGHT = 440, 320
LEFT, RIGHT, TOP, BOTTOM = 70, 16, 40, 48
LEGEND_LINE = 18
COLOURS = ("#0b6e4f", "#c8553d", "#3d5a80", "#8e6c8a", "#b08900")
FONT = "font-family='system-ui, sans-serif' font-size='12'"


@dataclass(frozen=True)
class Panel:
    """One diagram: its title, the unit of a tick, and its curves as (turn, value)."""

    title: str
    tick: Callable[[float], str]
    curves: Mapping[str, Sequence[Point]]
    left: float

    def drawn(self) -> str:
        """Return the SVG of the panel."""
        points = [point for curve in self.curves.values() for point in curve]
        turns = max(turn for turn, _ in points)
        low = math.floor(math.log10(max(1e-9, min(value for _, value in points))))
        high = max(low + 1, math.ceil(math.log10(max(value for _, value in points))))

        def x(turn: float) -> float:
            return self.left + LEFT + turn / turns * (WIDTH - LEFT - RIGHT)

        def y(value: float) -> float:
            share = (math.log10(max(1e-9, value)) - low) / (high - low)
            return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

        parts = [_text(self.left + LEFT, TOP - 16, self.title, "start", bold=True)]
        for power in range(low, high + 1):
            parts += [
                _line(x(0), y(10.0**power), x(turns), y(10.0**power), "#ddd"),
                _text(x(0) - 6, y(10.0**power) + 4, self.tick(10.0**power), "end"),
            ]
        for quarter in range(5):
            turn = turns * quarter / 4
            parts.append(_text(x(turn), HEIGHT - BOTTOM + 18, f"{turn:,.0f}", "middle"))
        parts.append(_text((x(0) + x(turns)) / 2, HEIGHT - 10, "turns", "middle"))
        for colour, curve in zip(COLOURS, self.curves.values(), strict=False):
            path = " ".join(f"{x(turn):.1f},{y(value):.1f}" for turn, value in curve)
            parts.append(
                f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>"
            )
        return "\n".join(parts)


def plot(curves: Curves) -> str:
    """Return an SVG of two diagrams with logarithmic axes.

    Args:
        curves: [turn, bytes, seconds of a turn] by contender.
    """
    size = {name: [(turn, size) for turn, size, _ in curve] for name, curve in curves.items()}
    time = {name: [(turn, s * 1e3) for turn, _, s in curve] for name, curve in curves.items()}
    panels = [
        Panel("bytes of the file", _bytes_tick, size, 0),
        Panel("time of a turn", lambda ms: f"{ms:g} ms", time, WIDTH),
    ]
    height = HEIGHT + LEGEND_LINE * len(curves) + 12
    box = f"viewBox='0 0 {2 * WIDTH} {height}' width='{2 * WIDTH}' height='{height}'"
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' {box} {FONT}>",
        "<rect width='100%' height='100%' fill='white'/>",
        *(panel.drawn() for panel in panels),
    ]
    for number, (colour, name) in enumerate(zip(COLOURS, curves, strict=False)):
        top = HEIGHT + LEGEND_LINE * number + 8
        parts += [
            _line(LEFT, top, LEFT + 24, top, colour, width=3),
            _text(LEFT + 32, top + 4, name, "start"),
        ]
    return "\n".join([*parts, "</svg>", ""])


def _bytes_tick(value: float) -> str:
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if value >= factor:
            return f"{value / factor:g} {unit}"
    return f"{value:g} B"


def _text(x: float, y: float, text: str, anchor: str, *, bold: bool = False) -> str:
    weight = " font-weight='bold'" if bold else ""
    shown = escape(text)
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}'{weight}>{shown}</text>"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, width: int = 1) -> str:
    return (
        f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' "
        f"stroke='{colour}' stroke-width='{width}'/>"
    )
