"""`rowtrail doctor`."""

from __future__ import annotations

import os
import pkgutil
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata, util
from typing import Literal

import click

from rowtrail import __version__, schema
from rowtrail.cli._budget import max_tokens_option
from rowtrail.cli._group import Failure
from rowtrail.cli._journal import db_option, json_option, open_journal
from rowtrail.cli._output import Style, print_text
from rowtrail.engine.files import (
    MEMORY_FILE_SYSTEMS,
    NETWORK_FILE_SYSTEMS,
    FileFacts,
    file_system_of,
    has_wal_reset_fault,
    inspect_file,
    sqlite_version,
)
from rowtrail.errors import RowtrailError
from rowtrail.history import Overview, Reader, check_readable, json_text, overview, visible
from rowtrail.usage import has_prices, tiktoken_encoding
from rowtrail.verify import recent_durability

Level = Literal["ok", "note", "warn", "fail"]

CHECKED_BELOW_BYTES = 256 * 2**20
"""Larger files are checked on demand only: 1.1 GiB took 36 s on a busy machine."""

RECENT_STEPS = 200
"""What a person looks at after a crash; `--steps` asks for more."""
SHOWN_TOOLS = 12
"""Half a screen."""
OWN_TOOLS = frozenset({"query_history", "search_history"})
"""Tools that rowtrail gives to agents: they only read."""

LARGE_WAL_BYTES = 256 * 2**20
"""Checkpoints keep it far smaller: so much means that a reader holds them back."""
LITTLE_ROOM_BYTES = 100 * 2**20
"""Enough to go on for a while, and to notice."""
OTHERS_MAY_READ = 0o077
"""Mode bits of the group and of all others."""

_STYLES: dict[Level, Style] = {
    "ok": {"fg": "green"},
    "note": {"fg": "cyan"},
    "warn": {"fg": "yellow", "bold": True},
    "fail": {"fg": "red", "bold": True},
}


@dataclass(frozen=True)
class Finding:
    """What one check found, and what can be done about it."""

    check: str
    level: Level
    says: str
    remedy: str | None = None


@click.command("doctor", short_help="Check the journal, and say what may be lost right now.")
@click.option("--full", is_flag=True, help="Read every row and every index of the file too.")
@click.option(
    "--steps",
    type=click.IntRange(0, 10_000),
    default=0,
    metavar="N",
    help="Say of each of the newest N steps whether it is on disk, and what could still take it.",
)
@db_option
@json_option
@max_tokens_option
def command(full: bool, steps: int, db: str, as_json: bool) -> None:
    """Check the journal and what it stands on, and say what may be lost right now.

    The file, its WAL and its schema; tools that count as read; SQLite and its known faults; the
    file system; adapters, tiktoken and prices. Nothing is changed. The exit code is 1 where a check
    failed. With --json, an array of `check`, `level` (ok, note, warn, fail), `says`, `remedy`.

    \b
    Example:
      rowtrail doctor
      rowtrail doctor --steps 20
      rowtrail doctor --full --json
    """  # noqa: D301  (click reads the backspace)
    missing: Failure | None = None
    findings = [*_machine()]
    try:
        open_journal(db).close()
    except Failure as error:
        missing = error
        findings.insert(0, Finding("file", "fail", error.message))
    else:
        findings = [*_journal(db, full=full, steps=steps), *findings]
    if as_json:
        click.echo(json_text([asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings)
    failed = [finding.check for finding in findings if finding.level == "fail"]
    if missing is not None:
        raise missing
    if failed:
        raise Failure(f"what failed: {', '.join(failed)}")


def _print(findings: list[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        mark = click.style(finding.level.ljust(4), **_STYLES[finding.level])
        print_text(
            visible(finding.says), title=f"{mark}  {finding.check.ljust(width)}", is_bold=False
        )
        if finding.remedy is not None:
            print_text(visible(finding.remedy), title=" " * (width + 6), is_bold=False)


def _journal(db: str, *, full: bool, steps: int) -> Iterator[Finding]:
    yield _access(db)
    size = os.stat(db).st_size
    check = "full" if full else "quick" if size < CHECKED_BELOW_BYTES else None
    try:
        with open_journal(db) as reader:
            check_readable(reader)
            facts = inspect_file(db, check=check)
            yield from _content(facts)
            yield _place(db)
            found = overview(reader)
            yield from _state(found)
            yield from _effects(found)
            yield from _durability(reader, steps)
    except RowtrailError as error:
        yield Finding("content", "fail", str(error))


def _access(db: str) -> Finding:
    found = os.stat(db)
    says = f"{os.path.abspath(db)}, {_size(found.st_size)}, mode {found.st_mode & 0o777:04o}"
    if sys.platform != "win32" and found.st_mode & OTHERS_MAY_READ:
        remedy = f"it holds conversations, and others may read it: chmod 600 {db}"
        return Finding("file", "warn", says, remedy)
    if not os.access(db, os.W_OK) or not os.access(os.path.dirname(os.path.abspath(db)), os.W_OK):
        return Finding("file", "warn", f"{says}, not writable here", "agents need to write it")
    return Finding("file", "ok", says)


def _content(facts: FileFacts) -> Iterator[Finding]:
    says = f"schema version {facts.schema_version}, {_size(facts.free_bytes)} free inside"
    yield Finding("schema", "ok", f"{says} (this rowtrail writes version {schema.VERSION})")
    if facts.faults is None:
        says = f"not checked: {_size(facts.file_bytes)} take a while"
        yield Finding("content", "note", says, "rowtrail doctor --full")
    elif facts.faults:
        remedy = "rowtrail verify says what is wrong, rowtrail repair builds a sound file of it"
        yield Finding("content", "fail", f"damaged: {'; '.join(facts.faults)}", remedy)
    else:
        yield Finding("content", "ok", "SQLite finds no fault")
    wal = f"mode {facts.journal_mode}, {_size(facts.wal_bytes)} waiting"
    if facts.journal_mode != "wal":
        remedy = "a backup is so; the next rowtrail.Journal sets it to WAL"
        yield Finding("wal", "note", wal, remedy)
    elif facts.wal_bytes > LARGE_WAL_BYTES:
        remedy = (
            "a program keeps an old read transaction open, so the WAL cannot be emptied: end it"
        )
        yield Finding("wal", "warn", wal, remedy)
    else:
        yield Finding("wal", "ok", wal)


def _place(db: str) -> Finding:
    kind = file_system_of(db)
    room = shutil.disk_usage(os.path.dirname(os.path.abspath(db))).free
    says = f"{kind or 'of unknown type'}, {_size(room)} left"
    if kind in NETWORK_FILE_SYSTEMS:
        remedy = "locks of SQLite do not work between machines: put the journal on a local disk"
        return Finding("file system", "fail", says, remedy)
    if kind in MEMORY_FILE_SYSTEMS:
        return Finding("file system", "warn", says, "it is memory: a reboot loses the journal")
    if room < LITTLE_ROOM_BYTES:
        return Finding("file system", "warn", says, "free some space: rowtrail prune, or elsewhere")
    return Finding("file system", "ok", says)


def _state(found: Overview) -> Iterator[Finding]:
    """Say what may be lost if everything stopped now."""
    runs = found.runs
    in_flight = ", ".join(f"{n:,} {kind}" for kind, n in found.in_flight.items())
    said = ", ".join(f"{n:,} {status}" for status, n in sorted(runs.items())) or "none"
    yield Finding("runs", "ok", said)
    for status in ("crashed", "cancelled"):
        if runs.get(status):
            says = f"{runs[status]:,} {status}: their recorded steps are replayed when they resume"
            remedy = f"rowtrail runs --status {status}; rowtrail resume RUN"
            yield Finding(status, "note", says, remedy)
    if found.doubts:
        says = f"{found.doubts:,} steps may or may not have happened"
        yield Finding("in doubt", "warn", says, "rowtrail in-doubt")
    if found.changed:
        says = (
            f"{found.changed:,} of the newest calls were made again, as their request had changed: "
            "by what a program makes up anew each time, or a state that was changed in place "
            "before an asynchronous checkpoint saved it"
        )
        yield Finding(
            "changed", "note", says, 'rowtrail why STEP; canonical=[...]; durability="sync"'
        )
    says = (
        f"only the results of the calls in flight ({in_flight})"
        if in_flight
        else "nothing: no call is in flight"
    )
    yield Finding("may be lost", "note" if in_flight else "ok", says)


def _effects(found: Overview) -> Iterator[Finding]:
    """Name the tools that count as read: whether they said so is not recorded."""
    names = [name for name in found.reading_tools if name not in OWN_TOOLS]
    if names:
        shown = ", ".join(names[:SHOWN_TOOLS])
        more = f" and {len(names) - SHOWN_TOOLS:,} more" if len(names) > SHOWN_TOOLS else ""
        says = f"count as read, made again after a crash: {shown}{more}"
        declared = json_text({names[0]: "write"})
        remedy = (
            f"declare those that change anything: effects={declared}, which RowtrailSaver, "
            "RowtrailRunner, RowtrailDurability and RowtrailPlugin take, or "
            '@rowtrail.step(effect="write"); the log names each that declares nothing at its first '
            "call"
        )
        yield Finding("effects", "note", says, remedy)


def _durability(reader: Reader, steps: int) -> Iterator[Finding]:
    """Say of the newest steps whether they are on disk, one by one where that is asked for."""
    report = recent_durability(reader, limit=steps or RECENT_STEPS)
    risk = sum(step.status != "running" for step in report.at_risk)  # what is lost is made again
    if risk:
        yield Finding(
            "on disk",
            "warn",
            f"{risk:,} of the newest {len(report.steps):,} steps may not be yet: a power cut takes "
            f"them, a kill does not ({report.normal_processes} processes with durability='normal')",
            "rowtrail doctor --steps 100 tells them; durability='full' syncs every commit",
        )
    else:
        says = f"the newest {len(report.steps):,} steps: only the loss of the disk takes them"
        yield Finding("on disk", "ok", says)
    for step in report.steps if steps else ():
        says = f"{step.kind} {step.name} of {step.run_id}, {step.status}: {step.says}"
        is_well = step.on_disk or step.status == "running"
        yield Finding(f"step {step.step_id}", "ok" if is_well else "warn", says)


def _machine() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("rowtrail", "ok", f"{__version__} on Python {python}, {sys.platform}")
    yield _sqlite()
    yield _adapters()
    yield _tiktoken()
    if util.find_spec("apsw") is None:
        yield Finding("search", "note", "apsw is not installed", 'pip install "rowtrail[search]"')
    else:
        yield Finding("search", "ok", f"apsw {_version('apsw')}")
    if has_prices():
        yield Finding("prices", "ok", f"genai-prices {_version('genai-prices')}")
    else:
        says = "not installed: the cost of new calls stays unknown"
        yield Finding("prices", "note", says, 'pip install "rowtrail[cost]"')


def _tiktoken() -> Finding:
    if tiktoken_encoding("gpt-4o") is not None:
        return Finding("tiktoken", "ok", "its vocabulary is here: tokens are counted exactly")
    estimates = "tokens that a provider does not tell are estimates"
    if util.find_spec("tiktoken") is None:
        return Finding(
            "tiktoken", "note", f"not installed: {estimates}", 'pip install "rowtrail[tokens]"'
        )
    says = f"no vocabulary on this machine: {estimates}"
    remedy = "put a cache of tiktoken here and name it in $TIKTOKEN_CACHE_DIR"
    return Finding("tiktoken", "note", says, remedy)


def _sqlite() -> Finding:
    version = sqlite_version()
    if has_wal_reset_fault(version):
        says = f"{version} has the WAL-reset fault: rarely, several processes lose commits"
        remedy = "use a Python with SQLite 3.51.3 or newer (or 3.44.6, 3.50.7)"
        return Finding("sqlite", "warn", says, remedy)
    return Finding("sqlite", "ok", f"{version}, without known faults that concern a journal")


def _adapters() -> Finding:
    names = sorted(m.name for m in pkgutil.iter_modules() if m.name.startswith("rowtrail_"))
    frameworks = [
        f"{name} {_version(name)}"
        for name in ("langgraph", "langchain-core", "langchain")
        if util.find_spec(name.replace("-", "_")) is not None
    ]
    if not names or not frameworks:
        says = "no framework is installed: only @rowtrail.step records calls"
        return Finding("adapters", "note", says, 'pip install "rowtrail[langgraph]"')
    return Finding("adapters", "ok", f"{', '.join(names)} on {', '.join(frameworks)}")


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "of unknown version"


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
