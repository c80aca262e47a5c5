"""Errors of the journal on their way through a graph."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache

from langgraph.errors import GraphBubbleUp

from rowtrail.errors import RowtrailError


@contextmanager
def bubbling() -> Generator[None]:
    """Let the journal's errors out of the graph: of others, tool nodes make messages."""
    try:
        yield
    except RowtrailError as error:
        if not isinstance(error, GraphBubbleUp):
            error.__class__ = _bubbling_class(type(error))  # type: ignore[arg-type]
        raise


@cache
def _bubbling_class(error_class: type[RowtrailError]) -> type[RowtrailError]:
    return type(error_class.__name__, (error_class, GraphBubbleUp), {"__module__": __name__})
