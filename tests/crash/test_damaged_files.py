"""Torn and bit-flipped files: a consistent prefix or a clear error, never a wrong replay.

`make crash` tries more than a thousand of them.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import rowtrail
from rowtrail import Journal
from rowtrail.errors import InDoubtError
from tests._forks import Zygote
from tests._sample import IS_FULL
from tests.crash.conftest import Figures
from tests.programs.damaged import STEPS, answer

pytestmark = pytest.mark.timeout(3600)

FLIPS = 600 if IS_FULL else 12
TEARS = 600 if IS_FULL else 12
PAGE = 8192


@dataclass
class Copies:
    """Damaged copies of one journal, and what is in the original."""

    folder: Path
    zygote: Zygote

    def record(self, name: str, *, die: bool = False) -> Path:
        path = self.folder / name
        part = "record and die" if die else "record"
        status = -signal.SIGKILL if die else 0
        assert self.zygote.run({"path": str(path), "part": part}) == [status]
        return path

    def look(self, path: Path) -> dict[str, Any]:
        """Look at a file in a new process, which neither crashes nor hangs."""
        assert self.zygote.run({"path": str(path), "part": "look"}) == [0]
        found: dict[str, Any] = json.loads(Path(f"{path}.found").read_text())
        return found

    def look_at(self, content: bytes, wal: bytes | None = None) -> dict[str, Any]:
        """Look at a file with this content, and then at nothing of it any more."""
        path = self.folder / "damaged.db"
        path.write_bytes(content)
        if wal is not None:
            Path(f"{path}-wal").write_bytes(wal)
        try:
            return self.look(path)
        finally:
            for left in self.folder.glob("damaged.db*"):
                left.unlink()


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    started = Zygote("tests.programs.damaged")
    yield started
    started.close()


@pytest.fixture
def copies(in_memory: Path, zygote: Zygote) -> Copies:
    return Copies(in_memory, zygote)


def assert_right_or_refused(found: dict[str, Any], whole: dict[str, Any]) -> None:
    """Assert that every value that was handed out is the one that was recorded."""
    assert found["answers"] == [[n, answer(n)] for n, _ in found["answers"]]
    states = {state[0]: state for state in whole["states"]}
    for checkpoint_id, messages, note in found["states"]:
        _, recorded_messages, recorded_note = states[checkpoint_id]
        assert (messages, note) == (recorded_messages, recorded_note)
    assert [text for kind, _, text in found["errors"] if kind == "foreign"] == []


def test_a_flipped_bit_or_a_scrambled_page_is_never_replayed(
    copies: Copies, figures: Figures
) -> None:
    path = copies.record("whole.db")
    original = path.read_bytes()
    whole = copies.look(path)
    assert whole["replayed"] == [*range(STEPS)] and not whole["errors"]
    chance = random.Random(20261122)
    written = [at for at, byte in enumerate(original) if byte]
    refused = 0
    for number in range(FLIPS):
        content = bytearray(original)
        at = chance.choice(written)
        if number % 5 == 4:
            at -= at % 512
            content[at : at + 512] = chance.randbytes(512) if number % 10 == 4 else bytes(512)
        else:
            content[at] ^= 1 << chance.randrange(8)
        found = copies.look_at(bytes(content))
        assert_right_or_refused(found, whole)
        refused += bool(found["errors"])
    assert refused
    figures.add("corrupted files tried: flipped database", FLIPS)
    figures.add("corrupted files refused with an error", refused)


def test_every_result_that_is_changed_in_the_file_is_made_again_and_named(
    db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made: list[int] = []

    @rowtrail.step(name="look")
    def look(n: int) -> str:
        made.append(n)
        return answer(n)

    @rowtrail.step(name="send", kind="tool", effect="write")
    def send(n: int) -> str:
        made.append(n)
        return answer(n)

    def go(journal: Journal) -> None:
        with journal.run("r"):
            look(0)
            assert look(1) == answer(1)
            assert send(2) == answer(2)

    with Journal(db) as journal:
        go(journal)
    original = db.read_bytes()
    for n in (1, 2):
        made.clear()
        db.write_bytes(
            original.replace(answer(n).encode(), answer(n).replace("0", "8", 1).encode())
        )
        with Journal(db) as journal:
            if n == 1:
                go(journal)
                assert made == [1]
                assert "is damaged" in caplog.text
                reasons = [step["reason"] for step in journal.steps("r") if step["name"] == "look"]
                assert "the recorded result is damaged" in reasons
            else:
                with pytest.raises(InDoubtError):  # a write is not made twice because of a bit
                    go(journal)
                assert made == []
            (check,) = query(db, "PRAGMA integrity_check")[0]
            assert check == "ok"  # SQLite sees nothing


def query(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def test_a_torn_or_flipped_wal_is_a_prefix(copies: Copies, figures: Figures) -> None:
    path = copies.record("torn.db", die=True)
    content, wal = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    assert len(wal) > 20 * PAGE
    whole = copies.look_at(content, wal)
    assert whole["replayed"] == [*range(STEPS)]
    chance = random.Random(7)
    seen: set[int] = set()
    for number in range(TEARS):
        damaged = bytearray(wal)
        if number % 3 == 2:
            damaged[chance.randrange(len(wal))] ^= 1 << chance.randrange(8)
        else:
            damaged = damaged[: len(wal) * number // TEARS + chance.randrange(100)]
        found = copies.look_at(content, bytes(damaged))
        assert_right_or_refused(found, whole)
        assert found["errors"] == []  # whatever is left is a state that was
        assert found["replayed"] == [*range(len(found["replayed"]))]
        seen.add(len(found["replayed"]))
    assert len(seen) > 2
    figures.add("corrupted files tried: torn or flipped WAL", TEARS)


def test_a_journal_without_its_wal_or_with_another_one_is_a_prefix_or_refused(
    copies: Copies, figures: Figures
) -> None:
    path, other = copies.record("one.db", die=True), copies.record("two.db", die=True)
    content = path.read_bytes()
    wal, foreign = Path(f"{path}-wal").read_bytes(), Path(f"{other}-wal").read_bytes()
    whole = copies.look_at(content, wal)
    for given in (
        None,
        b"",
        foreign,
        foreign[:32] + wal[32:],
        wal[:32] + foreign[32:],
        os.urandom(9000),
    ):
        found = copies.look_at(content, given)
        for n, text in found["answers"]:
            assert text == answer(n)
        assert [text for kind, _, text in found["errors"] if kind == "foreign"] == []
        figures.add("corrupted files tried: missing or foreign WAL")
    assert whole["replayed"] == [*range(STEPS)]  # the shm is made anew from the WAL


def test_a_copy_that_is_taken_while_others_write_is_a_prefix_or_refused(
    copies: Copies, figures: Figures
) -> None:
    path = copies.folder / "live.db"
    stop = threading.Event()

    @rowtrail.step(name="ask")
    def ask(n: int) -> str:
        return answer(n)

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with journal.run(f"other {number}"):
                ask(number)

    with Journal(path) as journal:
        with pytest.raises(KeyboardInterrupt), journal.run("r"):
            for n in range(STEPS):
                ask(n)
            raise KeyboardInterrupt
        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(40 if IS_FULL else 4):
                content = path.read_bytes()
                wal = Path(f"{path}-wal").read_bytes()
                found = copies.look_at(content, wal)
                assert found["answers"] == [[n, answer(n)] for n, _ in found["answers"]]
                assert [text for kind, _, text in found["errors"] if kind == "foreign"] == []
                figures.add("corrupted files tried: copied while written")
        finally:
            stop.set()
            writer.join()
