"""What a run asked that the thread did not hold before it began: `diff` compares that alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, cast

from rowtrail.history._compare import essence, parsed
from rowtrail.history._source import Row, Tx
from rowtrail.history._text import json_text


@dataclass
class Newly:
    """Of each prompt of a run, the messages that no earlier run of its thread sent or got."""

    run_id: str
    known: set[bytes] = field(default_factory=set[bytes])
    _digests: dict[int, bytes] = field(default_factory=dict[int, bytes])

    @staticmethod
    def of(tx: Tx, run_id: str) -> Newly:
        """Return it for a run: reads what the earlier runs of the thread said."""
        found = Newly(run_id)
        for row in tx.iter("items_of_earlier_runs", run_id=run_id):
            found.known.add(found._digest(row))
        return found

    def fingerprints(self, tx: Tx) -> dict[int, str]:
        """Return by the number of a step what stands for its request: what was new in it."""
        return {seq: _hex(self._new(rows)) for seq, rows in self._prompts(tx, None)}

    def inputs(self, tx: Tx, seqs: Sequence[int]) -> dict[int, Any]:
        """Return by the number of a step what was new in its prompt, in the form of its input."""
        found: dict[int, Any] = {}
        for seq in seqs:
            for _, rows in self._prompts(tx, seq):
                messages = [parsed(row["text"]) for row in self._new(rows)]
                found[seq] = {"messages": messages, "parameters": parsed(rows[0]["parameters"])}
        return found

    def _prompts(self, tx: Tx, seq: int | None) -> Iterator[tuple[int, list[Row]]]:
        rows = tx.iter("prompt_items", run_id=self.run_id, seq=seq)
        for number, group in groupby(rows, key=lambda row: row["seq"]):
            yield cast("int", number), list(group)

    def _new(self, rows: list[Row]) -> list[Row]:
        """Return the messages behind those that are known, and new instructions among these."""
        kept: list[Row] = []
        for n, row in enumerate(rows):
            if self._digest(row) in self.known:
                continue
            if row["role"] != "system":
                return [*kept, *rows[n:]]
            kept.append(row)
        return [*kept, rows[-1]] if rows[-1] not in kept else kept

    def _digest(self, row: Row) -> bytes:
        digest = self._digests.get(row["item"])
        if digest is None:
            digest = self._digests[row["item"]] = _hashed([json_text(essence(parsed(row["text"])))])
        return digest


def _hex(rows: Iterable[Row]) -> str:
    found = list(rows)
    texts = [json_text(essence(parsed(row["text"]))) for row in found]
    return _hashed([*texts, str(found[0]["parameters"])]).hex()


def _hashed(texts: Iterable[str]) -> bytes:
    from hashlib import blake2b  # it loads OpenSSL: not for other commands

    digest = blake2b(digest_size=16)
    for text in texts:
        digest.update(text.encode("utf-8", "replace") + b"\0")
    return digest.digest()
