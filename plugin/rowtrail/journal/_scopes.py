"""What adapters note and ask of the scopes of a run, inside a transaction."""

from __future__ import annotations

from rowtrail.engine import Tx


def finish_scope(tx: Tx, *, run: int, name: str) -> None:
    """Note that a scope is not executed again when its run is resumed."""
    tx.run("scope_finish", run=run, name=name)


def recorded_agents(tx: Tx, *, run: int, within: str) -> list[tuple[str, str]]:
    """Return the scopes of a run whose names begin with a text, each with its agent.

    Those of the run's own agent are left out.
    """
    last = within[:-1] + chr(ord(within[-1]) + 1)
    rows = tx.all("scope_agents", run=run, first=within, last=last)
    return [(row["name"], row["agent"]) for row in rows]


def has_failed_call(tx: Tx, *, run: int, scope: str, fingerprint: bytes, tool_call_id: str) -> bool:
    """Return whether a tool call of a scope, known by its id, is recorded as failed."""
    row = tx.value("scope_row", run=run, name=scope)
    if row is None:
        return False
    found = tx.all(
        "step_candidates", scope=row, fingerprint=fingerprint, tool_call_id=tool_call_id, n=1
    )
    return any(step["status"] == "failed" for step in found)
