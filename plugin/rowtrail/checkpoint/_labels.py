"""Names that repeat: channels of graphs, paths of tasks."""

from __future__ import annotations

from rowtrail.engine import Tx

MAX_CACHED_LABELS = 10_000


class Labels:
    """Rows of names, remembered on the writer thread."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._stamp: object = None

    def trust(self, stamp: object) -> None:
        """Forget the rows when the stamp is another: their insertion may have been rolled back."""
        if self._stamp is not stamp or len(self._rows) > MAX_CACHED_LABELS:
            self._rows.clear()
            self._stamp = stamp

    def row(self, tx: Tx, text: str) -> int:
        """Return the row of a name, made if there is none."""
        row = self._rows.get(text)
        if row is None:
            row = tx.value("label_row", text=text) or tx.insert("label_insert", text=text)
            self._rows[text] = row
        return row
