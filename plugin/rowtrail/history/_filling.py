"""Filling the search index from the journal: what is new, what changed, what was deleted.

No index, trigger or column of the journal serves this, so recording pays nothing for it:

- new: step ids grow, so the steps behind the newest one that was read are new;
- changed: a step that may still change (it runs, it is in doubt, it was cut off) is remembered, and
  looked at again by its id;
- questions are followed by their ids in the same way, as steps with numbers below zero;
- deleted: whatever deletes runs makes the journal's `generation` grow. Only then the runs are
  compared. SQLite gives the ids of deleted steps again, but only those behind every step that is
  left: so reading goes on behind the newest step that the index knows and the journal still has;
- another file: a journal with another id, or in which the newest step that was read is another
  one (somebody put a copy of another day in its place), has its index made anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rowtrail.history._index_file import IndexFile
from rowtrail.history._plain import parts, plain_text, spaced

if TYPE_CHECKING:
    from rowtrail.history._source import Readable, Row, Tx

PAGE_STEPS = 300
"""Steps that are read in one transaction; others get their turn between two."""

RECENT_STEPS = 10_000
"""A step that was given up (its process died) may still be completed; for so many steps after it
the index looks whether it was."""

DIGEST_BYTES = 16
"""128 bits: tells texts apart that are embedded once."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def fill(index: IndexFile, source: Readable, progress: Progress) -> None:
    """Bring the index to what the journal holds now; each page is a transaction.

    Raises:
        UnusableError: The index belongs to another journal, and was deleted.
    """
    with index.snapshot():
        state, marks = index.state(), dict(index.all("open_steps"))
    is_behind = source.read(lambda tx: _is_behind(tx, state, marks))
    while is_behind:
        with index.transaction():
            done, total, is_behind = source.read(lambda tx: _Page(index, tx).read())
        progress("steps", done, total)


def _is_behind(tx: Tx, state: dict[str, Any], marks: dict[int, str]) -> bool:
    """Return whether the index lacks something; costs a few lookups."""
    if not state or _is_other_generation(tx, state) or not _is_same_journal(tx, state):
        return True
    if (tx.value("search_newest_step") or 0) > state["after"]:
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
    covered: dict[tuple[int, int], list[tuple[int, int]]] = field(default_factory=dict)
    """Positions of a log that are known, by run and log; run 0: whoever's prompt they were in."""

    def read(self) -> tuple[int, int, bool]:
        """Take in one page; return the step it came to, the last step, and whether to go on."""
        index, tx = self.index, self.tx
        state = index.state()
        if state and not _is_same_journal(tx, state):
            index.begin_anew()
        generation = str(tx.value("meta_value", key="generation"))
        stale: list[int] = []
        if not state:
            state = {"after": 0, "after_at": 0, "embedded": 0, "asked": 0}
            index.set_state(journal_id=tx.value("meta_value", key="journal_id"), **state)
        elif generation != state["generation"]:
            stale = self._forget_deleted_runs(state)
        # While somebody deletes, runs go and the number stays: compare again the next time.
        is_whole = not int(generation) & 1
        index.set_state(generation=generation if is_whole else f"{generation} so far")
        self._read_steps(list(_changed(tx, dict(index.all("open_steps")))))
        self._read_steps(stale)
        new = [
            row["id"]
            for row in tx.all("search_steps_after", after=state["after"], limit=PAGE_STEPS)
        ]
        self._read_steps(new)
        if new:
            last = tx.one("search_marks", steps=tx.array(new[-1:]))
            assert last is not None
            state |= {"after": new[-1], "after_at": last["at"]}
        asked = [
            row["id"]
            for row in tx.all("search_questions_after", after=state["asked"], limit=PAGE_STEPS)
        ]
        self._read_steps([-question for question in asked])
        if len(asked) < PAGE_STEPS:  # those without a run are passed by
            asked.append(tx.value("search_newest_question") or 0)
        state["asked"] = max(state["asked"], *asked)
        index.set_state(after=state["after"], after_at=state["after_at"], asked=state["asked"])
        newest = tx.value("search_newest_step") or 0
        index.run("open_steps_forget_given_up", before=newest - RECENT_STEPS)
        return state["after"], newest, PAGE_STEPS in (len(new), len(asked))

    def _forget_deleted_runs(self, state: dict[str, Any]) -> list[int]:
        """Drop what was deleted, set `state` back to the newest step left; return steps to read."""
        alive = {row["id"]: row["started_at"] for row in self.tx.all("search_runs")}
        known = self.index.all("runs_known")
        last = self.tx.array(step for _, _, step, _ in known)
        found = {
            row["id"]: (row["run"], row["at"]) for row in self.tx.all("search_marks", steps=last)
        }
        reread: list[int] = []
        newest = state["after"]
        state |= {"after": 0, "after_at": 0}
        for run, started_at, step, at in known:
            if alive.get(run) == started_at and found.get(step) == (run, at):
                if state["after"] < step <= newest:
                    state |= {"after": step, "after_at": at}
                continue
            self._forget_run(run)
            if alive.get(run) == started_at:  # somebody deletes it, and has not come to its end
                reread += [row["id"] for row in self.tx.all("steps_of_run", run=run)]
                reread += [-row["id"] for row in self.tx.all("questions_of_run", run=run)]
        return reread

    def _forget_run(self, run: int) -> None:
        docs = [doc for (doc,) in self.index.all("docs_of_run", run=run)]
        logs = [log for (log,) in self.index.all("logs_of_run", run=run)]
        for statement in ("spots_of_run_delete", "spans_of_run_delete", "run_delete"):
            self.index.run(statement, run=run)
        for log in logs:
            self.index.run("log_docs_delete_unseen", log=log)
        self._forget_unused(docs)

    def _forget_unused(self, docs: list[int]) -> None:
        for (doc,) in self.index.all("docs_unused", docs=json.dumps(docs)):
            for statement in ("text_delete", "vector_delete", "doc_delete"):
                self.index.run(statement, doc=doc)

    def _read_steps(self, steps: list[int]) -> None:
        left = set(steps)
        for row in self.tx.iter("search_steps", steps=self.tx.array(steps)):
            left.discard(row["id"])
            self._read_step(row)
        for row in self.tx.iter("search_questions", steps=json.dumps(steps)):
            left.discard(row["id"])
            self._read_question(row)
        for step in left:  # deleted; what it said goes with its run
            self.index.run("open_step_forget", step=step)

    def _read_step(self, row: Row) -> None:
        if row["pieces"] is not None:
            self._read_prompt(row)
        answer = "message" if row["kind"] == "llm" else "result"
        texts = {"arguments": row["arguments"], answer: row["result"], "error": row["error"]}
        self._note(row, row["kind"], texts, may_change=self._may_change(row))

    def _read_question(self, row: Row) -> None:
        texts = {"question": row["question"], "answer": row["answer"]}
        self._note(row, "question", texts, may_change=bool(row["is_open"]))

    def _note(self, row: Row, kind: str, texts: dict[str, str | None], *, may_change: bool) -> None:
        """Note where the texts of a step or a question stand, in place of what was noted before."""
        index, step, run = self.index, row["id"], row["run"]
        docs = [doc for (doc,) in index.all("docs_of_step", run=run, step=step)]
        if docs:
            index.run("spots_of_step_delete", run=run, step=step)
        for place, text in texts.items():
            for doc in self._docs(text, is_json=place != "error"):
                index.run(
                    "spot_insert",
                    doc=doc, step=step, place=place, run=run, kind=kind, at=row["at"],
                )  # fmt: skip
        self._forget_unused(docs)
        index.run("run_note", run=run, started_at=row["run_started_at"], step=step, at=row["at"])
        if may_change:
            index.run("open_step_note", step=step, mark=row["mark"])
        else:
            index.run("open_step_forget", step=step)

    def _may_change(self, row: Row) -> bool:
        if row["status"] in ("running", "in_doubt"):
            return True
        if row["status"] == "done":
            return row["output"] is None  # its result could not be stored; a person may give it
        return bool(row["is_unended"])

    def _read_prompt(self, row: Row) -> None:
        run, log = row["run"], row["log"]
        for _, pos, length in json.loads(row["pieces"]):
            for lo, hi in self._uncovered(0, log, pos, pos + length):
                self._read_messages(log, lo, hi)
            for lo, hi in self._uncovered(run, log, pos, pos + length):
                self.index.run(
                    "span_insert", run=run, log=log, lo=lo, hi=hi, step=row["id"], at=row["at"]
                )

    def _read_messages(self, log: int, lo: int, hi: int) -> None:
        for pos, text in self.tx.all("search_messages", log=log, lo=lo, hi=hi):
            for doc in self._docs(text) or [0]:
                self.index.run("log_doc_insert", log=log, pos=pos, doc=doc)

    def _uncovered(self, run: int, log: int, lo: int, hi: int) -> list[tuple[int, int]]:
        """Return what of the positions from `lo` to `hi` is new, and count it as known."""
        known = self.covered.get((run, log))
        if known is None:
            if run:
                rows = self.index.all("spans_of_run", run=run, log=log)
            else:
                rows = self.index.all("spans_of_log", log=log)
            known = merged([(a, b) for a, b in rows])
        new: list[tuple[int, int]] = []
        at = lo
        for start, end in known:
            if start < hi and end > at:
                if start > at:
                    new.append((at, start))
                at = end
        if at < hi:
            new.append((at, hi))
        self.covered[run, log] = merged([*known, (lo, hi)]) if new else known
        return new

    def _docs(self, stored: str | None, *, is_json: bool = True) -> list[int]:
        """Return the rows of a text's parts, storing those that are new."""
        if not stored:
            return []
        text = plain_text(stored) if is_json else stored
        return [self._doc(spaced(part)) for part in parts(text)]

    def _doc(self, part: str) -> int:
        digest = hashlib.blake2b(part.encode("utf-8", "replace"), digest_size=DIGEST_BYTES).digest()
        doc: int | None = self.index.value("doc_by_digest", digest=digest)
        if doc is None:
            doc = self.index.value("doc_insert", digest=digest)
            assert doc is not None
            body = part.encode("utf-8", "replace").decode()
            self.index.run("text_insert", doc=doc, body=body)
        return doc


def merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the same positions in as few ranges as possible, in order."""
    found: list[tuple[int, int]] = []
    for lo, hi in sorted(ranges):
        if found and lo <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], hi))
        else:
            found.append((lo, hi))
    return found
