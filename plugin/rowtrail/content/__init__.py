"""Content: every stored value once, and lists as pieces of append-only logs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from rowtrail.content._codec import (
    MAX_DEPTH,
    TAG,
    Codec,
    Encoded,
    TypeCodec,
    canonical_json,
    dump_json,
)
from rowtrail.content._lists import Lists
from rowtrail.errors import CorruptRowError
from rowtrail.store import Row, Store, Tx

__all__ = [
    "MAX_DEPTH",
    "TAG",
    "Codec",
    "Content",
    "Encoded",
    "Prepared",
    "TypeCodec",
    "canonical_json",
    "dump_json",
    "stored",
]

DIGEST_BYTES = 16
MAX_CACHED_DIGESTS = 50_000


@dataclass(eq=False)
class Prepared:
    """An encoded value with its content digest, ready for a transaction.

    `row` is where it was stored last, true as long as `stamp` is the store's.
    """

    encoded: Encoded
    digest: bytes | None
    row: int = 0
    stamp: object = None


class Content:
    """The content store of one journal file.

    `prepare` may run on any thread; the methods that take a `Tx` run inside a transaction.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key = store.hash_key
        self._known: OrderedDict[bytes, int] = OrderedDict()
        self.stamp: tuple[int, str] = (-1, "")
        """What was remembered of rows holds while this stays: no rollback here, no deletion anywhere."""
        self.lists = Lists(store)

    def prepare(self, encoded: Encoded) -> Prepared:
        """Digest an encoded value.

        The digest is keyed with a secret of the file: whoever writes a tool's output cannot
        compute two values with one digest.
        """
        if encoded.identity is None:
            return Prepared(encoded, None)
        digest = blake2b(encoded.identity, key=self._key, digest_size=DIGEST_BYTES).digest()
        return Prepared(encoded, digest)

    def put(self, tx: Tx, prepared: Prepared) -> int:
        """Store a value, or find it stored already, and return its row."""
        self._refresh(tx)
        return self._put(tx, prepared)

    def _put(self, tx: Tx, prepared: Prepared) -> int:
        if prepared.stamp != self.stamp:
            prepared.row = self._find_or_insert(tx, prepared)
            prepared.stamp = self.stamp
        return prepared.row

    def _find_or_insert(self, tx: Tx, prepared: Prepared) -> int:
        digest = prepared.digest
        if digest is None:
            return self._insert(tx, prepared)
        row = self._known.get(digest)
        if row is None:
            row = tx.value("item_by_digest", digest=digest) or self._insert(tx, prepared)
            self._known[digest] = row
            if len(self._known) > MAX_CACHED_DIGESTS:
                self._known.popitem(last=False)
        return row

    def put_list(self, tx: Tx, owner: str, items: Sequence[Prepared]) -> int:
        """Store a list of values in the log of `owner` and return the row of this version."""
        self._refresh(tx)
        return self.lists.put(tx, owner, [self._put(tx, item) for item in items])

    def fetch(self, tx: Tx, row: int) -> Encoded:
        """Return a stored value.

        Raises:
            CorruptRowError: There is no such row.
        """
        found = tx.one("item_by_id", id=row)
        if found is None:
            raise CorruptRowError(
                f"item {row} is missing: run `rowtrail verify`", row=f"item {row}"
            )
        return stored(found)

    def fetch_list(self, tx: Tx, row: int) -> list[tuple[int, Encoded]]:
        """Return the items of a list in order, each with its row."""
        return [(r["id"], stored(r)) for r in tx.all("list_items", list=row)]

    def _insert(self, tx: Tx, prepared: Prepared) -> int:
        encoded = prepared.encoded
        return tx.insert(
            "item_insert",
            digest=prepared.digest,
            type=encoded.type,
            text=encoded.text,
            data=encoded.data,
        )

    def _refresh(self, tx: Tx) -> None:
        """Drop what is cached when work was rolled back here, or rows were deleted anywhere."""
        stamp = (self._store.epoch, tx.value("meta_value", key="generation"))
        if stamp != self.stamp:
            self.stamp = stamp
            self._known.clear()
            self.lists.forget()


def stored(row: Row) -> Encoded:
    """Return the stored form in a row of `item`."""
    return Encoded(row["type"], row["text"], row["data"])
