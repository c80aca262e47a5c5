"""Finds code that reads a sentence for people, or an exception's text, to decide something.

A sentence is the column `reason`, `error` or `late_error` of a row, what the code calls `reason`,
`says`, `why` or `message`, and the text or `args` of an exception or a log record. To show one is
fine, and so is asking whether there is one (`is None`): what it says is for people, who get better
words some day.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

COLUMNS = {"reason", "error", "late_error"}
NAMES = {"reason", "says", "why", "sentence", "message"}
ATTRIBUTES = {"reason", "says", "why", "sentence"}
OF_EXCEPTIONS = {"args", "msg", "message", "__notes__"}
EXCEPTIONS = {"error", "exc", "exception", "raised", "cause", "record"}
SEARCHES = {"search", "match", "fullmatch", "findall", "finditer"}
LOOKS = {"startswith", "endswith", "find", "index", "count", "partition", "rpartition", "split"}
REWORDS = {"lower", "upper", "casefold", "strip", "lstrip", "rstrip", "removeprefix", "replace"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def readings(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield the qualified name of each function that decides by a sentence, and the line."""
    yield from _inside(tree, "<module>", _Sentences(tree))


def _inside(node: ast.AST, name: str, sentences: _Sentences) -> Iterator[tuple[str, int]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef):
            inner = child.name if name == "<module>" else f"{name}.{child.name}"
            found = sentences if isinstance(child, ast.ClassDef) else _Sentences(child)
            yield from _inside(child, inner, found)
            continue
        if sentences.decide(child):
            yield name, getattr(child, "lineno", 0)
        yield from _inside(child, name, sentences)


class _Sentences:
    """What is a sentence in one function."""

    def __init__(self, within: ast.AST) -> None:
        self._exceptions = set(EXCEPTIONS)
        self._names = set(NAMES)
        for node in ast.walk(within):
            if isinstance(node, ast.ExceptHandler) and node.name:
                self._exceptions.add(node.name)
        for node in ast.walk(within):
            if isinstance(node, ast.Assign) and self._is_sentence(node.value):
                self._names |= {each.id for each in node.targets if isinstance(each, ast.Name)}
            if isinstance(node, ast.NamedExpr) and self._is_sentence(node.value):
                self._names.add(node.target.id)

    def decide(self, node: ast.AST) -> bool:
        """Return whether a node asks what a sentence says."""
        match node:
            case ast.Compare():
                return self._compares(node)
            case ast.Call(func=ast.Attribute(value=asked, attr=verb)):
                is_asked = verb in LOOKS and self._is_sentence(asked)
                keys = node.args if verb in SEARCHES else node.args[:1] if verb == "get" else []
                return is_asked or any(map(self._is_sentence, keys))
            case ast.Match(subject=subject):
                return self._is_sentence(subject)
            case ast.Subscript(slice=key):
                return self._is_sentence(key)
            case _:
                return False

    def _compares(self, node: ast.Compare) -> bool:
        operands = [node.left, *node.comparators]
        for op, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.Is | ast.IsNot):
                return False
            if isinstance(op, ast.In | ast.NotIn) and right is operands[-1] and len(operands) == 2:
                return self._is_sentence(node.left) or self._is_sentence(right)
        return any(map(self._is_sentence, operands))

    def _is_sentence(self, node: ast.expr) -> bool:
        match node:
            case ast.Name(id=name):
                return name in self._names
            case ast.Subscript(value=of, slice=key):
                return self._is_column(key) or self._is_of_exception(of)
            case ast.Attribute(attr=attr):
                return attr in ATTRIBUTES or self._is_of_exception(node)
            case ast.JoinedStr(values=values):
                shown = [each.value for each in values if isinstance(each, ast.FormattedValue)]
                return any(self._is_exception(each) or self._is_sentence(each) for each in shown)
            case ast.Call(func=ast.Name(id="str" | "repr"), args=[shown]):
                return self._is_exception(shown) or self._is_sentence(shown)
            case ast.Call(func=ast.Attribute(attr="get"), args=[key, *_]):
                return self._is_column(key)
            case ast.Call(func=ast.Attribute(value=inner, attr=verb)):
                return verb in REWORDS and self._is_sentence(inner)
            case ast.NamedExpr(value=inner):
                return self._is_sentence(inner)
            case ast.BoolOp(values=parts):
                return any(map(self._is_sentence, parts))
            case _:
                return False

    def _is_exception(self, node: ast.expr) -> bool:
        name = node.attr.strip("_") if isinstance(node, ast.Attribute) else getattr(node, "id", "")
        return name in self._exceptions

    def _is_of_exception(self, node: ast.expr) -> bool:
        return (
            isinstance(node, ast.Attribute)
            and node.attr in OF_EXCEPTIONS
            and self._is_exception(node.value)
        )

    @staticmethod
    def _is_column(key: ast.expr) -> bool:
        return isinstance(key, ast.Constant) and key.value in COLUMNS


_COLUMN = r"(?<![:\w@])(?:\w+\.)?(?:reason|error|late_error)\b"
_WORDS = r"LIKE|GLOB|REGEXP|MATCH|NOT|IN|BETWEEN|IS(?!\s+(?:NOT\s+)?NULL\b)"
_COMPARED = rf"(?:[=<>]|!=|\b(?:{_WORDS})\b)"
_READ = re.compile(
    rf"{_COLUMN}\s*{_COMPARED}"  # error = 'x', error IN (...)
    rf"|{_COMPARED}\s*{_COLUMN}(?!\s+IS\b)"  # 'x' = error
    rf"|\bCASE\s+{_COLUMN}"
    rf"|\b(?:instr|like|glob|regexp)\s*\([^()]*{_COLUMN}"
    rf"|\b\w+\s*\([^()]*{_COLUMN}[^()]*\)\s*{_COMPARED}",  # substr(error, 1, 3) = 'x'
    re.IGNORECASE,
)
_ASSIGNED = re.compile(r"(\bSET\b|,)(\s*)(?:reason|error|late_error)\s*=(?!=)", re.IGNORECASE)


def reading_of(statement: str) -> str | None:
    """Return the part of an SQL statement that asks what a sentence says, None without one."""
    text = re.sub(r"'[^']*'", "''", re.sub(r"--[^\n]*", "", statement))
    if re.search(r"\bUPDATE\b", text, re.IGNORECASE):
        text = _ASSIGNED.sub(r"\1\2assigned <-", text)
    found = _READ.search(text)
    return None if found is None else found[0]
