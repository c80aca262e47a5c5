"""Reading files from outside: for the command line, for questions of strangers, for imports.

Apart from `rowtrail.store`, so that programs that only record do not load it.
"""

from __future__ import annotations

from rowtrail.store._backup import back_up
from rowtrail.store._damaged import DamagedFile, Hole
from rowtrail.store._foreign import ForeignFile
from rowtrail.store._inspect import (
    MEMORY_FILE_SYSTEMS,
    NETWORK_FILE_SYSTEMS,
    FileFacts,
    file_system_of,
    has_wal_reset_fault,
    inspect_file,
    sqlite_version,
)
from rowtrail.store._new_file import NewFile
from rowtrail.store._only import Only
from rowtrail.store._query import Found, UnansweredError, ask, public_columns
from rowtrail.store._reader import Reader
from rowtrail.store._whole_file import sync_folder

__all__ = [
    "MEMORY_FILE_SYSTEMS",
    "NETWORK_FILE_SYSTEMS",
    "DamagedFile",
    "FileFacts",
    "ForeignFile",
    "Found",
    "Hole",
    "NewFile",
    "Only",
    "Reader",
    "UnansweredError",
    "ask",
    "back_up",
    "file_system_of",
    "has_wal_reset_fault",
    "inspect_file",
    "public_columns",
    "sqlite_version",
    "sync_folder",
]
