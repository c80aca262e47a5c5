"""The end of a run that is done, in the form in which its stream would have given it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langgraph.pregel import Pregel

VALUES = "values"


def given_back(
    graph: Pregel[Any, Any, Any, Any], values: Any, kwargs: Mapping[str, Any]
) -> Iterator[Any]:
    """Yield the last chunk of a run: its state, where the caller asked for states.

    Args:
        graph: The graph.
        values: The channels of its last checkpoint.
        kwargs: What `stream` was called with.
    """
    asked = kwargs.get("stream_mode") or graph.stream_mode
    modes = [asked] if isinstance(asked, str) else list(asked)
    if VALUES not in modes:
        return
    output = _output(graph, values, kwargs.get("output_keys"))
    if kwargs.get("version") == "v2":
        yield {"type": VALUES, "ns": (), "data": output, "interrupts": ()}
        return
    chunk: tuple[Any, ...] = (output,) if isinstance(asked, str) else (VALUES, output)
    if kwargs.get("subgraphs"):
        chunk = ((), *chunk)
    yield chunk[0] if len(chunk) == 1 else chunk


def _output(graph: Pregel[Any, Any, Any, Any], values: Any, asked: Any) -> Any:
    keys = graph.output_channels if asked is None else asked
    if isinstance(keys, str):
        return values[keys] if isinstance(values, dict) and keys in values else values
    return {key: values[key] for key in keys if key in values}
