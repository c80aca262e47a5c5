"""Ids for the messages of an input, given before LangGraph stores it.

`add_messages` gives them a moment later, in place, when the input is stored already: the same
message would be kept twice, without its id and with it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import BaseMessage
from langgraph.channels import BinaryOperatorAggregate
from langgraph.graph.message import add_messages


def give_ids(channels: Mapping[str, Any], given: Any) -> None:
    """Give ids to the messages of an input that `add_messages` would give them to, and no others.

    Args:
        channels: Those of the graph.
        given: Its input; what is no dict of lists of messages stays as it is.
    """
    if not isinstance(given, dict):
        return
    for name, value in given.items():
        channel = channels.get(name)
        if not isinstance(channel, BinaryOperatorAggregate) or channel.operator is not add_messages:
            continue
        for message in value if isinstance(value, list) else [value]:
            if isinstance(message, BaseMessage) and message.id is None:
                message.id = str(uuid.uuid4())
