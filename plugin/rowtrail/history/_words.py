"""What a person typed, as an expression of FTS5: any text is one, none is a syntax error."""

from __future__ import annotations

import re
from collections.abc import Callable

from rowtrail.history._plain import spaced

MAX_WORDS = 32
"""Words of a text that are looked for; of a longer one, the longest words."""

COMMON = 5_000
"""A word in more texts than this hardly ranks, and costs 1 ms for each 1,000 of them."""

_PIECE = re.compile(r'"([^"]*)"|(\S+)')


def words(text: str) -> list[str]:
    """Return what to look for, each as a string of FTS5: words, and in quotes whole phrases."""
    text = text.encode("utf-8", "replace").decode()
    pieces = dict.fromkeys(quoted or bare for quoted, bare in _PIECE.findall(text))
    kept = [piece for piece in pieces if any(map(str.isalnum, piece))]
    if len(kept) > MAX_WORDS:
        longest = set(sorted(kept, key=len, reverse=True)[:MAX_WORDS])
        kept = [piece for piece in kept if piece in longest]
    return [f'"{spaced(piece).replace(chr(34), " ")}"' for piece in kept]


def expressions(strings: list[str], count: Callable[[str], int]) -> list[str]:
    """Return what to match, one after the other until enough is found: all words, then any.

    Words that are everywhere are left out beside others.

    Args:
        strings: From `words`.
        count: Returns in how many texts a string is, as far as `COMMON`.
    """
    texts = {string: count(string) for string in strings}
    rare = [string for string in strings if 0 < texts[string] < COMMON]
    if not rare:
        found = [string for string in strings if texts[string]]
        return [" AND ".join(found)] if found else []
    if len(rare) < len([string for string in strings if texts[string] < COMMON]):
        return [" OR ".join(rare)]  # a word is nowhere: no text has them all
    return list(dict.fromkeys([" AND ".join(rare), " OR ".join(rare)]))
