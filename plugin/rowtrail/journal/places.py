"""Whose calls are made where: what adapters need to say so for the code of their frameworks."""

from rowtrail.journal._active import (
    Place,
    elsewhere_finders,
    enter,
    here,
    leave,
    own_run,
    place_of_scope,
)
from rowtrail.journal._current import Carrier, carriers, enclosing_frame, lent, running_frame
from rowtrail.journal._identity import refuse_not_told_apart
from rowtrail.journal._log import log
from rowtrail.journal._request import EFFECTS, ON_DOUBT_WORDS
from rowtrail.journal._threads import stop_handing_on

__all__ = [
    "EFFECTS",
    "ON_DOUBT_WORDS",
    "Carrier",
    "Place",
    "carriers",
    "elsewhere_finders",
    "enclosing_frame",
    "enter",
    "here",
    "leave",
    "lent",
    "log",
    "own_run",
    "place_of_scope",
    "refuse_not_told_apart",
    "running_frame",
    "stop_handing_on",
]
