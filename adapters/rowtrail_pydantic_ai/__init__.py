"""rowtrail for Pydantic AI: a capability that makes an agent's runs durable.

    agent = Agent("openai:gpt-5.2", name="analyst", capabilities=[RowtrailDurability("agent.db")])
    await agent.run("Write the report.", run_id="report-42")   # given again, it is handed back

Recorded and replayed, by `run`, `run_sync`, `run_stream`, `run_stream_events` and `iter`: each
request to a model, whole and streamed, each model of a `FallbackModel` apart; each call of a tool
of any toolset, MCP servers among them; the questions of deferred tools and approvals, and their
answers; agents that are run by tools or inside `journal.run`, in their own names.
Not recorded: what else a tool does to the run (`ctx.enqueue`, tokens of an agent that it runs), the
listing of tools by MCP servers, tools that the provider runs inside a request (they are part of its
answer), output functions and validators (they run again), counting tokens, compaction by the
provider, embeddings, realtime sessions.
"""

from importlib import import_module

from rowtrail.extras import Package, needed

with needed(
    Package("pydantic-ai-slim", "2.62", extra="pydantic-ai", module="pydantic_ai"),
    by="rowtrail_pydantic_ai",
):
    import_module("pydantic_ai.capabilities")

from rowtrail_pydantic_ai._durability import RowtrailDurability

__all__ = ["RowtrailDurability"]
