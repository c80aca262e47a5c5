"""Parts of long texts, each of which is a row of the search index."""

from __future__ import annotations

import hashlib

PART_CHARS = 3_000
"""A text is indexed in parts of this length: what an embedder takes, and what ranks fairly."""

OVERLAP_CHARS = 200
"""A sentence or two: what is cut apart is found whole in one of both."""
MAX_PARTS = 400
"""What comes behind 1.1 million characters of one value is not searched."""

DIGEST_BYTES = 7
"""As a number it takes 8 bytes of a file. Of 10 million texts, two are taken for one another with
a chance of 1 in 1,400; then one of them is found where the other stands."""


def parts(text: str) -> list[str]:
    """Return a text in parts that overlap, each of which ends between words."""
    found: list[str] = []
    start = 0
    while start < len(text) and len(found) < MAX_PARTS:
        end = start + PART_CHARS
        if end < len(text):
            blank = text.rfind(" ", end - OVERLAP_CHARS, end)
            end = blank if blank > 0 else end
        part = text[start:end].strip()
        if part:
            found.append(part)
        start = end if end >= len(text) else end - OVERLAP_CHARS
    return found


def digest_of(part: str) -> int:
    """Return the number by which equal texts are known."""
    data = part.encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest(), "big")
