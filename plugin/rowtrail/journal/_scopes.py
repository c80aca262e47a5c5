"""What adapters note and ask of the scopes of a run, inside a transaction."""

from __future__ import annotations

from rowtrail.engine import Tx


def finish_scope(tx: Tx, *, run: int, name: str) -> None:
    """Note that a scope is not executed again when its run is resumed."""
    tx.run("scope_finish", run=run, name=name)


def has_failed_call(tx: Tx, *, run: int, scope: str, fingerprint: bytes, tool_call_id: str) -> bool:
    """Return whether a tool call of a scope, known by its id, is recorded as failed."""
    row = tx.value("scope_row", run=run, name=scope)
    if row is None:
        return False
    found = tx.all(
        "step_candidates", scope=row, fingerprint=fingerprint, tool_call_id=tool_call_id, n=1
    )
    return any(step["status"] == "failed" for step in found)
