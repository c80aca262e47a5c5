"""What a call is known by: the fingerprints of its request, and what in it cannot be told apart."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from rowtrail.content import TAG, Canonical, Mask, canonical, hasher
from rowtrail.errors import UsageError
from rowtrail.journal._log import log

FINGERPRINT_BYTES = 16
"""128 bits: two requests with one fingerprint do not come by chance."""
MAX_SHOWN_CHARS = 80
"""One line of an error."""

_warned: set[tuple[str, str]] = set()
_lock = threading.Lock()


class Identity(NamedTuple):
    """The fingerprints of one request.

    Attributes:
        fingerprint: Hash of what is asked; of nothing else in the world where it cannot be told.
        masked: The same with the journal's `canonical=` applied, None without one.
        not_told_apart: What in the request cannot be told from others, None where all can.
        shown: The canonical text, where it shows more than the values themselves; else None.
        is_plain: Whether what is asked is made of JSON's own types.
    """

    fingerprint: bytes
    masked: bytes | None = None
    not_told_apart: str | None = None
    shown: str | None = None
    is_plain: bool = False

    @classmethod
    def unique(cls, what: str) -> Identity:
        """Return the identity of a request whose answer is no other's: its fingerprint is random.

        Args:
            what: What in the request cannot be told from others.
        """
        return cls(os.urandom(FINGERPRINT_BYTES), not_told_apart=what)

    def warn(self, name: str) -> None:
        """Warn, once in this process, where calls are made live as they cannot be told apart."""
        what = self.not_told_apart
        with _lock:
            if what is None or (name, what) in _warned:
                return
            _warned.add((name, what))
        log().warning(
            "calls of %s are made anew each time, and their answers are not replayed, because %s "
            "cannot be told from others: give its class a method __rowtrail_key__() that returns "
            "what it is",
            name,
            what,
        )


def identity_of(
    kind: str, name: str, asked: Any, mask: Mask | None = None, *, text: str | None = None
) -> Identity:
    """Return what a request is known by.

    Args:
        mask: The journal's `canonical`; None for the arguments of a `write`, which always count.
        text: The canonical text of what is asked, where it is plain and the text is at hand.
    """
    found = canonical(asked) if text is None else Canonical(text, is_plain=True)
    if found.unclear is not None:
        return Identity.unique(found.unclear)
    masked = None if mask is None else fingerprint_of_text(kind, name, canonical(asked, mask).text)
    shown = found.text if found.has_objects else None
    own = fingerprint_of_text(kind, name, found.text)
    return Identity(own, masked, None, shown, found.is_plain)


def fingerprint_of(kind: str, name: str, asked: Any, mask: Mask | None = None) -> bytes:
    """Return the fingerprint of a request: a hash of what is asked, the same in every attempt."""
    return fingerprint_of_text(kind, name, canonical(asked, mask).text)


def fingerprint_of_text(kind: str, name: str, text: str) -> bytes:
    """Return the fingerprint of a request whose canonical text is at hand."""
    data = f"{kind}\0{name}\0{text}".encode("utf-8", "backslashreplace")
    return hasher()(data, digest_size=FINGERPRINT_BYTES).digest()


def refuse_not_told_apart(name: str, arguments: dict[str, Any]) -> None:
    """Refuse a call one of whose arguments cannot be told apart.

    Raises:
        UsageError: Names the argument, its class, and what to do.
    """
    for argument, value in arguments.items():
        unclear = canonical(value).unclear
        if unclear is not None:
            raise UsageError(
                f"the argument {argument!r} of {name} cannot be told from others: it is or holds "
                f"{unclear}. Give @rowtrail.step(key=...), a function of the arguments that "
                "returns what the call asks for, or give the class a method __rowtrail_key__()"
            )


def differing_attribute(recorded: str | None, asked: str | None) -> str | None:
    """Return in words where two requests of the same call differ, None where that is not known.

    Args:
        recorded: The stored input of a step, as JSON.
        asked: The input of the call that is about to be made, as JSON.
    """
    if recorded is None or asked is None:
        return None
    try:
        found = _difference(json.loads(recorded), json.loads(asked), "")
    except (ValueError, RecursionError):
        return None
    if found is None:
        return None
    path, before, now = found
    return f"{path or 'the value'} is {_cut(now)}, and was {_cut(before)}"


def _difference(a: Any, b: Any, path: str) -> tuple[str, Any, Any] | None:
    if a == b and type(a) is type(b):
        return None
    if isinstance(a, dict) and isinstance(b, dict):
        first, second = cast("dict[str, Any]", a), cast("dict[str, Any]", b)
        if TAG in first and first.get(TAG) == second.get(TAG):
            return _difference(first.get("v"), second.get("v"), path)
        for name in sorted(first.keys() | second.keys()):
            inner = f"{path}.{name}" if path else name
            found = _difference(first.get(name), second.get(name), inner)
            if found is not None:
                return found
    if isinstance(a, list) and isinstance(b, list):
        lefts, rights = cast("Sequence[Any]", a), cast("Sequence[Any]", b)
        for n, (left, right) in enumerate(zip(lefts, rights, strict=False)):
            found = _difference(left, right, f"{path}[{n}]")
            if found is not None:
                return found
    return (path, cast("Any", a), cast("Any", b))


def _cut(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
