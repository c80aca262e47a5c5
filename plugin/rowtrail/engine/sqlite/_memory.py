"""How large the values of a query may get, by how many of them it can hold at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from rowtrail.engine.sqlite._attached import decode
from rowtrail.engine.sqlite._functions import MAX_VALUE_BYTES

MAX_BUILT_BYTES = 512 * 1024 * 1024
"""Most that the values of a query can take together. A heap limit of SQLite's own holds for the
whole process: the writer would fail where a query asks for too much."""

_BUILDING_NAMES = """
    AggInverse AggStep AggStep1 Cast Column Concat Copy Function MakeRecord PureFunc RowData String8
    VColumn Variable
"""
_BUILDING = frozenset(_BUILDING_NAMES.split())
_SMALL_NAMES = """
    abs count date datetime instr json_array_length json_type julianday length strftime time typeof
    unicode unixepoch
"""
_SMALL = frozenset(_SMALL_NAMES.split())
"""Functions whose results are short, whatever they are given."""


def value_limit(
    connection: sqlite3.Connection, sql: str, params: Sequence[Any] | dict[str, Any]
) -> int:
    """Return how many bytes each value of a query may have.

    In one pass of its program, SQLite holds at most one value for each operation that builds one;
    nothing interrupts a pass.
    """
    building = 0
    connection.text_factory = decode
    for _, operation, _, _, _, p4, *_ in connection.execute(f"EXPLAIN {sql}", params):
        name = str(p4).partition("(")[0] if operation in ("Function", "PureFunc", "AggStep") else ""
        building += operation in _BUILDING and name not in _SMALL
    return min(MAX_VALUE_BYTES, MAX_BUILT_BYTES // max(building, 1))
