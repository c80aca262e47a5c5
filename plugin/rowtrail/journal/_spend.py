"""The day and the model that tokens and money are counted by."""

from __future__ import annotations

from datetime import UTC, datetime

UNKNOWN_MODEL = "unknown"


def utc_day(ms: int) -> str:
    """Return the UTC day of a time, as YYYY-MM-DD."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")
