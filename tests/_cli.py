"""Running commands inside the process of a test."""

from __future__ import annotations

import inspect
from typing import Any

from click.testing import CliRunner


def cli_runner() -> CliRunner:
    """Return a runner that keeps stderr apart from stdout: click 8.1 does so only when asked."""
    is_asked = "mix_stderr" in inspect.signature(CliRunner).parameters
    options: dict[str, Any] = {"mix_stderr": False} if is_asked else {}
    return CliRunner(**options)
