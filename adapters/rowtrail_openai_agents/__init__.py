"""rowtrail for the OpenAI Agents SDK: `RowtrailRunner`, whose methods are those of `Runner`.

    runner = RowtrailRunner("agent.db", effects={"send_email": "write"})
    result = await runner.run(agent, "question", run_id="report-42", session=session)

Recorded and replayed, in `run`, `run_sync` and `run_streamed`: every call of a model, whatever
class it is, each retry of the framework as a call of its own; every function tool, those of MCP
servers and agents as tools among them; handoffs, as the answers that ask for them; what a session
is given and asked. A run that is given again replays to where it was, its approvals included, and
goes on. Inside `with journal.run(...)` the framework's own `Runner` is recorded too.
Not recorded, and done again by a resumed run: hooks, guardrails, `on_handoff`, instructions and
filters of input that are functions (but not the model calls and tools in them); local shells,
computers, editors and custom tools (put `@rowtrail.step` on the function that does it); approvals
of hosted MCP tools; compaction of a session; realtime and voice. What a hosted tool does inside a
model call comes back with the answer. An agent as a tool that is replayed streams no events.
"""

from importlib import import_module

from rowtrail.extras import Package, needed

with needed(
    Package("openai-agents", "0.11", extra="openai-agents", module="agents"),
    by="rowtrail_openai_agents",
):
    import_module("agents")

from rowtrail_openai_agents._runner import RowtrailRunner

__all__ = ["RowtrailRunner"]
