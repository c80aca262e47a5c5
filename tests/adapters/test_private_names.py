"""Private names of LangGraph, langchain-core and pydantic: one that is missing is named."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import MessagesState
from pydantic import BaseModel

import rowtrail_langgraph
from rowtrail.errors import UnsupportedError
from rowtrail_langgraph import RowtrailSaver, _private
from rowtrail_langgraph._private import NEEDED, Needed, check
from rowtrail_langgraph.capture import _hooks
from rowtrail_langgraph.values._guard import default_serde
from tests.adapters._graphs import (
    MODES,
    Bench,
    Calls,
    Fuse,
    Killed,
    Mode,
    as_node,
    one_node,
    run,
    thread,
)
from tests.lint.private_names import own_names, private_names

REQUIRED = [each for each in NEEDED if not each.is_optional]
OPTIONAL = [each for each in NEEDED if each.is_optional]

Remove = Callable[[Needed], None]


@pytest.fixture
def without_hooks() -> Iterator[None]:
    rowtrail_langgraph.uninstall()
    yield
    rowtrail_langgraph.uninstall()


@pytest.fixture
def remove(monkeypatch: pytest.MonkeyPatch) -> Remove:
    """Take names away as a new version of a framework would."""

    def removed(needed: Needed) -> None:
        owner = needed.resolved_owner()
        if needed.is_set_by_init:
            _forget_after_init(monkeypatch, owner, needed.name)
            return
        for each in getattr(owner, "__mro__", [owner]):
            if needed.name in vars(each):
                monkeypatch.delattr(each, needed.name)

    return removed


def _forget_after_init(monkeypatch: pytest.MonkeyPatch, cls: type, name: str) -> None:
    init: Callable[..., None] = cls.__dict__["__init__"]

    def forgetful(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        delattr(self, name)

    monkeypatch.setattr(cls, "__init__", forgetful)


def label(needed: Needed) -> str:
    return needed.label


@pytest.mark.parametrize("needed", NEEDED, ids=label)
def test_a_name_is_there_in_this_version(needed: Needed) -> None:
    assert needed.fault() is None


def test_names_are_listed_once() -> None:
    assert len({(each.owner, each.name) for each in NEEDED}) == len(NEEDED)


def test_every_private_name_is_listed() -> None:
    listed = {word for each in NEEDED for word in (each.name, each.value, *each.owner.split(":"))}
    tree = ast.parse(Path(inspect.getfile(_private)).read_text("utf-8"))
    written = {name for _, name in private_names(tree, own_names([tree])) if "." not in name}
    assert written - listed == {_private.HIDDEN_PREFIX}


@pytest.mark.parametrize("needed", REQUIRED, ids=label)
def test_a_missing_name_is_named(remove: Remove, needed: Needed) -> None:
    remove(needed)
    with pytest.raises(UnsupportedError) as caught:
        check([needed], or_else=", or else")
    said = str(caught.value)
    assert f"has no {needed.label}, which rowtrail needs to {needed.purpose}" in said
    assert "install versions that rowtrail supports, or else" in said


@pytest.mark.usefixtures("without_hooks")
@pytest.mark.parametrize("needed", REQUIRED, ids=label)
def test_a_saver_is_not_made_where_a_name_is_missing(
    remove: Remove, needed: Needed, tmp_path: Path
) -> None:
    remove(needed)
    with pytest.raises(UnsupportedError, match=f"has no .*{needed.name}"):
        RowtrailSaver(tmp_path / "a.db")
    assert not _hooks.is_installed()
    assert not (tmp_path / "a.db").exists()


@pytest.mark.usefixtures("without_hooks")
@pytest.mark.parametrize("needed", [n for n in REQUIRED if n.user == "capture"], ids=label)
def test_without_capture_its_names_may_be_missing(
    remove: Remove, needed: Needed, tmp_path: Path
) -> None:
    remove(needed)
    with RowtrailSaver(tmp_path / "a.db", capture=False) as saver:
        assert list(saver.list(None)) == []


@pytest.mark.parametrize("needed", [n for n in REQUIRED if n.user == "values"], ids=label)
def test_no_serializer_is_made_where_a_name_of_values_is_missing(
    remove: Remove, needed: Needed
) -> None:
    remove(needed)
    with pytest.raises(UnsupportedError, match=f"has no .*{needed.name}"):
        default_serde()


@pytest.mark.parametrize("needed", [n for n in NEEDED if n.parameters], ids=label)
def test_a_name_with_other_parameters_is_named(
    monkeypatch: pytest.MonkeyPatch, needed: Needed
) -> None:
    monkeypatch.setattr(needed.resolved_owner(), needed.name, lambda self, question: None)
    fault = needed.fault()
    assert fault == f"{needed.label}({', '.join(needed.parameters)})"


@pytest.mark.parametrize("needed", [n for n in NEEDED if n.value], ids=label)
def test_a_constant_with_another_value_is_named(
    monkeypatch: pytest.MonkeyPatch, needed: Needed
) -> None:
    monkeypatch.setattr(needed.resolved_owner(), needed.name, "__pregel_renamed")
    assert needed.fault() == f"{needed.label} = {needed.value!r}"


@pytest.mark.parametrize("owner", ["langgraph.no_such_module", "langgraph.types:NoSuchClass"])
def test_a_missing_owner_is_named(owner: str) -> None:
    needed = Needed(owner, "_name", "test")
    assert needed.fault() == needed.label
    assert needed.label.endswith("._name")


def test_what_is_replaced_must_not_be_inherited() -> None:
    needed = Needed("langchain_core.language_models:BaseChatModel", "abatch", "test")
    assert needed.fault() is None
    assert Needed(needed.owner, needed.name, "test", is_own=True).fault() == needed.label


@pytest.mark.parametrize("needed", OPTIONAL, ids=label)
def test_an_optional_name_may_be_missing(remove: Remove, needed: Needed) -> None:
    remove(needed)
    assert needed.fault() == needed.label
    check([needed])


@pytest.mark.parametrize("mode", MODES)
async def test_calls_are_replayed_without_the_optional_events(
    bench: Bench, remove: Remove, mode: Mode
) -> None:
    for needed in OPTIONAL:
        if needed.resolved_owner() is BaseChatModel:
            remove(needed)

    fuse = Fuse()

    async def node(state: MessagesState, calls: Calls) -> Any:
        answer = await calls.ask(bench.model(), "hello")
        fuse()
        return {"messages": [answer]}

    graph = one_node(bench.saver(), as_node(mode, node))
    with pytest.raises(Killed):
        await run(mode, graph, {"messages": "go"}, thread())
    answered = await run(mode, graph, None, thread())
    assert answered["messages"][-1].content == "re: hello"
    assert bench.asked == ["hello"]


def test_a_serializer_that_may_be_strict_is_guarded(remove: Remove) -> None:
    remove(next(each for each in OPTIONAL if each.is_set_by_init))
    serde, unguarded = default_serde(), JsonPlusSerializer()
    assert not _private.is_strict(serde)
    assert _private.unpack_hook_of(serde) is not _private.unpack_hook_of(unguarded)
    message = AIMessage("hello")
    assert serde.loads_typed(serde.dumps_typed(message)) == message


def test_a_class_without_a_core_schema_has_none() -> None:
    class Plain:
        """No model."""

    assert _private.core_schema_of(Plain) is None
    assert _private.core_schema_of(BaseModel) is not _private.core_schema_of(AIMessage)


def test_a_state_is_set_as_pydantic_does() -> None:
    made, message = AIMessage.__new__(AIMessage), AIMessage("hello", id="1", more=1)
    extra = dict(_private.extra_of(message) or {})
    _private.set_state(made, dict(message.__dict__), set(_private.fields_set_of(message)), extra)
    assert made == message and dumpd(made) == dumpd(message)
    assert _private.private_of(made) is _private.private_of(message) is None
