"""rowtrail for Google ADK: a plugin that records the invocations of an app.

    app = App(name="desk", root_agent=agent, plugins=[RowtrailPlugin("agent.db")])
    runner = Runner(app=app, session_service=sessions)
    runner.run_async(user_id=user, session_id=session, invocation_id="report-42", new_message=asked)

Recorded and replayed, by `run_async`, `run` and `run_debug`, whole or streamed (SSE): each request
to a model of any class, each call of a tool of any class with what it did to state and artifacts,
agents as tools and sub-agents in their own names, confirmations, requests for input or credentials
and long-running tools as questions, with the answers. An invocation that is given again sees its
session as the first attempt did: what is recorded is handed back, and no event is stored twice.
Not recorded, and done again by a resumed invocation: callbacks, plugins, nodes of a workflow that
are functions (put `@rowtrail.step` on them), listing the tools of MCP servers, the code of code
executors, reading memory before a request; `run_live`. What a tool of Gemini's own does inside a
request comes back with the answer. A tool that was replayed streams no events of its own.
"""

from importlib import import_module

from rowtrail.extras import Package, needed

with needed(Package("google-adk", "2.4", extra="adk", module="google.adk"), by="rowtrail_adk"):
    import_module("google.adk.plugins")

from rowtrail_adk._plugin import RowtrailPlugin

__all__ = ["RowtrailPlugin"]
