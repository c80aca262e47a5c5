"""The explicit ways to record calls, for `capture=False` and for graphs without a saver."""

from __future__ import annotations

from typing import Any

