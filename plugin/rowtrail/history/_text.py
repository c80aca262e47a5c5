"""Recorded text as it may be shown: one line, nothing that a terminal would obey."""

from __future__ import annotations

import json
import re
from typing import Any, cast

# C0 and C1 controls, DEL, separators of lines, what turns or hides text, half characters
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str, *, keep: str = "") -> str:
    """Return `text` with every control character spelt out, except the characters of `keep`."""
    return _UNSAFE.sub(lambda m: m[0] if m[0] in keep else _spelt(m[0]), text)


def _spelt(char: str) -> str:
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def cell_text(value: Any, *, keep: str = "") -> str:
    """Return one value of a row as text without control characters, except those of `keep`.

    NULL is empty, a blob is in hex.
    """
    if value is None:
        return ""
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    return visible(value, keep=keep) if isinstance(value, str) else str(value)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return `value` as JSON in which every control character is escaped."""
    text = json.dumps(_plain(value), ensure_ascii=False, indent=indent, allow_nan=False)
    return _UNSAFE.sub(lambda m: m[0] if m[0] == "\n" else _escaped(m[0]), text)


def _escaped(char: str) -> str:
    return json.dumps(char)[1:-1] if ord(char) > 0x7F else f"\\u{ord(char):04x}"


def _plain(value: Any) -> Any:
    """Return what JSON can hold of a row: SQLite's blobs and infinities become text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, bytes):
        return cell_text(value)
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return str(value)
    return value
