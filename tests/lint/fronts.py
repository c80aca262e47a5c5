"""Finds where a front reads the journal itself, and does not render what `history` returns.

A front is what people, clients or agents ask: the command line, the MCP server, the history tool.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

FRONTS = ("rowtrail.cli", "rowtrail_langgraph._history", "rowtrail_mcp")
DATABASE = ("rowtrail.engine", "rowtrail.schema", "rowtrail.store", "sqlite3")
MAY_IMPORT = {
    # module: what it is for
    "rowtrail.engine.files": "copies of a file, and facts about it and where it lies",
}
MAY_NAME = {("rowtrail", "schema"): "its version, which `doctor` says"}
TAKES_SQL = {"execute", "query", "sql"}


def is_front(module: str) -> bool:
    """Return whether a module is of a front."""
    return any(module == front or module.startswith(f"{front}.") for front in FRONTS)


def readings_of(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the lines on which a module speaks to the database, with what they say."""
    for node in ast.walk(tree):
        for found in _imported(node):
            yield getattr(node, "lineno", 0), f"imports {found}"
        if isinstance(node, ast.Name | ast.arg):
            name = node.id if isinstance(node, ast.Name) else node.arg
            if name in ("tx", "Tx"):
                yield node.lineno, name
        elif isinstance(node, ast.Call) and (said := _asks(node)):
            yield node.lineno, said


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        module = node.module or ""
        joined = {f"{module}.{alias.name}": (module, alias.name) for alias in node.names}
        names = [name for name, pair in joined.items() if pair not in MAY_NAME]
    else:
        return
    for name in names:
        room = any(f"{name}.".startswith(f"{each}.") for each in DATABASE)
        if room and not any(f"{name}.".startswith(f"{each}.") for each in MAY_IMPORT):
            yield name


def _asks(call: ast.Call) -> str | None:
    """Return the call in short where it runs something on a reader, or asks in SQL of its own."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
    reads = isinstance(call.func, ast.Attribute) and name == "read"
    if reads and ast.unparse(call.func) != "sys.stdin.read":
        return f"{ast.unparse(call.func)}(...)"
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    if name in TAKES_SQL and any(isinstance(each, ast.JoinedStr) or _text(each) for each in given):
        return f"{name}(...) of its own SQL"
    return None


def names_in(tree: ast.Module, names: Collection[str]) -> Iterator[tuple[int, str]]:
    """Yield the lines on which one of the names stands as a text, and the name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and _text(node) in names:
            yield node.lineno, _text(node)


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
