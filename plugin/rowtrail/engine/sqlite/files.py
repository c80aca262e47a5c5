"""Copies of a file, facts about it, damaged ones, files of other programs."""

from __future__ import annotations

from rowtrail.engine.sqlite._backup import back_up
from rowtrail.engine.sqlite._damaged import DamagedFile, Hole
from rowtrail.engine.sqlite._foreign import ForeignFile
from rowtrail.engine.sqlite._inspect import (
    MEMORY_FILE_SYSTEMS,
    NETWORK_FILE_SYSTEMS,
    FileFacts,
    file_system_of,
    has_wal_reset_fault,
    inspect_file,
    sqlite_version,
)
from rowtrail.engine.sqlite._new_file import NewFile
from rowtrail.engine.sqlite._whole_file import sync_folder

__all__ = [
    "MEMORY_FILE_SYSTEMS",
    "NETWORK_FILE_SYSTEMS",
    "DamagedFile",
    "FileFacts",
    "ForeignFile",
    "Hole",
    "NewFile",
    "back_up",
    "file_system_of",
    "has_wal_reset_fault",
    "inspect_file",
    "sqlite_version",
    "sync_folder",
]
