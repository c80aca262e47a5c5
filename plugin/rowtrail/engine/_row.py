"""One row of an answer."""

from __future__ import annotations

from typing import Any, Protocol


class Row(Protocol):
    """Columns by name and by position."""

    def __getitem__(self, key: str | int, /) -> Any: ...
