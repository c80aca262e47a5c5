"""Journals that are files: copies, facts about the file, damaged ones, files of other programs."""

from __future__ import annotations

from rowtrail.engine.sqlite.files import (
    MEMORY_FILE_SYSTEMS,
    NETWORK_FILE_SYSTEMS,
    DamagedFile,
    FileFacts,
    ForeignFile,
    Hole,
    NewFile,
    back_up,
    file_system_of,
    has_wal_reset_fault,
    inspect_file,
    sqlite_version,
    sync_folder,
)

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
