"""The journal: runs, attempts and steps, recorded as they happen and replayed when resumed."""

from rowtrail.journal._active import active_scope, run_scope, scope_finders
from rowtrail.journal._attempt import Attempt, Scope
from rowtrail.journal._beginning import (
    Beginning,
    Finished,
    Multitask,
    ReplayMode,
    check_multitask,
)
from rowtrail.journal._call import CONTROL_FLOW, Call
from rowtrail.journal._checks import check_durability
from rowtrail.journal._current import current_frame, current_step
from rowtrail.journal._ending import (
    Outcome,
    aend_attempt,
    aset_answer_aside,
    end_attempt,
    set_answer_aside,
)
from rowtrail.journal._environment import (
    DB_VARIABLE,
    DEFAULT_PATH,
    RUN_VARIABLE,
    THREAD_VARIABLE,
    journal_path,
    take_run_id,
)
from rowtrail.journal._find import abegin_again, abegin_call, begin_again, begin_call
from rowtrail.journal._grip import Grip
from rowtrail.journal._identity import (
    Identity,
    differing_attribute,
    fingerprint_of,
    fingerprint_of_text,
    identity_of,
)
from rowtrail.journal._journal import Journal
from rowtrail.journal._masks import Pattern, masks_of
from rowtrail.journal._request import NOT_DONE, OnDoubt, Request, Step
from rowtrail.journal._run import Run
from rowtrail.journal._scopes import finish_scope, has_failed_call, recorded_agents

__all__ = [
    "CONTROL_FLOW",
    "DB_VARIABLE",
    "DEFAULT_PATH",
    "NOT_DONE",
    "RUN_VARIABLE",
    "THREAD_VARIABLE",
    "Attempt",
    "Beginning",
    "Call",
    "Finished",
    "Grip",
    "Identity",
    "Journal",
    "Multitask",
    "OnDoubt",
    "Outcome",
    "Pattern",
    "ReplayMode",
    "Request",
    "Run",
    "Scope",
    "Step",
    "abegin_again",
    "abegin_call",
    "active_scope",
    "aend_attempt",
    "aset_answer_aside",
    "begin_again",
    "begin_call",
    "check_durability",
    "check_multitask",
    "current_frame",
    "current_step",
    "differing_attribute",
    "end_attempt",
    "fingerprint_of",
    "fingerprint_of_text",
    "finish_scope",
    "has_failed_call",
    "identity_of",
    "journal_path",
    "masks_of",
    "recorded_agents",
    "run_scope",
    "scope_finders",
    "set_answer_aside",
    "take_run_id",
]
