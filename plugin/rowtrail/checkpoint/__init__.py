"""Checkpoints: their rows, whatever framework writes them."""

from rowtrail.checkpoint._ancestry import SNAPSHOT, delta_ancestors, has_delta_channels
from rowtrail.checkpoint._checkpoints import Checkpoints
from rowtrail.checkpoint._packing import body_fault, values_fault
from rowtrail.checkpoint._rows import (
    DamagedCheckpoint,
    NewCheckpoint,
    NewWrite,
    NewWrites,
    StoredCheckpoint,
    StoredWrite,
    Value,
)
from rowtrail.checkpoint._threads import (
    newest_checkpoint,
    newest_input_step,
    newest_run_id,
    step_of_checkpoint,
    threads_among,
)

__all__ = [
    "SNAPSHOT",
    "Checkpoints",
    "DamagedCheckpoint",
    "NewCheckpoint",
    "NewWrite",
    "NewWrites",
    "StoredCheckpoint",
    "StoredWrite",
    "Value",
    "body_fault",
    "delta_ancestors",
    "has_delta_channels",
    "newest_checkpoint",
    "newest_input_step",
    "newest_run_id",
    "step_of_checkpoint",
    "threads_among",
    "values_fault",
]
