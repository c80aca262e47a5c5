"""What a thread has of the code that started it, for as long as that code is unfinished.

Who submits work owns it. Who starts a thread does not own all that the thread will ever do: it may
be a worker that serves others. So its calls count as the starter's only while the step or node that
started it is unfinished and no other run is active whose work it could be doing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from weakref import ref

from rowtrail.journal._current import Frame
from rowtrail.journal._live import is_another_active

if TYPE_CHECKING:
    from rowtrail.journal._attempt import Attempt
    from rowtrail.journal._scope import Scope


class Marker(Protocol):
    """What an adapter hands on to threads: says where in its framework the code is."""

    @property
    def is_unfinished(self) -> bool:
        """Return whether the code that handed it on has not ended; till then it is kept alive."""
        ...


@dataclass(frozen=True)
class Carrier:
    """How an adapter has its marker handed on.

    Attributes:
        variable: Where code in the thread finds the marker.
        held: Returns the marker of the code that calls it, None where it has none.
    """

    variable: ContextVar[Any]
    held: Callable[[], Marker | None]


carriers: list[Carrier] = []
"""What adapters hand on beside the run and the step."""


class Lent:
    """What a started thread has; it keeps nothing alive, as the thread may live for ever."""

    def __init__(
        self, scope: Scope, frame: Frame | None, markers: dict[ContextVar[Any], Marker]
    ) -> None:
        self._scope = ref(scope)
        self._attempt = ref(scope.attempt)
        self._frame = None if frame is None else ref(frame)
        self._markers = {variable: ref(marker) for variable, marker in markers.items()}

    @property
    def frame(self) -> Frame | None:
        """Return the step that started the thread, None outside one or once it is forgotten."""
        return None if self._frame is None else self._frame()

    @property
    def attempt(self) -> Attempt | None:
        """Return the attempt in which the thread was started, None once it is forgotten."""
        return self._attempt()

    @property
    def scope(self) -> Scope | None:
        """Return the scope of the thread's calls, None where they are not the starter's."""
        scope = self._scope()
        if scope is None or scope.attempt.has_ended or not self._is_starter_unfinished():
            return None
        return None if is_another_active(scope.attempt) else scope

    def marker(self, variable: ContextVar[Any]) -> Any:
        """Return what an adapter lent, None where the thread's calls are not the starter's."""
        found = self._markers.get(variable)
        return None if found is None or self.scope is None else found()

    def _is_starter_unfinished(self) -> bool:
        starters: list[Marker | None] = [marker() for marker in self._markers.values()]
        if self._frame is not None:
            starters.append(self._frame())
        return all(starter is not None and starter.is_unfinished for starter in starters)
