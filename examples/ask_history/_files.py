"""The files that the agent audits: orders, logs, modules and notes, made from a seed."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

COPY = "notes-copy.md"
"""Has the content of the first notes."""

_FIRST_DAY = datetime(2026, 3, 2, 8, tzinfo=UTC)
_CUSTOMERS = "Abara Becker Castillo Dufour Eriksen Fontana Gupta Haas Ito Jansen Kowalski Lindqvist"
_ITEMS = "lamp desk chair shelf carpet mirror clock vase stool bench"
_VERBS = "load merge split check round count sort fold pack trim settle match"
_NOUNS = "invoices refunds prices stocks labels parcels routes budgets quotas ledgers taxes"
_FAULTS = (
    "disk quota exceeded on volume vol-{n}",
    "queue mail-{n} rejected a message of 12 MB",
    "certificate of host web-{n} has expired",
    "replica db-{n} is behind its primary",
)
_CHORES = (
    "request {n} served from the cache",
    "worker {n} took a job of the night queue",
    "session {n} renewed its lease",
    "batch {n} flushed to the archive",
)
_TOPICS = "invoices backups holidays discounts parking returns passwords samples"
_SENTENCES = (
    "{who} showed how the {what} are handled today and where it takes too long.",
    "Nobody knew why the {what} of last quarter were late; {who} will look into it.",
    "{who} asked for a list of everything that touches the {what}, with dates.",
    "The {what} came up again, and {who} proposed to wait for the figures.",
)


@dataclass
class _Shelf:
    """What the generators draw from, each value handed out once where it must be unique."""

    rng: random.Random
    functions: list[str]
    faults: list[int]
    topics: list[str] = field(default_factory=lambda: [*_TOPICS.split()])
    next_order: int = 10_000
    next_fault: int = 1_000
    next_ticket: int = 100

    def customer(self) -> str:
        return self.rng.choice(_CUSTOMERS.split())


def make_files(folder: Path, count: int, seed: int) -> list[str]:
    """Write `count` files, 8 to 32, into the new `folder` and return their names, sorted."""
    rng = random.Random(seed)
    functions = [f"{verb}_{noun}" for verb in _VERBS.split() for noun in _NOUNS.split()]
    rng.shuffle(functions)
    shelf = _Shelf(rng, functions, rng.sample(range(3, 16), 8))
    folder.mkdir(parents=True)
    kinds: list[tuple[str, Callable[[_Shelf], list[str]]]] = [
        ("orders-{:02}.csv", _orders),
        ("service-{:02}.log", _log),
        ("module_{:02}.py", _module),
        ("notes-{:02}.md", _notes),
    ]
    for index in range(count - 1):
        name, write = kinds[index % len(kinds)]
        path = folder / name.format(index // len(kinds) + 1)
        path.write_text("\n".join(write(shelf)) + "\n", "utf-8")
    shutil.copyfile(folder / "notes-01.md", folder / COPY)
    return sorted(path.name for path in folder.iterdir())


def _orders(shelf: _Shelf) -> list[str]:
    rng, lines = shelf.rng, ["order,date,customer,item,quantity,cents,status"]
    for _ in range(rng.randint(90, 220)):
        shelf.next_order += 1
        day = _FIRST_DAY + timedelta(days=rng.randint(0, 90))
        sold = f"{rng.choice(_ITEMS.split())},{rng.randint(1, 9)},{rng.randint(500, 90_000)}"
        status = rng.choices(["paid", "open", "refunded"], [8, 2, 1])[0]
        lines.append(f"{shelf.next_order},{day:%Y-%m-%d},{shelf.customer()},{sold},{status}")
    return lines


def _log(shelf: _Shelf) -> list[str]:
    rng, lines, at = shelf.rng, list[str](), _FIRST_DAY
    faults = shelf.faults.pop()
    total = rng.randint(120, 260)
    places = set(rng.sample(range(total), faults))
    for index in range(total):
        at += timedelta(seconds=rng.randint(1, 400))
        if index in places:
            shelf.next_fault += rng.randint(1, 9)
            what = f"ERROR E{shelf.next_fault} " + rng.choice(_FAULTS)
        else:
            what = rng.choice(["INFO ", "INFO ", "DEBUG "]) + rng.choice(_CHORES)
        lines.append(f"{at:%Y-%m-%dT%H:%M:%SZ} " + what.format(n=rng.randint(2, 99)))
    return lines


def _module(shelf: _Shelf) -> list[str]:
    rng = shelf.rng
    lines = ['"""Part of the back office."""', "", "from __future__ import annotations", ""]
    for index in range(rng.randint(8, 14)):
        name = shelf.functions.pop()
        noun = name.partition("_")[2]
        lines += ["", f"def {name}(rows: list[int], limit: int = {rng.randint(10, 999)}) -> int:"]
        lines += [f'    """Return what is left of the {noun} above the limit."""', "    left = 0"]
        if index % 4 == 0:
            shelf.next_ticket += rng.randint(1, 9)
            task = f"say which {noun} were dropped, {shelf.customer()} asked for it"
            lines.append(f"    # TODO(BO-{shelf.next_ticket}): {task}")
        lines += ["    for row in rows:", f"        if row % {rng.randint(2, 9)} and row > limit:"]
        lines += [f"            left += row - {rng.randint(1, 99)}", "    return left", ""]
    return lines


def _notes(shelf: _Shelf) -> list[str]:
    rng, topic = shelf.rng, shelf.topics.pop()
    months, day = rng.randint(3, 36), _FIRST_DAY + timedelta(days=rng.randint(0, 90))
    lines = [f"# Meeting about the {topic}", ""]
    for index in range(rng.randint(14, 26)):
        said = rng.choices(_SENTENCES, k=rng.randint(3, 6))
        lines += [*(sentence.format(who=shelf.customer(), what=topic) for sentence in said), ""]
        if index == 5:
            who = shelf.customer()
            lines += [f"Decision: the {topic} are kept {months} months ({who}, {day:%d %B})", ""]
    return lines
