"""The types of LangGraph and LangChain that have a form in JSON, and how each is written."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document
from langgraph.types import Command, Interrupt, Overwrite, Send

from rowtrail.checkpoint import SNAPSHOT
from rowtrail.content import TypeCodec
from rowtrail.errors import UnstorableError
from rowtrail_langgraph._private import DeltaSnapshot
from rowtrail_langgraph.values._messages import message_codecs


def _command_from(fields: dict[str, Any]) -> Command[Any]:
    return Command(**fields)


def _command_fields(command: Command[Any]) -> dict[str, Any]:
    return {
        "graph": command.graph,
        "update": command.update,
        "resume": command.resume,
        "goto": command.goto,
    }


def _send_fields(send: Send) -> dict[str, Any]:
    if getattr(send, "timeout", None) is not None:
        raise UnstorableError("a Send with a timeout has no JSON form", type_name="Send")
    return {"node": send.node, "arg": send.arg}


def _interrupt_fields(interrupt: Interrupt) -> dict[str, Any]:
    if getattr(interrupt, "response_schema", None) is not None:
        raise UnstorableError("an Interrupt with a schema has no JSON form", type_name="Interrupt")
    return {"value": interrupt.value, "id": interrupt.id}


def _document_fields(document: Document) -> dict[str, Any]:
    return {"id": document.id, "page_content": document.page_content, "metadata": document.metadata}


FRAMEWORK_TYPES = (
    *message_codecs(),
    TypeCodec("Command", Command, _command_fields, _command_from, flat=True),
    TypeCodec("Send", Send, _send_fields, lambda f: Send(f["node"], f["arg"]), flat=True),
    TypeCodec("Interrupt", Interrupt, _interrupt_fields, lambda f: Interrupt(**f), flat=True),
    TypeCodec("Overwrite", Overwrite, lambda o: {"value": o.value}, lambda f: Overwrite(**f)),
    TypeCodec(SNAPSHOT, DeltaSnapshot, lambda s: s.value, DeltaSnapshot, flat=True),
    TypeCodec("Document", Document, _document_fields, lambda f: Document(**f), flat=True),
)
