"""Finds private names of LangGraph, langchain-core, pydantic and the SDKs of other frameworks.

Such a name is an import with a private part, a private attribute that no class of ours has, or a
text that is nothing but such a name: of a `getattr`, of a class made at run time, of a config.
Docstrings may name what they please.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

FRAMEWORKS = {
    "agents",
    "google",
    "langchain_core",
    "langgraph",
    "pydantic",
    "pydantic_ai",
    "pydantic_core",
}
NOT_THEIRS = {
    # name: whose it is
    "_PROXY": "environment variables end so",
    "_exit": "os",
    "_fields": "named tuples",
    "_replace": "named tuples",
}

_PYTHONS_OWN = re.compile(r"__(?!pydantic_)\w+__")
_PRIVATE = re.compile(r"_\w*[A-Za-z]\w*")
_KEY = re.compile(r"__(pregel|pydantic)_\w*")
_PATH = re.compile(rf"({'|'.join(sorted(FRAMEWORKS))})\b[\w.:]*[.:]_\w[\w.:]*")


def own_names(trees: Iterable[ast.Module]) -> set[str]:
    """Return the private attributes that the classes in these modules define."""
    return {
        name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for name in _defined_by(node)
        if name.startswith("_")
    }


def _defined_by(cls: ast.ClassDef) -> Iterator[str]:
    for part in cls.body:
        match part:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Assign(targets=[ast.Name(id="__slots__")], value=value):
                yield from ast.literal_eval(value)
            case ast.Assign(targets=[ast.Name(id=name)]):
                yield name
            case _:
                pass
    for node in ast.walk(cls):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls"), ctx=ast.Store(), attr=name):
                yield name
            case _:
                pass


def private_names(tree: ast.Module, own: set[str]) -> Iterator[tuple[int, str]]:
    """Yield line and name of each private name that is neither `own` nor Python's."""
    known = own | NOT_THEIRS.keys()
    for_people = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if id(node) in for_people:
            continue
        for name in _names_in(node):
            if name not in known:
                yield getattr(node, "lineno", 0), name


def _names_in(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names if _PATH.fullmatch(alias.name)]
        case ast.ImportFrom(module=str(module), names=names, level=0):
            paths = [f"{module}.{alias.name}" for alias in names]
            return [path for path in paths if _PATH.fullmatch(path)]
        case ast.Attribute(attr=name) | ast.keyword(arg=str(name)):
            return [name] if _is_private(name) else []
        case ast.Constant(value=str(text)):
            is_name = _is_private(text) or _KEY.fullmatch(text) or _PATH.fullmatch(text)
            return [text] if is_name else []
        case _:
            return []


def _is_private(name: str) -> bool:
    return bool(_PRIVATE.fullmatch(name)) and not _PYTHONS_OWN.fullmatch(name)
