"""`canonical=`: what a program puts into its requests anew each time, and must not count."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from rowtrail.content import canonical_json
from rowtrail.errors import UsageError

MASKED = "<masked>"
"""What stands in a text for what a pattern found."""

Pattern = str | re.Pattern[str] | Callable[[str], str]


class Masks:
    """Masks the texts of a request, for fingerprints and digests; nothing masked is ever sent.

    Args:
        patterns: Regular expressions, whose matches are masked, and functions of a text.

    Raises:
        UsageError: A pattern is neither, is no valid expression, or matches the empty text.
    """

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self._masks = tuple(map(_mask_of, patterns))

    def __call__(self, text: str) -> str:
        """Return a text with what the patterns find masked, in their order.

        Raises:
            UsageError: A function raised, or returned no text.
        """
        for mask in self._masks:
            text = mask(text)
        return text

    def canonical_json(self, value: Any) -> str:
        """Return the canonical text of a value whose texts are masked, keys apart."""
        return canonical_json(value, self)


def masks_of(canonical: object) -> Masks | None:
    """Return the masks that an argument `canonical=` names, None where it names none.

    Raises:
        UsageError: It is not a list of regular expressions and functions.
    """
    if canonical is None or isinstance(canonical, Masks):
        return canonical
    if not isinstance(canonical, (list, tuple)):
        raise UsageError(
            f"canonical={canonical!r} is not a list: give the patterns of what your program makes "
            "up anew each time, such as canonical=[r'[0-9a-f]{8}-[0-9a-f-]{27}']"
        )
    return Masks(canonical) if canonical else None  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _mask_of(pattern: Any) -> Callable[[str], str]:
    if isinstance(pattern, (str, re.Pattern)):
        return _expression(pattern)  # pyright: ignore[reportUnknownArgumentType]
    if not callable(pattern):
        raise UsageError(
            f"canonical={pattern!r} is neither a regular expression nor a function of a text"
        )

    def mask(text: str) -> str:
        try:
            masked = pattern(text)
        except Exception as error:  # the user's code may raise anything
            raise UsageError(f"the function {pattern!r} of canonical= raised {error!r}") from error
        if type(masked) is not str:
            raise UsageError(f"the function {pattern!r} of canonical= returned {masked!r}, no text")
        return masked

    return mask


def _expression(pattern: str | re.Pattern[Any]) -> Callable[[str], str]:
    try:
        compiled = re.compile(pattern)
        matches_nothing = compiled.search("") is not None
    except (re.error, TypeError) as error:
        raise UsageError(f"canonical={pattern!r} is not a regular expression: {error}") from error
    if matches_nothing:
        raise UsageError(f"canonical={pattern!r} matches the empty text: it would mask everything")
    return lambda text: compiled.sub(MASKED, text)
