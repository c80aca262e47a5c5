"""Content: every stored value once, and lists as pieces of append-only logs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from rowtrail.content._canonical import (
    Canonical,
    Mask,
    canonical,
    canonical_json,
    register_canonical,
)
from rowtrail.content._classes import UnknownClassError, codec_for, is_data_class
from rowtrail.content._codec import LONGEST_INT, MAX_DEPTH, Codec, Encoded, dump_json, register_form
from rowtrail.content._function import LAMBDA, STEP_MARK, closure_of, function_parts
from rowtrail.content._lists import MAX_CACHED_LOGS, Lists
from rowtrail.content._object import counts
from rowtrail.content._tagged import TAG, TypeCodec, class_name
from rowtrail.engine import Row, Store, Tx
from rowtrail.errors import CorruptRowError

__all__ = [
    "LAMBDA",
    "LONGEST_INT",
    "MAX_DEPTH",
    "STEP_MARK",
    "TAG",
    "Canonical",
    "Codec",
    "Content",
    "Encoded",
    "Mask",
    "Prepared",
    "TypeCodec",
    "UnknownClassError",
    "canonical",
    "canonical_json",
    "class_name",
    "closure_of",
    "codec_for",
    "counts",
    "dump_json",
    "function_parts",
    "is_data_class",
    "is_for_show",
    "is_genuine",
    "is_sweeping",
    "register_canonical",
    "register_form",
    "seal_of",
    "stored",
]

DIGEST_BYTES = 16
SEAL_BYTES = 8
MAX_CACHED_DIGESTS = 50_000

_NO_LIST: tuple[Sequence[Prepared], list[int]] = ((), [])


@dataclass(eq=False, slots=True)
class Prepared:
    """An encoded value with its content digest, ready for a transaction.

    `row` is where it was stored last, true as long as `stamp` is the store's. `mould`, `canonical`
    and `masked` are whatever an adapter derives from the value, once.
    """

    encoded: Encoded
    digest: bytes | None
    row: int = 0
    stamp: object = None
    mould: object = None
    canonical: object = None
    masked: object = None
    is_checked: bool = False


class Content:
    """The content store of one journal file.

    `prepare` may run on any thread; the methods that take a `Tx` run inside a transaction.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key = store.hash_key
        self._known: OrderedDict[bytes, int] = OrderedDict()
        self._seen: tuple[int, str] | None = None
        self.stamp: object = None
        """What is remembered of rows holds while this stays: it changes when work is rolled back
        here or rows are deleted anywhere, and is another for every opening of the file."""
        self._newest: OrderedDict[str, tuple[Sequence[Prepared], list[int]]] = OrderedDict()
        self.lists = Lists(store)
        self._is_sweeping = False

    def prepare(self, encoded: Encoded) -> Prepared:
        """Digest an encoded value.

        The digest is keyed with a secret of the file: whoever writes a tool's output cannot
        compute two values with one digest.
        """
        if encoded.identity is None:
            return Prepared(encoded, None)
        from hashlib import blake2b  # it loads OpenSSL: not for `import rowtrail`

        digest = blake2b(encoded.identity, key=self._key, digest_size=DIGEST_BYTES).digest()
        # What was digested is as large as the value, and of no more use.
        kept = Encoded(encoded.type, encoded.text, encoded.data)
        return Prepared(kept, digest, is_checked=True)

    def seal(self, encoded: Encoded, fingerprint: bytes, n: int) -> bytes:
        """Return what tells, when a result is read, that it is the one that this step returned."""
        return seal_of(self._key, encoded, fingerprint, n)

    def check(self, items: Sequence[Prepared]) -> None:
        """Compare values that were read with their digests, each once.

        Raises:
            CorruptRowError: A value is not the one that was stored: a bit of the file has changed.
        """
        for item in items:
            if not item.is_checked and not is_genuine(item.encoded, item.digest, self._key):
                raise CorruptRowError(
                    f"a stored {item.encoded.type} (item {item.row or '?'}) is not what was "
                    "stored: run `rowtrail verify`",
                    row=f"item {item.row}",
                )
            item.is_checked = True

    def put(self, tx: Tx, prepared: Prepared, *, refreshed: bool = False) -> int:
        """Store a value, or find it stored already, and return its row.

        Args:
            refreshed: Whether `refresh` was called in this transaction.
        """
        if not refreshed:
            self.refresh(tx.value("meta_value", key="generation"))
        return self._put(tx, prepared)

    def _put(self, tx: Tx, prepared: Prepared) -> int:
        if prepared.stamp is not self.stamp:
            prepared.row = self._find_or_insert(tx, prepared)
            prepared.stamp = self.stamp
        return prepared.row

    def _find_or_insert(self, tx: Tx, prepared: Prepared) -> int:
        digest = prepared.digest
        if digest is None:
            row = self._insert(tx, prepared)
            assert row is not None
            return row
        row = self._known.get(digest)
        if row is None:
            # What was read is there already; what was not is most likely new.
            row = self._find(tx, digest) if prepared.row else self._insert(tx, prepared)
            row = row or self._insert(tx, prepared) or self._find(tx, digest)
            assert row is not None
            self._known[digest] = row
            if len(self._known) > MAX_CACHED_DIGESTS:
                self._known.popitem(last=False)
        return row

    def _find(self, tx: Tx, digest: bytes) -> int | None:
        row: int | None = tx.value("item_by_digest", digest=digest)
        if row is not None and self._is_sweeping:
            tx.run("item_touch", item=row)  # whoever sweeps may have found that nothing needs it
        return row

    def put_list(
        self, tx: Tx, owner: str, items: Sequence[Prepared], *, refreshed: bool = False
    ) -> int:
        """Store a list of values in the log of `owner` and return the row of this version."""
        if not refreshed:
            self.refresh(tx.value("meta_value", key="generation"))
        known, rows = self._newest.pop(owner, _NO_LIST)
        if known != items[: len(known)]:  # by identity
            known, rows = _NO_LIST
        # Only what is new is looked at one by one: this is done for every list of every checkpoint.
        rows = rows + [self._put(tx, item) for item in items[len(known) :]]
        self._newest[owner] = (items, rows)
        if len(self._newest) > MAX_CACHED_LOGS:
            self._newest.popitem(last=False)
        return self.lists.put(tx, owner, rows)

    def trusted_stamp(self, tx: Tx) -> object:
        """Return the stamp for rows that are read here; None where they may go before their use."""
        stamp, seen = self.stamp, self._seen  # in this order: a new stamp never meets an old `seen`
        generation = tx.value("meta_value", key="generation")
        if seen is None or seen != (self._store.epoch, generation) or is_sweeping(generation):
            return None
        return stamp

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

    def _insert(self, tx: Tx, prepared: Prepared) -> int | None:
        """Return the row of a new item, None where there is one with its digest."""
        encoded = prepared.encoded
        return tx.insert_absent(
            "item_insert",
            digest=prepared.digest,
            type=encoded.type,
            text=encoded.text,
            data=encoded.data,
        )

    def refresh(self, generation: str) -> None:
        """Drop what is cached when work was rolled back here, or rows were deleted anywhere.

        Args:
            generation: That of the file, as this transaction finds it.
        """
        seen = (self._store.epoch, generation)
        if seen != self._seen:
            self._seen = seen
            self.stamp = object()
            self._is_sweeping = is_sweeping(seen[1])
            self._known.clear()
            self._newest.clear()
            self.lists.forget(reuse=not self._is_sweeping)


def seal_of(key: bytes, encoded: Encoded, fingerprint: bytes, n: int) -> bytes:
    """Return the seal of a step's result, with the key of its journal."""
    from hashlib import blake2b

    value = encoded.data if encoded.data is not None else (encoded.text or "").encode()
    parts = (fingerprint, str(n).encode(), encoded.type.encode(), value)
    return blake2b(b"\0".join(parts), key=key, digest_size=SEAL_BYTES).digest()


def is_genuine(encoded: Encoded, digest: bytes | None, key: bytes) -> bool:
    """Tell whether a value is still the one that was stored: its digest is that of the value.

    Of a value that has a form beside JSON, the JSON that the views show is not in the digest.
    """
    if digest is None:
        return True
    from hashlib import blake2b

    value = encoded.data if encoded.data is not None else (encoded.text or "").encode()
    kinds = (encoded.type, "shown") if encoded.data is None else (encoded.type,)
    return any(
        blake2b(kind.encode() + b"\0" + value, key=key, digest_size=DIGEST_BYTES).digest() == digest
        for kind in kinds
    )


def is_for_show(encoded: Encoded, digest: bytes | None, key: bytes) -> bool:
    """Return whether a value was stored for people only: what `encode_shown` makes of one without
    a form is never read back.
    """
    from hashlib import blake2b

    if encoded.data is not None or digest is None:
        return False
    text = b"shown\0" + (encoded.text or "").encode()
    return blake2b(text, key=key, digest_size=DIGEST_BYTES).digest() == digest


def is_sweeping(generation: str) -> bool:
    """Tell whether somebody is deleting content that nothing refers to: the generation is odd."""
    return bool(int(generation) & 1)


def stored(row: Row) -> Encoded:
    """Return the stored form in a row of `item`."""
    return Encoded(row["type"], row["text"], row["data"])
