"""Every code block of the page on reading runs, and prints what the page shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from rowtrail import history

PAGE = (Path(__file__).parents[2] / "docs" / "reading.md").read_text("utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


def test_scripts_print_what_the_page_shows(tmp_path: Path) -> None:
    blocks = BLOCK.findall(PAGE)
    shown = [output for _, output in blocks if output]

    assert len(re.findall(r"^```\w", PAGE, re.MULTILINE)) == len(blocks) + len(shown)
    assert len(shown) >= 3
    for script, output in blocks:
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, output), done.stderr


def test_the_page_names_every_function() -> None:
    named = set(re.findall(r"`([\w.]+)", PAGE))
    functions = {name for name in history.__all__ if name.startswith(("list_", "fetch_", "find_"))}
    reading = functions | {"spend", "why", "diff", "timeline", "overview", "pages", "iter_steps"}

    assert reading - {"fetch_open_attempt"} <= named
