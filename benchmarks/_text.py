"""Text to measure with: different in every message, the same in every run."""

from __future__ import annotations

import string
from random import Random

_WORDS = """
agent answer because before budget called checkpoint conversation could customer database
delivery during either exactly failed further history however invoice journal language
message nothing number order other please question reason record refund repeat report
request result return second several should since something state still storage summary
system thread through together token tool under until value version whether which without
"""
_ASCII = string.ascii_letters + string.digits + " .,;:-_"
"""What JSON stores as it is: a quoted character would take two bytes."""


class Text:
    """Makes text from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._words = _WORDS.split()

    def of(self, length: int) -> str:
        """Return an English-looking text of `length` characters, one byte each."""
        words: list[str] = []
        size = 0
        while size < length:
            word = self._random.choice(self._words)
            words.append(word)
            size += len(word) + 1
        return " ".join(words)[:length]

    def ascii(self, length: int) -> str:
        """Return `length` random characters, in which nothing repeats."""
        return "".join(self._random.choices(_ASCII, k=length))
