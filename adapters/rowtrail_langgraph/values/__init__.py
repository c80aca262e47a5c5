"""Values of LangGraph and LangChain in their stored form, and back exactly."""

from rowtrail_langgraph.values._canonical import (
    canonical_input,
    canonical_message,
    canonical_messages,
)
from rowtrail_langgraph.values._channels import Values, metadata_text
from rowtrail_langgraph.values._ciphertexts import Ciphertexts
from rowtrail_langgraph.values._codec import GraphCodec
from rowtrail_langgraph.values._guard import Safe, default_serde
from rowtrail_langgraph.values._memo import Memo
from rowtrail_langgraph.values._serialized import logger

__all__ = [
    "Ciphertexts",
    "GraphCodec",
    "Memo",
    "Safe",
    "Values",
    "canonical_input",
    "canonical_message",
    "canonical_messages",
    "default_serde",
    "logger",
    "metadata_text",
]
