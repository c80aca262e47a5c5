"""The schema: numbered scripts, the public views, and every named statement."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING

from rowtrail.vocabulary import TEXT_BLOCKS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

VERSION = 1
"""Schema version that this rowtrail writes (`PRAGMA user_version`)."""

APPLICATION_ID = 0x726F7774
"""`PRAGMA application_id` of a journal: "rowt" in ASCII."""

DOUBT = (
    "s.name || ' was called and ' || CASE WHEN s.error IS NULL THEN 'its result was not recorded'"
    " ELSE 'ended with ' || s.error END || '. It may or may not have happened.'"
)
"""What `@doubt` stands for. Source: `rowtrail.journal.Step.doubt`, which is the same in Python."""

_SHOWN = (
    r"CASE WHEN json_type(\1) = 'text' AND instr(\1, '\\ud') = 0"
    r" THEN json_extract(\1, '$') ELSE \1 END"
)
"""What `@shown(json)` stands for. A text with half a character, which Python's sqlite3 cannot read,
stays escaped."""

_UTC_MACRO = re.compile(r"@utc\(((?:[^()]|\([^()]*\))*)\)")
_STEP_MARK = re.compile(r"^-- changes: step \((\w+)\)$", re.MULTILINE)
_UUID_MACRO = re.compile(r"@uuid\(([\w.]+)\)")
_MACRO = re.compile(r"@(\w+)")
_TEXT_MACRO = re.compile(r"@text\(([\w.]+)\)")
_SHOWN_MACRO = re.compile(r"@shown\(([\w.]+)\)")


@dataclass(frozen=True, eq=False)
class Dialect:
    """How one engine writes what databases write differently.

    Attributes:
        folder: Where the statements are that only this engine has, or writes in its own way.
        macros: What each macro of the common text stands for; `{0}` is its first argument, and
            `{*}` stands for all.
    """

    folder: str
    macros: dict[str, str]


class Change(Enum):
    """How a statement changes rows of the table `step`, as the mark above it says.

    `-- changes: step (one)`, and the other values; a statement without it changes none.
    """

    NONE = "none"
    ADDS = "adds"
    """It adds one."""
    ONE = "one"
    """It changes the one with the id `:id`."""
    MANY = "many"
    """It changes any number."""
    DELETES = "deletes"
    """It deletes any number, which needs no sync: it is reported to nobody as on disk."""


def _folder() -> Traversable:
    from importlib import resources  # it loads tempfile and zipfile: not for `import rowtrail`

    return resources.files(__name__)


def _read(name: str) -> str:
    return _folder().joinpath(name).read_text(encoding="utf-8")


def _utc(match: re.Match[str]) -> str:
    ms = match.group(1)
    return (
        f"strftime('%Y-%m-%dT%H:%M:%S', ({ms}) / 1000, 'unixepoch')"
        f" || printf('.%03dZ', ({ms}) % 1000)"
    )


def migration(version: int) -> list[str]:
    """Return the statements that lead from schema `version` - 1 to `version`."""
    folder = _folder()
    names = [f.name for f in folder.iterdir() if f.name.startswith(f"{version:04d}_")]
    return split(_read(names[0]))


@cache
def tables() -> dict[str, str]:
    """Return the statements that make the tables and indexes of a new journal, by name."""
    found: dict[str, str] = {}
    for version in range(1, VERSION + 1):
        for statement in migration(version):
            name = re.match(r"CREATE (?:TABLE|(?:UNIQUE )?INDEX) (\w+)", statement)
            if name is not None:
                found[name[1]] = statement
    return found


def _uuid(match: re.Match[str]) -> str:
    column = match.group(1)
    parts = " || '-' || ".join(
        f"substr(hex({column}), {start}, {length})"
        for start, length in ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))
    )
    return f"CASE typeof({column}) WHEN 'blob' THEN lower({parts}) ELSE {column} END"


def _with_texts(script: str) -> str:
    """Write out `@text(item)` and its like: text for people, in plain SQL that any tool can run.

    Source: `rowtrail.vocabulary.text_of`, which is the same in Python.
    """
    text = text_for_people()
    script = script.replace("@doubt", DOUBT)
    script = _SHOWN_MACRO.sub(_SHOWN, script)
    return _TEXT_MACRO.sub(lambda match: text.replace("{0}", match[1]), script)


@cache
def text_for_people() -> str:
    """Return the expression that `@text(item)` stands for, with `{0}` for the item."""
    kinds = ", ".join(f"'{kind}'" for kind in TEXT_BLOCKS)
    text = re.sub(r"^--.*\n", "", _read("text.sql"), flags=re.MULTILINE).strip()
    return text.replace("@text_blocks", kinds).replace("@item", "{0}")


@cache
def views() -> dict[str, str]:
    """Return the `CREATE VIEW` statement of each view by its name, in order of creation."""
    text = _UUID_MACRO.sub(_uuid, _UTC_MACRO.sub(_utc, _read("views.sql")))
    statements = map(_with_texts, split(text))
    return {_view_name(statement): statement for statement in statements}


@cache
def abouts() -> dict[str, str]:
    """Return what each public view holds, as the comment behind its name says."""
    found = re.findall(r"CREATE VIEW (\w+) AS +-- (.+)", _read("views.sql"))
    return {view: about for view, about in found if view in PUBLIC_VIEWS}


@cache
def values() -> dict[str, tuple[str, ...]]:
    """Return the values that a column with few may have, as `table.column`."""
    found: dict[str, tuple[str, ...]] = {}
    for version in range(1, VERSION + 1):
        for statement in migration(version):
            table = re.match(r"CREATE TABLE (\w+)", statement)
            if table is None:
                continue
            for listed, column in re.findall(r"CHECK \(((\w+) = '\w+' OR [^)]*)\)", statement):
                found[f"{table[1]}.{column}"] = tuple(re.findall(r"'(\w+)'", listed))
    return found


@cache
def named() -> dict[str, str]:
    """Return the text of each file of `named/`, queries that people ask, by name and in order."""
    folder = _folder().joinpath("named")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    texts = {file.name[3:].removesuffix(".sql"): file.read_text(encoding="utf-8") for file in files}
    return {name: _with_texts(text) for name, text in texts.items()}


def only(conditions: dict[str, str]) -> dict[str, str]:
    """Return, by base table, the `CREATE VIEW` of its rows that fulfil the conditions.

    Args:
        conditions: By table, a condition on its rows: for `run`, `thread` and `checkpoint`.
    """
    statements = split(_read("only.sql"))
    found = {_view_name(statement): statement for statement in statements}
    macro = re.compile(r"@(\w+)")
    return {name: macro.sub(lambda m: conditions[m[1]], text) for name, text in found.items()}


def _view_name(statement: str) -> str:
    found = re.search(r"CREATE VIEW (\w+)", statement)
    assert found is not None, statement
    return found.group(1)


PUBLIC_VIEWS = (
    "threads",
    "runs",
    "attempts",
    "steps",
    "llm_calls",
    "tool_calls",
    "messages",
    "conversation",
    "questions",
    "replays",
    "checkpoints",
    "state",
    "spend",
)
"""Names of the views that users may rely on."""


def split(script: str) -> list[str]:
    """Return the statements of a script; a `;` ends one only at the end of a line."""
    uncommented = re.sub(r"--[^\n]*", "", script)
    return [part.strip() for part in re.split(r";[ \t]*\n", uncommented + "\n") if part.strip()]


@cache
def statements(dialect: Dialect) -> dict[str, str]:
    """Return every named statement (`-- name: NAME` starts one) as an engine understands it.

    They are those of `statements/*.sql` and of the folder of the dialect. A part that several
    share has a name that begins with `@`, which stands for it.
    """
    found: dict[str, str] = {}
    for text in _statement_files(dialect):
        for name, statement in _named(text):
            assert name not in found, f"two statements are named {name!r}"
            found[name] = statement
    parts = {name: found.pop(name) for name in list(found) if name.startswith("@")}
    for part, text in parts.items():
        found = {name: statement.replace(part, text) for name, statement in found.items()}
    return {name: expanded(statement, dialect) for name, statement in found.items()}


def expanded(statement: str, dialect: Dialect) -> str:
    """Return a statement with its macros, `@name` or `@name(argument, ...)`, written out."""
    done, at = "", 0
    while (macro := _MACRO.search(statement, at)) is not None:
        arguments, end = _arguments(statement, macro.end())
        written = dialect.macros[macro[1]]
        for place, argument in enumerate(arguments):
            written = written.replace(f"{{{place}}}", expanded(argument, dialect))
        if "{*}" in written:
            written = written.replace("{*}", ", ".join(expanded(a, dialect) for a in arguments))
        done, at = done + statement[at : macro.start()] + written, end
    return done + statement[at:]


def _arguments(statement: str, start: int) -> tuple[list[str], int]:
    """Return the arguments in the brackets that begin at `start`, if any, and where they end."""
    if statement[start : start + 1] != "(":
        return [], start
    arguments, depth, begun = list[str](), 0, start + 1
    for at in range(start, len(statement)):
        char = statement[at]
        depth += (char == "(") - (char == ")")
        if depth == 0 or (depth == 1 and char == ","):
            arguments.append(statement[begun:at].strip())
            begun = at + 1
        if depth == 0:
            return arguments, begun
    raise ValueError(f"a macro is not closed: {statement[start:]!r}")


@cache
def of_the_writer(dialect: Dialect) -> tuple[str, ...]:
    """Return what the connection that writes has in its temporary schema, in order."""
    folder = _folder().joinpath(dialect.folder, "writer")
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    texts = [file.read_text(encoding="utf-8") for file in files]
    return tuple(statement for text in texts for _, statement in _named(text))


@cache
def step_changes(dialect: Dialect) -> dict[str, Change]:
    """Return the named statements that are marked as changing steps, and how each does.

    This decides what is committed unsynced (`rowtrail.engine`): a test holds the marks against
    what the statements mean to SQLite.
    """
    return {
        name: Change(mark[1])
        for text in _statement_files(dialect)
        for name, block in _blocks(text)
        if (mark := _STEP_MARK.search(block)) is not None
    }


def _statement_files(dialect: Dialect) -> Iterator[str]:
    for folder in ("statements", dialect.folder):
        for file in sorted(_folder().joinpath(folder).iterdir(), key=lambda f: f.name):
            if file.name.endswith(".sql"):
                yield file.read_text(encoding="utf-8")


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    for block in re.split(r"^-- name: ", text, flags=re.MULTILINE)[1:]:
        name, _, statement = block.partition("\n")
        yield name.strip(), statement


def _named(text: str) -> Iterator[tuple[str, str]]:
    for name, block in _blocks(text):
        yield name, re.sub(r"--[^\n]*", "", block).strip().rstrip(";")


SEARCH_VERSION = 4
"""Version of the search index (`PRAGMA user_version`); a file of another one is built anew."""

SEARCH_APPLICATION_ID = 0x726F7773
"""`PRAGMA application_id` of a search index: "rows" in ASCII."""


def search_tables() -> list[str]:
    """Return the statements that make the tables of a search index."""
    tokenizer = search_statements()["tokenizer"]
    return split(_read("search.sql").replace("@tokenizer", tokenizer))


@cache
def search_statements() -> dict[str, str]:
    """Return every named statement over a search index."""
    found = dict(_named(_read("search_statements.sql")))
    for macro in ("within", "is_within", "gone", "tokenizer"):
        found = {name: text.replace(f"@{macro}", found[macro]) for name, text in found.items()}
    return found
