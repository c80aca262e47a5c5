"""One invocation of a graph is one attempt of a run: hooks around `Pregel.stream` and `astream`."""

from __future__ import annotations

import functools
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any

import langgraph.errors
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.channels import BinaryOperatorAggregate
from langgraph.graph.message import add_messages
from langgraph.pregel import Pregel

from rowtrail.journal import (
    Grip,
    Outcome,
    aend_attempt,
    aset_answer_aside,
    end_attempt,
    set_answer_aside,
)
from rowtrail.replay import culprit
from rowtrail_langgraph.capture._configs import with_run
from rowtrail_langgraph.capture._invocation import invocation_of
from rowtrail_langgraph.capture._place import GraphRun

_DRAINED: tuple[type[Exception], ...] = tuple(
    found for found in [getattr(langgraph.errors, "GraphDrained", None)] if found is not None
)
"""What a graph raises that was asked to stop and go on later; newer versions have it."""
_VALUES = "values"


def recorded_stream(original: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Wrap `Pregel.stream` so that an invocation on a rowtrail saver is an attempt of a run."""

    @functools.wraps(original)
    def stream(
        self: Pregel[Any, Any, Any, Any],
        input: Any,
        config: RunnableConfig | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Iterator[Any]:
        invocation = invocation_of(self, input, config)
        if invocation is None:
            yield from original(self, input, config, *args, **kwargs)
            return
        _give_ids(self.channels, input)
        if invocation.around is not None:
            with invocation.watched():
                yield from original(self, input, invocation.entered(), *args, **kwargs)
            return
        grip = Grip()
        run, given = invocation.start(grip)
        if run is None:
            yield from _last_chunk(self, given, kwargs)
            return
        try:
            yield from original(self, given, with_run(self, config, run), *args, **kwargs)
        except BaseException as error:  # a closed generator and Ctrl-C too end it
            _set_answers_aside(run)
            end_attempt(run.attempt, *_failed(run, error))
            raise
        waiting = run.is_waiting or (_may_pause(self, kwargs) and invocation.is_paused())
        end_attempt(run.attempt, _ended(run, waiting=waiting))

    return stream


def recorded_astream(
    original: Callable[..., AsyncGenerator[Any]],
) -> Callable[..., AsyncGenerator[Any]]:
    """Wrap `Pregel.astream`, the async twin of `stream`."""

    @functools.wraps(original)
    async def astream(
        self: Pregel[Any, Any, Any, Any],
        input: Any,
        config: RunnableConfig | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> AsyncGenerator[Any]:
        invocation = invocation_of(self, input, config)
        if invocation is None:
            async for chunk in original(self, input, config, *args, **kwargs):
                yield chunk
            return
        _give_ids(self.channels, input)
        if invocation.around is not None:
            with invocation.watched():
                config = await invocation.aentered()
                async with aclosing(original(self, input, config, *args, **kwargs)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            return
        grip = Grip()
        run, given = await invocation.astart(grip)
        if run is None:
            for chunk in _last_chunk(self, given, kwargs):
                yield chunk
            return
        config = with_run(self, config, run)
        try:
            # Closed here: what a consumer leaves has stopped before its attempt ends.
            async with aclosing(original(self, given, config, *args, **kwargs)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except BaseException as error:  # likewise, a cancellation too
            await _aset_answers_aside(run)
            await aend_attempt(run.attempt, *_failed(run, error))
            raise
        waiting = run.is_waiting or (_may_pause(self, kwargs) and await invocation.ais_paused())
        await aend_attempt(run.attempt, _ended(run, waiting=waiting))

    return astream


def _ended(run: GraphRun, *, waiting: bool) -> Outcome:
    """Return how an invocation ended that raised nothing.

    Resumed with nothing where the thread has nothing of its run (it was killed before its first
    checkpoint, or with durability="exit"), a graph executes nothing: the run stays as it was.
    """
    attempt = run.attempt
    if attempt.continues and not run.has_begun and not attempt.begun.holds_input:
        attempt.is_rejected = True
        return "cancelled"
    return "waiting" if waiting else "done"


def _failed(run: GraphRun, error: BaseException) -> tuple[Any, str]:
    run.attempt.is_rejected = not run.has_begun  # LangGraph refused what it was given
    stopped = not isinstance(error, Exception) or isinstance(error, _DRAINED)
    return "cancelled" if stopped else "failed", run.attempt.recorder.describe(error, run.codec)


def _may_pause(graph: Pregel[Any, Any, Any, Any], kwargs: Mapping[str, Any]) -> bool:
    """Return whether the graph has static breakpoints, which leave no write."""
    return bool(
        graph.interrupt_before_nodes
        or graph.interrupt_after_nodes
        or kwargs.get("interrupt_before")
        or kwargs.get("interrupt_after")
    )


def _set_answers_aside(run: GraphRun) -> None:
    """Set aside the answers that made code raise; an error is one scope's fault only."""
    noted: list[BaseException] = []
    for scope, error in run.failures():
        if culprit(error, noted) is None and set_answer_aside(run.attempt, scope, error):
            noted.append(error)


async def _aset_answers_aside(run: GraphRun) -> None:
    """Async twin of `_set_answers_aside`."""
    noted: list[BaseException] = []
    for scope, error in run.failures():
        if culprit(error, noted) is None and await aset_answer_aside(run.attempt, scope, error):
            noted.append(error)


def _give_ids(channels: Mapping[str, Any], given: Any) -> None:
    """Give ids to the messages of an input that `add_messages` would give them to, and no others.

    It gives them a moment later, in place, when LangGraph has stored the input: the same message
    would be kept twice, without its id and with it.

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


def _last_chunk(
    graph: Pregel[Any, Any, Any, Any], values: Any, kwargs: Mapping[str, Any]
) -> Iterator[Any]:
    """Yield the last chunk of the stream of a run that is done: its state, if it is asked for.

    Args:
        graph: The graph.
        values: The channels of its last checkpoint.
        kwargs: What `stream` was called with.
    """
    asked = kwargs.get("stream_mode") or graph.stream_mode
    modes = [asked] if isinstance(asked, str) else list(asked)
    if _VALUES not in modes:
        return
    output = _output(graph, values, kwargs.get("output_keys"))
    if kwargs.get("version") == "v2":
        yield {"type": _VALUES, "ns": (), "data": output, "interrupts": ()}
        return
    chunk: tuple[Any, ...] = (output,) if isinstance(asked, str) else (_VALUES, output)
    if kwargs.get("subgraphs"):
        chunk = ((), *chunk)
    yield chunk[0] if len(chunk) == 1 else chunk


def _output(graph: Pregel[Any, Any, Any, Any], values: Any, asked: Any) -> Any:
    keys = graph.output_channels if asked is None else asked
    if isinstance(keys, str):
        return values[keys] if isinstance(values, dict) and keys in values else values
    return {key: values[key] for key in keys if key in values}
