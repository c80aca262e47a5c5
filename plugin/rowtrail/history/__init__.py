"""Reading a journal: runs, steps, threads, questions, spend, why, diff, search, any SQL.

Each function takes a `rowtrail.Journal`, what `open_journal` returns, or a path. A `list_...`
function returns a `Page` of rows: dicts with the columns of the views; nothing is open or locked
between two pages, and agents may go on writing. `docs/reading.md` shows them at work.
"""

from __future__ import annotations

from rowtrail.history._answer import Answer, rounded
from rowtrail.history._budget import fit
from rowtrail.history._compare import Difference
from rowtrail.history._diff import Pair, Place, diff
from rowtrail.history._follow import Follower
from rowtrail.history._named import NamedQuery, named_queries
from rowtrail.history._names import (
    LAST,
    FoundRun,
    find_run,
    find_step,
    find_thread,
    newest_step,
    resolve_run,
    run_ids_beginning_with,
)
from rowtrail.history._overview import Overview, check_readable, has_dead_attempts, overview
from rowtrail.history._page import Lists, Moment, Page, pages
from rowtrail.history._query import query
from rowtrail.history._questions import list_questions
from rowtrail.history._resume import ResumePlan, resume_plan
from rowtrail.history._runs import (
    Span,
    fetch_open_attempt,
    fetch_run,
    list_attempts,
    list_run_ids,
    list_runs,
    timeline,
    urgent_runs_first,
)
from rowtrail.history._schema import describe_schema, schema_text, view_columns
from rowtrail.history._source import (
    Only,
    Reader,
    Source,
    absolute,
    exists,
    is_lasting,
    open_journal,
)
from rowtrail.history._spend import Spend, SpendBy, spend
from rowtrail.history._steps import (
    fetch_step,
    fetch_step_part,
    is_unsettled,
    iter_steps,
    list_doubts,
    list_step_lines,
    list_steps,
    unknown_step,
)
from rowtrail.history._text import cell_text, json_text, visible
from rowtrail.history._threads import list_threads
from rowtrail.history._tree import Line, Tree, run_tree
from rowtrail.history._why import Why, why

__all__ = [
    "LAST",
    "Answer",
    "Difference",
    "Follower",
    "FoundRun",
    "Line",
    "Lists",
    "Moment",
    "NamedQuery",
    "Only",
    "Overview",
    "Page",
    "Pair",
    "Place",
    "Reader",
    "ResumePlan",
    "Source",
    "Span",
    "Spend",
    "SpendBy",
    "Tree",
    "Why",
    "absolute",
    "cell_text",
    "check_readable",
    "describe_schema",
    "diff",
    "exists",
    "fetch_open_attempt",
    "fetch_run",
    "fetch_step",
    "fetch_step_part",
    "find_run",
    "find_step",
    "find_thread",
    "fit",
    "has_dead_attempts",
    "is_lasting",
    "is_unsettled",
    "iter_steps",
    "json_text",
    "list_attempts",
    "list_doubts",
    "list_questions",
    "list_run_ids",
    "list_runs",
    "list_step_lines",
    "list_steps",
    "list_threads",
    "named_queries",
    "newest_step",
    "open_journal",
    "overview",
    "pages",
    "query",
    "resolve_run",
    "resume_plan",
    "rounded",
    "run_ids_beginning_with",
    "run_tree",
    "schema_text",
    "spend",
    "timeline",
    "unknown_step",
    "urgent_runs_first",
    "view_columns",
    "visible",
    "why",
]
