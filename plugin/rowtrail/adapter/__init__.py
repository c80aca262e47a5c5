"""The one door for adapters: how a framework's calls are recorded and replayed.

An adapter finds the place at which its framework makes a call, and there does three things: it asks
`scope_here` whose call it is, says what is asked in a `Request` (`llm_request`, `tool_request`),
and hands both to `record` with a function that makes the call. Everything else is the journal's:
finding what is recorded, waiting for others who make it, doubt, the order of rows, Ctrl-C.
`docs/adapters.md` is the contract, `examples/template_adapter` an adapter of 70 lines.
"""

from rowtrail.adapter._places import leaves_calls_by, scope_here
from rowtrail.adapter._questions import (
    AskedQuestion,
    afetch_questions,
    afetch_run_that_asked,
    arecord_answer,
    arecord_question,
    asettle_doubts,
    fetch_questions,
    fetch_run_that_asked,
    record_answer,
    record_question,
    settle_doubts,
)
from rowtrail.adapter._record import (
    Chunks,
    Form,
    ListOfChunks,
    Replayed,
    StreamForm,
    WholeAnswer,
    arecord,
    arecord_stream,
    record,
    record_stream,
)
from rowtrail.adapter._requests import ANSWERS, llm_request, tool_request, with_numbered_ids
from rowtrail.adapter._step import DECLARED, check_effect, step
from rowtrail.journal import Request, Scope
from rowtrail.replay import Effect
from rowtrail.usage import Usage
from rowtrail.vocabulary import Answer, Message

__all__ = [
    "ANSWERS",
    "DECLARED",
    "Answer",
    "AskedQuestion",
    "Chunks",
    "Effect",
    "Form",
    "ListOfChunks",
    "Message",
    "Replayed",
    "Request",
    "Scope",
    "StreamForm",
    "Usage",
    "WholeAnswer",
    "afetch_questions",
    "afetch_run_that_asked",
    "arecord",
    "arecord_answer",
    "arecord_question",
    "arecord_stream",
    "asettle_doubts",
    "check_effect",
    "fetch_questions",
    "fetch_run_that_asked",
    "leaves_calls_by",
    "llm_request",
    "record",
    "record_answer",
    "record_question",
    "record_stream",
    "scope_here",
    "settle_doubts",
    "step",
    "tool_request",
    "with_numbered_ids",
]
