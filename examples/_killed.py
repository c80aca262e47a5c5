"""Runs an example in a process that is killed while its model is asked, and once more."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rowtrail.testing import LLMServer, Reply

ROOT = Path(__file__).resolve().parents[1]
DIES_IN_CALL = 2


def killed_and_resumed(example: str, respond: Callable[[dict[str, Any]], Reply]) -> None:
    """Run an example twice: by SIGKILL it ends in its second model call, then it goes on.

    Args:
        example: Its module, which takes a folder and the address of the model.
        respond: Returns what the model answers to a request.
    """

    def answer(request: dict[str, Any]) -> Reply:
        reply = respond(request)
        if server.calls == DIES_IN_CALL:
            process.send_signal(signal.SIGKILL)
            process.wait()
        return reply

    with tempfile.TemporaryDirectory() as folder, LLMServer(answer) as server:
        for what in ("killed:", "resumed:"):
            print(what, flush=True)
            command = [sys.executable, "-m", example, folder, server.base_url]
            process = subprocess.Popen(command, cwd=ROOT)
            process.wait()
