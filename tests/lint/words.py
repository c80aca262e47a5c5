"""Finds words of docstrings, comments and private names that the field does not use.

A reader who knows LangGraph, SQLite and DBOS must not translate. Errors and logs are not looked at:
they are for people who use the library, and have tests of their own.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator

INSTEAD = {
    r"tells? whether": "Return whether",
    r"that is none(?! of)": "invalid",
    r"is no (?:text|json|time|age|effect|number)": "is not a text, is not valid JSON",
    r"moulds?": "template",
    r"chores?": "on_heartbeat: what is done now and then",
    r"farewells?": "on_close",
    r"companions?": "the name of what it is: a recorder, a search index",
    r"bubbl(?:es?|ed|ing)": "control flow of the framework",
    r"blam(?:es?|ed|ing)": "caused by",
    r"owe[sd]?": "pending",
    r"told (?:what|that|of|how|about)": "called with, given, knows",
}
"""What reads as a puzzle, and what says it."""

_WORDS = {re.compile(rf"\b(?:{word})\b", re.IGNORECASE): say for word, say in INSTEAD.items()}

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def odd_words(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line, the word, and what to say in its place."""
    for line, text in _texts(source):
        for word, instead in _WORDS.items():
            for found in word.finditer(text):
                yield line, found[0], instead


def _texts(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | Definition):
            text = ast.get_docstring(node)
            if text is not None:
                yield getattr(node, "lineno", 1), " ".join(text.split())
        for name in _names(node):
            if name.startswith("_"):
                yield getattr(node, "lineno", 1), name.replace("_", " ").strip()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, Definition):
        yield node.name
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        yield node.attr
