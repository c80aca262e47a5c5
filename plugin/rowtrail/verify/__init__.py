"""Checking a journal, rebuilding a damaged one, and saying what could still be lost."""

from __future__ import annotations

from rowtrail.verify._check import verify
from rowtrail.verify._durability import (
    DurabilityReport,
    Event,
    StepDurability,
    recent_durability,
)
from rowtrail.verify._repair import Loss, Repair, repair
from rowtrail.verify._report import Check, Fault, Progress, Verification

__all__ = [
    "Check",
    "DurabilityReport",
    "Event",
    "Fault",
    "Loss",
    "Progress",
    "Repair",
    "StepDurability",
    "Verification",
    "recent_durability",
    "repair",
    "verify",
]
