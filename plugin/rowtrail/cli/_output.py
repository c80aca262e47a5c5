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
EASY_FLEXIBLE = 18
"""A column that gives way to a narrow terminal keeps this width while others can be left out."""
MIN_FLEXIBLE = 10
"""And this one while no other has to give way."""
MIN_WIDTH = 3
"""What a column keeps that must be there."""

NO_VALUE = "-"
"""Stands for a value that is unknown, or none."""
ELLIPSIS = "…"
PIECE_CHARS = 64 * 1024
"""A pipe's buffer: larger pieces would only wait."""

Style = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        width: It gets no wider than this.
        is_flexible: It gets narrower where the terminal is too narrow.
        is_id: Its middle is cut, not its end: ids differ at their ends.
        is_rare: It is left out where no row has a value.
        rank: From 1, where it may be left out: of a narrow terminal the highest go first, those
            without a value before others. 0: it is always there.
    """

    title: str
    right: bool = False
    width: int = 40
    is_flexible: bool = False
    is_id: bool = False
    is_rare: bool = False
    rank: int = 0


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

    text = visible(message)
    lines = wrapped(text, terminal_columns()) if sys.stderr.isatty() else [text]
    for line in lines:
        click.echo(line, err=True)


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
    was_cut = False
    shown = [i for i, column in enumerate(columns) if not column.is_rare or _is_filled(first, i)]
    if is_terminal:
        before, room = set(shown), terminal_columns()
        shown, widths = _fitted(columns, shown, widths, first, room)
        was_cut = any(not columns[i].rank for i in before - set(shown))
    else:
        widths = [widths[i] for i in shown]
    kept = [columns[i] for i in shown]
    titles = [Cell(column.title, {"bold": True}) for column in columns]
    for page in chain([(titles, *first)], pages):
        rows = [[row[i] for i in shown] for row in page]
        if is_terminal:
            rows = [_cut(kept, row, widths) for row in rows]
            was_cut = was_cut or any(cell.is_cut for row in rows for cell in row)
        click.echo("\n".join(_line(kept, widths, row) for row in rows))
    return was_cut


def terminal_columns() -> int:
    """Return how many columns the terminal has; where there is none, what a page of paper has."""
    return shutil.get_terminal_size((120, 24)).columns


def print_fields(fields: Sequence[tuple[str, Cell]]) -> int:
    """Print names and values, a line for each, and return how many lines that took.

    A terminal gets long values in lines that fit.
    """
    width = max(len(name) for name, _ in fields)
    return sum(
        print_text(cell.text, title=name.ljust(width), style=cell.style) for name, cell in fields
    )


def print_text(
    text: str, *, title: str = "", style: Style | None = None, is_bold: bool = True
) -> int:
    """Print a text behind a title; a terminal gets it in lines that fit, below each other."""
    indent = display_width(title) + len(GAP) if title else 0
    lines = list(wrapped(text, max(terminal_columns() - indent, MIN_FLEXIBLE))) or [""]
    if not sys.stdout.isatty():
        lines = [text]
    for n, line in enumerate(lines):
        styled = click.style(line, **style) if style else line
        before = " " * indent
        if title and n == 0:
            before = f"{click.style(title, bold=True) if is_bold else title}{GAP}"
        click.echo(f"{before}{styled}".rstrip())
    return len(lines)


def print_cells(cells: Sequence[Cell], *, gap: str = GAP) -> None:
    """Print texts side by side; a terminal gets as much as one line has room for."""
    left = terminal_columns() if sys.stdout.isatty() else WHOLE
    parts: list[str] = []
    for cell in cells:
        text = shorten(cell.text, left)
        if not text:
            break
        parts.append(click.style(text, **cell.style) if cell.style else text)
        left -= display_width(text) + len(gap)
    click.echo(gap.join(parts))


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> list[int]:
    return [
        min(column.width, max(map(display_width, (column.title, *(row[i].text for row in rows)))))
        for i, column in enumerate(columns)
    ]


def _fitted(
    columns: Sequence[Column],
    shown: list[int],
    widths: list[int],
    rows: Sequence[Sequence[Cell]],
    room: int,
) -> tuple[list[int], list[int]]:
    """Return which columns are shown, and how wide: lines are no longer than the terminal."""
    shown, widths = list(shown), list(widths)

    def excess() -> int:
        return sum(widths[i] for i in shown) + len(GAP) * (len(shown) - 1) - room

    def narrow(which: Sequence[int], least: int) -> None:
        while excess() > 0 and (wide := [i for i in which if widths[i] > least]):
            widths[max(wide, key=lambda i: widths[i])] -= 1

    narrow([i for i in shown if columns[i].is_flexible], EASY_FLEXIBLE)
    optional = [i for i in shown if columns[i].rank]
    for i in sorted(optional, key=lambda i: (_is_filled(rows, i), -columns[i].rank)):
        if excess() > 0:
            shown.remove(i)
    narrow([i for i in shown if columns[i].is_flexible], MIN_FLEXIBLE)
    narrow(shown, MIN_WIDTH)
    while excess() > 0 and len(shown) > 1:
        shown.pop()
    narrow(shown, 1)
    return shown, [widths[i] for i in shown]


def _is_filled(rows: Sequence[Sequence[Cell]], i: int) -> bool:
    return any(row[i].text not in ("", NO_VALUE) for row in rows)


def _cut(columns: Sequence[Column], row: Sequence[Cell], widths: list[int]) -> list[Cell]:
    return [
        cell
        if display_width(cell.text) <= width
        else replace(cell, text=_shortened(column, cell.text, width), is_cut=True)
        for column, cell, width in zip(columns, row, widths, strict=True)
    ]


def _shortened(column: Column, text: str, width: int) -> str:
    return shorten_id(text, width) if column.is_id else shorten(text, width)


def _line(columns: Sequence[Column], widths: list[int], row: Sequence[Cell]) -> str:
    parts: list[str] = []
    for column, width, cell in zip(columns, widths, row, strict=True):
        blank = " " * (width - display_width(cell.text))
        styled = click.style(cell.text, **cell.style) if cell.style else cell.text
        parts.append(blank + styled if column.right else styled + blank)
    return GAP.join(parts).rstrip()


def shorten(text: str, width: int) -> str:
    """Return the beginning of `text` that takes `width` columns of a terminal."""
    kept = _head(text, 0, width)
    if kept == len(text):
        return text
    return f"{text[: _head(text, 0, width - 1)]}{ELLIPSIS}" if width > 0 else ""


def _head(text: str, start: int, width: int) -> int:
    """Return where the longest part from `start` ends that takes `width` columns at most."""
    end, left = start, width
    while end < len(text) and (left := left - _char_width(text[end])) >= 0:
        end += 1
    return end


def shorten_id(text: str, width: int) -> str:
    """Return beginning and end of an id in `width` columns: commands understand it so."""
    if display_width(text) <= width or width < MIN_WIDTH:
        return shorten(text, width)
    head = text[: _head(text, 0, width // 2)]
    room = width - display_width(head) - 1
    tail = ""
    for char in reversed(text[len(head) :]):
        if display_width(char + tail) > room:
            break
        tail = char + tail
    return f"{head}{ELLIPSIS}{tail}"


def wrapped(text: str, width: int) -> Iterator[str]:
    """Yield a text in lines of at most `width` columns, cut at blanks where there are any."""
    start, width = 0, max(width, 2)
    while start < len(text):
        end = _head(text, start, width)
        if end < len(text) and (blank := text.rfind(" ", start + 1, end + 1)) > 0:
            end = blank
        yield text[start:end].rstrip()
        start = end
        while start < len(text) and text[start] == " ":
            start += 1


def display_width(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    return sum(_char_width(char) for char in text)


def _char_width(char: str) -> int:
    # Marks that combine get a column, too: some terminals give them one, and a line that is short
    # of a column does no harm, while one that wraps does.
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
