"""What an exception says of the call that raised it: that it failed, or that nobody knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rowtrail.errors import NotDoneError

if TYPE_CHECKING:
    from rowtrail.vocabulary import Effect, Kind

_TRANSPORT_ERRORS = {
    # package: the classes that say that an answer did not come, not what it was
    "httpx": ("TransportError",),
    "httpx2": ("TransportError",),
    "httpcore": ("NetworkError", "TimeoutException", "ProtocolError"),
    "httpcore2": ("NetworkError", "TimeoutException", "ProtocolError"),
    "requests": ("RequestException",),
    "urllib3": ("HTTPError",),
    "aiohttp": ("ClientConnectionError", "ClientPayloadError"),
}


def leaves_in_doubt(
    error: BaseException,
    *,
    kind: Kind,
    effect: Effect,
    not_done_on: tuple[type[BaseException], ...] = (),
) -> bool:
    """Return whether a call that raised `error` may have happened all the same.

    A `write` that raises says itself that it did not happen. Not so where no answer came: a
    time-out, a lost connection, another error of the operating system or of the transport. Whoever
    was killed or cancelled (what is no `Exception`) could not say anything.

    Args:
        not_done_on: Exceptions with which this step says that it did not happen.
    """
    if kind == "llm" or isinstance(error, (NotDoneError, *not_done_on)):
        return False
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return any(
            leaves_in_doubt(part, kind=kind, effect=effect, not_done_on=not_done_on)
            for part in group.exceptions
        )
    if not isinstance(error, Exception):
        return True
    return effect == "write" and (isinstance(error, OSError) or _is_of_transport(error))


def _is_of_transport(error: Exception) -> bool:
    # By name: whoever raised it has imported its package, and nobody else needs to.
    return any(
        cls.__name__ in _TRANSPORT_ERRORS.get(cls.__module__.partition(".")[0], ())
        for cls in type(error).__mro__
    )
