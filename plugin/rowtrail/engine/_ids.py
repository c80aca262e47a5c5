"""Ids of checkpoints and tasks as rows have them."""

from __future__ import annotations


def id_text(stored: bytes | str | None) -> str | None:
    """Return the text of an id in a row; an engine may keep a UUID as its 16 bytes."""
    if not isinstance(stored, bytes):
        return stored
    text = stored.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
