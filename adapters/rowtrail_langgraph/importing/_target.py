"""The journal that an import writes to, inside the transaction of one thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.serde.base import SerializerProtocol

from rowtrail import Journal
from rowtrail.checkpoint import Checkpoints, NewWrite, NewWrites
from rowtrail.content import Encoded
from rowtrail.engine import Tx
from rowtrail_langgraph.importing._file import Original
from rowtrail_langgraph.saver import Address, Transactions
from rowtrail_langgraph.values import GraphCodec, Memo, Values

MAX_CACHED_CHARS = 32 * 1024 * 1024
"""The texts of a few long threads: what is found here needs no query."""
MAX_CACHED_ITEM_CHARS = 256 * 1024
"""A longer text would push out many short ones, which come more often."""
OVERHEAD_CHARS = 1024
"""What a value takes beside its text."""


class ImportTarget:
    """Stores checkpoints as a saver does, and reads them back.

    Args:
        journal: Where they go.
        serde: Serializer that the journal's values are read with; see `lossless`.
    """

    def __init__(self, journal: Journal, serde: SerializerProtocol) -> None:
        self._store = journal.store
        content = journal.recorder.content
        self._checkpoints = Checkpoints(self._store, content)
        self._values = Values(content, _CachingCodec(serde), Memo())
        self._work = Transactions(journal, self._checkpoints, self._values)

    def run(self, work: Callable[[Tx], None], stop: threading.Event) -> None:
        """Run `work` as a transaction; when the wait for it is interrupted, it is rolled back."""
        running = self._store.submit(work)
        try:
            running.result()
        except BaseException:
            stop.set()
            running.exception()  # wait: the source must not be closed under it
            raise

    def put(self, tx: Tx, original: Original) -> None:
        """Store one checkpoint with its writes."""
        parent = Address(original.thread_id, original.ns, original.parent_id)
        put, _ = self._work.put(
            parent.config, original.checkpoint, original.metadata, original.created_at
        )
        put(tx)
        for (task_path, task_id), writes in groupby(
            original.writes, key=lambda write: (write.task_path, write.task_id)
        ):
            # Not through put_writes of the saver, which would number them anew.
            rows = [
                NewWrite(write.idx, write.channel, self._values.written(write.channel, write.value))
                for write in writes
            ]
            self._checkpoints.put_writes(
                tx,
                thread_id=original.thread_id,
                ns=original.ns,
                checkpoint_id=original.checkpoint_id,
                new=NewWrites(task_id, task_path, rows),
            )

    def read_back(self, tx: Tx, thread_id: str, ns: str) -> Iterator[CheckpointTuple]:
        """Yield the checkpoints of a namespace as the saver's `list` does, newest first."""
        wanted = Address(thread_id, ns, None).config
        pages = self._work.pages(wanted, None, None, None)
        read = next(pages, None)
        while read is not None:
            page = read(tx)
            yield from (found for _, found in page if found is not None)
            try:
                read = pages.send(page)
            except StopIteration:
                return

    def newest_id(self, tx: Tx, thread_id: str, ns: str) -> str | None:
        """Return which checkpoint a graph would go on from."""
        return self._checkpoints.newest_id(tx, thread_id, ns)


class _CachingCodec(GraphCodec):
    """Decodes each stored form once: a message is in thousands of checkpoints. For reading only."""

    def __init__(self, serde: SerializerProtocol) -> None:
        super().__init__(serde)
        self._cache: dict[tuple[str, str | None, bytes | None], object] = {}
        self._cached_chars = 0

    def decode(self, stored: Encoded) -> object:
        """Return the value of a stored form; the same object for the same form."""
        key = (stored.type, stored.text, stored.data)
        if key in self._cache:
            return self._cache[key]
        value: object = super().decode(stored)
        chars = len(stored.text or "") + len(stored.data or b"")
        if chars <= MAX_CACHED_ITEM_CHARS:
            self._cached_chars += chars + OVERHEAD_CHARS
            if self._cached_chars > MAX_CACHED_CHARS:
                self._cache.clear()
                self._cached_chars = chars + OVERHEAD_CHARS
            self._cache[key] = value
        return value

    def decode_items(self, stored: Sequence[Encoded]) -> list[object]:
        """Return the values of a list's items."""
        return [self.decode(item) for item in stored]
