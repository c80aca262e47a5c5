"""An import that goes wrong, or is killed, changes nothing; the command line says what happened."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from rowtrail import Journal
from rowtrail.cli import main
from rowtrail.errors import ImportMismatchError, ImportSourceError, RowtrailError, StorageError
from rowtrail_langgraph import ImportProgress, RowtrailSaver, import_sqlite_saver
from rowtrail_langgraph.importing._into_file import import_file
from rowtrail_langgraph.importing._sameness import Comparison
from rowtrail_langgraph.importing._target import ImportTarget
from tests._sample import IS_FULL
from tests.cases.sqlite_files import change, chat, said, write_chat
from tests.conftest import cli_runner

ROOT = Path(__file__).parents[2]
same = Comparison().is_same


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a file of LangGraph's with the threads `a` and `b`."""
    path = tmp_path / "checkpoints.sqlite"
    write_chat(path, "a", "b")
    return path


def listed(path: Path) -> list[Any]:
    with RowtrailSaver(path) as saver:
        return list(saver.list(None))


def originals(path: Path) -> list[Any]:
    with SqliteSaver.from_conn_string(str(path)) as saver:
        return list(saver.list(None))


def left_in(folder: Path) -> set[str]:
    """Return the files of a folder, but for what SQLite keeps beside a source."""
    return {p.name for p in folder.iterdir() if not p.name.startswith("checkpoints.sqlite")}


def rewrite(
    path: Path, column: str, make: Callable[[Any], Any], table: str = "checkpoints"
) -> None:
    """Change the value in the middle row of a table."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(f"SELECT rowid, {column} FROM {table} ORDER BY rowid").fetchall()
        row, value = rows[len(rows) // 2]
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (make(value), row))
        connection.commit()


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _scramble_a_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 64] = b"\xa5" * 64
    path.write_bytes(content)


def _become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _become_a_journal(path: Path) -> None:
    path.unlink()
    Journal(path).close()


def _become_views(path: Path) -> None:
    change(
        path,
        "ALTER TABLE checkpoints RENAME TO c",
        "CREATE VIEW checkpoints AS SELECT * FROM c",
    )


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "no such file"),
    "a folder": (_become_a_folder, "no such file"),
    "empty": (lambda p: p.write_bytes(b""), "no table 'checkpoints'"),
    "text": (lambda p: p.write_text("hello " * 1000), "not a SQLite file"),
    "truncated": (_truncate, "damaged"),
    "a page": (_scramble_a_page, "damaged"),
    "a journal": (_become_a_journal, "rowtrail journal already"),
    "another program's": (
        lambda p: change(p, "DROP TABLE writes"),
        "no table 'writes'",
    ),
    "an old layout": (
        lambda p: change(p, "ALTER TABLE checkpoints DROP COLUMN parent_checkpoint_id"),
        "no column parent_checkpoint_id",
    ),
    "a view": (_become_views, "no table 'checkpoints'"),
    "blob cut": (lambda p: rewrite(p, "checkpoint", lambda b: b[:-7]), "cannot be decoded"),
    "blob flipped": (
        lambda p: rewrite(
            p, "checkpoint", lambda b: b.replace(b"HumanMessage", b"HumanMessag\xe5")
        ),
        "cannot be decoded",
    ),
    "blob of another": (
        lambda p: rewrite(p, "checkpoint_id", lambda text: text[::-1]),
        "not that checkpoint",
    ),
    "no blob": (lambda p: rewrite(p, "checkpoint", lambda _: None), "cannot be decoded"),
    "no type": (lambda p: rewrite(p, "type", lambda _: None), "cannot be decoded"),
    "unknown type": (lambda p: rewrite(p, "type", lambda _: "pickle"), "cannot be decoded"),
    "write cut": (lambda p: rewrite(p, "value", lambda b: b[:-1], "writes"), "cannot be decoded"),
    "bytes for a channel": (
        lambda p: rewrite(p, "channel", lambda _: b"\xff", "writes"),
        "where a text should be",
    ),
    "not UTF-8": (
        lambda p: change(p, "UPDATE writes SET channel = CAST(x'ff' AS TEXT) WHERE rowid = 5"),
        "cannot be read",
    ),
    "metadata cut": (lambda p: rewrite(p, "metadata", lambda b: b[:-1]), "not JSON"),
    "metadata a list": (lambda p: rewrite(p, "metadata", lambda _: b"[]"), "not a JSON object"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_wrong_file_changes_nothing(damage: str, source: Path, db: Path, tmp_path: Path) -> None:
    spoil, reason = DAMAGES[damage]
    spoil(source)
    before = left_in(tmp_path)

    with pytest.raises(ImportSourceError, match=reason) as caught:
        import_file(str(source), str(db))

    assert caught.value.path == str(source)
    assert left_in(tmp_path) == before
    with RowtrailSaver(db) as saver:
        chat(saver).invoke(said("mine"), {"configurable": {"thread_id": "mine"}})
    mine = listed(db)
    with pytest.raises(ImportSourceError, match=reason):
        import_file(str(source), str(db))
    assert same(listed(db), mine)


@pytest.mark.parametrize("column", ["checkpoint", "metadata", "value"])
def test_a_flipped_bit_is_refused_or_read_as_langgraph_reads_it(
    column: str, source: Path, tmp_path: Path
) -> None:
    table = "writes" if column == "value" else "checkpoints"
    pristine = source.read_bytes()
    imported = 0
    for n in range(0, 40, 1 if IS_FULL else 5):
        source.write_bytes(pristine)
        rewrite(source, column, partial(_flipped, n), table)
        db = tmp_path / f"{n}.db"
        try:
            import_file(str(source), str(db))
        except ImportSourceError:
            assert not db.exists()
        else:
            imported += 1
            assert same(listed(db), originals(source))
    assert 0 < imported < 40


def _flipped(n: int, blob: bytes) -> bytes:
    changed = bytearray(blob)
    changed[len(blob) * n // 40] ^= 1 << (n * 3 % 8)
    return bytes(changed)


KILLED = """
import os, signal, sys
from rowtrail_langgraph.importing._into_file import import_file

source, db, phase, done = sys.argv[1:]

def die(progress):
    if (progress.phase, progress.done) == (phase, int(done)):
        os.kill(os.getpid(), signal.SIGKILL)

import_file(source, db, progress=die)
"""

POINTS = [("check", "3"), ("import", "1"), ("import", "14"), ("verify", "4"), ("verify", "24")]


def killed_import(source: Path, db: Path, phase: str, done: str) -> None:
    command = [sys.executable, "-c", KILLED, str(source), str(db), phase, done]
    assert subprocess.run(command, check=False, timeout=60, cwd=ROOT).returncode == -9


@pytest.mark.parametrize(("phase", "done"), POINTS if IS_FULL else POINTS[::2])
def test_a_killed_import_leaves_no_new_journal(
    phase: str, done: str, source: Path, db: Path, tmp_path: Path
) -> None:
    killed_import(source, db, phase, done)

    left = left_in(tmp_path)
    assert all(name.startswith("agent.db.import-") for name in left)
    assert bool(left) == (phase != "check")
    import_file(str(source), str(db))
    assert left_in(tmp_path) == {"agent.db"}
    assert same(listed(db), originals(source))


@pytest.mark.parametrize(("phase", "done"), POINTS if IS_FULL else POINTS[1::2])
def test_a_killed_import_leaves_whole_threads_in_a_journal(
    phase: str, done: str, source: Path, db: Path
) -> None:
    with RowtrailSaver(db) as saver:
        chat(saver).invoke(said("mine"), {"configurable": {"thread_id": "mine"}})
        mine = list(saver.list(None))

    killed_import(source, db, phase, done)

    threads = {t.config["configurable"]["thread_id"] for t in listed(db)} - {"mine"}
    assert threads == (set() if int(done) < 13 else {"a"})
    expected = [t for t in originals(source) if t.config["configurable"]["thread_id"] in threads]
    found = [t for t in listed(db) if t.config["configurable"]["thread_id"] != "mine"]
    assert same(found, expected)
    import_file(str(source), str(db), skip_existing=True)
    assert same(sorted(listed(db), key=_id), sorted(mine + originals(source), key=_id))


def _id(found: Any) -> str:
    return str(found.config["configurable"]["checkpoint_id"])


def test_an_import_that_still_runs_keeps_its_file(source: Path, db: Path, tmp_path: Path) -> None:
    def another(progress: ImportProgress) -> None:
        if (progress.phase, progress.done) == ("verify", 1):
            import_file(str(source), str(db), thread_ids=["a"])

    with pytest.raises(StorageError, match="made by another process"):
        import_file(str(source), str(db), progress=another)

    assert left_in(tmp_path) == {"agent.db"}
    assert {t.config["configurable"]["thread_id"] for t in listed(db)} == {"a"}


def test_an_interrupted_import_is_rolled_back(source: Path, db: Path) -> None:
    def stop(progress: ImportProgress) -> None:
        if (progress.phase, progress.done) == ("verify", 3):
            raise KeyboardInterrupt

    with RowtrailSaver(db) as saver:
        with pytest.raises(KeyboardInterrupt):
            import_sqlite_saver(source, saver, progress=stop)

        assert list(saver.list(None)) == []
        assert import_sqlite_saver(source, saver).checkpoints == len(originals(source))


def test_an_interrupt_while_decoding_is_no_damage(
    source: Path, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(code: int, data: bytes) -> None:
        raise KeyboardInterrupt

    serde = JsonPlusSerializer()
    monkeypatch.setattr(serde, "_unpack_ext_hook", interrupted)

    with RowtrailSaver(db, serde=serde) as saver, pytest.raises(KeyboardInterrupt):
        import_sqlite_saver(source, saver)


def losing_writes(self: ImportTarget, tx: Any, original: Any, put: Any = ImportTarget.put) -> None:
    """Stand for a bug: the last thread loses its pending writes."""
    if original.thread_id == "b":
        original.writes.clear()
    put(self, tx, original)


def test_a_thread_that_does_not_read_back_is_not_kept(
    source: Path, db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImportTarget, "put", losing_writes)

    with pytest.raises(ImportMismatchError, match="pending writes in place of") as caught:
        import_file(str(source), str(db))
    assert caught.value.thread_id == "b"
    assert left_in(tmp_path) == set()

    with RowtrailSaver(db) as saver, pytest.raises(ImportMismatchError):
        import_sqlite_saver(source, saver)
    assert {t.config["configurable"]["thread_id"] for t in listed(db)} == {"a"}


def test_a_folder_that_is_not_there_is_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no folder"):
        import_file(str(source), str(tmp_path / "nowhere" / "agent.db"))


def test_what_is_in_the_way_is_not_written(source: Path, db: Path) -> None:
    db.write_text("my notes " * 100)

    with pytest.raises(RowtrailError, match=r"agent\.db"):
        import_file(str(source), str(db))

    assert db.read_text() == "my notes " * 100


# The command line.


def command(*args: object, **env: str) -> Result:
    arguments = ["import", "langgraph", *map(str, args)]
    return cli_runner().invoke(main, arguments, env={"ROWTRAIL_DB": "", **env})


def test_the_command_imports_and_tells_the_sizes(source: Path, db: Path) -> None:
    done = command(source, "--db", db)

    assert done.exit_code == 0, done.output
    count = len(originals(source))
    assert f"2 threads, {count} checkpoints" in done.stdout
    assert f"importing: {count} of {count} checkpoints" in done.stderr
    assert same(listed(db), originals(source))


def test_the_command_prints_json(source: Path, db: Path) -> None:
    done = command(source, "--json", "--thread", "b", ROWTRAIL_DB=str(db))

    report = json.loads(done.stdout)
    assert [thread["thread_id"] for thread in report["threads"]] == ["b"]
    assert report["journal"] == str(db)
    assert report["journal_bytes"] == db.stat().st_size > report["journal_bytes_before"] == 0
    assert report["source_bytes"] == source.stat().st_size


def test_a_dry_run_writes_nothing(source: Path, db: Path, tmp_path: Path) -> None:
    done = command(source, "--db", db, "--dry-run", "--json")
    assert json.loads(done.stdout)["checkpoints"] == len(originals(source))
    assert left_in(tmp_path) == set()

    import_file(str(source), str(db), thread_ids=["a"])
    before = db.read_bytes()
    done = command(source, "--db", db, "--dry-run")
    assert done.exit_code == 1
    assert "'a'" in done.stderr
    done = command(source, "--db", db, "--dry-run", "--skip-existing", "--json")
    report = json.loads(done.stdout)
    assert (report["dry_run"], report["skipped"]) == (True, ["a"])
    assert db.read_bytes() == before


def test_exit_codes_say_what_went_wrong(
    source: Path, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(source, "--db", db, "--thread", "z").exit_code == 3
    assert command(source, "--db", ":memory:").exit_code == 2
    assert command(os.devnull, "--db", db).exit_code == 1
    monkeypatch.setattr(ImportTarget, "put", losing_writes)
    done = command(source, "--db", db)
    assert done.exit_code == 4
    assert "thread 'b'" in done.stderr
