"""`python -m rowtrail` is the command line."""

from __future__ import annotations

from rowtrail.cli import main

main(prog_name="rowtrail")
