"""What a session is given and asked in a run: recorded, so that it is not given the same twice."""

from __future__ import annotations

import functools
from typing import Any

from agents.memory import Session

from rowtrail.adapter import Effect, step
from rowtrail.journal import NOT_DONE

METHODS: dict[str, Effect] = {
    "get_items": "read",
    "add_items": "write",
    "pop_item": "write",
    "clear_session": "write",
}


class RecordedSession:
    """A session whose history is, in each attempt of a run, what it was in the first.

    What was added when a process died, and is not on disk in the journal, is looked for at the end
    of the history, and added where it is not there.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        for name in METHODS:  # the framework looks at their parameters
            setattr(self, name, self._recorded(name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def _recorded(self, name: str) -> Any:
        original = getattr(self._session, name)

        @functools.wraps(original)
        async def call(*args: Any, **kwargs: Any) -> Any:
            named = {key: each for key, each in kwargs.items() if key != "wrapper"}
            asked = {"session": self._session.session_id, "args": [*args], **named}

            async def was_added(_: Any) -> Any:
                if name != "add_items":
                    return NOT_DONE
                items = args[0] if args else kwargs["items"]
                last = await self._session.get_items(len(items))
                return None if last == items else NOT_DONE

            recorded: Any = step(
                name=f"session.{name}",
                effect=METHODS[name],
                on_doubt=was_added if METHODS[name] == "write" else None,
                key=lambda *_, **__: asked,
            )(original)
            return await recorded(*args, **kwargs)

        return call
