"""Asks the questions, counts tokens, and prints what was found."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from langchain_core.utils.function_calling import convert_to_openai_tool
from rich.console import Console
from rich.table import Table

from examples.ask_history._agent import Recorded
from examples.ask_history._questions import Question, Search, questions
from rowtrail import Journal
from rowtrail.usage import count_tokens
from rowtrail_langgraph import history_tool

BAR_PERCENT = 2.0
FULL_STEPS = 1_000
MAX_CELL_CHARS = 160


@dataclass(frozen=True)
class Answered:
    """A question, how it was asked, the answer as a model reads it, and the tokens of both."""

    question: str
    way: str
    asked: str
    answer: str
    tokens: int
    correct: bool


@dataclass(frozen=True)
class Report:
    """The answers, and the tokens of the log that they are compared with.

    `log_tokens` counts of each prompt what is new in it, `full_log_tokens` all of it, and
    `tool_tokens` what an agent is sent once to be able to ask: the descriptions of `history_tool`.
    """

    steps: int
    files: int
    counted_by: str
    answers: list[Answered]
    log_tokens: int
    full_log_tokens: int
    tool_tokens: int

    @property
    def tokens(self) -> int:
        """The tokens of all questions and answers."""
        return sum(answered.tokens for answered in self.answers)

    @property
    def wrong(self) -> list[str]:
        """The questions whose answer lacks a fact."""
        return [answered.question for answered in self.answers if not answered.correct]

    @property
    def is_good(self) -> bool:
        """All answers are right, and at full size they keep within 2 % of the log's tokens."""
        is_cheap = self.percent_of(self.log_tokens) <= BAR_PERCENT
        return not self.wrong and (is_cheap or self.steps < FULL_STEPS)

    def percent_of(self, tokens: int) -> float:
        """Return what the questions and answers are in percent of `tokens`."""
        return round(100 * self.tokens / tokens, 3)

    def as_json(self) -> str:
        """Return the report as one JSON object."""
        figures = asdict(self) | {
            "tokens": self.tokens,
            "percent_of_log": self.percent_of(self.log_tokens),
            "percent_of_full_log": self.percent_of(self.full_log_tokens),
            "wrong": self.wrong,
        }
        return json.dumps(figures, indent=2)


def ask_all(run: Recorded) -> Report:
    """Ask every question of a recorded run, each once."""
    with Journal(run.db) as journal:
        answers = [_answered(journal, question) for question in questions(run)]
        described = [convert_to_openai_tool(tool) for tool in history_tool(journal)]
        steps: int = journal.runs()[0]["steps"]
    return Report(
        steps=steps,
        files=len(run.names),
        counted_by=count_tokens("", None)[1],
        answers=answers,
        log_tokens=_tokens(run.logs["new"]),
        full_log_tokens=_tokens(run.logs["full"]),
        tool_tokens=_tokens(json.dumps(described)),
    )


def print_report(report: Report) -> None:
    """Print the table of the answers and the totals."""
    console = Console(highlight=False)
    table = Table("question", "asked", "answer", "tokens", "right")
    for found in report.answers:
        row = found.answer.splitlines()[1:2] or ["(no row)"]
        cells = [_short(text) for text in (found.question, _plain(found.asked), row[0])]
        table.add_row(*cells, str(found.tokens), "yes" if found.correct else "NO")
    console.print(table, markup=False)
    right = len(report.answers) - len(report.wrong)
    console.print(f"{right} of {len(report.answers)} right; tokens: {report.counted_by}")
    console.print(f"questions and answers   {report.tokens:>9,} tokens")
    logs = {
        f"log of {report.steps:,} steps": report.log_tokens,
        "log with whole prompts": report.full_log_tokens,
    }
    for name, tokens in logs.items():
        console.print(f"{name:<23} {tokens:>9,} tokens: {report.percent_of(tokens):.2f} %")
    console.print(f"history_tool, sent once {report.tool_tokens:>9,} tokens, where an agent asks")


def _answered(journal: Journal, question: Question) -> Answered:
    asked, answer = question.asked.written(), question.asked.ask(journal)
    way = "search" if isinstance(question.asked, Search) else "query"
    tokens = _tokens(asked) + _tokens(answer)
    return Answered(question.text, way, asked, answer, tokens, question.is_answered_by(answer))


def _plain(asked: str) -> str:
    """Return what was asked without the JSON around it."""
    given = json.loads(asked)
    params = f" {given['params']}" if "params" in given else ""
    return given["query"] + params if "query" in given else f"search: {given['text']}"


def _short(text: str) -> str:
    return text if len(text) <= MAX_CELL_CHARS else f"{text[: MAX_CELL_CHARS - 1]}…"


def _tokens(text: str) -> int:
    return count_tokens(text, None)[0]
