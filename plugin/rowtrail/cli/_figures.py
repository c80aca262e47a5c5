"""Figures of runs and steps as people read them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rowtrail._clock import Clock
from rowtrail.cli._output import NO_VALUE, Cell, Style
from rowtrail.history import cell_text

UNKNOWN = NO_VALUE

EXACT_BELOW = 10_000
"""Larger numbers are rounded to three digits."""

_STYLES: dict[str, Style] = {
    "done": {"fg": "green"},
    "running": {"fg": "cyan"},
    "waiting": {"fg": "yellow"},
    "in_doubt": {"fg": "yellow", "bold": True},
    "failed": {"fg": "red"},
    "cancelled": {"fg": "yellow"},
    "crashed": {"fg": "red", "bold": True},
    "superseded": {"dim": True},
}
_MARKS = {"in_doubt": "?", "failed": "!", "cancelled": "!", "crashed": "!", "superseded": "~"}


def text(value: Any) -> Cell:
    """Return a text of the journal."""
    return Cell(cell_text(value) or UNKNOWN)


def status(value: str) -> Cell:
    """Return a status; what needs somebody's attention is marked without color too."""
    words = value.replace("_", " ")
    return Cell(f"{_MARKS[value]} {words}" if value in _MARKS else words, _STYLES.get(value))


def number(value: int | None) -> Cell:
    """Return a number; 0 is `-`, which is easier to overlook."""
    return Cell(f"{value:,}" if value else UNKNOWN)


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, such as `1 run` or `2 runs`; `_` in the noun is a space."""
    plural = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count:,} {noun.replace('_', ' ')}{plural}"


def rounded(value: int | None) -> Cell:
    """Return a number to three digits, such as `12.3k`; --json is exact."""
    return Cell(rounded_text(value) if value else UNKNOWN)


def rounded_text(value: int) -> str:
    """Return a number to three digits where it is large, such as `12.3k` or `4.56M`."""
    if value < EXACT_BELOW:
        return f"{value:,}"
    for unit, size in (("k", 10**3), ("M", 10**6), ("G", 10**9)):
        if value < 999.5 * size:
            return f"{value / size:.3g}{unit}"
    return f"{value / 10**12:,.0f}T"


def tokens(taken: int | None, given: int | None) -> Cell:
    """Return tokens in and out, rounded."""
    text = f"{rounded_text(taken or 0)}/{rounded_text(given or 0)}"
    return Cell(text if taken or given else UNKNOWN)


def money(usd: float | None) -> Cell:
    """Return US dollars; `-` where the price is unknown, and never $0.0000 for what was paid."""
    if usd is None:
        return Cell(UNKNOWN)
    return Cell("<$0.0001" if 0 < usd < 0.00005 else f"${usd:.4f}")


def moment(iso: str | None) -> Cell:
    """Return a time in UTC, to the second."""
    return Cell(cell_text(iso)[:19].replace("T", " ") or UNKNOWN)


def minute(iso: str | None) -> Cell:
    """Return a time in UTC, to the minute."""
    return Cell(cell_text(iso)[:16].replace("T", " ") or UNKNOWN)


def duration(ms: float | None) -> Cell:
    """Return a duration with its unit."""
    return Cell(UNKNOWN if ms is None else duration_text(ms))


def duration_text(ms: float) -> str:
    """Return milliseconds in the unit that suits them."""
    if ms < 999.5:
        return f"{ms:.0f} ms"
    seconds = ms / 1000
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d} h" if hours else f"{minutes}:{seconds:02d} min"


def between_ms(started: str | None, ended: str | None, clock: Clock) -> float | None:
    """Return the milliseconds from one UTC time to another one, or to now."""
    if started is None:
        return None
    begin = datetime.fromisoformat(started).timestamp() * 1000
    end = datetime.fromisoformat(ended).timestamp() * 1000 if ended else clock.now_ms()
    return max(end - begin, 0.0)
