"""Filling the search index from the journal: what is new, what changed, what was deleted.

No index, trigger or column of the journal serves this, so recording pays nothing for it:

- new: step ids grow, so the steps behind the newest one that was seen are new. They are a gap,
  which is read from its newest end: who does not wait for all of it has the newest;
- changed: a step that may still change (it runs, it is in doubt, it was cut off) is remembered, and
  looked at again by its id;
- questions are followed by their ids in the same way, as steps with numbers below zero;
- deleted: whatever deletes runs makes the journal's `generation` grow. Only then the runs are
  compared. SQLite gives the ids of deleted steps again, but only those behind every step that is
  left: so reading goes on behind the newest step that the index knows and the journal still has;
- another file: a journal with another id, or in which the newest step that was seen is another
  one (somebody put a copy of another day in its place), has its index made anew.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from rowtrail.history._folding import indexed
from rowtrail.history._index_file import IndexFile
from rowtrail.history._numbering import Numbering
from rowtrail.history._parts import digest_of
from rowtrail.history._prompts import Prompts
from rowtrail.history._said import (
    KINDS,
    MESSAGE,
    PLACES,
    parts_of,
    texts_of_question,
    texts_of_step,
)

if TYPE_CHECKING:
    from rowtrail.history._source import Readable, Row, Tx

PAGE_STEPS = 300
"""Steps that are read in one transaction; others get their turn between two."""

RECENT_STEPS = 10_000
"""A step that was given up (its process died) may still be completed; for so many steps after it
the index looks whether it was."""

MERGED_AFTER = 1_000
"""After so many steps it pays to merge the index of words, for whoever is not waited for."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Filled:
    """How far the index has come: `read` of `total` steps, about."""

    read: int
    total: int

    @property
    def is_whole(self) -> bool:
        return self.read == self.total


def fill(
    index: IndexFile,
    source: Readable,
    progress: Progress,
    *,
    seconds: float | None = None,
    runs: tuple[int, ...] | None = None,
) -> Filled:
    """Bring the index to what the journal holds now; each page is a transaction.

    Args:
        index: The index.
        source: The journal.
        progress: Called after each page.
        seconds: How long at most, but for the page that is being read; None for as long as it
            takes. The newest steps are read first.
        runs: Runs whose steps come before all others where the time is limited.

    Raises:
        UnusableError: The index belongs to another journal, and was deleted.
    """
    with index.snapshot():
        state, marks = index.state(), _marks(index)
    is_behind = source.read(lambda tx: _is_behind(tx, state, marks))
    until = float("inf") if seconds is None else time.monotonic() + seconds
    filled = Filled(1, 1)
    while is_behind:
        with index.transaction():
            filled, is_behind = source.read(lambda tx: _Page(index, tx, seconds is not None).read())
        progress("steps", filled.read, filled.total)
        if is_behind and runs is not None and seconds is not None:
            _read_runs(index, source, runs, until)
            runs = None
        if time.monotonic() > until:
            return filled
    if seconds is None:
        _merge(index)
    return filled


def _merge(index: IndexFile) -> None:
    """Merge the index of words where many steps came to it since, however they came."""
    with index.snapshot():
        state = index.state()
    if state["after"] - state["merged"] > MERGED_AFTER:
        index.compact()
        with index.transaction():
            index.set_state(merged=state["after"])


def _read_runs(index: IndexFile, source: Readable, runs: tuple[int, ...], until: float) -> None:
    """Read the steps of some runs, the newest first."""
    ids = source.read(
        lambda tx: [
            row["id"]
            for row in tx.all("search_steps_of_runs", runs=tx.array(runs), limit=RECENT_STEPS)
        ]
    )
    known = {step for (step,) in index.all("steps_known", steps=json.dumps(ids))}
    left = [step for step in ids if step not in known]
    while left and time.monotonic() < until:
        steps, left = sorted(left[:PAGE_STEPS]), left[PAGE_STEPS:]
        with index.transaction():
            source.read(partial(_read_steps, index, steps))


def _read_steps(index: IndexFile, steps: list[int], tx: Tx) -> None:
    _Page(index, tx).read_steps(steps)


def has_gaps(state: dict[str, Any]) -> bool:
    """Return whether steps that were seen are still to be read."""
    return bool(state["gaps"] != "[]")


def _is_behind(tx: Tx, state: dict[str, Any], marks: dict[int, str]) -> bool:
    """Return whether the index lacks something; costs a few lookups."""
    if not state or _is_other_generation(tx, state) or not _is_same_journal(tx, state):
        return True
    if has_gaps(state) or (tx.value("search_newest_step") or 0) > state["after"]:
        return True
    if (tx.value("search_newest_question") or 0) > state["asked"]:
        return True
    return any(_changed(tx, marks))


def _is_other_generation(tx: Tx, state: dict[str, Any]) -> bool:
    return bool(tx.value("meta_value", key="generation") != state["generation"])


def _is_same_journal(tx: Tx, state: dict[str, Any]) -> bool:
    if tx.value("meta_value", key="journal_id") != state["journal_id"]:
        return False
    if _is_other_generation(tx, state) or not state["after"]:
        return True  # the newest step that was read may be gone for a good reason
    seen = tx.one("search_marks", steps=tx.array([state["after"]]))
    return seen is not None and bool(seen["at"] == state["after_at"])


def _marks(index: IndexFile) -> dict[int, str]:
    """Return how the steps that may still change looked."""
    return {step: mark for step, mark, _ in index.all("open_steps")}


def _changed(tx: Tx, marks: dict[int, str]) -> Iterator[int]:
    """Yield the open steps that look otherwise than they did, or are gone."""
    if not marks:
        return
    found = {row["id"]: row["mark"] for row in tx.all("search_marks", steps=tx.array(marks))}
    yield from (step for step, mark in marks.items() if found.get(step) != mark)


@dataclass
class _Page:
    """One transaction's worth of filling: the index is locked, the journal is one snapshot."""

    index: IndexFile
    tx: Tx
    is_newest_first: bool = False
    numbering: Numbering = field(default_factory=lambda: Numbering(0, 0, 0))
    unused: list[int] = field(default_factory=list)
    """Texts that a step no longer says."""

    def read(self) -> tuple[Filled, bool]:
        """Take in one page; return how far it came, and whether to go on."""
        index, tx = self.index, self.tx
        state = index.state()
        if state and not _is_same_journal(tx, state):
            index.begin_anew()
        generation = str(tx.value("meta_value", key="generation"))
        stale: list[int] = []
        if not state:
            state |= {
                "after": 0,
                "after_at": 0,
                "asked": 0,
                "gaps": "[]",
                "embedded": 0,
                "merged": 0,
            }
            state |= Numbering.first(tx.value("search_newest_step") or 0)
            index.set_state(journal_id=tx.value("meta_value", key="journal_id"), **state)
        elif generation != state["generation"]:
            stale = self._forget_deleted_runs(state)
        # While somebody deletes, runs go and the number stays: compare again the next time.
        is_whole = not int(generation) & 1
        index.set_state(generation=generation if is_whole else f"{generation} so far")
        self.numbering = Numbering.of(state)
        self._take(sorted(_changed(tx, _marks(index))))
        self._take(sorted(stale))
        self._see_new(state)
        gaps: list[list[int]] = json.loads(state["gaps"])
        self._read_gaps(gaps, state["after"])
        asked = [
            row["id"]
            for row in tx.all("search_questions_after", after=state["asked"], limit=PAGE_STEPS)
        ]
        self._take([-question for question in asked])
        if len(asked) < PAGE_STEPS:  # those without a run are passed by
            asked.append(tx.value("search_newest_question") or 0)
        state["asked"] = max(state["asked"], *asked)
        index.set_state(
            after=state["after"], after_at=state["after_at"], asked=state["asked"],
            gaps=json.dumps(gaps),
        )  # fmt: skip
        self._keep_numbers(state)
        newest = state["after"]
        index.run("open_steps_forget_given_up", before=newest - RECENT_STEPS)
        left = sum(hi - lo + 1 for lo, hi in gaps)
        return Filled(newest - left, newest), bool(gaps) or len(asked) == PAGE_STEPS

    def _see_new(self, state: dict[str, Any]) -> None:
        """Add a gap for the steps behind the newest one that was seen."""
        newest = self.tx.value("search_newest_step") or 0
        if newest <= state["after"]:
            return
        gaps = json.loads(state["gaps"])
        if gaps and gaps[-1][1] == state["after"]:
            gaps[-1][1] = newest
        else:
            gaps.append([state["after"] + 1, newest])
        last = self.tx.one("search_marks", steps=self.tx.array([newest]))
        assert last is not None
        state |= {"after": newest, "after_at": last["at"], "gaps": json.dumps(gaps)}

    def _read_gaps(self, gaps: list[list[int]], newest: int) -> None:
        """Read a page of steps that are in gaps, from their newest end or their oldest."""
        left = PAGE_STEPS
        ends = "search_newest_between" if self.is_newest_first else "search_oldest_between"
        while gaps and left > 0:
            lo, hi = gap = gaps[-1 if self.is_newest_first else 0]
            rows = self.tx.all(ends, lo=lo, hi=hi, limit=left)
            steps = sorted(row["id"] for row in rows)
            self.numbering.begin(is_older=hi < newest, is_oldest=not self.is_newest_first)
            self._take(steps)
            if len(steps) < left:
                gaps.remove(gap)
            elif self.is_newest_first:
                gap[1] = steps[0] - 1
            else:
                gap[0] = steps[-1] + 1
            if gap[0] > gap[1] and gap in gaps:
                gaps.remove(gap)
            left -= len(steps)
        self.numbering.begin()

    def _forget_deleted_runs(self, state: dict[str, Any]) -> list[int]:
        """Drop what was deleted, set `state` back to the newest step left; return steps to read."""
        alive = {row["id"]: row["started_at"] for row in self.tx.all("search_runs")}
        known = self.index.all("runs_known")
        last = self.tx.array(step for _, _, step, _ in known)
        found = {
            row["id"]: (row["run"], row["at"]) for row in self.tx.all("search_marks", steps=last)
        }
        reread: list[int] = []
        gone: list[int] = []
        newest = state["after"]
        state |= {"after": 0, "after_at": 0}
        for run, started_at, step, at in known:
            if alive.get(run) == started_at and found.get(step) == (run, at):
                if state["after"] < step <= newest:
                    state |= {"after": step, "after_at": at}
                continue
            gone.append(run)
            if alive.get(run) == started_at:  # somebody deletes it, and has not come to its end
                reread += [row["id"] for row in self.tx.all("steps_of_run", run=run)]
                reread += [-row["id"] for row in self.tx.all("questions_of_run", run=run)]
        self._forget_runs(gone)
        gaps = ([lo, min(hi, state["after"])] for lo, hi in json.loads(state["gaps"]))
        state["gaps"] = json.dumps([gap for gap in gaps if gap[0] <= gap[1]])
        return reread

    def _forget_runs(self, gone: list[int]) -> None:
        index, runs = self.index, json.dumps(gone)
        self.unused += [doc for (doc,) in index.all("docs_of_runs", runs=runs)]
        logs = [log for (log,) in index.all("logs_of_runs", runs=runs)]
        for what in (
            "spots_of_runs_delete",
            "steps_of_runs_delete",
            "spans_of_runs_delete",
            "runs_delete",
        ):
            index.run(what, runs=runs)
        for log in logs:
            index.run("log_docs_delete_unseen", log=log)
        self._forget_unused()

    def _forget_unused(self) -> None:
        found = self.index.all("docs_unused", docs=json.dumps(self.unused)) if self.unused else []
        if found:
            docs = json.dumps([doc for (doc,) in found])
            for statement in ("texts_delete", "vectors_of_docs_delete", "docs_delete"):
                self.index.run(statement, docs=docs)
        self.unused = []

    def read_steps(self, steps: list[int]) -> None:
        """Take in some steps before it is their turn, in their order."""
        state = self.index.state()
        self.numbering = Numbering.of(state)
        self.numbering.begin(is_older=True)
        self._take(steps)
        self._keep_numbers(state)

    def _keep_numbers(self, state: dict[str, Any]) -> None:
        numbering = self.numbering
        facts = numbering.facts()
        if (numbering.low, numbering.old) != (state["low_doc"], state["old_doc"]):
            facts["embedded"] = 0  # texts came below what was embedded
        self.index.set_state(**facts)

    def _take(self, steps: list[int]) -> None:
        """Take in steps, in their order; questions have numbers below zero.

        Those that were read before, and can no longer change, are passed by.
        """
        index = self.index
        open_docs = {step: docs for step, _, docs in index.all("open_steps")}
        known = {step for (step,) in index.all("steps_known", steps=json.dumps(steps))}
        steps = [step for step in steps if step not in known or step in open_docs]
        if not steps:
            return
        left = set(steps)
        prompts = Prompts(index, min(steps), self._read_messages)
        for row in self.tx.iter("search_steps", steps=self.tx.array(steps)):
            left.discard(row["id"])
            if row["pieces"] is not None:
                prompts.note(row)
            self._forget_texts(row["id"], open_docs)
            self._note(row, row["kind"], texts_of_step(row), may_change=_may_change(row))
        for row in self.tx.iter("search_questions", steps=json.dumps(steps)):
            left.discard(row["id"])
            self._forget_texts(row["id"], open_docs)
            self._note(row, "question", texts_of_question(row), may_change=bool(row["is_open"]))
        for step in left:  # deleted; what it said goes with its run
            index.run("open_step_forget", step=step)
        self._forget_unused()

    def _forget_texts(self, step: int, open_docs: dict[int, str]) -> None:
        """Forget what a step said before; only one that may change has said something."""
        docs = open_docs.get(step)
        if docs is not None:
            self.index.run("spots_of_step_delete", step=step, docs=docs)
            self.unused += json.loads(docs)

    def _note(self, row: Row, kind: str, texts: dict[str, str | None], *, may_change: bool) -> None:
        """Note where the texts of a step or a question stand."""
        index, step, run = self.index, row["id"], row["run"]
        index.run("step_note", step=step, run=run, kind=KINDS.index(kind), at=row["at"])
        docs: list[int] = []
        for place, text in texts.items():
            for part in parts_of(text, place=place):
                docs.append(self._doc(part))
                index.run("spot_insert", doc=docs[-1], step=step, place=PLACES.index(place))
        index.run("run_note", run=run, started_at=row["run_started_at"], step=step, at=row["at"])
        if may_change:
            index.run("open_step_note", step=step, mark=row["mark"], docs=json.dumps(docs))
        else:
            index.run("open_step_forget", step=step)

    def _read_messages(self, log: int, lo: int, hi: int) -> None:
        for pos, text in self.tx.all("search_messages", log=log, lo=lo, hi=hi):
            docs = [self._doc(part) for part in parts_of(text, place=PLACES[MESSAGE])]
            for doc in docs or [0]:
                self.index.run("log_doc_insert", log=log, pos=pos, doc=doc)

    def _doc(self, part: str) -> int:
        """Return the row of a part of a text, storing one that is new."""
        digest = digest_of(part)
        doc: int | None = self.index.value("doc_by_digest", digest=digest)
        if doc is None:
            doc = self.numbering.new()
            self.index.run("doc_insert", digest=digest, doc=doc)
            body = indexed(part.encode("utf-8", "replace").decode())
            self.index.run("text_insert", doc=doc, body=body)
        return doc


def _may_change(row: Row) -> bool:
    if row["status"] in ("running", "in_doubt"):
        return True
    if row["status"] == "done":
        return row["output"] is None  # its result could not be stored; a person may give it
    return bool(row["is_unended"])
