"""The 30 questions, how each is asked, and what is true."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from examples.ask_history._agent import MODEL, Recorded
from examples.ask_history._facts import Facts
from examples.ask_history._model import OVERLOADED
from rowtrail import Journal

MAX_TOKENS = 150
"""More than an answer here needs, where the question is put well."""

CSV, LOG, MODULE, NOTES = "orders-02.csv", "service-02.log", "module_02.py", "notes-01.md"


@dataclass(frozen=True)
class Query:
    """A question in SQL, or by the name of a query."""

    query: str
    params: dict[str, Any] | None = None

    def written(self) -> str:
        """Return what a model writes to ask it: the arguments of the tool `query_history`."""
        given = {"query": self.query, **({"params": self.params} if self.params else {})}
        return json.dumps(given)

    def ask(self, journal: Journal) -> str:
        """Return the answer as a model reads it."""
        return journal.sql(self.query, self.params or {}, max_tokens=MAX_TOKENS).text()


@dataclass(frozen=True)
class Search:
    """A question in words: the best place is the answer."""

    text: str

    def written(self) -> str:
        """Return what a model writes to ask it: the arguments of the tool `search_history`."""
        return json.dumps({"text": self.text, "limit": 1})

    def ask(self, journal: Journal) -> str:
        """Return the answer as a model reads it."""
        return journal.search(self.text, mode="keyword", limit=1, max_tokens=MAX_TOKENS).text()


@dataclass(frozen=True)
class Question:
    """A factual question; `facts` are words of its right answer."""

    text: str
    asked: Query | Search
    facts: tuple[object, ...]

    def is_answered_by(self, answer: str) -> bool:
        """Tell whether the first row of an answer holds all the facts, as whole words."""
        first = "".join(answer.splitlines()[1:2])
        if isinstance(self.asked, Search):
            first = re.sub(r"[][]", "", first)  # the brackets around what was looked for
        return all(
            re.search(rf"(?<![\w.]){re.escape(str(f))}(?!\w|\.\d)", first) for f in self.facts
        )


def questions(run: Recorded) -> list[Question]:
    """Return the questions, whose facts come from the files and the books outside."""
    facts = Facts(run.files)
    found = [*_about_files(facts), *_about_orders(facts), *_about_logs(facts)]
    found += [*_about_text(facts), *_about_owners(run), *_about_findings(run), *_about_run(run)]
    return found


def _calls(select: str, name: str, args: str = "") -> Query:
    which = f" AND args LIKE '%{args}%'" if args else ""
    return Query(f"SELECT {select} FROM tool_calls WHERE name='{name}'{which}")


def _about_files(facts: Facts) -> Iterator[Question]:
    lines = {name: len(found) for name, found in facts.lines.items()}
    count, size = "json_extract(result,'$.lines')", "json_extract(result,'$.bytes')"
    ask = _calls(f"{count} n", "measure_file", CSV)
    yield Question(f"How many lines does {CSV} have?", ask, (lines[CSV],))
    longest = facts.longest()
    ask = _calls(f"args, max({count}) n", "measure_file")
    yield Question("Which file has the most lines, how many?", ask, (longest, lines[longest]))
    ask = _calls(f"sum({size}) bytes", "measure_file")
    total = sum(map(len, facts.bytes.values()))
    yield Question("How many bytes have the files together?", ask, (total,))
    ask = _calls(f"sum({count}>150) n", "measure_file")
    long = sum(found > 150 for found in lines.values())
    yield Question("How many files have more than 150 lines?", ask, (long,))
    digest = hashlib.sha256(facts.bytes[MODULE]).hexdigest()[:16]
    yield Question(f"The checksum of {MODULE}?", _calls("result", "checksum", MODULE), (digest,))
    ask = _calls("group_concat(args) same", "checksum")
    ask = Query(f"{ask.query} GROUP BY result HAVING count(*)>1")
    yield Question("Which files have the same content?", ask, facts.twins())


def _about_orders(facts: Facts) -> Iterator[Question]:
    paid, cents = facts.paid_cents(), "json_extract(result,'$.cents')"
    ask = _calls(f"{cents} cents", "sum_orders", CSV)
    yield Question(f"How many cents of {CSV} are paid?", ask, (paid[CSV],))
    best = max(paid, key=lambda name: paid[name])
    ask = _calls(f"args, max({cents}) cents", "sum_orders")
    yield Question("Which orders file earned the most?", ask, (best, paid[best]))
    ask = _calls(f"sum({cents}) cents", "sum_orders")
    yield Question("How many cents are paid in all files?", ask, (sum(paid.values()),))
    order, customer, item = facts.groups(CSV, r"\n(\d+),[^,]*,(\w+),(\w+)")
    yield Question(f"Who bought what in order {order}?", Search(order), (f"{customer},{item}",))


def _about_logs(facts: Facts) -> Iterator[Question]:
    errors, count = facts.errors(), "CAST(result AS INT) n"
    ask = _calls(count, "grep", f"{LOG}%ERROR")
    yield Question(f"How many errors are in {LOG}?", ask, (errors[LOG],))
    ask = _calls(f"args, max({count.removesuffix(' n')}) n", "grep", "ERROR")
    worst = max(errors, key=lambda name: errors[name])
    yield Question("Which log has the most errors, how many?", ask, (worst, errors[worst]))
    ask = _calls(f"sum({count.removesuffix(' n')}) n", "grep", "ERROR")
    yield Question("How many errors are in all logs?", ask, (sum(errors.values()),))
    fault, what = facts.groups(LOG, r"ERROR (E\d+) (.*)")
    yield Question(f"What went wrong in incident {fault}?", Search(fault), (what,))


def _about_text(facts: Facts) -> Iterator[Question]:
    ticket, noun, who = facts.groups(MODULE, r"TODO\((.*?)\): say which (\w+) .*, (\w+) asked")
    ask = Query(f"{_calls('args', 'grep').query} AND result LIKE '%{ticket}%' LIMIT 1")
    yield Question(f"Which file has a TODO for ticket {ticket}?", ask, (MODULE,))
    yield Question(f"What does {ticket} ask for, and who asked?", Search(ticket), (noun, who))
    topic, months, by = facts.groups(NOTES, r"Decision: the (\w+) are kept (\d+) months \((\w+)")
    ask_words = Search(f"decision {topic} kept months")
    yield Question(f"How long are {topic} kept, who decided?", ask_words, (f"{months} months", by))
    function, limit = facts.groups(MODULE, r"def (\w+)\(.*limit: int = (\d+)")
    ask_words = Search(f'"def {function}"')
    yield Question(
        f"What is the default limit of {function}?", ask_words, (f"limit: int = {limit}",)
    )


def _about_owners(run: Recorded) -> Iterator[Question]:
    registry, tool = run.registry, "look_up_owner"
    slow = next(name for name in registry.failures if name != registry.locked)
    ask = Query(_calls("result", tool, slow).query + " AND status='done'")
    yield Question(f"Who owns {slow}?", ask, (registry.true_owner(slow),))
    ask = Query(_calls("args", tool).query + " GROUP BY args HAVING max(status='done')=0")
    yield Question("Which file's owner is not known?", ask, (registry.locked,))
    ask = _calls("sum(status='failed') n", tool)
    yield Question("How often did the registry fail?", ask, (len(registry.failures),))
    ask = Query("@tried", {"tool": tool, "args": registry.locked})
    why = ("failed", "the entry is locked by an audit")
    yield Question(f"What came of asking for the owner of {registry.locked}?", ask, why)


def _about_findings(run: Recorded) -> Iterator[Question]:
    entries, tool = run.ledger.entries(), "record_finding"
    by_file = {entry["file"]: entry["finding"] for entry in entries}
    ask = _calls("count(*) n", tool)
    yield Question("How many findings are in the ledger?", ask, (len(entries),))
    ask = _calls("json_extract(args,'$.finding') f", tool, CSV)
    yield Question(f"What was found in {CSV}?", ask, (by_file[CSV],))
    number = next(n for n, entry in enumerate(entries, 1) if entry["file"] == LOG)
    yield Question(
        f"Which number has the finding on {LOG}?", _calls("result", tool, LOG), (number,)
    )
    ask = Query(_calls("args", tool).query + " ORDER BY started_at DESC LIMIT 1")
    yield Question("Which file was the last to get a finding?", ask, (entries[-1]["file"],))


def _about_run(run: Recorded) -> Iterator[Question]:
    model = run.model
    ask = Query("SELECT llm_calls FROM runs")
    yield Question("How often was the model asked?", ask, (model.calls,))
    ask = Query("@failures", {"name": MODEL})
    yield Question(
        "How often did the model fail, and why?", ask, (f"| {model.failures} |", OVERLOADED)
    )
    spent = (model.input_tokens, model.output_tokens)
    yield Question("How many tokens went in and out?", Query("@spend"), spent)
    last = "checkpoint_id=(SELECT max(checkpoint_id) FROM checkpoints)"
    ask = Query(f"SELECT count(*) n FROM state WHERE channel='done' AND {last}")
    yield Question("How many files does the last state call done?", ask, (len(run.names),))
