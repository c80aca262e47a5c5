"""Every private name of LangGraph, langchain-core and pydantic that is used, and what it is for.

No other file of this package has such a name (`tests/test_layers.py`). `NEEDED` is the list of
them: what is missing is named when hooks are installed or a serializer is made, not in the middle
of a run. Nothing here is imported from a private module before it is asked for, so that a saver
with `capture=False` works where only recording would not.
"""

# pyright: reportPrivateUsage=false
# the frameworks have no public door for these; `check` says which of them are gone
from __future__ import annotations

import inspect
import pkgutil
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from langgraph.checkpoint.serde import jsonplus, types
from pydantic import BaseModel

from rowtrail.errors import UnsupportedError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGeneration
    from langchain_core.runnables import RunnableConfig
    from langchain_core.tools import BaseTool
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

_MODEL = "langchain_core.language_models:BaseChatModel"
_TOOL = "langchain_core.tools:BaseTool"
_TOOL_NODE = "langgraph.prebuilt.tool_node:ToolNode"
_RUNNER = "langgraph.pregel._runner"
_CONFIG = "langgraph._internal._config"
_KEYS = "langgraph._internal._constants"
_SCRATCHPAD = "langgraph._internal._scratchpad:PregelScratchpad"
_SERIALIZER = "langgraph.checkpoint.serde.jsonplus:JsonPlusSerializer"
_PYDANTIC = "pydantic:BaseModel"

User = Literal["capture", "values"]


class Needed(NamedTuple):
    """One name that a framework must have.

    Attributes:
        owner: What has it: a module, or `module:Class`.
        purpose: Ends the sentence "rowtrail needs it to ...".
        parameters: Names that must be in its signature.
        value: What a constant must be.
        user: The room that does not work without it.
        is_own: It is replaced, and must therefore be the owner's own and not inherited.
        is_set_by_init: Only instances have it, made without arguments.
        is_optional: Some versions lack it, and nothing is lost there.
    """

    owner: str
    name: str
    purpose: str
    parameters: tuple[str, ...] = ()
    value: str | None = None
    user: User = "capture"
    is_own: bool = False
    is_set_by_init: bool = False
    is_optional: bool = False

    @property
    def label(self) -> str:
        """The name as people look it up: `BaseChatModel.invoke`."""
        return f"{self.owner.rpartition(':')[2]}.{self.name}"

    def resolved_owner(self) -> Any:
        """Import and return what has the name."""
        return pkgutil.resolve_name(self.owner)

    def of(self, found: object) -> Any:
        """Return what `found` has under the name."""
        return getattr(found, self.name)

    def fault(self) -> str | None:
        """Return what is missing, None where nothing is."""
        try:
            owner = self.resolved_owner()
        except (ImportError, AttributeError):
            return self.label
        if self.is_set_by_init:
            owner = owner()
        has = self.name in vars(owner) if self.is_own else hasattr(owner, self.name)
        if not has:
            return self.label
        if self.value is not None and self.of(owner) != self.value:
            return f"{self.label} = {self.value!r}"
        if not self.parameters:
            return None
        known = inspect.signature(self.of(owner)).parameters
        is_whole = all(name in known for name in self.parameters)
        return None if is_whole else f"{self.label}({', '.join(self.parameters)})"


def check(needed: Iterable[Needed], *, or_else: str = "") -> None:
    """Raise where a name that is needed is missing.

    Args:
        needed: What to look for; what is optional is passed over.
        or_else: Another way out than other versions: ends the message.

    Raises:
        UnsupportedError: Names what is missing, and what to do.
    """
    for each in needed:
        fault = None if each.is_optional else each.fault()
        if fault is not None:
            raise UnsupportedError(
                f"langchain-core {version('langchain-core')} with langgraph "
                f"{version('langgraph')} and pydantic {version('pydantic')} has no {fault}, which "
                f"rowtrail needs to {each.purpose}: install versions that rowtrail supports"
                f"{or_else}"
            )


# Replaced by hooks.

_GENERATES = ("messages", "stop", "run_manager", "kwargs")
GENERATE = Needed(_MODEL, "_generate_with_cache", "record model calls", _GENERATES, is_own=True)
AGENERATE = Needed(_MODEL, "_agenerate_with_cache", "record model calls", _GENERATES, is_own=True)
_EXECUTES = ("request", "input_type", "config")
EXECUTE_TOOL = Needed(
    _TOOL_NODE, "_execute_tool_sync", "record calls of unknown tools", _EXECUTES, is_own=True
)
AEXECUTE_TOOL = Needed(
    _TOOL_NODE, "_execute_tool_async", "record calls of unknown tools", _EXECUTES, is_own=True
)
RUN_TASK = Needed(_RUNNER, "run_with_retry", "see when a task ends", ("task",), is_own=True)
ARUN_TASK = Needed(_RUNNER, "arun_with_retry", "see when a task ends", ("task",), is_own=True)

# Overridden in a copy of a model.

STREAM_CHUNKS = Needed(_MODEL, "_stream", "replay streams", ("messages", "stop", "run_manager"))
ASTREAM_CHUNKS = Needed(_MODEL, "_astream", "replay streams", ("messages", "stop", "run_manager"))

# Keys of `configurable`.

HIDDEN_PREFIX = "__pregel_"
"""LangGraph keeps keys with `__` out of metadata, and with this out of what its streams show."""

SCRATCHPAD_KEY = "__pregel_scratchpad"
RUNTIME_KEY = "__pregel_runtime"
SEND_KEY = "__pregel_send"
RESUMING_KEY = "__pregel_resuming"
CHECKPOINTER_KEY = "__pregel_checkpointer"

NEEDED: tuple[Needed, ...] = (
    GENERATE,
    AGENERATE,
    EXECUTE_TOOL,
    AEXECUTE_TOOL,
    RUN_TASK,
    ARUN_TASK,
    STREAM_CHUNKS,
    ASTREAM_CHUNKS,
    Needed(_MODEL, "_get_invocation_params", "tell requests to models apart", ("stop", "kwargs")),
    Needed(_MODEL, "_get_ls_params", "name the model of a call", ("stop", "kwargs")),
    Needed(_MODEL, "_should_stream", "record streams", ("async_api", "kwargs")),
    Needed(_MODEL, "_convert_input", "record streams"),
    Needed(
        _MODEL,
        "_replay_v2_events_for_cache_hit",
        "send the events of a replayed call",
        ("generations", "run_manager", "kwargs"),
        is_optional=True,
    ),
    Needed(
        _MODEL,
        "_areplay_v2_events_for_cache_hit",
        "send the events of a replayed call",
        ("generations", "run_manager", "kwargs"),
        is_optional=True,
    ),
    Needed(_TOOL, "_filter_injected_args", "record a tool's arguments without the injected ones"),
    Needed(_CONFIG, "ensure_config", "know the config of an invocation"),
    Needed(_KEYS, "CONFIG_KEY_SCRATCHPAD", "count interrupts", value=SCRATCHPAD_KEY),
    Needed(_KEYS, "CONFIG_KEY_RUNTIME", "count the tries of a node", value=RUNTIME_KEY),
    Needed(_KEYS, "CONFIG_KEY_SEND", "pass by answered interrupts", value=SEND_KEY),
    Needed(_KEYS, "CONFIG_KEY_RESUMING", "tell a resumed subgraph", value=RESUMING_KEY),
    Needed(_KEYS, "CONFIG_KEY_CHECKPOINTER", "find the saver", value=CHECKPOINTER_KEY),
    Needed(_SCRATCHPAD, "interrupt_counter", "count interrupts"),
    Needed(_SCRATCHPAD, "get_null_resume", "pass by answered interrupts"),
    Needed(_SCRATCHPAD, "resume", "pass by answered interrupts"),
    Needed(
        "langgraph.checkpoint.serde.types",
        "_DeltaSnapshot",
        "store snapshots of a DeltaChannel",
        user="values",
    ),
    Needed(
        _SERIALIZER,
        "_unpack_ext_hook",
        "build nothing but data of what is stored",
        user="values",
        is_set_by_init=True,
    ),
    Needed(
        _SERIALIZER,
        "_allowed_msgpack_modules",
        "know whether a serializer is strict",
        user="values",
        is_set_by_init=True,
        is_optional=True,  # without it, all are guarded
    ),
    Needed(
        "langgraph.checkpoint.serde.jsonplus:_lg_msgpack",
        "SAFE_MSGPACK_TYPES",
        "know which types are safe to build",
        user="values",
    ),
    Needed(_PYDANTIC, "__pydantic_extra__", "store fields that no class knows", user="values"),
    Needed(_PYDANTIC, "__pydantic_fields_set__", "read messages", user="values"),
    Needed(_PYDANTIC, "__pydantic_private__", "read messages", user="values"),
    Needed(
        _PYDANTIC,
        "__pydantic_core_schema__",
        "see that the schema of a class was built anew",
        is_optional=True,  # a schema is then computed once
    ),
)


# Models and tools.


def invocation_params(
    model: BaseChatModel, stop: list[str] | None, kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a model says that it sends along with the messages."""
    return model._get_invocation_params(stop=stop, **kwargs)


def ls_params(
    model: BaseChatModel, stop: list[str] | None, kwargs: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return what a model tells LangSmith: `ls_model_name`, `ls_provider`."""
    return model._get_ls_params(stop=stop, **kwargs)


def should_stream(model: BaseChatModel, kwargs: Mapping[str, Any], *, async_api: bool) -> bool:
    """Return whether a model streams, asked with these arguments."""
    return model._should_stream(async_api=async_api, **kwargs)


def converted(model: BaseChatModel, input: Any) -> list[BaseMessage]:
    """Return the messages that the input of a model stands for."""
    return model._convert_input(input).to_messages()


def replay_events(
    model: BaseChatModel,
    generations: list[ChatGeneration],
    run_manager: Any,
    kwargs: Mapping[str, Any],
) -> None:
    """Send the events of a stream for an answer that is there; langchain-core may have none."""
    if hasattr(model, "_replay_v2_events_for_cache_hit"):
        model._replay_v2_events_for_cache_hit(generations, run_manager=run_manager, **kwargs)


async def areplay_events(
    model: BaseChatModel,
    generations: list[ChatGeneration],
    run_manager: Any,
    kwargs: Mapping[str, Any],
) -> None:
    """Async twin of `replay_events`."""
    if hasattr(model, "_areplay_v2_events_for_cache_hit"):
        await model._areplay_v2_events_for_cache_hit(generations, run_manager=run_manager, **kwargs)


def visible_args(tool: BaseTool, given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a tool call without those that are injected."""
    return tool._filter_injected_args(given)


def ensure_config(*configs: RunnableConfig | None) -> RunnableConfig:
    """Return configs merged as LangGraph merges them, with what is in force around."""
    from langgraph._internal import _config

    return _config.ensure_config(*configs)


# LangGraph's serializer, and the one of its types that has no public name.

DeltaSnapshot: type[types._DeltaSnapshot] = types._DeltaSnapshot

UnpackHook = Callable[[int, bytes], Any]


def unpack_hook_of(serde: object) -> UnpackHook | None:
    """Return the function with which a serializer builds objects, None where it has none."""
    hook: UnpackHook | None = getattr(serde, "_unpack_ext_hook", None)
    return hook


def set_unpack_hook(serde: JsonPlusSerializer, hook: UnpackHook) -> None:
    """Let a serializer build objects with `hook`."""
    serde._unpack_ext_hook = hook


def is_strict(serde: object) -> bool:
    """Return whether a serializer builds only the allowed classes, and not whatever is named."""
    return getattr(serde, "_allowed_msgpack_modules", True) is not True


def safe_types() -> frozenset[tuple[str, ...]]:
    """Return the names of the types that LangGraph builds in any case."""
    known = getattr(jsonplus, "_lg_msgpack", None)
    return frozenset(getattr(known, "SAFE_MSGPACK_TYPES", ()))


# The state of a pydantic model.

extra_of: Callable[[BaseModel], dict[str, Any] | None] = attrgetter("__pydantic_extra__")
"""Returns the fields that the class does not know; None where it takes none."""

fields_set_of: Callable[[BaseModel], set[str]] = attrgetter("__pydantic_fields_set__")
"""Returns the names of the fields that were given."""

private_of: Callable[[BaseModel], dict[str, Any] | None] = attrgetter("__pydantic_private__")
"""Returns the private attributes; None where the class has none."""

_Setter = Callable[[BaseModel, object], None]


def _setter(name: str) -> _Setter:
    """Return what sets a part of the state of a model.

    The slot itself takes half of the time of `object.__setattr__`, and can be mapped over lists.
    """
    slot: Any = BaseModel.__dict__.get(name)
    if hasattr(slot, "__set__"):
        found: _Setter = slot.__set__
        return found
    return lambda model, value: object.__setattr__(model, name, value)


_set_fields = _setter("__dict__")
_set_fields_set = _setter("__pydantic_fields_set__")
_set_extra = _setter("__pydantic_extra__")
_set_private = _setter("__pydantic_private__")


def set_state(
    model: BaseModel, fields: dict[str, Any], fields_set: set[str], extra: dict[str, Any]
) -> None:
    """Make a model that was allocated one with these fields, not validated."""
    _set_fields(model, fields)
    _set_fields_set(model, fields_set)
    _set_extra(model, extra)
    _set_private(model, None)


def set_states(
    models: Sequence[BaseModel], fields: Iterable[dict[str, Any]], fields_sets: Iterable[set[str]]
) -> None:
    """Do as `set_state` does to many models, without further fields and without a loop in Python.

    Args:
        models: They were allocated.
        fields: Those of each model, an object of its own.
        fields_sets: The names of those that were given to each, likewise.
    """
    for setter, values in (
        (_set_fields, fields),
        (_set_fields_set, fields_sets),
        (_set_extra, [{} for _ in models]),
        (_set_private, repeat(None)),
    ):
        deque(map(setter, models, values), maxlen=0)


def core_schema_of(cls: type) -> object:
    """Return the schema of a class itself, another object when it was built anew; or None."""
    return cls.__dict__.get("__pydantic_core_schema__")
