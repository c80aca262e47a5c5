"""The closed lists of words that rows, Python and the command line share."""

from __future__ import annotations

from typing import Literal

Kind = Literal["llm", "tool", "function"]
"""What a step calls."""

Effect = Literal["read", "idempotent", "write"]
"""What a tool does to the world."""

QuestionKind = Literal["interrupt", "in_doubt", "approval"]
"""What a person is asked for: an answer, what became of a step, or a yes."""

Status = Literal["running", "done", "failed", "in_doubt", "superseded"]
"""How a step stands."""

OnDoubt = Literal["fail", "ask", "retry"]
"""What decides about a `write` step in doubt, as far as a word can say it."""
