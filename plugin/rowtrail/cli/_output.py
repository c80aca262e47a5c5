"""Writing to the terminal or to a pipe: tables, JSON and CSV, a page at a time."""

from __future__ import annotations

import io
import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rowtrail.history import Answer

GAP = "  "
WHOLE = 1_000_000
"""The width of a column whose texts are never cut but for the terminal."""
MIN_FLEXIBLE = 12
"""A column that gives way to a narrow terminal keeps this width."""

PIECE_CHARS = 64 * 1024
"""A pipe's buffer: larger pieces would only wait."""

Style = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        width: It gets no wider than this.
        is_flexible: It gets narrower where the terminal is too narrow.
    """

    title: str
    right: bool = False
    width: int = 40
    is_flexible: bool = False


@dataclass(frozen=True)
class Cell:
    """One text of a table, and how it looks on a terminal."""

    text: str
    style: Style | None = None
    is_cut: bool = False


def is_colored() -> bool | None:
    """Return False where colors are not wanted, else None: only on a terminal."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def protect_streams() -> None:
    """Let characters that the terminal's encoding lacks be spelt out, not end the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(message: str) -> None:
    """Write a message for the person to stderr."""
    from rowtrail.history import visible

    click.echo(visible(message), err=True)


def confirm(question: str) -> None:
    """Ask a person whether to go on.

    Raises:
        click.Abort: The answer is no.
        click.UsageError: Nobody is there to answer.
    """
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort as error:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)
        raise click.UsageError("nothing was changed: --yes goes on without a question") from error
    if not agreed:
        raise click.Abort


def print_table(columns: Sequence[Column], pages: Iterable[Sequence[Sequence[Cell]]]) -> bool:
    """Print rows in columns, and return whether a text was cut; the first page decides the widths.

    Only a terminal has texts cut: what goes into a file or a pipe is whole.
    """
    pages = iter(pages)
    first: Sequence[Sequence[Cell]] = next(pages, ())
    is_terminal = sys.stdout.isatty()
    widths = _widths(columns, first)
    if is_terminal:
        widths = _narrowed(columns, widths, terminal_columns())
    titles = [Cell(column.title, {"bold": True}) for column in columns]
    was_cut = False
    for page in chain([(titles, *first)], pages):
        if is_terminal:
            page = [_cut(row, widths) for row in page]
            was_cut = was_cut or any(cell.is_cut for row in page for cell in row)
        click.echo("\n".join(_line(columns, widths, row) for row in page))
    return was_cut


def terminal_columns() -> int:
    """Return how many columns the terminal has; where there is none, what a page of paper has."""
    return shutil.get_terminal_size((120, 24)).columns


def print_fields(fields: Sequence[tuple[str, Cell]]) -> None:
    """Print names and values, a line for each."""
    width = max(len(name) for name, _ in fields)
    for name, cell in fields:
        value = click.style(cell.text, **cell.style) if cell.style else cell.text
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {value}")


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> list[int]:
    return [
        min(column.width, max(map(display_width, (column.title, *(row[i].text for row in rows)))))
        for i, column in enumerate(columns)
    ]


def _narrowed(columns: Sequence[Column], widths: list[int], room: int) -> list[int]:
    """Take what is too much for the terminal from the flexible columns, the widest first."""
    widths = list(widths)
    excess = sum(widths) + len(GAP) * (len(columns) - 1) - room
    flexible = [i for i, column in enumerate(columns) if column.is_flexible]
    while excess > 0 and flexible:
        widest = max(flexible, key=lambda i: widths[i])
        if widths[widest] <= MIN_FLEXIBLE:
            break
        widths[widest] -= 1
        excess -= 1
    return widths


def _cut(row: Sequence[Cell], widths: list[int]) -> list[Cell]:
    return [
        cell
        if display_width(cell.text) <= width
        else replace(cell, text=shorten(cell.text, width), is_cut=True)
        for cell, width in zip(row, widths, strict=True)
    ]


def _line(columns: Sequence[Column], widths: list[int], row: Sequence[Cell]) -> str:
    parts: list[str] = []
    for column, width, cell in zip(columns, widths, row, strict=True):
        blank = " " * (width - display_width(cell.text))
        styled = click.style(cell.text, **cell.style) if cell.style else cell.text
        parts.append(blank + styled if column.right else styled + blank)
    return GAP.join(parts).rstrip()


def shorten(text: str, width: int) -> str:
    """Return the beginning of `text` that takes `width` columns of a terminal."""
    if display_width(text) <= width:
        return text
    kept = text[: max(width - 1, 0)]
    while kept and display_width(kept) > width - 1:
        kept = kept[:-1]
    return f"{kept}…" if width else ""


def wrapped(text: str, width: int) -> Iterator[str]:
    """Yield a text in lines of at most `width` columns, cut at blanks where there are any."""
    width = max(width, 2)
    while display_width(text) > width:
        line = shorten(text, width + 1).removesuffix("…")
        blank = line.rfind(" ")
        line = line[:blank] if blank > 0 else line
        yield line.rstrip()
        text = text[max(len(line), 1) :].lstrip()
    if text:
        yield text


def display_width(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    return sum(_char_width(char) for char in text)


def _char_width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def json_rows(rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """Yield the pieces of a JSON array with a row on each line."""
    from rowtrail.history import json_text

    before = "[\n"
    for row in rows:
        yield before + json_text(row)
        before = ",\n"
    yield "[]" if before == "[\n" else "\n]"


def print_pieces(pieces: Iterable[str], *, end: str = "\n") -> None:
    """Print pieces of text as they come, and end the line."""
    for piece in pieces:
        click.echo(piece, nl=False)
    click.echo(end, nl=False)


def print_answer(
    answer: Answer,
    pieces: Callable[[Answer], Iterable[str]],
    max_tokens: int | None,
    *,
    end: str = "\n",
) -> None:
    """Print as many of the first rows of an answer as fit, and say how many did not."""
    from rowtrail.usage import count_tokens

    kept = answer
    while max_tokens is not None and kept.rows:
        tokens = count_tokens("".join(pieces(kept)) + end, None)[0]
        if tokens <= max_tokens:
            break
        count = len(kept.rows)
        kept = replace(kept, rows=kept.rows[: min(count - 1, count * max_tokens // tokens)])
    print_pieces(pieces(kept), end=end)
    if len(kept.rows) < len(answer.rows):
        shown = f"{len(kept.rows):,} of {len(answer.rows):,} rows"
        say(f"only {shown} in this form take {max_tokens:,} tokens: raise --max-tokens")


def csv_pieces(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Yield CSV with a line of names: NULL is empty, line breaks stay in their quotes."""
    import csv

    from rowtrail.history import cell_text

    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([cell_text(column) for column in columns])
    for row in rows:
        writer.writerow([cell_text(cell, keep="\n\t") for cell in row])
        if buffer.tell() > PIECE_CHARS:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()
