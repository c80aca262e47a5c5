"""Figures of the source tree, read without running it.

- functions: lines from `def` to the last, decorators left out, those inside others counted too;
  p95 is the smallest length that 95 in 100 do not exceed;
- cycles: groups of modules of a package that import each other in a ring (strongly connected
  components of more than one), of all that is imported at run time, also inside functions, and once
  more with what is imported below `if TYPE_CHECKING:`;
- broad excepts: `except:`, `except Exception` and `except BaseException`, also in a tuple, with no
  comment on their line, on the line above or up to their first statement, and no docstring of
  their function that says what happens to what is raised (it names `raise`, an error or exception).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

P95_BAR = 30
LONGEST_BAR = 400
MAX_SHOWN = 3

Function = ast.FunctionDef | ast.AsyncFunctionDef
Graph = dict[str, set[str]]

_BROAD = {"Exception", "BaseException"}
_EXPLAINS = re.compile(r"\brais|\berror|\bexception|\bfail|\bcancel|\binterrupt", re.IGNORECASE)


@dataclass(frozen=True)
class Cycles:
    """Import cycles of a package: the modules of each."""

    package: str
    at_run_time: list[list[str]]
    with_typing: list[list[str]]


@dataclass(frozen=True)
class Sources:
    """What is to be said of the sources of `plugin` and `adapters`."""

    files: int
    lines: int
    functions: int
    median_function: int
    p95_function: int
    longest_function: tuple[int, str]
    longest_files: list[tuple[int, str]]
    cycles: list[Cycles]
    broad_excepts: int
    unexplained_excepts: list[str]

    def text(self) -> str:
        """Return it for people."""
        longest, name = self.longest_function
        lengths = (
            f"median {self.median_function} lines, p95 {self.p95_function} (bar: under {P95_BAR}), "
            f"longest {longest} ({name})"
        )
        lines = [
            f"{self.files} files, {self.lines} lines",
            f"{self.functions} functions: {lengths}",
            f"longest files (bar {LONGEST_BAR}): "
            + ", ".join(f"{name} {count}" for count, name in self.longest_files),
        ]
        lines += [
            f"import cycles of {each.package} (bar 0): {len(each.at_run_time)} at run time, "
            f"{len(each.with_typing)} with TYPE_CHECKING"
            + "".join(f"\n  {_shown(ring)}" for ring in each.with_typing)
            for each in self.cycles
        ]
        unexplained = len(self.unexplained_excepts)
        lines.append(f"broad excepts: {self.broad_excepts}, {unexplained} of them unexplained")
        lines += [f"  {at}" for at in self.unexplained_excepts]
        return "\n".join(lines)


def _shown(ring: list[str]) -> str:
    if len(ring) <= MAX_SHOWN:
        return " <-> ".join(ring)
    return f"{len(ring)} modules, {' <-> '.join(ring[:MAX_SHOWN])} <-> ..."


@dataclass(frozen=True)
class _Module:
    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]


def sources(*roots: Path) -> Sources:
    """Read every module below the folders that hold the packages."""
    found = {each.name: each for root in roots for each in _modules(root)}
    lengths = sorted(
        (function.end_lineno - function.lineno + 1, f"{module.name}.{function.name}")
        for module in found.values()
        for function in ast.walk(module.tree)
        if isinstance(function, Function) and function.end_lineno is not None
    )
    lines = sorted((len(each.text.splitlines()), each.name) for each in found.values())
    excepts = [(module, *each) for module in found.values() for each in _broad_excepts(module.tree)]
    return Sources(
        files=len(found),
        lines=sum(count for count, _ in lines),
        functions=len(lengths),
        median_function=int(median(length for length, _ in lengths)),
        p95_function=lengths[-(-len(lengths) * 95 // 100) - 1][0],
        longest_function=lengths[-1],
        longest_files=[each for each in lines[::-1] if each[0] > LONGEST_BAR] or lines[-1:],
        cycles=[_cycles(found, package) for package in sorted({m.package for m in found.values()})],
        broad_excepts=len(excepts),
        unexplained_excepts=[
            f"{module.name}:{handler.lineno}"
            for module, handler, function in excepts
            if not _is_explained(module, handler, function)
        ],
    )


def _modules(root: Path) -> Iterator[_Module]:
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text("utf-8")
        yield _Module(name, path, text, ast.parse(text))


def _cycles(modules: dict[str, _Module], package: str) -> Cycles:
    run_time: Graph = {}
    with_typing: Graph = {}
    for module in modules.values():
        if module.package == package:
            run_time[module.name] = set(_imported(module, modules, typing=False))
            with_typing[module.name] = set(_imported(module, modules, typing=True))
    return Cycles(package, _rings(run_time), _rings(with_typing))


def _imported(module: _Module, known: dict[str, _Module], *, typing: bool) -> Iterator[str]:
    for node in _reached(module.tree, typing=typing):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # a submodule counts for itself, a name for the module that has it
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else str(node.module) for name in names]
        else:
            continue
        yield from (name for name in names if name in known and name != module.name)


def _reached(node: ast.AST, *, typing: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test) and not typing:
            for part in child.orelse:
                yield from (part, *_reached(part, typing=typing))
            continue
        yield child
        yield from _reached(child, typing=typing)


def _rings(graph: Graph) -> list[list[str]]:
    """Return the groups of modules each of which reaches each other."""
    reach = {name: _reach(graph, name) for name in graph}
    rings: list[list[str]] = []
    for name in sorted(graph):
        ring = sorted({name} | {other for other in reach[name] if name in reach.get(other, ())})
        if len(ring) > 1 and ring not in rings:
            rings.append(ring)
    return rings


def _reach(graph: Graph, start: str) -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        for name in graph.get(waiting.pop(), ()):
            if name not in reached:
                reached.add(name)
                waiting.append(name)
    return reached


def _broad_excepts(tree: ast.Module) -> Iterator[tuple[ast.ExceptHandler, Function | None]]:
    yield from _handlers(tree, None)


def _handlers(
    node: ast.AST, within: Function | None
) -> Iterator[tuple[ast.ExceptHandler, Function | None]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ExceptHandler) and _is_broad(child.type):
            yield child, within
        yield from _handlers(child, child if isinstance(child, Function) else within)


def _is_broad(kind: ast.expr | None) -> bool:
    if isinstance(kind, ast.Tuple):
        return any(map(_is_broad, kind.elts))
    return kind is None or (isinstance(kind, ast.Name) and kind.id in _BROAD)


def _is_explained(module: _Module, handler: ast.ExceptHandler, function: Function | None) -> bool:
    lines = module.text.splitlines()
    beside = lines[handler.lineno - 1 : handler.body[0].lineno]
    above = lines[handler.lineno - 2].strip()
    if above.startswith("#") or any("#" in line for line in beside):
        return True
    says = ast.get_docstring(function) if function is not None else None
    return says is not None and _EXPLAINS.search(says) is not None
