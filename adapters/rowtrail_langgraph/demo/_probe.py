"""What the director sees of the agent's process, and where it can hold it: events on stdout."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Collection, Generator
from contextlib import contextmanager
from typing import Any

HOLD_S = 120  # the director kills it long before; an orphan ends by itself


class Probe:
    """Reports to the director what the agent does, and pauses where it asked for that."""

    def __init__(self, holds: Collection[str] = ()) -> None:
        self._holds = frozenset(holds)
        self._lock = threading.Lock()

    def emit(self, event: str, **details: Any) -> None:
        """Write one event as a line of JSON to standard output, whole and at once."""
        with self._lock:
            sys.stdout.write(json.dumps({"event": event, **details}) + "\n")
            sys.stdout.flush()

    def hold(self, call: str) -> None:
        """Pause if the director asked for it at this call: it kills this process.

        Raises:
            TimeoutError: nobody did so in `HOLD_S` seconds.
        """
        if call in self._holds:
            self.emit("held", call=call)
            time.sleep(HOLD_S)
            raise TimeoutError(f"held at {call!r} for {HOLD_S} s and not killed")

    @contextmanager
    def tool_run(self, call: str) -> Generator[None]:
        """Report that a tool's own code begins and ends; `call` is its name and argument."""
        self.emit("tool_began", call=call)
        yield
        self.emit("tool_ended", call=call)


def exit_with_parent() -> None:
    """End this process when its standard input ends, which is when the director is gone."""

    def watch() -> None:
        while os.read(0, 1):  # not sys.stdin: its lock would be held at interpreter shutdown
            pass
        os._exit(1)

    threading.Thread(target=watch, name="exit-with-parent", daemon=True).start()
