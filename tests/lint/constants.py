"""Finds numbers with a name of which nothing says why they are so.

A comment on the line or above it, or a text below it, says so.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator


def unexplained(source: str) -> Iterator[str]:
    """Yield the names of numeric constants of a module without a reason."""
    lines = source.splitlines()
    statements = ast.parse(source).body
    for at, statement in enumerate(statements):
        name = _constant(statement)
        if name is None:
            continue
        below = statements[at + 1] if at + 1 < len(statements) else None
        is_told = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        last, above = lines[(statement.end_lineno or 0) - 1], lines[statement.lineno - 2]
        if not is_told and "#" not in last and not above.lstrip().startswith("#"):
            yield name


def _constant(statement: ast.stmt) -> str | None:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
    elif isinstance(statement, ast.AnnAssign):
        target = statement.target
    else:
        return None
    if not isinstance(target, ast.Name) or not target.id.strip("_").isupper():
        return None
    return target.id if statement.value is not None and _is_number(statement.value) else None


def _is_number(value: ast.expr) -> bool:
    if isinstance(value, ast.BinOp):
        return _is_number(value.left) and _is_number(value.right)
    if isinstance(value, ast.UnaryOp):
        return _is_number(value.operand)
    return isinstance(value, ast.Constant) and type(value.value) in (int, float)
