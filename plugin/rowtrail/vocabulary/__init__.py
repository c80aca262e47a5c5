"""The words of the journal as types: what a step is, and a message as the views read it.

Adapters translate into these words; nothing below them knows a framework.
"""

from __future__ import annotations

from rowtrail.vocabulary._finish import FINISH_PLACES, Place, finish_place, finish_reason
from rowtrail.vocabulary._message import (
    META,
    ROLES,
    TEXT_BLOCKS,
    Answer,
    Message,
    ToolCall,
    TranslatedAnswer,
    is_message,
    text_of,
)
from rowtrail.vocabulary._words import Effect, Kind, OnDoubt, QuestionKind, Status

__all__ = [
    "FINISH_PLACES",
    "META",
    "ROLES",
    "TEXT_BLOCKS",
    "Answer",
    "Effect",
    "Kind",
    "Message",
    "OnDoubt",
    "Place",
    "QuestionKind",
    "Status",
    "ToolCall",
    "TranslatedAnswer",
    "finish_place",
    "finish_reason",
    "is_message",
    "text_of",
]
