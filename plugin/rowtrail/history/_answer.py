"""What a query found."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rowtrail.history._text import cell_text

MAX_TITLE_CHARS = 60
"""A heading on one line."""
SHOWN_DIGITS = 4
"""More of a duration or a cost says nothing to a reader."""
MAX_ROUNDED = 1e15
"""Larger ones are shown as powers of ten."""


@dataclass(frozen=True)
class Answer:
    """The rows of a query, within its limits. Iterating gives each row as a dict.

    Attributes:
        columns: Names of the columns; one that occurs again gets a number.
        rows: The rows, as tuples in the order of `columns`.
        truncated: There was more.
        note: What was left out and how to ask for less, in one line; None where nothing was.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    truncated: bool = False
    note: str | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (dict(zip(self.columns, row, strict=True)) for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the rows as dicts."""
        return list(self)

    def text(self) -> str:
        """Return the answer for a model: a line of columns, a line for each row, and the note.

        Values are separated by ` | `; NULL is empty, control characters are spelt out, and of a
        fraction four digits count: `rows` are exact.
        """
        lines = [title(self.columns), *(line(row) for row in self.rows)]
        if self.note is not None:
            lines.append(f"({self.note})")
        return "\n".join(lines)


def title(columns: tuple[str, ...]) -> str:
    """Return the line that names the columns."""
    return " | ".join(cell_text(column[:MAX_TITLE_CHARS]) for column in columns)


def line(row: tuple[Any, ...]) -> str:
    """Return the line of one row."""
    return " | ".join(cell_text(rounded(cell)) for cell in row)


def rounded(cell: Any) -> Any:
    """Return a number as a person reads it, with four digits that count; anything else as it is."""
    if not isinstance(cell, float) or not 0 < abs(cell) < MAX_ROUNDED:
        return cell
    digits = max(SHOWN_DIGITS - 1 - math.floor(math.log10(abs(cell))), 0)
    text = f"{cell:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def unique(names: list[str]) -> tuple[str, ...]:
    """Return the names, those that occur again numbered: `id`, `id_2`."""
    taken = dict.fromkeys(names, 1)
    given: list[str] = []
    for name in names:
        final = name
        while final in given:
            taken[name] += 1
            final = f"{name}_{taken[name]}"
            if final in taken:  # a column has that very name
                final = name
        given.append(final)
    return tuple(given)
