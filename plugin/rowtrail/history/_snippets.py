"""The part of a text that is shown: around what was looked for, never cut inside it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rowtrail.history._folding import Aligned, folded

LEAD = 4
"""One part in so many of a snippet comes before the first hit: what follows it matters more."""
SLACK = 24
"""So far an end is moved to a blank: a longer word is cut."""

Mark = tuple[int, int]
"""Where a hit begins in the text, and where it ends."""


def marks_of(text: Aligned, highlighted: str) -> list[Mark]:
    """Return where the hits are in a text, in order.

    Args:
        text: The text as the index took it in.
        highlighted: Its body with the characters 1 and 2 around each hit.
    """
    found: list[Mark] = []
    at = 0
    for piece in re.split("(\x01[^\x02]*\x02)", highlighted):
        hit = piece.startswith("\x01")
        plain = piece[1:-1] if hit else piece
        if hit:
            start, end = _trimmed(plain)
            if end > start:
                found.append(text.place(at + start, at + end))
        at += len(plain)
    return joined(found)


def _trimmed(plain: str) -> Mark:
    """Return where a hit is without the joiners and blanks around it."""
    return len(plain) - len(plain.lstrip("\u200b \n")), len(plain.rstrip("\u200b \n"))


def joined(marks: list[Mark]) -> list[Mark]:
    """Return the same places in order, those that touch as one."""
    found: list[Mark] = []
    for start, end in sorted(marks):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


@dataclass(frozen=True)
class _Window:
    start: int
    end: int

    def holds(self, mark: Mark) -> bool:
        return self.start <= mark[0] and mark[1] <= self.end


def snippet(text: str, marks: list[Mark], chars: int) -> str:
    """Return some `chars` characters of a text on one line, with the hits in brackets."""
    window = _best(text, marks, chars)
    shown = [mark for mark in marks if window.holds(mark)]
    window = _at_blanks(text, window, shown)
    pieces, at = list[str](), window.start
    for start, end in shown:
        pieces += [text[at:start], "[", text[start:end], "]"]
        at = end
    pieces.append(text[at : window.end])
    line = re.sub(r"\s+", " ", "".join(pieces)).strip()
    before = "…" if text[: window.start].strip() else ""
    behind = "…" if text[window.end :].strip() else ""
    return f"{before}{line}{behind}"


def _best(text: str, marks: list[Mark], chars: int) -> _Window:
    """Return the window that shows most of what was looked for, the first of several."""
    if len(text) <= chars or not marks:
        return _Window(0, min(len(text), chars))
    words = [folded(text[start:end]) for start, end in marks]
    best, most = _Window(0, 0), 0
    for first, (start, end) in enumerate(marks):
        lo = max(min(start - chars // LEAD, len(text) - chars), 0)
        window = _Window(min(lo, start), max(lo + chars, end))
        shown = {
            word
            for word, mark in zip(words[first:], marks[first:], strict=True)
            if mark[1] <= window.end
        }
        if len(shown) > most:
            best, most = window, len(shown)
    return best


def _at_blanks(text: str, window: _Window, shown: list[Mark]) -> _Window:
    """Return a window that begins and ends between words, where there are any near its ends."""
    start, end = window.start, window.end
    first = shown[0][0] if shown else end
    last = shown[-1][1] if shown else start
    if start > 0 and not text[start - 1].isspace():
        blank = text.find(" ", start, min(start + SLACK, first))
        start = start if blank < 0 else blank + 1
    if end < len(text) and not text[end].isspace():
        blank = text.rfind(" ", max(end - SLACK, last), end)
        end = end if blank < 0 else blank
    while 0 < start < first and _is_mark(text[start]):
        start += 1
    return _Window(start, end)


def _is_mark(char: str) -> bool:
    return not folded(char).strip("\u200b")
