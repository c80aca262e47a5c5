"""`--max-tokens`: what a command prints, cut to what a model reads as so many tokens."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import ParamSpec

import click

from rowtrail.cli._group import Failure
from rowtrail.cli._listing import MAX_TOKENS
from rowtrail.cli._output import say

P = ParamSpec("P")

NOTE_TOKENS = 20
"""What the last line takes, which says how much was left out; no answer is shorter."""


def max_tokens_option(command: Callable[P, None]) -> Callable[P, None]:
    """Add `--max-tokens` to a command that reads, and ends."""

    @functools.wraps(command)
    def limited(*args: P.args, **kwargs: P.kwargs) -> None:
        max_tokens = kwargs.pop("max_tokens")
        if not isinstance(max_tokens, int):
            command(*args, **kwargs)
            return
        printed = io.StringIO()
        try:
            with redirect_stdout(printed):
                command(*args, **kwargs)
        finally:  # a command that ends with an exit code has printed before
            _print(printed.getvalue(), max_tokens, as_json=bool(kwargs.get("as_json")))

    return click.option(
        "--max-tokens",
        type=click.IntRange(NOTE_TOKENS, MAX_TOKENS),
        metavar="N",
        help="Cut the answer to what a model reads as N tokens.",
    )(limited)


def _print(text: str, max_tokens: int, *, as_json: bool) -> None:
    lines = text.splitlines()
    if _fits(lines, max_tokens):
        click.echo(text, nl=False)
    elif as_json:
        _print_rows(lines, max_tokens)
    else:
        room = max_tokens - NOTE_TOKENS
        kept = _first(lines, room) or ([f"{lines[0][: 2 * room]}…"] if room else [])
        note = f"({len(kept)} of {len(lines)} lines in {max_tokens} tokens: raise --max-tokens)"
        click.echo("\n".join([*kept, note]))


def _print_rows(lines: Sequence[str], max_tokens: int) -> None:
    """Print the first objects of an array with one on each line.

    Raises:
        Failure: It is one object, of which no part is JSON.
    """
    if lines[0] != "[":
        raise Failure(
            f"this JSON takes more than {max_tokens:,} tokens, and a part of it is none: raise "
            "--max-tokens, or leave out --json"
        )
    rows = lines[1:-1]
    kept = _first(rows, max(max_tokens - 2, 1))
    body = "\n".join(kept).removesuffix(",")
    click.echo(f"[\n{body}\n]" if body else "[]")
    say(f"{len(kept):,} of {len(rows):,} rows take {max_tokens:,} tokens: raise --max-tokens")


def _first(lines: Sequence[str], max_tokens: int) -> Sequence[str]:
    """Return as many of the first lines as fit."""
    low, high = 0, len(lines)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _fits(lines[:middle], max_tokens) else (low, middle - 1)
    return lines[:low]


def _fits(lines: Sequence[str], max_tokens: int) -> bool:
    from rowtrail.usage import count_tokens

    return count_tokens("".join(f"{line}\n" for line in lines), None)[0] <= max_tokens
