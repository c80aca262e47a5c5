"""Differences between two recorded values, as people read them."""

from __future__ import annotations

from collections.abc import Sequence

from rowtrail.history import Difference, visible

NOTHING = "(nothing)"


def differences_text(found: Sequence[Difference], a: str, b: str) -> str:
    """Return each difference in three lines: where, what the one has, what the other has."""
    if not found:
        return "no difference is to be seen: the values are not readable, or differ in ids only"
    width = max(len(a), len(b))
    lines: list[str] = []
    for difference in found:
        lines += [
            visible(difference.path) or "(all of it)",
            f"  {a.ljust(width)}  {_shown(difference.a)}",
            f"  {b.ljust(width)}  {_shown(difference.b)}",
        ]
    return "\n".join(lines)


def _shown(text: str | None) -> str:
    return NOTHING if text is None else visible(text)
