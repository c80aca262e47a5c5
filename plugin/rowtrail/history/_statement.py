"""The text of a query: one statement that reads, and how large SQLite may make it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from rowtrail.errors import QueryError

MAX_QUERY_CHARS = 20_000
"""No person and no model writes a longer one."""
MAX_EXPANSION = 5_000
"""How many copies of its innermost part a query may come to. SQLite writes out each use of a CTE
and of a column of a subquery: 18 CTEs of 40 characters that use the one before twice take 500 MB
and two seconds to prepare, in which nothing interrupts it; each further one doubles both."""
MAX_LEVELS = 100
"""Below SQLite's own limit of 1,000, whose parser's memory it bounds."""
MAX_DEPTH = 100
"""Brackets inside brackets; newer SQLite has no limit of its own."""

_TOKEN = re.compile(
    r"""
    (?P<blank> [ \t\n\v\f\r\ufeff]+ | --[^\n]* | /\*.*?(?:\*/|\Z) )
  | (?P<quoted> '(?:[^']|'')*(?:'|\Z) | "(?:[^"]|"")*(?:"|\Z) | `(?:[^`]|``)*(?:`|\Z)
              | \[[^\]]*(?:\]|\Z) )
  | (?P<variable> [$@:\#](?:[A-Za-z0-9_$\x80-\U0010ffff]|::)+(?:\([^ \t\n\v\f\r)]*\))? )
  | (?P<word> [A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]* )
  | (?P<other> [0-9][0-9A-Za-z_.]* | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_READING = tuple(("word", word) for word in ("select", "with", "values"))
# Words that can name nothing unless they are quoted. (`left`, `end`, `by` can, and are counted.)
_WORDS = """
    all and as between case collate distinct else exists from group having in is isnull join limit
    not notnull null on or order select then using values when where
"""
_RESERVED = frozenset(_WORDS.split())

Token = tuple[str, str]
"""Kind and lower-cased text; quotes are taken off, a text in single quotes may be a name too."""

_VALUES_FOLLOW = "and by distinct else glob having is like not on or select then when where"
_BEFORE_VALUES = frozenset(_VALUES_FOLLOW.split())
_CTE_COLUMNS = re.compile(r"\(([^()]*)\)\s*as\s+(?:(?:not\s+)?materialized\s*)?\(", re.IGNORECASE)
_OPEN, _CLOSE, _DOT, _END = ("other", "("), ("other", ")"), ("other", "."), ("other", ";")


@dataclass(eq=False)
class _Level:
    """One SELECT with its operators: the tokens in its brackets, but not in those of others."""

    around: _Level | None
    names: Counter[str] = field(default_factory=Counter)
    texts: Counter[str] = field(default_factory=Counter)
    inside: list[_Level] = field(default_factory=list)
    ctes: dict[str, _Level] = field(default_factory=dict)

    def cte(self, name: str) -> _Level | None:
        """Return the CTE that a name means here."""
        level: _Level | None = self
        while level is not None:
            if name in level.ctes:
                return level.ctes[name]
            level = level.around
        return None


def _tokens(sql: str) -> Iterator[Token]:
    for match in _TOKEN.finditer(sql):
        kind, text = match.lastgroup or "other", match.group()
        if kind == "quoted":
            name = text[1:-1].replace(text[0] * 2, text[0])
            yield "text" if text[0] == "'" else "name", name.lower()
        elif kind != "blank":
            yield kind, text.lower()


def check(sql: str) -> None:
    """Refuse what is not one statement that reads, or would grow out of bounds.

    Raises:
        QueryError: It is refused; the message says what to write.
    """
    if len(sql) > MAX_QUERY_CHARS:
        raise QueryError(
            f"the query has {len(sql):,} characters, at most {MAX_QUERY_CHARS:,} are allowed: "
            "hand long values over as parameters",
            query=sql,
        )
    if "\0" in sql:
        raise QueryError("the query holds a NUL character: take it out", query=sql)
    tokens = list(_tokens(sql))
    while tokens and tokens[-1] == _END:
        tokens.pop()
    if not tokens:
        raise QueryError("the query is empty: write one SELECT", query=sql)
    if tokens[0] not in _READING:
        raise QueryError(
            f"the query begins with {tokens[0][1][:40]!r}, and only reading is allowed: write one "
            "SELECT",
            query=sql,
        )
    if _END in tokens:
        raise QueryError("there is more than one statement: ask them one by one", query=sql)
    if _is_too_large(tokens):
        raise QueryError(
            "the query is too large: use fewer subqueries, each CTE and each column of a subquery "
            "fewer times, or ask in several queries",
            query=sql,
        )


def has_named_placeholders(sql: str) -> bool:
    """Return whether a query has placeholders such as `:name`."""
    return any(kind == "variable" for kind, _ in _tokens(sql))


def _is_too_large(tokens: list[Token]) -> bool:
    depth = deepest = 0
    for token in tokens:
        depth += (token == _OPEN) - (token == _CLOSE)
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        return True
    levels = _levels(tokens)
    return len(levels) > MAX_LEVELS or _expansion(levels[0], {}) > MAX_EXPANSION


def names_in(sql: str) -> list[str]:
    """Return every name in a query, lower-cased, in order."""
    return [text for kind, text in _tokens(sql) if kind in ("word", "name")]


def quoted_names(sql: str) -> list[str]:
    """Return the names in double quotes that stand for a value and that the query does not define.

    SQLite takes such a name for a text where no column is called so.
    """
    asked: list[str] = []
    others = {text for found in _CTE_COLUMNS.findall(sql) for _, text in _tokens(found)}
    before: Token = _END
    for match in _TOKEN.finditer(sql):
        if match.lastgroup == "blank":
            continue
        (token,) = _tokens(match.group())
        is_value = before[1] in _BEFORE_VALUES or (
            before[0] == "other" and before[1] in "=<>(,+-|*/!"
        )
        if match.group().startswith('"') and is_value:
            asked.append(token[1])
        elif token[0] != "other":
            others.add(token[1])
        before = token
    return [name for name in asked if name not in others]


def _levels(tokens: list[Token]) -> list[_Level]:
    """Return every SELECT, the outermost first; brackets of expressions open no level."""
    found = [_Level(None)]
    open_ = [found[0]]
    for at, token in enumerate(tokens):
        if token[0] != "other":
            _count(tokens, at, open_[-1])
        elif token == _OPEN and tokens[at + 1 : at + 2] and tokens[at + 1] in _READING:
            found.append(_opened(tokens, at, open_[-1]))
            open_.append(found[-1])
        elif token == _OPEN:
            open_.append(open_[-1])
        elif token == _CLOSE and len(open_) > 1:
            open_.pop()
    return found


def _count(tokens: list[Token], at: int, level: _Level) -> None:
    """Count a token that may name a column or a CTE: no reserved word, function or qualifier."""
    kind, text = tokens[at]
    if kind == "text":
        level.texts[text] += 1
        return
    is_qualifier = at + 1 < len(tokens) and tokens[at + 1] in (_OPEN, _DOT)
    is_alias = at > 0 and tokens[at - 1] == ("word", "as")
    if kind in ("word", "name") and not is_qualifier and not is_alias:
        level.names[text] += kind == "name" or text not in _RESERVED


def _opened(tokens: list[Token], bracket: int, around: _Level) -> _Level:
    """Return the level that a bracket opens; a CTE is known to the level around it by name."""
    level = _Level(around)
    name = _cte_name(tokens, bracket)
    if name is None:
        around.inside.append(level)
    else:
        around.ctes[name] = level
    return level


def _cte_name(tokens: list[Token], bracket: int) -> str | None:
    """Return the name before `[(columns)] AS [[NOT] MATERIALIZED] (`."""
    at = bracket - 1
    while at > 0 and tokens[at] in (("word", "materialized"), ("word", "not")):
        at -= 1
    if at < 1 or tokens[at] != ("word", "as"):
        return None
    at -= 1
    if tokens[at] == _CLOSE:
        while at > 0 and tokens[at] != _OPEN:
            at -= 1
        at -= 1
    return tokens[at][1] if at >= 0 else None


def _expansion(level: _Level, known: dict[_Level, int]) -> int:
    """Return an upper bound of how often the innermost parts of a level are written out.

    A level grows by how often it names one column of the level below, or one CTE.
    """
    if level in known:
        return known[level]
    known[level] = 1  # a recursive CTE is not written out where it names itself
    uses = level.names.copy()
    parts = list(level.inside)
    for name in {*level.names, *level.texts}:
        cte = level.cte(name)
        if cte is not None:
            parts.append(cte)
            uses[name] += level.texts[name]
    below = sum(_expansion(part, known) for part in parts)
    known[level] = min(max(uses.values(), default=1) * max(below, 1), MAX_EXPANSION + 1)
    return known[level]
