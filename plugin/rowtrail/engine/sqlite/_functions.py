"""The SQL functions that a query may use, and linear-time twins of three that are quadratic."""

from __future__ import annotations

from collections.abc import Callable

MAX_VALUE_BYTES = 4 * 1024 * 1024
"""Longest text or blob that a query may read or build."""

MAX_TRIM_CHARS = 1_000
"""SQLite's own trim takes time by both lengths, multiplied: an untrusted query could use that."""

_HARMLESS = """
    -> ->> abs acos acosh asin asinh atan atan2 atanh avg ceil ceiling changes char coalesce concat
    concat_ws cos cosh count cume_dist current_date current_time current_timestamp date datetime
    degrees dense_rank exp first_value floor format glob group_concat hex if ifnull iif instr json
    json_array json_array_length json_each json_error_position json_extract json_group_array
    json_group_object json_object json_pretty json_quote json_remove json_tree json_type json_valid
    julianday lag last_value lead length like likelihood likely ln log log10 log2 lower ltrim max
    median min mod nth_value ntile nullif octet_length percent_rank percentile percentile_cont
    percentile_disc pi pow power printf quote radians random randomblob rank replace round
    row_number rtrim sign sin sinh soundex sqrt strftime string_agg substr substring subtype sum
    tan tanh time timediff total trim trunc typeof unhex unicode unixepoch unlikely upper zeroblob
"""
ALLOWED = frozenset(_HARMLESS.split())
"""Missing on purpose: whatever reads or writes files, loads code or shows SQLite's insides;
`json_patch`, quadratic in the number of keys; `json_set`, `json_insert` and `json_replace`, which
overflow the stack and take the process with them on a path of a megabyte (seen in 3.40)."""

Cell = None | int | float | str | bytes


def _text(value: Cell) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _instr(where: Cell, what: Cell) -> int | None:
    if where is None or what is None:
        return None
    if isinstance(where, bytes) and isinstance(what, bytes):
        return where.find(what) + 1
    return _text(where).find(_text(what)) + 1


def _replace(where: Cell, old: Cell, new: Cell) -> Cell:
    if where is None or old is None:
        return None
    text, out = _text(where), _text(old)
    if not out:
        return where
    if new is None:
        return None
    into = _text(new)
    if len(text) + text.count(out) * (len(into) - len(out)) > MAX_VALUE_BYTES:
        raise ValueError("the result is too long")
    return text.replace(out, into)


def _trimmer(strip: Callable[[str, str], str]) -> Callable[[Cell, Cell], str | None]:
    def trim(where: Cell, chars: Cell) -> str | None:
        if where is None or chars is None:
            return None
        wanted = _text(chars)
        if len(wanted) > MAX_TRIM_CHARS:
            raise ValueError("there are too many characters to trim")
        return strip(_text(where), wanted) if wanted else _text(where)

    return trim


LINEAR: dict[tuple[str, int], Callable[..., Cell]] = {
    # SQLite's own compare at every position, inside one step that no timeout can interrupt:
    # instr() of half a megabyte in a megabyte takes half a minute
    ("instr", 2): _instr,
    ("replace", 3): _replace,
    ("trim", 2): _trimmer(str.strip),
    ("ltrim", 2): _trimmer(str.lstrip),
    ("rtrim", 2): _trimmer(str.rstrip),
}
