"""How SQLite writes what databases write differently."""

from __future__ import annotations

from functools import cache

from rowtrail.schema import DOUBT, Dialect, text_for_people


@cache
def dialect() -> Dialect:
    """Return the dialect of SQLite."""
    return Dialect(
        folder="sqlite",
        macros={
            # the rows of a list that `Tx.array` made
            "each": "SELECT value FROM json_each({0})",
            # the same, with the sign of each changed
            "negated": "SELECT -value FROM json_each({0})",
            # equal, or both NULL
            "same": "{0} IS {1}",
            "greatest": "max({*})",
            # where a text is in another, from 1; 0 where it is not
            "find": "instr({0}, {1})",
            # a JOIN whose left side is read first: SQLite has no statistics
            "cross": "CROSS JOIN",
            # a column that no index is to be used for
            "plain": "+{0}",
            # the number that a text is, another than every id where it is none
            "number": "CAST({0} AS INTEGER)",
            # how many bytes a text has
            "bytes": "length(CAST({0} AS BLOB))",
            # the UTC day of a time in milliseconds, as YYYY-MM-DD
            "day": "strftime('%Y-%m-%d', {0} / 1000, 'unixepoch')",
            # a new id that is greater than every id of a table
            "next": "(SELECT max(id) + 1 FROM {0})",
            # a text as JSON
            "quoted": "json_quote({0})",
            # what is asked about the step `s` in doubt
            "doubt": DOUBT,
            # the text for people of a message
            "text": text_for_people(),
        },
    )
