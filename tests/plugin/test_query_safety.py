"""What a query cannot do: write, read what is private, run on, or grow out of bounds."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

import rowtrail
from rowtrail import Journal
from rowtrail.engine.reading import open_reader
from rowtrail.errors import QueryError
from rowtrail.history import query
from rowtrail.schema import PUBLIC_VIEWS

TIMEOUT_S = 0.2
MAX_CPU_S = 2.0
"""What a query may take in spite of its time limit: a function of SQL cannot be interrupted."""
FOREVER = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c)"
LONG = "printf('%.*c', 4000000, 'a')"
MAX_GROWTH_KIB = 400 * 1024

HASH = """
import hashlib, pathlib, sys
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    if not path.name.endswith("-shm") and path.stat().st_size:
        print(path.name, hashlib.sha256(path.read_bytes()).hexdigest())
"""


@rowtrail.step(kind="tool", name="add", effect="write")
def add(a: int, b: int) -> dict[str, int]:
    return {"sum": a + b}


@pytest.fixture
def filled(journal: Journal) -> Journal:
    for number in range(3):
        with journal.run(f"run-{number}", thread_id="thread"):
            for other in range(4):
                add(number, other)
    return journal


def refused(journal: Journal, query: str) -> QueryError:
    with pytest.raises(QueryError) as caught:
        journal.sql(query, timeout=TIMEOUT_S)
    assert caught.value.query == query
    return caught.value


def content_of(folder: Path) -> str:
    """Return the hashes of files that are not empty; closing one here would drop SQLite's locks."""
    command = [sys.executable, "-c", HASH, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


WRITES = [
    "ATTACH '{folder}/other.db' AS other",
    "DETACH DATABASE main",
    "PRAGMA query_only = 0",
    "PRAGMA journal_mode = DELETE",
    "INSERT INTO steps VALUES (1)",
    "INSERT INTO step (scope) VALUES (1)",
    "UPDATE run SET status = 'done'",
    "DELETE FROM replay",
    "REPLACE INTO meta VALUES ('a', 'b')",
    "WITH x AS (SELECT 1) DELETE FROM main.step",
    "WITH x AS (SELECT 1) INSERT INTO meta SELECT 1, 2",
    "CREATE TABLE x (y)",
    "CREATE TEMP TABLE x AS SELECT 1",
    "CREATE TEMP VIEW x AS SELECT 1",
    "CREATE TEMP TRIGGER x INSERT ON steps BEGIN SELECT 1; END",
    "CREATE VIRTUAL TABLE x USING fts5(y)",
    "DROP VIEW steps",
    "ALTER TABLE step RENAME TO steppe",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT x",
    "ANALYZE",
    "REINDEX",
    "VACUUM",
    "VACUUM INTO '{folder}/copy.db'",
    "EXPLAIN SELECT 1",
    "EXPLAIN QUERY PLAN SELECT * FROM steps",
]
FUNCTIONS = [
    "SELECT load_extension('evil')",
    "SELECT fts3_tokenizer('simple')",
    "SELECT readfile('/etc/passwd')",
    "SELECT writefile('{folder}/x', 'y')",
    "SELECT edit('x')",
    "SELECT sqlite_compileoption_get(1)",
    "SELECT json_patch('{{}}', '{{}}')",
    "SELECT json_set('{{}}', '$' || replace(hex(zeroblob(1000000)), '00', '.a'), 1)",
    "SELECT name FROM steps ORDER BY load_extension('evil')",
]
TRICKS = [
    "SELECT 1; DELETE FROM step",
    "SELECT 1; SELECT 2",
    "SELECT 1 /* ; */; --\n DROP TABLE step",
    "/* SELECT */ DELETE FROM step",
    "-- SELECT\nDELETE FROM step",
    "",
    " ; ",
    "-- nothing",
    "SELECT 1 \0; DELETE FROM step",
    "SELEC 1",
    "SELECT * FROM (",
    "SELECT $a(')\n, * FROM step --'",
]
PRIVATE = [
    "SELECT * FROM {table}",
    "SELECT count(*) FROM {table}",
    "SELECT 1 FROM main.{table}",
    'SELECT EXISTS (SELECT 1 FROM "{table}")',
    "SELECT (SELECT count(*) FROM [{table}])",
    "SELECT * FROM runs WHERE run_id IN {table}",
    "SELECT * FROM runs WHERE run_id IN (SELECT rowid FROM {table})",
    "SELECT * FROM (SELECT * FROM {table}) AS steps",
    "WITH steps AS (SELECT * FROM {table}) SELECT * FROM steps",
    "WITH steps AS (SELECT count(*) FROM {table}) SELECT * FROM steps",
    "WITH steps AS MATERIALIZED (SELECT * FROM {table}) SELECT count(*) FROM steps",
    "WITH live_attempt AS (SELECT * FROM {table}) SELECT * FROM live_attempt",
    "WITH runs AS (SELECT * FROM {table}), steps AS (SELECT * FROM runs) SELECT * FROM steps",
    "SELECT 1 FROM steps WHERE EXISTS (WITH steps AS (SELECT * FROM {table}) SELECT * FROM steps)",
    "SELECT * FROM runs LEFT JOIN {table} ON 1",
    "SELECT 1 UNION ALL SELECT count(*) FROM {table}",
]
INSIDES = [
    "sqlite_master",
    "sqlite_schema",
    "temp.sqlite_schema",
    "sqlite_temp_master",
    "sqlite_sequence",
    "pragma_table_list",
    "pragma_database_list",
    "dbstat",
    "live_attempt",
    "list_item",
]


def test_hostile_queries_are_refused_and_change_nothing(filled: Journal, db: Path) -> None:
    before = content_of(db.parent)

    for attempt in WRITES + FUNCTIONS + TRICKS:
        refused(filled, attempt.format(folder=db.parent))

    assert content_of(db.parent) == before
    with filled.run("still writes"):
        assert add(40, 2) == {"sum": 42}


def test_the_writer_of_a_journal_in_memory_is_not_restricted() -> None:
    with Journal(":memory:") as journal:
        for attempt in WRITES:
            refused(journal, attempt.format(folder="/tmp"))
        refused(journal, f"{FOREVER} SELECT count(*) FROM c")
        with journal.run("still writes"):
            assert add(40, 2) == {"sum": 42}
        assert journal.sql("SELECT count(*) FROM steps").rows == [(1,)]


def test_no_private_table_can_be_read_by_any_trick(filled: Journal, db: Path) -> None:
    with sqlite3.connect(db) as outside:
        tables = [name for (name,) in outside.execute("SELECT name FROM sqlite_schema")]
    outside.close()
    private = [name for name in tables if name not in PUBLIC_VIEWS and "autoindex" not in name]
    assert {"step", "item", "meta", "live_attempt"} <= set(private)

    for table in [*private, *INSIDES]:
        for trick in PRIVATE:
            refused(filled, trick.format(table=table))


BOMBS = [
    f"{FOREVER} SELECT count(*) FROM c",
    f"{FOREVER} SELECT group_concat(n) FROM c",
    f"{FOREVER} SELECT json_group_array(n) FROM c",
    f"{FOREVER} SELECT n FROM c ORDER BY n DESC LIMIT 1",
    f"{FOREVER} SELECT count(DISTINCT n) FROM c",
    f"{FOREVER} SELECT sum(n) OVER (ORDER BY -n) FROM c",
    f"{FOREVER} SELECT {LONG} FROM c ORDER BY random()",
    f"{FOREVER} SELECT * FROM c WHERE n < 0",
    "SELECT count(*) FROM steps a, steps b, steps c, steps d, steps e, steps f, steps g",
    f"SELECT sum(a.seq || {LONG} LIKE printf('%%%.*c', 99, 'a') || 'b') FROM steps a, steps b",
    "SELECT printf('%.*c', 2000000000, 'x')",
    "SELECT length(zeroblob(1000000000))",
    "SELECT length(randomblob(1000000000))",
    "SELECT replace(hex(zeroblob(1000000)), '0', 'xxxxxxxx')",
    f"SELECT replace({LONG}, 'a', {LONG})",
    f"SELECT {LONG} || {LONG}",
    f"SELECT trim({LONG}, {LONG})",
    f"SELECT {LONG} LIKE '%' || printf('%.*c', 40000, 'a') || 'b'",
    "SELECT " + "(" * 5000 + "1" + ")" * 5000,
    "SELECT " + "+".join(["1"] * 3000),
    "SELECT " + ", ".join(["1"] * 500),
    "SELECT 1" + " UNION ALL SELECT 1" * 300,
    "SELECT 1 -- " + "x" * 30_000,
]


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb[:70])
def test_bomb_ends_within_the_time_limit(filled: Journal, bomb: str) -> None:
    started = time.process_time()

    refused(filled, bomb)

    assert time.process_time() - started < MAX_CPU_S


def doubling(name: str, last: str, count: int) -> str:
    """Return a query in which each CTE uses the one before it as `last` says."""
    parts = [f"{name}0 AS (SELECT output AS x FROM steps)"]
    for number in range(1, count + 1):
        source = name.upper() if number % 2 else f'"{name}'
        source += f"{number - 1}" if number % 2 else f'{number - 1}"'
        parts.append(f"{name}{number} AS NOT MATERIALIZED ({last.format(source)})")
    return f"WITH {', '.join(parts)} SELECT x FROM {name}{count} LIMIT 1"


@pytest.mark.parametrize("name", ["c", "left", "match"])
@pytest.mark.parametrize(
    "last",
    [
        "SELECT a.x FROM {0} AS a, {0} AS b",
        "SELECT x || x AS x FROM {0}",
        "SELECT x || $v(') || x AS x FROM {0} WHERE ''=' ",
        "SELECT coalesce(x, x, x) AS x FROM (SELECT * FROM {0})",
        "SELECT x FROM {0} UNION SELECT x FROM {0}",
        "SELECT x '(', x '.', x '(' FROM {0} AS a(x), {0} WHERE ')' = '('",
        "SELECT max(x, x) || 'x' AS 'x' FROM (SELECT [x] FROM {0} /* ' */)",
    ],
)
def test_query_that_would_explode_is_refused_at_once(filled: Journal, name: str, last: str) -> None:
    started = time.process_time()

    refused(filled, doubling(name, last, 24))

    assert time.process_time() - started < MAX_CPU_S


ROW = "printf('%.*c', 20000, 'a') || n"


def many(count: int, part: str, separator: str = ", ") -> str:
    return separator.join(part.format(number) for number in range(count))


LARGE = "printf('%.*c', 4000000 - {0}, 'a')"
GREATEST = "length(max(" + ", ".join(f"x || {number}" for number in range(31)) + ", {}))"
KEPT = many(40, "m{0} AS MATERIALIZED (SELECT " + LARGE + " AS x)")
HOARDERS = [
    f"{FOREVER} SELECT {', '.join([LONG] * 60)} FROM c",
    f"{FOREVER} SELECT {many(120, 'group_concat(n + {})')} FROM c",
    f"{FOREVER} SELECT {many(100, LARGE + ' || n')} FROM c",
    f"SELECT {many(120, LARGE)}",
    f"SELECT {many(50, GREATEST)} FROM (SELECT {LONG} AS x)",
    f"WITH {KEPT} SELECT {many(40, 'length(m{0}.x || 1)')} FROM {many(40, 'm{}')}",
    f"SELECT json_array({many(30, 'json_array(' + LARGE + ', {0})')})",
    f"SELECT {many(60, LARGE, ' || ')}",
    f"{FOREVER} SELECT {many(50, ROW)} FROM c",
]


ATTACK = """
import json, resource, sys, time
from rowtrail.errors import QueryError
from rowtrail.history import Only, query
from rowtrail.engine.reading import open_reader
hostile = json.load(sys.stdin)
with open_reader(sys.argv[1]) as reader:
    query(reader, "SELECT 1")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    latest = refused = 0
    for number, sql in enumerate(hostile):
        started = time.process_time()
        try:
            only = Only(thread_id="thread") if number % 2 else None
            query(reader, sql, timeout=0.1, limit=1_000_000, only=only)
        except QueryError:
            refused += 1
        latest = max(latest, time.process_time() - started)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps([refused, latest, grown]))
"""


def test_memory_and_time_stay_bounded_and_the_file_as_it_is(filled: Journal, db: Path) -> None:
    hostile = [text.format(folder=db.parent) for text in WRITES + FUNCTIONS + TRICKS]
    hostile += BOMBS + HOARDERS
    filled.close()  # a journal that is open writes down that its process lives
    before = content_of(db.parent)

    command = [sys.executable, "-c", ATTACK, str(db)]
    done = subprocess.run(
        command, input=json.dumps(hostile), capture_output=True, text=True, timeout=110, check=True
    )

    refused_, latest_s, grown_kib = json.loads(done.stdout)
    assert len(hostile) - refused_ < len(HOARDERS)  # some of these fit into what they may have
    assert latest_s < MAX_CPU_S
    assert grown_kib < MAX_GROWTH_KIB
    assert content_of(db.parent) == before


def test_answer_that_would_fill_the_memory_is_cut_and_says_so(filled: Journal) -> None:
    answer = filled.sql(f"{FOREVER} SELECT {many(50, ROW)} FROM c", limit=1_000_000)

    assert 10 < len(answer) < 100
    assert answer.note is not None and "name fewer columns" in answer.note


def test_views_of_a_hostile_file_are_not_used(filled: Journal, db: Path, tmp_path: Path) -> None:
    filled.close()
    with sqlite3.connect(db) as outside:
        outside.execute("DROP VIEW runs")
        outside.execute(
            f"CREATE VIEW runs AS {FOREVER} SELECT n AS run_id, load_extension(n) FROM c"
        )
    outside.close()

    with open_reader(str(db)) as reader:
        assert query(reader, "SELECT run_id FROM runs WHERE steps = 4", limit=1).rows == [
            ("run-0",)
        ]
