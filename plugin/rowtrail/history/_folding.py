# ruff: noqa: RUF001  (characters that look alike are what it is about)
"""Text as it is compared: one form for what people write in several ways.

`Straße` and `STRASSE`, `ｱﾎﾟﾛ` and `アポロ`, an accent composed, decomposed or left out, `48,213`,
`48 213` and `٤٨٢١٣`: each is one. A character of a script without blanks between words, and
every symbol, is a word of its own.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

JOINER = "\u200b"
"""Stands around the characters that are words of their own; the tokenizer separates there."""

UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1100-\u11ff\u3005-\u3007\u3021-\u3029\u3031-\u3035"
    "\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff"
    "\uf900-\ufaff\uff66-\uffdc\U00020000-\U0003ffff"
)
"""Thai to Khmer, jamo, kana, Han and its extensions, Hangul, their half-width forms."""

_SYMBOLS = (
    "\u00a1-\u00a9\u00ab-\u00b1\u00b4\u00b6-\u00b8\u00bb\u00bf\u00d7\u00f7\u2010-\u206f\u20a0-\u20cf"
    "\u2100-\u2bff\u3000-\u3004\u3008-\u3020\u3200-\u33ff\ufe30-\ufe4f\U0001f000-\U0001faff"
)
"""Currency, arrows, mathematics, dingbats, emoji; that punctuation is among them is harmless."""

_MARKS = (
    "\u0300-\u036f\u0483-\u0489\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0e31\u0e34-\u0e3a"
    "\u0e47-\u0e4e\u1160-\u11ff\u200d\u20d0-\u20ff\u3099\u309a\ufe00-\ufe0f\uff9e\uff9f"
    "\U0001f3fb-\U0001f3ff"
)
"""What belongs to the character before it."""

_DROPPED = "\u00ad\u0640\u0670\u180e\u200c\u2060\ufeff"
"""Soft hyphens, tatweel, the dagger alef, and what joins or separates without being seen."""

_LETTERS = {"ø": "o", "đ": "d", "ð": "d", "ł": "l", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe"}
"""Letters that Unicode does not decompose, as people without them on the keyboard write them."""

_APART = re.compile(f"([{UNSPACED}{_SYMBOLS}])")
_ASCII_APART = " -/:-@\\[-`{-~\x00-\x1f\x7f"
_SEGMENT = re.compile(
    f"[{UNSPACED}{_SYMBOLS}][{_MARKS}]*"
    f"|[{_ASCII_APART}][{_MARKS}]*"
    f"|[^{UNSPACED}{_SYMBOLS}{_ASCII_APART}]+"
)

_GROUPED = re.compile(
    r"(?<![\w.,])\d{1,3}(?P<by>[.,'’٬，．\u00a0\u2009\u202f ])(?:\d{2,3}(?P=by))*\d{3}(?!\d)"
    r"(?:(?!(?P=by))[.,٫，．](?P<rest>\d+))?(?!\d)"
)
"""A number in groups of digits, with its decimals."""


class _Table(dict[int, str | None]):
    """What becomes of a decomposed character: marks go, digits of any script are ASCII."""

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        if char in _LETTERS:
            found: str | None = _LETTERS[char]
        elif char in _DROPPED or _is_accent(code):
            found = None
        else:
            digit = unicodedata.decimal(char, None)
            found = char if digit is None else str(digit)
        self[code] = found
        return found


def _is_accent(code: int) -> bool:
    """Return whether a mark only says how a letter sounds: people leave these out."""
    return (
        0x0300 <= code <= 0x036F
        or 0x0591 <= code <= 0x05C7
        or 0x0610 <= code <= 0x061A
        or 0x064B <= code <= 0x065F
        or 0x20D0 <= code <= 0x20FF
        or 0xFE00 <= code <= 0xFE0F
        or 0x1F3FB <= code <= 0x1F3FF
    )


_TABLE = _Table()


def folded(text: str) -> str:
    """Return the form of a text in which it is compared, joiners around words of one character."""
    if text.isascii():
        return text.lower()
    # Source: Unicode, D146: compatibility caseless matching folds twice around a decomposition.
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    plain = unicodedata.normalize("NFKD", plain).translate(_TABLE).casefold()
    return _APART.sub(rf"{JOINER}\1{JOINER}", unicodedata.normalize("NFC", plain))


_folded_segment = lru_cache(20_000)(folded)
"""Words come again: a snippet folds each of them alone."""


def numbers(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield where the numbers in groups of digits are, and each without its groups."""
    for found in _GROUPED.finditer(text):
        rest = found["rest"]
        whole = found[0] if rest is None else found[0][: -len(rest) - 1]
        digits = "".join(folded(char) for char in whole if char.isdecimal())
        yield found.start(), found.end(), digits if rest is None else f"{digits}.{folded(rest)}"


def indexed(text: str) -> str:
    """Return what the index takes in of a text: its folded form, and its numbers behind it."""
    body = folded(text.replace("\0", " "))
    return "\n".join([body, *(number for _, _, number in numbers(text))])


@dataclass(frozen=True)
class Aligned:
    """What `indexed` returns, with the place in the text of each of its parts."""

    body: str
    starts: list[int]
    """Where the parts begin in `body`."""
    places: list[tuple[int, int]]
    """Where they stand in the text."""

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Return the place in the text of a stretch of `body`."""
        first = bisect_right(self.starts, start) - 1
        last = bisect_right(self.starts, end - 1) - 1
        return self.places[first][0], self.places[last][1]


def aligned(text: str) -> Aligned:
    """Return a text as the index took it in, part by part."""
    body, starts, places, at = list[str](), list[int](), list[tuple[int, int]](), 0

    def add(part: str, place: tuple[int, int]) -> None:
        nonlocal at
        body.append(part)
        starts.append(at)
        places.append(place)
        at += len(part)

    for segment in _SEGMENT.finditer(text.replace("\0", " ")):
        add(_folded_segment(segment[0]), segment.span())
    for start, end, number in numbers(text):
        add(f"\n{number}", (start, end))
    return Aligned("".join(body), starts, places)
