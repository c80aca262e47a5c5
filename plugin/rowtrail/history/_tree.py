"""`run_tree`: the steps of a run by agent and by what they were made inside, folded to fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, islice
from typing import cast

from rowtrail.history._page import pages
from rowtrail.history._source import Row, Source, Tx, reader_of
from rowtrail.history._steps import list_step_lines
from rowtrail.history.rows import QuestionRow, StepLine

MAX_STEPS = 2_000
"""More are no longer seen at once, and would all be in memory."""
TEXT_CHARS = 400
"""Enough of arguments and answers to choose what a line shows of them."""
MAX_DEPTH = 40
"""Steps that are made further inside stand side by side: no line has room for more."""
NOTABLE = frozenset(("failed", "in_doubt", "running"))
"""Steps with such a status are shown wherever others are left out."""


@dataclass(frozen=True)
class Line:
    """One line of a tree.

    Attributes:
        depth: How far it is indented.
        steps: Equal steps that it stands for, in their order; empty for an agent or a question.
        agent: The agent that made what is below, where it is another one than above.
        hidden: Steps inside these that have no line of their own.
        question: What a person was asked here.
    """

    depth: int
    steps: tuple[StepLine, ...] = ()
    agent: str | None = None
    hidden: tuple[StepLine, ...] = ()
    question: QuestionRow | None = None


@dataclass(frozen=True)
class Tree:
    """The lines of a run.

    Attributes:
        lines: In the order of their first steps.
        left_out: How many steps have no line and are counted in none.
    """

    lines: tuple[Line, ...]
    left_out: int


@dataclass
class _Node:
    """A step with what was made inside it, or an agent; `steps` of a fold are several."""

    steps: list[StepLine] = field(default_factory=list[StepLine])
    agent: str | None = None
    questions: list[QuestionRow] = field(default_factory=list[QuestionRow])
    children: list[_Node] = field(default_factory=list["_Node"])
    is_collapsed: bool = False
    depth: int = 0

    def all_steps(self) -> Iterator[StepLine]:
        """Yield its steps and those inside."""
        yield from self.steps
        for child in self.children:
            yield from child.all_steps()

    @property
    def look(self) -> tuple[object, ...]:
        """What equal neighbours have in common."""
        step = self.steps[0] if self.steps else None
        if step is None:
            return ("agent", _base(self.agent))
        return (step["kind"], step["name"], step["status"], step["attempt_id"], _base(self.agent))


def run_tree(source: Source, run_id: str, *, most_lines: int | None = None) -> Tree:
    """Return the steps of a run as a tree of few lines.

    A step stands below the one that it was made inside, and below its agent where this is another
    one than that above. Equal neighbours are one line, then branches that look alike are, until
    there are `most_lines` at most; what failed, runs or is in doubt keeps its line.

    Args:
        source: The journal.
        run_id: The run.
        most_lines: How many lines at most; None for a line for each of the first 2,000 steps.

    Raises:
        UnknownIdError: There is no such run.
        StorageError: The journal cannot be read.
    """
    listing = pages(partial(list_step_lines, source, run_id, chars=TEXT_CHARS))
    steps = [step for page in listing for step in islice(page.rows, MAX_STEPS)][:MAX_STEPS]
    total, agent, asked = reader_of(source).read(partial(_facts, run_id=run_id))
    root = _rooted(steps, agent, asked)
    left_out = max(total - len(steps), 0)
    if most_lines is None:
        return Tree(tuple(_lines(root)), left_out)
    _fold_equal(root)
    _collapse(root, most_lines)
    lines = tuple(_lines(root))
    if len(lines) > most_lines:
        lines, more = _cut(lines, most_lines)
        left_out += more
    return Tree(lines, left_out)


def _facts(tx: Tx, *, run_id: str) -> tuple[int, str | None, list[Row]]:
    run = tx.one("run_shown", run_id=run_id)
    asked = tx.all("questions_asked", run_id=run_id, limit=MAX_STEPS)
    return (0, None, []) if run is None else (run["steps"], run["agent"], asked)


def _rooted(steps: Sequence[StepLine], agent: str | None, asked: Sequence[Row]) -> _Node:
    root = _Node(agent=agent)
    nodes: dict[str, _Node] = {}
    groups: dict[tuple[int, str, str | None], _Node] = {}
    agents: dict[int, str | None] = {id(root): agent}
    for step in steps:
        parent = nodes.get(step["parent_id"] or "", root)
        is_deep = parent.depth >= MAX_DEPTH
        if not is_deep and step["agent"] is not None and step["agent"] != agents[id(parent)]:
            key = (id(parent), step["scope"].rpartition("|")[0], step["agent"])
            if key not in groups:
                groups[key] = _Node(agent=step["agent"], depth=parent.depth + 1)
                agents[id(groups[key])] = step["agent"]
                parent.children.append(groups[key])
            parent = groups[key]
        node = _Node([step], depth=parent.depth + 1)
        nodes[step["step_id"]] = parent if is_deep else node
        agents[id(node)] = agents[id(parent)]
        parent.children.append(node)
    for row in asked:
        question = cast("QuestionRow", dict(row))
        nodes.get(question["step_id"] or "", root).questions.append(question)
    _join_agents(root)
    return root


def _join_agents(node: _Node) -> None:
    """Let a step whose calls are all of one agent name it, in place of a line for the agent."""
    for child in node.children:
        _join_agents(child)
        only = child.children[0] if len(child.children) == 1 else None
        if child.steps and only is not None and not only.steps and not only.questions:
            child.agent, child.children = only.agent, only.children


def _base(agent: str | None) -> str | None:
    """Return the name of an agent without the number that tells two of one name apart."""
    name, _, number = (agent or "").rpartition("#")
    return name if name and number.isdecimal() else agent


def _fold_equal(node: _Node) -> None:
    """Make neighbours one that look alike and have nothing inside."""
    for child in node.children:
        _fold_equal(child)
    folded: list[_Node] = []
    for _, alike in groupby(node.children, key=lambda n: (bool(_has_more(n)), n.look)):
        found = list(alike)
        if _has_more(found[0]) or not found[0].steps:
            folded += found
        else:
            folded.append(_Node([step for one in found for step in one.steps]))
    node.children = folded


def _has_more(node: _Node) -> bool:
    return bool(node.children or node.questions)


def _collapse(root: _Node, most: int) -> None:
    """Hide what is inside the branches with most lines, then make equal branches one."""
    while sum(1 for _ in _lines(root)) > most:
        open_ = [node for node in _branches(root) if not node.is_collapsed]
        if not open_:
            break
        sizes = {id(node): sum(1 for _ in _lines(node)) for node in open_}
        largest = max(open_, key=lambda node: sizes[id(node)])
        innermost = [node for node in _branches(largest) if not node.is_collapsed]
        chosen = max(innermost, key=lambda node: sizes[id(node)]) if innermost else largest
        for node in open_:
            node.is_collapsed |= node is chosen or node.look == chosen.look
    if sum(1 for _ in _lines(root)) > most:
        _fold_branches(root)


def _branches(node: _Node) -> Iterator[_Node]:
    """Yield what has something inside, below a node."""
    for child in node.children:
        if child.children:
            yield child
            yield from _branches(child)


def _fold_branches(node: _Node) -> None:
    folded: list[_Node] = []
    for _, alike in groupby(node.children, key=lambda n: (n.look, bool(n.questions))):
        found = list(alike)
        if len(found) > 1 and not found[0].questions:
            steps = [step for one in found for step in one.steps]
            inside = [child for one in found for child in one.children]
            folded.append(_Node(steps, _base(found[0].agent), children=inside, is_collapsed=True))
        else:
            folded += found
    node.children = folded


def _lines(root: _Node) -> Iterator[Line]:
    """Yield the lines below a node."""
    for child in root.children:
        yield from _lines_of(child, 0)
    for question in root.questions:
        yield Line(0, question=question)


def _lines_of(node: _Node, depth: int) -> Iterator[Line]:
    notable = [child for child in _below(node) if _is_notable(child)] if node.is_collapsed else []
    seen = {step["step_id"] for child in notable for step in child.steps}
    inside = (step for child in node.children for step in child.all_steps())
    hidden = [step for step in inside if step["step_id"] not in seen] if node.is_collapsed else []
    yield Line(depth, tuple(node.steps), node.agent, tuple(hidden))
    for question in node.questions:
        yield Line(depth + 1, question=question)
    yield from _notable_lines(notable, depth + 1)
    if not node.is_collapsed:
        for child in node.children:
            yield from _lines_of(child, depth + 1)


def _notable_lines(found: list[_Node], depth: int) -> Iterator[Line]:
    """Yield lines for what must be seen of what is hidden."""
    for _, alike in groupby(found, key=lambda child: child.look):
        nodes = list(alike)
        yield Line(depth, tuple(step for child in nodes for step in child.steps))
        yield from (Line(depth + 1, question=q) for child in nodes for q in child.questions)


def _below(node: _Node) -> Iterator[_Node]:
    for child in node.children:
        yield child
        yield from _below(child)


def _is_notable(node: _Node) -> bool:
    return bool(node.questions) or any(step["status"] in NOTABLE for step in node.steps)


def _cut(lines: tuple[Line, ...], most: int) -> tuple[tuple[Line, ...], int]:
    """Return the lines that must be seen, then the first and the last; and how many steps went."""
    ends = [n // 2 if n % 2 == 0 else len(lines) - 1 - n // 2 for n in range(len(lines))]
    order = sorted(ends, key=lambda n: not _must_be_seen(lines[n]))
    kept = set(order[:most])
    gone = (line for n, line in enumerate(lines) if n not in kept)
    left_out = sum(len(line.steps) + len(line.hidden) for line in gone)
    return tuple(lines[n] for n in sorted(kept)), left_out


def _must_be_seen(line: Line) -> bool:
    is_open = line.question is not None and line.question["answered_at"] is None
    return is_open or any(step["status"] in NOTABLE for step in line.steps)
