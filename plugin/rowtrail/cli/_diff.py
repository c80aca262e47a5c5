"""`rowtrail diff`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from rowtrail.cli import _figures as show
from rowtrail.cli._budget import max_tokens_option
from rowtrail.cli._differences import differences_text
from rowtrail.cli._journal import db_option, find_run, json_option, open_journal, run_argument
from rowtrail.cli._output import Cell, Style, json_rows, print_cells, print_pieces, print_text
from rowtrail.history import Pair, Place, diff, json_text

INDENT = "    "
_SIGNS: dict[str, tuple[str, Style]] = {
    "same": ("=", {"dim": True}),
    "answer": ("~", {"fg": "yellow"}),
    "changed": ("*", {"fg": "yellow", "bold": True}),
    "only a": ("-", {"fg": "red"}),
    "only b": ("+", {"fg": "green"}),
}
_WORDS = {
    "same": "same",
    "answer": "answered otherwise",
    "changed": "changed",
    "only a": "only in the first",
    "only b": "only in the second",
}


@click.command("diff", short_help="Compare two runs, step by step.")
@run_argument("run_a")
@run_argument("run_b")
@click.option("--all", "with_same", is_flag=True, help="Print the steps that are the same too.")
@db_option
@json_option
@max_tokens_option
def command(run_a: str, run_b: str, with_same: bool, db: str, as_json: bool) -> None:
    """Compare two runs step by step: requests, answers, and what one of them lacks.

    Each RUN is an id, the beginning of one, or @last. `=` same (with --all), `~` the same request
    was answered otherwise, `*` another request, `-` only in the first, `+` only in the second. Ids
    and usage do not count; of two runs of one thread, only what was asked newly does. With --json,
    one object: `a`, `b`, `pairs`, `counts`.

    \b
    Example:
      rowtrail diff report-41 report-42
      rowtrail diff report-42 @last --all --json
    """  # noqa: D301  (click reads the backspace)
    with open_journal(db) as reader:
        a, b = find_run(reader, run_a), find_run(reader, run_b)
        counts: Counter[str] = Counter()
        pairs = _counted(diff(reader, a, b), counts, with_same=with_same)
        if as_json:
            print_pieces(_as_json(a, b, pairs, counts))
            return
        for pair in pairs:
            _print(pair)
        said = ", ".join(f"{counts[kind]:,} {word}" for kind, word in _WORDS.items())
        print_text(f"{show.text(a).text} and {show.text(b).text}: {said}")


def _kind(pair: Pair) -> str:
    if pair.mark != "missing":
        return pair.mark
    return "only a" if pair.b is None else "only b"


def _counted(pairs: Iterator[Pair], counts: Counter[str], *, with_same: bool) -> Iterator[Pair]:
    for pair in pairs:
        counts[_kind(pair)] += 1
        if with_same or pair.mark != "same":
            yield pair


def _print(pair: Pair) -> None:
    sign, style = _SIGNS[_kind(pair)]
    place = pair.a or pair.b
    assert place is not None
    steps = " / ".join(f"step {p.step_id}" for p in (pair.a, pair.b) if p is not None)
    where = "" if place.node is None else f"{show.text(place.node).text}: "
    head = f"{sign} #{place.seq} {where}{place.kind} {show.text(place.name).text} ({steps})"
    print_cells([Cell(head, style)])
    if pair.mark in ("answer", "changed"):
        text = differences_text(pair.differences, "first", "second")
        for line in text.split("\n"):
            print_cells([Cell(f"{INDENT}{line}")])


def _as_json(a: str, b: str, pairs: Iterator[Pair], counts: Counter[str]) -> Iterator[str]:
    yield f'{{"a": {json_text(a)}, "b": {json_text(b)},\n"pairs": '
    yield from json_rows(_row(pair) for pair in pairs)
    yield f',\n"counts": {json_text({kind.replace(" ", "_"): counts[kind] for kind in _WORDS})}}}'


def _row(pair: Pair) -> dict[str, Any]:
    return {
        "mark": pair.mark,
        "a": _step(pair.a),
        "b": _step(pair.b),
        "differences": [asdict(difference) for difference in pair.differences],
    }


def _step(place: Place | None) -> dict[str, Any] | None:
    if place is None:
        return None
    fields = place._asdict()
    del fields["answer"]
    return fields
