"""`rowtrail repair`: a killed run, its file damaged, repaired and resumed: never a wrong answer."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import sqlite3
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rowtrail import Journal
from rowtrail.cli import main
from rowtrail.errors import DamagedError, NotAJournalError, StorageError
from rowtrail.verify import Repair, repair, verify
from tests._sample import IS_FULL
from tests.plugin.conftest import World
from tests.programs.killed_run import (
    PAGE_BYTES,
    PROGRAM,
    ask,
    flip,
    overwrite,
    pages,
    resumed,
    right_answers,
    sql,
)

RECORDED = 40
EACH = 1 if IS_FULL else 3
"""Each of how many pages is destroyed."""

FLIPS = 400 if IS_FULL else 12
RIGHT = right_answers()
LITERAL = re.compile(r"'\w+'")
CHAIN = re.compile(r"\((\w+) = ('\w+'(?:\s+OR \w+ = '\w+')+)\)")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the journal of a run that was killed, without its WAL."""
    world = World(tmp_path_factory.mktemp("killed"))
    world.kill(PROGRAM, "here")
    sql(
        world.db, "SELECT count(*) FROM meta"
    )  # the last connection to close moves the WAL into the file
    assert not Path(f"{world.db}-wal").exists()
    return world.db


@pytest.fixture
def broken(killed: Path, tmp_path: Path) -> Path:
    """Return a copy of it to damage."""
    return Path(shutil.copy(killed, tmp_path / "broken.db"))


def mended(broken: Path) -> tuple[Repair, Path]:
    fixed = broken.with_name("fixed.db")
    before = broken.read_bytes()
    built = repair(str(broken), str(fixed))
    assert broken.read_bytes() == before
    assert verify(str(fixed)).ok
    return built, fixed


def told(built: Repair) -> str:
    return "\n".join(f"{loss.row}: {loss.says}" for loss in built.losses)


def test_a_sound_journal_is_copied_whole(broken: Path) -> None:
    built, fixed = mended(broken)
    assert built.loss_count == 0
    tables = ask(broken, "SELECT name FROM sqlite_master WHERE type = 'table'")
    for table in {name for (name,) in tables} - {"meta", "run", "attempt", "sqlite_sequence"}:
        assert ask(fixed, f"SELECT * FROM {table}") == ask(broken, f"SELECT * FROM {table}")
    answers, agent = resumed(fixed)
    assert answers == RIGHT
    assert agent.made == [f"{['think', 'look', 'send'][n % 3]} {n}" for n in range(RECORDED, 60)]
    assert stat.S_IMODE(fixed.stat().st_mode) == 0o600


def test_what_is_read_from_the_wal_is_copied_too(world: World) -> None:
    world.kill(PROGRAM, "here")
    assert Path(f"{world.db}-wal").stat().st_size > 0
    fixed = world.folder / "fixed.db"
    assert repair(str(world.db), str(fixed)).loss_count == 0
    assert resumed(fixed)[0] == RIGHT


def test_a_damaged_answer_is_asked_again_and_the_others_are_replayed(broken: Path) -> None:
    flip(broken, b"thought 3 so", b"thought 4 so")
    built, fixed = mended(broken)
    assert "(done llm 'think'): it is made again" in told(built)
    answers, agent = resumed(fixed)
    assert answers == RIGHT
    assert [made for made in agent.made if int(made.split()[1]) < RECORDED] == ["think 3"]


def test_a_damaged_result_of_a_write_is_in_doubt_and_not_made_again(broken: Path) -> None:
    flip(broken, b"sent 5", b"sent 6")
    built, fixed = mended(broken)
    assert "(done tool 'send'): nobody knows what it returned: in doubt" in told(built)
    answers, agent = resumed(fixed)
    assert answers == RIGHT  # the function that looks said what it returned
    assert "send 5" not in agent.made


def test_a_damaged_index_costs_nothing(broken: Path) -> None:
    [(root,)] = ask(broken, "SELECT rootpage FROM sqlite_master WHERE name = 'item_digest'")
    assert isinstance(root, int)
    overwrite(broken, root, b"\0" * PAGE_BYTES)
    assert not verify(str(broken)).ok
    built, fixed = mended(broken)
    assert "could not be compared" not in told(built).replace("item", "")
    answers, agent = resumed(fixed)
    assert answers == RIGHT
    assert min(int(made.split()[1]) for made in agent.made) == RECORDED


def test_steps_whose_rows_are_lost_are_in_doubt_where_they_changed_the_world(broken: Path) -> None:
    """The index of the steps still knows their keys: no `write` is made twice unasked."""
    [(root,)] = ask(broken, "SELECT rootpage FROM sqlite_master WHERE name = 'step'")
    assert isinstance(root, int)
    overwrite(broken, root, b"\xff" * PAGE_BYTES)
    built, fixed = mended(broken)
    assert "step from 0 on: cannot be read" in told(built)
    answers, agent = resumed(fixed)
    assert answers == RIGHT
    sent = [made for made in agent.made if made.startswith("send")]
    assert [int(made.split()[1]) for made in sent] == [n for n in range(40, 60) if n % 3 == 2]


def test_a_step_whose_key_differs_from_its_index_is_in_doubt_under_both(broken: Path) -> None:
    [(key,)] = ask(
        broken, "SELECT fingerprint FROM step WHERE name = 'send' AND arguments LIKE '%8%'"
    )[:1]
    assert isinstance(key, bytes)
    content = broken.read_bytes()
    at = content.rfind(key)
    changed = bytes([key[0] ^ 1]) + key[1:]
    broken.write_bytes(content[:at] + changed + content[at + len(key) :])
    assert not verify(str(broken)).ok
    built, fixed = mended(broken)
    assert "in doubt" in told(built)
    answers, agent = resumed(fixed)
    assert answers == RIGHT
    assert [n for n, times in Counter(agent.sent).items() if times > 1] == []


def test_rows_that_were_deleted_are_named_and_counted_again(broken: Path) -> None:
    gone = "(SELECT id FROM step WHERE name = 'look' AND arguments LIKE '%1%')"
    [(count,)] = ask(broken, f"SELECT count(*) FROM {gone}")
    sql(broken, f"DELETE FROM step WHERE id IN {gone}")
    assert {fault.check for fault in verify(str(broken)).faults} == {"count"}
    built, fixed = mended(broken)
    assert isinstance(count, int)
    assert f"{count - 1} steps of run 'r' are lost" in told(built)
    assert resumed(fixed)[0] == RIGHT


@pytest.mark.parametrize(
    "statements",
    [
        ("DELETE FROM item WHERE id % 3 = 0",),
        ("DELETE FROM attempt",),
        ("DELETE FROM thread",),
        ("DELETE FROM process",),
        ("DELETE FROM scope WHERE run = 1",),
        ("UPDATE run SET status = 'done'",),
        ("UPDATE run SET steps = 7, input_tokens = 9",),
        ("UPDATE step SET output = 99999 WHERE id = 2",),
        ("UPDATE step SET attempt = 1",),
        ("UPDATE item SET id = id + 9223372036854770000 WHERE id = 5",),
        ("DROP INDEX step_key",),
        ("DELETE FROM meta WHERE key = 'journal_id'",),
        ("DELETE FROM meta WHERE key = 'hash_key'",),
        ("UPDATE meta SET value = 'x' WHERE key = 'generation'",),
        ("DELETE FROM spend_day",),
    ],
    ids=str,
)
def test_whatever_rows_say_the_answers_are_right(broken: Path, statements: tuple[str, ...]) -> None:
    sql(broken, *statements)
    assert not verify(str(broken)).ok
    _, fixed = mended(broken)
    answers, agent = resumed(fixed)
    assert answers == RIGHT
    assert [n for n, times in Counter(agent.sent).items() if times > 1] == []


def damaged_and_resumed(broken: Path) -> str:
    """Repair and resume, and return how it ended; a wrong answer fails."""
    fixed = broken.with_name("fixed.db")
    fixed.unlink(missing_ok=True)
    try:
        built = repair(str(broken), str(fixed))
    except (DamagedError, NotAJournalError):
        assert not fixed.exists()
        return "refused"
    answers, agent = resumed(fixed)
    assert answers == RIGHT
    if any(times > 1 for times in Counter(agent.sent).values()):
        assert built.loss_count, "a write was made again, and nothing was told to be lost"
        return "write repeated"
    return "whole" if not built.loss_count else "repaired"


@pytest.mark.parametrize("garbage", [b"\0", None], ids=repr)
def test_every_page_destroyed(killed: Path, tmp_path: Path, garbage: bytes | None) -> None:
    ends: Counter[str] = Counter()
    noise = random.Random(7)
    for page in range(1, pages(killed) + 1, EACH):
        broken = Path(shutil.copy(killed, tmp_path / "broken.db"))
        content = noise.randbytes(PAGE_BYTES) if garbage is None else garbage * PAGE_BYTES
        overwrite(broken, page, content)
        assert not verify(str(broken)).ok, page
        ends[damaged_and_resumed(broken)] += 1
    # the first page, and the pages of the schema
    assert ends["refused"] < pages(killed) / EACH / 3
    assert ends["write repeated"] == 0
    assert ends["repaired"] > 5 / EACH


def test_the_file_cut_short_anywhere(killed: Path, tmp_path: Path) -> None:
    ends: Counter[str] = Counter()
    new = tmp_path / "new.db"
    Journal(new).close()
    size, schema = killed.stat().st_size, new.stat().st_size
    for length in (0, 100, PAGE_BYTES, schema // 2, *range(schema, size, 3_000 * EACH)):
        broken = Path(shutil.copy(killed, tmp_path / "broken.db"))
        os.truncate(broken, length)
        assert not verify(str(broken)).ok, length
        ends[damaged_and_resumed(broken)] += 1
    assert ends["refused"] <= 5  # those without the whole schema
    assert ends["repaired"] > 5 / EACH


def test_bits_flipped_in_what_is_hashed(killed: Path, tmp_path: Path) -> None:
    noise = random.Random(11)
    content = killed.read_bytes()
    places = [at for at in range(len(content)) if content.startswith(b"thought ", at)]
    for _ in range(FLIPS):
        broken = tmp_path / "broken.db"
        at = noise.choice(places) + noise.randrange(3_000)
        changed = bytearray(content)
        changed[at] ^= 1 << noise.randrange(8)
        broken.write_bytes(changed)
        damaged_and_resumed(broken)


# The file, and its name.


def test_the_new_file_never_replaces_another(broken: Path) -> None:
    for suffix in ("", "-wal", "-journal"):
        other = broken.with_name(f"fixed{suffix or 'x'}.db{suffix}")
        other.write_bytes(b"mine")
        target = str(other).removesuffix(suffix) if suffix else str(other)
        with pytest.raises(StorageError, match="exists"):
            repair(str(broken), target)
        assert other.read_bytes() == b"mine"


def test_nothing_is_left_of_a_repair_that_failed(
    broken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no"):
        repair(str(broken), str(broken.with_name("fixed.db")))
    # SQLite's own shared memory may stay beside what was read
    assert {path.name.partition("-")[0] for path in broken.parent.iterdir()} == {"broken.db"}


def test_a_file_that_appears_meanwhile_stays(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = broken.with_name("fixed.db")
    link = os.link

    def late(source: str, target: str) -> None:
        fixed.write_bytes(b"mine")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(StorageError, match="exists"):
        repair(str(broken), str(fixed))
    assert fixed.read_bytes() == b"mine"


def test_a_dry_run_writes_nothing(broken: Path) -> None:
    flip(broken, b"thought 3 so", b"thought 4 so")
    built = repair(str(broken), str(broken.with_name("fixed.db")), dry_run=True)
    assert built.loss_count == 3  # two runs got the same answer, which is stored once
    assert built.target is None
    assert {path.name.partition("-")[0] for path in broken.parent.iterdir()} == {"broken.db"}


def test_something_else_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    sql(other, "CREATE TABLE t (x)")
    with pytest.raises(NotAJournalError):
        repair(str(other), str(tmp_path / "fixed.db"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.db"]


def _as_list(chain: re.Match[str]) -> str:
    return f"({chain[1]} IN ({', '.join(LITERAL.findall(chain[2]))}))"


def as_older(path: Path) -> None:
    """Give its tables the closed lists that a journal of an earlier version has."""
    for name in ("run", "attempt", "step"):
        [(text,)] = ask(path, f"SELECT sql FROM sqlite_master WHERE name = '{name}'")
        older = CHAIN.sub(_as_list, str(text))
        assert older != text
        quoted = older.replace("'", "''")
        sql(
            path,
            "PRAGMA writable_schema = ON",
            f"UPDATE sqlite_master SET sql = '{quoted}' WHERE name = '{name}'",
        )


def test_closed_lists_of_an_earlier_version_are_no_fault(broken: Path) -> None:
    as_older(broken)
    assert verify(str(broken)).ok
    built, fixed = mended(broken)
    assert built.loss_count == 0
    assert resumed(fixed)[0] == RIGHT
    assert resumed(broken)[0] == RIGHT


def test_another_rule_in_the_place_of_a_closed_list_is_a_fault(broken: Path) -> None:
    sql(
        broken,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = replace(sql, 'kind = ''llm''', 'abs(kind) = ''llm''')",
    )
    assert any("step is changed" in fault.says for fault in verify(str(broken)).faults)


def test_a_schema_of_somebody_elses_making_runs_no_code(broken: Path) -> None:
    """A view in the place of a table would be evaluated; other objects are not taken."""
    sql(
        broken,
        "DROP TABLE replay",
        "CREATE VIEW replay AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
        "SELECT x AS id FROM c",
        "CREATE TRIGGER evil AFTER INSERT ON step BEGIN DELETE FROM step; END",
        "CREATE TABLE extra (x)",
    )
    found = verify(str(broken))
    assert any("replay is changed" in fault.says for fault in found.faults)
    assert any("evil" in note for note in found.notes)
    _, fixed = mended(broken)
    assert ask(fixed, "SELECT name FROM sqlite_master WHERE name IN ('evil', 'extra')") == []
    assert resumed(fixed)[0] == RIGHT


def test_a_run_that_is_alive_is_crashed_in_the_copy(tmp_path: Path) -> None:
    path, fixed = tmp_path / "agent.db", tmp_path / "fixed.db"
    with Journal(path) as journal, journal.run("r"):
        repair(str(path), str(fixed))
        with Journal(fixed) as copy, copy.run("r"):  # held by nobody there
            pass


# The command.


def cli(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_command_names_what_is_lost(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(broken.parent)
    flip(broken, b"thought 3 so", b"\x1b[31mtt 3 so")
    done = cli("repair", "broken.db", "fixed.db")
    assert done.exit_code == 0, done.output
    assert "it is made again" in done.output
    assert "\x1b" not in done.output
    assert cli("verify", "--db", "fixed.db").exit_code == 0
    assert cli("repair", "broken.db", "fixed.db").exit_code == 1
    assert cli("repair", "missing.db", "new.db").exit_code == 3
    told = cli("repair", "broken.db", "other.db", "--dry-run", "--json")
    assert json.loads(told.stdout)["loss_count"] == 3
    assert not Path("other.db").exists()


Damage = Callable[[Path], None]


def test_sqlite_itself_finds_nothing_wrong_in_what_is_built(broken: Path) -> None:
    overwrite(broken, pages(broken) // 2, b"\0" * PAGE_BYTES)
    _, fixed = mended(broken)
    connection = sqlite3.connect(fixed)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()
