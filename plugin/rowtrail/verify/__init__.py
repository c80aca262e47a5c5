"""Checking a journal, rebuilding a damaged one, and saying what could still be lost."""

from __future__ import annotations

from rowtrail.verify._durability import (
    DurabilityReport,
    Event,
    StepDurability,
    recent_durability,
)

__all__ = [
    "DurabilityReport",
    "Event",
    "StepDurability",
    "recent_durability",
]
