"""A journal of a million steps: opening it, and the questions that people ask of it.

The real code records a template of ten runs; SQL then clones its rows, with every
reference moved along, so that the large file has the shape that rowtrail writes.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median

import rowtrail
from benchmarks._million_template import CALLS_A_RUN, Template, record_template
from benchmarks._progress import tell
from benchmarks._row import ROWTRAIL, Bar, Row
from benchmarks._scratch import remove_database
from benchmarks._size import Size

WORKLOAD = "million"
PLAIN = "one plain table"
LISTED = 100
BAR_MS = 150.0

REFERENCES: dict[str, dict[str, str]] = {
    "thread": {"id": "thread"},
    "run": {"id": "run", "thread": "thread"},
    "attempt": {"id": "attempt", "run": "run"},
    "scope": {"id": "scope", "run": "run"},
    "item": {"id": "item"},
    "log": {"id": "log"},
    "log_item": {"log": "log", "item": "item"},
    "list": {"id": "list", "log": "log"},
    "step": {
        "id": "step",
        "scope": "scope",
        "attempt": "attempt",
        "parent": "step",
        "input": "item",
        "prompt": "list",
        "output": "item",
    },
}
"""Tables that are cloned, and which of their columns hold the id of a row of which table."""

UNIQUE_TEXTS = {"thread": "thread_id", "run": "run_id", "log": "owner"}
TIMES = ("started_at", "ended_at", "created_at")
YEAR_MS = 365 * 24 * 3600 * 1000

PLAIN_TABLE = """
CREATE TABLE plain.call AS
SELECT r.run_id, s.seq, s.kind, s.name, s.model, s.started_at, s.duration_us, s.input_tokens,
       s.output_tokens, coalesce(s.arguments, i.text) AS input, o.text AS output
FROM step s JOIN scope sc ON sc.id = s.scope JOIN run r ON r.id = sc.run
LEFT JOIN item i ON i.id = s.input LEFT JOIN item o ON o.id = s.output
"""


def measure(size: Size, folder: Path, _: Path | None) -> list[Row]:
    """Return the rows of the large journal."""
    path, plain = folder / "million.db", folder / "plain.db"
    template = record_template(path)
    clones = max(1, size.journal_steps // template.steps - 1)
    tell(f"million: building a journal of {(clones + 1) * template.steps:,} steps")
    clone(path, template, clones)
    make_plain_table(path, plain)
    runs = [f"{name}-{number}" for number in range(1, clones + 1) for name in template.run_ids]
    check_clone(path, template, runs[-1])
    tell(f"million: asking a file of {path.stat().st_size / 1e6:,.0f} MB")
    rows = list(_rows(path, plain, runs, size))
    for file in (path, plain):
        remove_database(file)
    return rows


def clone(path: Path, template: Template, clones: int) -> None:
    """Add `clones` copies of every row of the template, spread over the year after it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -400000"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        strides = {
            table: connection.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()[0]
            for table in {t for columns in REFERENCES.values() for t in columns.values()}
        }
        for table in REFERENCES:
            _clone_table(connection, table, strides, clones)
        connection.execute("DELETE FROM spend_day")
        connection.execute(
            "INSERT INTO spend_day (day, model, calls, input_tokens, output_tokens)"
            " SELECT strftime('%Y-%m-%d', started_at / 1000, 'unixepoch'), model, count(*),"
            " sum(input_tokens), sum(output_tokens) FROM step WHERE kind = 'llm' GROUP BY 1, 2"
        )
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")


def _clone_table(
    connection: sqlite3.Connection, table: str, strides: dict[str, int], clones: int
) -> None:
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    values = ", ".join(_cloned(table, name, strides, clones) for name in names)
    connection.execute(f"CREATE TEMP TABLE template AS SELECT * FROM {table}")
    connection.execute(
        f"WITH RECURSIVE clone (k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM clone WHERE k < ?)"
        f" INSERT INTO {table} ({', '.join(names)}) SELECT {values}"
        f" FROM clone CROSS JOIN temp.template",  # in this order: ids grow, pages fill
        (clones,),
    )
    connection.execute("DROP TABLE temp.template")


def _cloned(table: str, column: str, strides: dict[str, int], clones: int) -> str:
    """Return the SQL of one column of the k-th clone."""
    if column in REFERENCES[table]:
        return f"{column} + k * {strides[REFERENCES[table][column]]}"
    if column == UNIQUE_TEXTS.get(table):
        return f"{column} || '-' || k"
    if column == "digest":
        return "CASE WHEN digest IS NOT NULL THEN randomblob(16) END"
    if column in TIMES:
        return f"{column} + k * {YEAR_MS // clones}"
    return column


def make_plain_table(path: Path, plain: Path) -> None:
    """Write the same steps into one table of another file, as a log of calls would keep them."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ATTACH ? AS plain", (str(plain),))
        connection.execute("PRAGMA plain.synchronous = OFF")
        connection.execute(PLAIN_TABLE)
        connection.execute("CREATE INDEX plain.call_run ON call (run_id)")
        connection.commit()


def check_clone(path: Path, template: Template, run_id: str) -> None:
    """Refuse a file whose clones do not read like the template."""
    with rowtrail.Journal(path) as journal:
        cloned = journal.steps(run_id)
        original = journal.steps(template.run_ids[-1])
    shown = ("seq", "kind", "name", "status", "input", "output", "fingerprint")
    if [[s[c] for c in shown] for s in cloned] != [[s[c] for c in shown] for s in original]:
        raise RuntimeError(f"run {run_id!r} is no copy of {template.run_ids[-1]!r}: REFERENCES?")
    if len(cloned) != CALLS_A_RUN:
        raise RuntimeError(f"run {run_id!r} has {len(cloned)} steps, not {CALLS_A_RUN}")


def _rows(path: Path, plain: Path, runs: list[str], size: Size) -> list[Row]:
    chance = random.Random(3)
    with rowtrail.Journal(path) as journal, closing(sqlite3.connect(plain)) as table:
        pairs: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
            (f"`rowtrail runs`, the newest {LISTED}",
             lambda: journal.runs(limit=LISTED), lambda: _plain_runs(table)),
            (f"the {CALLS_A_RUN} steps of one run",
             lambda: journal.steps(chance.choice(runs)),
             lambda: _plain_steps(table, chance.choice(runs))),
            ("spend by day", partial(_spend, path), lambda: _plain_spend(table)),
        ]  # fmt: skip
        rows = [_row(measure, size, mine, theirs) for measure, mine, theirs in pairs]
    opening = _row("opening", size, partial(_open, path), partial(_open_plain, plain))
    return [opening, *rows]


def _row(measure: str, size: Size, mine: Callable[[], object], theirs: Callable[[], object]) -> Row:
    tell(f"million: {measure}")
    return Row(
        WORKLOAD,
        f"{size.journal_steps:,} steps: {measure}",
        "ms",
        {ROWTRAIL: _p50s(mine, size), PLAIN: _p50s(theirs, size)},
        (Bar("at most", BAR_MS),),
    )


def _p50s(ask: Callable[[], object], size: Size) -> list[float]:
    """Return the p50 of each round, in milliseconds."""
    return [median(_timed_ms(ask) for _ in range(size.queries)) for _ in range(min(3, size.rounds))]


def _timed_ms(ask: Callable[[], object]) -> float:
    started = time.perf_counter()
    answer = ask()
    took = (time.perf_counter() - started) * 1e3
    if isinstance(answer, rowtrail.Journal):
        answer.close()
    elif not answer:
        raise RuntimeError("a question to the large journal had no answer")
    return took


def _open(path: Path) -> object:
    return rowtrail.Journal(path)


def _open_plain(path: Path) -> object:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT name FROM sqlite_master").fetchall()


def _spend(path: Path) -> object:
    """Ask the public view, as any SQLite tool can."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            "SELECT day, sum(calls), sum(input_tokens), sum(output_tokens), sum(cost_usd)"
            " FROM spend GROUP BY day ORDER BY day"
        ).fetchall()


def _plain_runs(table: sqlite3.Connection) -> object:
    return table.execute(
        "SELECT run_id, min(started_at), count(*), sum(input_tokens), sum(output_tokens)"
        " FROM call GROUP BY run_id ORDER BY 2 DESC LIMIT ?",
        (LISTED,),
    ).fetchall()


def _plain_steps(table: sqlite3.Connection, run_id: str) -> object:
    return table.execute("SELECT * FROM call WHERE run_id = ? ORDER BY seq", (run_id,)).fetchall()


def _plain_spend(table: sqlite3.Connection) -> object:
    return table.execute(
        "SELECT strftime('%Y-%m-%d', started_at / 1000, 'unixepoch') AS day, count(*),"
        " sum(input_tokens), sum(output_tokens) FROM call WHERE kind = 'llm' GROUP BY day"
    ).fetchall()
