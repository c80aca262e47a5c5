"""What a person typed, as expressions of FTS5: any text is one, none is a syntax error."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from rowtrail.history._folding import UNSPACED, folded, numbers
from rowtrail.history._stop_words import stop_words

MAX_WORDS = 32
"""Words of a text that are looked for; of a longer one, the longest words."""
MAX_PARTS = 64
"""Parts of words that are looked for: those of a question of two lines."""

COMMON = 5_000
"""A word in more texts than this hardly ranks, and costs 1 ms for each 1,000 of them."""

MIN_PREFIX = 3
"""A shorter beginning is that of too many words."""

_PIECE = re.compile('["“”„«»]([^"“”„«»]*)["“”„«»]|(\\S+)')
_RUN = re.compile(f"[{UNSPACED}]+|[^{UNSPACED}]+")
_HIRAGANA = re.compile("[\u3040-\u309f]+")
"""What is only this is grammar, beside other characters."""
_LETTERS_OF_SYLLABLES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]+")
SYLLABLE = 4
"""Letters of Thai, Lao, Burmese and Khmer in one part; of Han, kana and Hangul two characters."""
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "ae", "Ö": "oe", "Ü": "ue"})


@dataclass(frozen=True)
class Term:
    """One thing to look for.

    Attributes:
        text: As it was typed.
        match: The expression that finds it as a whole.
        parts: Expressions that find its parts, of a script without blanks between words.
        prefix: The expression that finds words that begin like it; None where it is no word.
    """

    text: str
    match: str
    parts: tuple[str, ...] = ()
    prefix: str | None = None


def terms(text: str) -> list[Term]:
    """Return what to look for: words, runs of a script without blanks, quoted phrases, numbers.

    Stop words are left out where anything else is left.
    """
    text = text.encode("utf-8", "replace").decode().replace("\0", " ")
    found = {term.match: term for term in _terms(text)}
    kept = list(found.values())
    stops = stop_words([term.text.casefold() for term in kept])
    telling = [term for term in kept if term.text.casefold() not in stops]
    kept = telling or kept
    if len(kept) > MAX_WORDS:
        longest = sorted(kept, key=lambda term: -len(term.text))[:MAX_WORDS]
        kept = [term for term in kept if term in longest]
    return kept


def _terms(text: str) -> Iterator[Term]:
    for quoted, bare in _PIECE.findall(_ungrouped(text)):
        if quoted:
            yield from _phrase(quoted, quoted)
            continue
        whole = _NUMBER.fullmatch(bare)
        if whole is not None:
            yield _number(whole[1], whole[2])
            continue
        for run in _RUN.findall(bare):
            if UNSPACED_START.match(run):
                yield from _unspaced(run)
            else:
                yield from _phrase(run, run, is_word=True)


UNSPACED_START = re.compile(f"[{UNSPACED}]")
_NUMBER = re.compile("\ue000([^\ue000\ue001]*)\ue001([^\ue000\ue001]*)\ue000")
"""A number in groups and without, between characters that nobody types."""


def _ungrouped(text: str) -> str:
    """Return a text with the numbers in groups, outside of quotes, marked: `48 213` is one word."""
    text = text.translate({0xE000: None, 0xE001: None})
    pieces, at = list[str](), 0
    for start, end, number in numbers(text):
        if text.count('"', 0, start) % 2:
            continue
        shown = re.sub(r"\s", "\u2060", text[start:end])
        pieces += [text[at:start], f" \ue000{number}\ue001{shown}\ue000 "]
        at = end
    return "".join([*pieces, text[at:]])


def _number(joined: str, shown: str) -> Term:
    groups = shown.replace("\u2060", " ")
    apart = " AND ".join(_string(group) for group in groups.split())
    return Term(groups, f"({_string(joined)} OR ({apart}))" if " " in groups else _string(joined))


def _phrase(shown: str, phrase: str, *, is_word: bool = False) -> Iterator[Term]:
    plain = folded(phrase)
    if not _has_token(plain):
        return
    match, spelt = _string(plain), phrase.translate(_UMLAUTS)
    if spelt != phrase:
        match = f"({match} OR {_string(folded(spelt))})"
    prefix = None
    if is_word and len(plain) >= MIN_PREFIX and plain[-1].isalnum():
        prefix = f"{_string(plain)} *"
    yield Term(shown, match, prefix=prefix)


def _unspaced(run: str) -> Iterator[Term]:
    plain = folded(run)
    chars = [char for char in plain if _has_token(char)]
    if not chars:
        return
    size = SYLLABLE if _LETTERS_OF_SYLLABLES.search(run) else 2
    parts = ["".join(chars[at : at + size]) for at in range(max(len(chars) - size + 1, 1))]
    telling = [part for part in parts if not _HIRAGANA.fullmatch(part)]
    strings = tuple(dict.fromkeys(_string(folded(part)) for part in telling or parts))
    whole = _string(plain)
    yield Term(run, whole, () if strings == (whole,) else strings)


def _string(plain: str) -> str:
    """Return a string of FTS5: the words of it side by side."""
    return f'"{plain.replace(chr(34), " ")}"'


def _has_token(plain: str) -> bool:
    """Return whether the tokenizer finds anything: letters, digits, marks, symbols beyond ASCII."""
    return any(
        char.isalnum() or (char > "\x7f" and unicodedata.category(char)[0] in "LMNS")
        for char in plain
    )


@dataclass(frozen=True)
class Plan:
    """What to match, one expression after the other until enough is found.

    Attributes:
        whole: Finds texts that have all of it; None where none can.
        some: Finds texts that have some of it; None where nothing is in any text.
        nowhere: What is in no text, as it was typed.
        begun: What is in no text, and begins words that are.
        has_all: A text has all of it.
    """

    whole: str | None
    some: str | None
    nowhere: tuple[str, ...] = ()
    begun: tuple[str, ...] = ()
    has_all: bool = False

    def with_all(self, found: int) -> Plan:
        """Return the plan after `whole` found so many texts."""
        return replace(self, has_all=found > 0)


def plan(found: list[Term], count: Callable[[str], int]) -> Plan:
    """Return what to match. Words that are everywhere are left out beside others.

    Args:
        found: From `terms`.
        count: Returns in how many texts an expression is, as far as `COMMON`.
    """
    counted = [(term, count(term.match)) for term in found]
    nowhere, begun, some, whole = list[str](), list[str](), list[str](), list[str]()
    has_rare = any(0 < texts < COMMON for _, texts in counted)
    for term, texts in counted:
        if texts and (texts < COMMON or not has_rare):
            whole.append(term.match)
            some.append(term.match)
        if texts < COMMON and term.parts:
            some += [part for part in term.parts[:MAX_PARTS] if 0 < count(part) < COMMON]
        if texts:
            continue
        if term.prefix is not None and count(term.prefix):
            begun.append(term.text)
            whole.append(term.prefix)
            some.append(term.prefix)
        else:
            nowhere.append(term.text)
    if not some:  # parts that are everywhere are better than nothing
        some = [part for term in found for part in term.parts[:MAX_PARTS] if count(part)]
    any_of = " OR ".join(dict.fromkeys(some)) or None
    has_all = bool(whole) and not nowhere
    return Plan(" AND ".join(whole) if has_all else None, any_of, tuple(nowhere), tuple(begun))
