"""Content: every value once, and lists whose versions share what they have in common."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rowtrail import Journal
from rowtrail.content import Codec, Content, Encoded, Prepared, stored
from rowtrail.engine import Tx
from rowtrail.errors import CorruptRowError
from rowtrail.testing import temporary_journal
from tests.conftest import Child
from tests.engines.strict import StrictStore

pytestmark = pytest.mark.both_engines

CODEC = Codec()


def content_of(journal: Journal) -> Content:
    return journal.recorder.content


def prepare(journal: Journal, values: Sequence[Any]) -> list[Prepared]:
    return [content_of(journal).prepare(CODEC.encode(value)) for value in values]


def put_list(journal: Journal, values: Sequence[Any], owner: str = "o") -> int:
    prepared = prepare(journal, values)
    return journal.store.write(lambda tx: content_of(journal).put_list(tx, owner, prepared))


def fetch_list(journal: Journal, row: int) -> list[Any]:
    found = journal.store.read(lambda tx: content_of(journal).fetch_list(tx, row))
    return [CODEC.decode(encoded) for _, encoded in found]


def put(journal: Journal, value: Any) -> int:
    (prepared,) = prepare(journal, [value])
    return journal.store.write(lambda tx: content_of(journal).put(tx, prepared))


def fetch(journal: Journal, row: int) -> Any:
    return CODEC.decode(journal.store.read(lambda tx: content_of(journal).fetch(tx, row)))


def count(journal: Journal, what: str) -> int:
    query = f"SELECT count(*) FROM {what}"
    if isinstance(journal.store, StrictStore):
        return int(journal.store.tables(query)[0][0])
    with closing(sqlite3.connect(journal.path)) as connection:
        return int(connection.execute(query).fetchone()[0])


def change(journal: Journal, statement: str) -> None:
    """Change the base tables, as another process would."""
    if isinstance(journal.store, StrictStore):
        journal.store.tables(statement)
        return
    with closing(sqlite3.connect(journal.path, isolation_level=None)) as connection:
        connection.execute(statement)


def message(n: int) -> dict[str, Any]:
    return {"role": "user", "content": f"message {n} " + "and what it says " * 20}


# Values.


def test_equal_values_are_one_row(journal: Journal) -> None:
    rows = {put(journal, value) for value in ({"a": [1]}, {"a": [1]}, {"a": [1]})}
    assert len(rows) == 1 == count(journal, "item")
    assert fetch(journal, rows.pop()) == {"a": [1]}


def test_values_that_only_compare_equal_are_rows_of_their_own(journal: Journal) -> None:
    values = [1, True, 1.0, "1", [1], (1,)]
    rows = [put(journal, value) for value in values]
    assert [repr(fetch(journal, row)) for row in rows] == [repr(value) for value in values]
    assert len(set(rows)) == len(values)


def test_what_must_not_be_shared_is_stored_each_time(journal: Journal) -> None:
    content, sealed = content_of(journal), Encoded("str", None, b"sealed", identity=None)
    rows = [
        journal.store.write(lambda tx: content.put(tx, content.prepare(sealed))) for _ in range(3)
    ]
    assert len(set(rows)) == 3
    assert journal.store.read(lambda tx: content.fetch(tx, rows[0])).data == b"sealed"


def test_the_digest_cannot_be_computed_from_outside(tmp_path: Path) -> None:
    digests: set[bytes | None] = set()
    for name in ("one", "two"):
        with Journal(tmp_path / name) as journal:
            digests.add(prepare(journal, ["the same"])[0].digest)
    assert len(digests) == 2 and None not in digests


def test_a_missing_row_is_a_clear_error(journal: Journal) -> None:
    with pytest.raises(CorruptRowError, match="item 77 is missing") as caught:
        fetch(journal, 77)
    assert caught.value.row == "item 77"


def test_many_threads_that_store_the_same_values_store_each_once(journal: Journal) -> None:
    def work(seed: int) -> None:
        for n in random.Random(seed).sample(range(40), 40):
            put(journal, f"value {n}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(journal, "item") == 40


def test_a_prepared_value_that_was_rolled_back_is_stored_again(journal: Journal) -> None:
    (prepared,) = prepare(journal, ["kept"])

    def fail(tx: Tx) -> None:
        content_of(journal).put(tx, prepared)
        raise LookupError

    with pytest.raises(LookupError):
        journal.store.write(fail)
    assert count(journal, "item") == 0
    row = journal.store.write(lambda tx: content_of(journal).put(tx, prepared))
    assert fetch(journal, row) == "kept"


def test_a_prepared_value_outlives_its_journal_without_harm(db: Path) -> None:
    with Journal(db) as first:
        (prepared,) = prepare(first, ["kept"])

        def fail(tx: Tx) -> None:
            content_of(first).put(tx, prepared)
            raise LookupError

        with pytest.raises(LookupError):
            first.store.write(fail)
    with Journal(db) as second:
        row = second.store.write(lambda tx: content_of(second).put(tx, prepared))
        assert fetch(second, row) == "kept"


# Lists.


@pytest.mark.parametrize("values", [[], ["a"], ["a", "a", "a"], [1, "1", None, [1]]])
def test_a_list_comes_back_as_it_was(journal: Journal, values: list[Any]) -> None:
    assert fetch_list(journal, put_list(journal, values)) == values


def test_an_equal_list_is_no_new_version(journal: Journal) -> None:
    assert len({put_list(journal, ["a", "b"]) for _ in range(3)}) == 1
    assert count(journal, "list") == 1


def test_lists_of_other_owners_share_the_items_only(journal: Journal) -> None:
    rows = [put_list(journal, ["a", "b"], owner) for owner in ("one", "two")]
    assert [fetch_list(journal, row) for row in rows] == [["a", "b"]] * 2
    assert (count(journal, "item"), count(journal, "log_item")) == (2, 4)


@pytest.mark.parametrize("reopened", [False, True])
def test_appending_stores_what_is_new(db: Path, reopened: bool) -> None:
    values: list[Any] = []
    row = 0
    journal = Journal(db)
    for n in range(150):
        if reopened and n % 20 == 0:
            journal.close()
            journal = Journal(db)
        values.append(message(n))
        row = put_list(journal, values)
    assert fetch_list(journal, row) == values
    assert count(journal, "item") == count(journal, "log_item") == 150
    pieces = "list WHERE json_array_length(pieces) > 1"
    assert count(journal, pieces) == 0  # one run of the log each, however long
    journal.close()


EDITS: dict[str, Callable[[list[Any], int], list[Any]]] = {
    "trim the front": lambda v, n: [*v[-20:], message(n)],
    "edit one in the middle": lambda v, n: [*v[: len(v) // 2], message(n), *v[len(v) // 2 + 1 :]],
    "delete one": lambda v, n: v[: n % (len(v) + 1)] + v[n % (len(v) + 1) + 1 :] + [message(n)],
    "put one in front": lambda v, n: [message(n), *v],
    "drop the last": lambda v, n: v[:-1] if n % 3 == 2 else [*v, message(n)],
}


@pytest.mark.parametrize("edit", EDITS)
def test_every_edit_stores_little(journal: Journal, edit: str) -> None:
    values = [message(n) for n in range(100)]
    written: dict[int, list[Any]] = {}
    for n in range(100, 300):
        values = EDITS[edit](values, n)
        written[put_list(journal, values)] = values
    for row, version in written.items():
        assert fetch_list(journal, row) == version
    assert count(journal, "item") <= 300
    # the whole list now and then, when its pieces have become many: far from 200 times 100
    assert count(journal, "log_item") < 300 + 200 * 12


def test_a_fork_shares_what_it_has_in_common(journal: Journal) -> None:
    trunk = [message(n) for n in range(200)]
    put_list(journal, trunk)
    before = count(journal, "log_item")
    branches = [[*trunk[:150], f"branch {n}"] for n in range(20)]
    rows = [put_list(journal, branch) for branch in branches]
    assert [fetch_list(journal, row) for row in rows] == branches
    assert count(journal, "log_item") - before == 20


def test_the_file_grows_with_what_is_new(tmp_path: Path) -> None:
    sizes = []
    for length in (60, 240):
        with Journal(tmp_path / f"{length}.db") as journal:
            values: list[Any] = []
            for n in range(length):
                values.append(message(n))
                put_list(journal, values)
        sizes.append((tmp_path / f"{length}.db").stat().st_size)
    assert sizes[1] < 5 * sizes[0]  # four times the messages: a copy each time would be 16 times


small = st.lists(st.integers(0, 6), max_size=12)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 20)),
        st.tuples(st.just("set"), small),
        st.tuples(st.just("fork"), st.integers(0, 50)),
        st.tuples(st.just("trim"), st.integers(0, 12)),
        st.tuples(st.just("delete"), st.integers(0, 12)),
        st.tuples(st.just("insert"), st.integers(0, 12)),
        st.tuples(st.just("roll back"), small),
        st.tuples(st.just("forget"), st.just(0)),
    ),
    max_size=40,
)


@pytest.fixture(scope="module")
def shared() -> Iterator[Journal]:
    with temporary_journal(durability="normal") as journal:
        yield journal


def edited(values: list[int], action: str, given: Any, versions: list[list[int]]) -> list[int]:
    if action == "append":
        return [*values, given]
    if action == "set":
        return list(given)
    if action == "fork":
        return list(versions[given % len(versions)]) if versions else values
    if action == "trim":
        return values[given:]
    if action == "delete":
        return values[:given] + values[given + 1 :]
    return [*values[:given], 99, *values[given:]]


def roll_back(journal: Journal, owner: str, values: list[int]) -> None:
    prepared = prepare(journal, values)

    def fail(tx: Tx) -> None:
        content_of(journal).put_list(tx, owner, prepared)
        raise LookupError

    with pytest.raises(LookupError):
        journal.store.write(fail)


@given(steps, st.integers(0, 2**60))
@settings(max_examples=150)
def test_any_history_of_a_list_reads_back(
    shared: Journal, history: list[tuple[str, Any]], owner_number: int
) -> None:
    owner = f"owner {owner_number}"
    values: list[int] = []
    versions: list[list[int]] = []
    rows: list[int] = []
    for action, given_value in history:
        if action == "roll back":
            roll_back(shared, owner, given_value)
        elif action == "forget":
            shared.store.write(lambda tx: content_of(shared).refresh("1000"))
        else:
            values = edited(values, action, given_value, versions)
            versions.append(values)
            rows.append(put_list(shared, values, owner))
    assert [fetch_list(shared, row) for row in rows] == versions


# Several writers.

APPEND = """
import random, sys
import rowtrail
from rowtrail.content import Codec
codec = Codec()
name, path = sys.argv[1:]
with rowtrail.Journal(path) as journal:
    content = journal.recorder.content
    values = []
    for n in range(60):
        values = values[n % 3:] + [f"{name} {n}", "shared"]
        prepared = [content.prepare(codec.encode(v)) for v in values]
        row = journal.store.write(lambda tx: content.put_list(tx, "one log", prepared))
        found = journal.store.read(lambda tx: content.fetch_list(tx, row))
        assert [codec.decode(e) for _, e in found] == values, (n, values)
"""


def test_processes_may_write_to_one_log_at_once(db: Path, child: Child) -> None:
    with Journal(db) as journal:
        threads = [threading.Thread(target=child, args=(APPEND, name, db)) for name in "abc"]
        for thread in threads:
            thread.start()
        values: list[Any] = []
        while any(thread.is_alive() for thread in threads):
            values = [*values[-50:], len(values)]
            assert fetch_list(journal, put_list(journal, values, "one log")) == values
        for thread in threads:
            thread.join()
        assert count(journal, "item WHERE text = '\"shared\"'") == 1
        assert count(journal, "item WHERE text LIKE '\"% 59\"'") == 3  # all of them finished


def test_rows_that_another_process_deleted_are_not_remembered(journal: Journal) -> None:
    row = put(journal, "deleted meanwhile")
    lists = put_list(journal, ["a", "b"])
    script = (
        "DELETE FROM item; DELETE FROM list; DELETE FROM log_item; DELETE FROM log;"
        "INSERT INTO item (type, text) VALUES ('str', '\"somebody else''s\"');"
        "UPDATE meta SET value = CAST(value AS INTEGER) + 2 WHERE key = 'generation'"
    )
    for statement in script.split(";"):
        change(journal, statement)
    again = put(journal, "deleted meanwhile")
    assert fetch(journal, again) == "deleted meanwhile"
    assert fetch_list(journal, put_list(journal, ["a", "b"])) == ["a", "b"]
    assert {row, lists}  # the ids may have been given anew


def test_a_row_says_how_it_was_stored(journal: Journal) -> None:
    row = put(journal, (1, 2))
    found = journal.store.read(lambda tx: tx.one("item_by_id", id=row))
    assert found is not None
    assert stored(found) == Encoded("tuple", '{"$rowtrail":"tuple","v":[1,2]}')
