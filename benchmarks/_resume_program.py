"""An agent that dies in its sixth call, and goes on in a new process: run by `benchmarks._start`.

    python -m benchmarks._resume_program rowtrail FILE die|resume

A process that resumes ends in its first live call. What it imports is what such an agent needs.
"""

from __future__ import annotations

import os
import sys
from typing import Any

ROWTRAIL, SQLITE = "rowtrail", "SqliteSaver"
SAVERS = (ROWTRAIL, SQLITE)
MESSAGES = 2_000
MESSAGE_BYTES = 500
REPLAYS = 5


def main(name: str, path: str, action: str) -> None:
    """Build the graph on a saver, and run it until it dies."""
    from langchain_core.callbacks import CallbackManagerForLLMRun
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
    from langchain_core.outputs import ChatGeneration, ChatResult
    from langchain_core.runnables import RunnableConfig
    from langgraph.graph import START, MessagesState, StateGraph

    calls_left = REPLAYS if action == "die" else 0

    class Dying(BaseChatModel):
        """Answers some calls, and ends the process in the next one."""

        @property
        def _llm_type(self) -> str:
            return "dying"

        def _generate(
            self,
            messages: list[BaseMessage],
            stop: list[str] | None = None,
            run_manager: CallbackManagerForLLMRun | None = None,
            **kwargs: Any,
        ) -> ChatResult:
            nonlocal calls_left
            if not calls_left:
                os._exit(0)
            calls_left -= 1
            answer = AIMessage(f"answer to {messages[-1].text}")
            return ChatResult(generations=[ChatGeneration(message=answer)])

    def work(state: MessagesState) -> dict[str, Any]:
        for number in range(REPLAYS + 1):
            model.invoke([*state["messages"][-10:], HumanMessage(f"question {number}")])
        raise RuntimeError("the model did not end the process")

    model = Dying()
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(MessagesState)
    builder.add_node("work", work)
    builder.add_edge(START, "work")
    config: RunnableConfig = {"configurable": {"thread_id": "long"}}
    given: Any = {"messages": _messages()} if action == "die" else None
    with _saver(name).from_conn_string(path) as saver:
        builder.compile(checkpointer=saver).invoke(given, config, durability="sync")


def _saver(name: str) -> Any:
    if name == ROWTRAIL:
        from rowtrail_langgraph import RowtrailSaver

        return RowtrailSaver
    from langgraph.checkpoint.sqlite import SqliteSaver

    return SqliteSaver


def _messages() -> list[Any]:
    from langchain_core.messages import AIMessage, HumanMessage

    from benchmarks._text import Text

    text = Text(seed=5)
    kinds = (HumanMessage, AIMessage)
    return [kinds[number % 2](text.of(MESSAGE_BYTES)) for number in range(MESSAGES)]


if __name__ == "__main__":
    main(*sys.argv[1:])
