"""A journal and a saver against a model in memory: any operations, crashes and reopenings too.

`make crash` tries thousands of histories.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

import rowtrail
from rowtrail_langgraph import RowtrailSaver
from tests._sample import IS_FULL
from tests.adapters._savers import QUICK, checkpoint, named, thread

EXAMPLES, STEPS = 15, 20

threads = st.sampled_from(["a", "b", "c"])
runs = st.sampled_from(["r", "s"])
texts = st.text(st.characters(codec="utf-8"), max_size=8)
integers = st.integers(-(2**63), 2**64 - 1)  # what the model's serializer takes
values = st.recursive(
    st.none() | st.booleans() | integers | st.floats(allow_nan=False) | texts | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
prompts = st.sampled_from(["one", "two", "three"])


class JournalMachine(RuleBasedStateMachine):
    """Puts, lists, deletes, copies and prunes; runs steps; crashes and opens again."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="rowtrail-"))
        self.model = InMemorySaver()
        self.answers: dict[tuple[str, str, int], Any] = {}
        self.number = 0

    @initialize()
    def begin(self) -> None:
        self.saver = RowtrailSaver(self.folder / "agent.db", **QUICK)

    def teardown(self) -> None:
        self.saver.close()
        shutil.rmtree(self.folder)

    # The saver.

    def newest(self, thread_id: str) -> Any:
        found = self.model.get_tuple(thread(thread_id))
        return found.config if found else thread(thread_id)

    @rule(thread_id=threads, value=values, keep=st.integers(0, 6), text=texts)
    def put(self, thread_id: str, value: Any, keep: int, text: str) -> None:
        config, self.number = self.newest(thread_id), self.number + 1
        found = self.model.get_tuple(config)
        before = found.checkpoint["channel_values"]["messages"] if found else []
        kind = AIMessage if self.number % 2 else HumanMessage
        messages = [*before[-keep:], kind(text, id=f"m{self.number}")]
        given = checkpoint({"messages": messages, "value": value})
        versions: Any = {"messages": self.number, "value": self.number}
        given["channel_versions"] = versions
        metadata: Any = {"source": "loop", "step": self.number, "owner": text}
        for saver in (self.model, self.saver):
            saver.put(config, given, metadata, versions)

    @rule(thread_id=threads, value=values, task=st.sampled_from(["t1", "t2"]))
    def put_writes(self, thread_id: str, value: Any, task: str) -> None:
        config = self.newest(thread_id)
        if named(config, "checkpoint_id"):
            for saver in (self.model, self.saver):
                saver.put_writes(config, [("value", value), ("messages", [value])], task)

    @rule(thread_id=threads)
    def delete_thread(self, thread_id: str) -> None:
        for saver in (self.model, self.saver):
            saver.delete_thread(thread_id)

    @rule(source=threads, into=threads)
    def copy(self, source: str, into: str) -> None:
        if source == into:
            return
        for saver in (self.model, self.saver):
            saver.delete_thread(into)
        self.saver.copy_thread(source, into)
        self._copy_in_model(source, into)

    def _copy_in_model(self, source: str, target: str) -> None:
        for found in reversed(list(self.model.list(thread(source)))):
            parent = named(found.parent_config, "checkpoint_id") if found.parent_config else None
            metadata: Any = found.metadata
            versions: Any = found.checkpoint["channel_versions"]
            at = self.model.put(thread(target, "", parent), found.checkpoint, metadata, versions)
            for task, channel, value in found.pending_writes or []:
                self.copied_writes(at, task, channel, value)

    def copied_writes(self, config: Any, task: str, channel: str, value: Any) -> None:
        key = (named(config, "thread_id"), "", named(config, "checkpoint_id"))
        index = len([1 for one, _ in self.model.writes[key] if one == task])
        typed = self.model.serde.dumps_typed(value)
        self.model.writes[key][task, index] = (task, channel, typed, "")

    @rule(thread_id=threads)
    def prune_to_the_latest(self, thread_id: str) -> None:
        self.saver.prune([thread_id])
        found = self.model.get_tuple(thread(thread_id))
        if found is not None:
            versions: Any = found.checkpoint["channel_versions"]
            metadata: Any = found.metadata
            self.model.delete_thread(thread_id)
            at = self.model.put(thread(thread_id), found.checkpoint, metadata, versions)
            for task, channel, value in found.pending_writes or []:
                self.copied_writes(at, task, channel, value)

    @rule()
    def prune_content(self) -> None:
        self.saver.journal.prune(keep=1000)

    @invariant()
    def every_thread_is_as_in_the_model(self) -> None:
        for thread_id in ("a", "b", "c"):
            expected = [self._shape(each) for each in self.model.list(thread(thread_id))]
            assert [self._shape(each) for each in self.saver.list(thread(thread_id))] == expected
            if expected:
                newest = self.saver.get_tuple(thread(thread_id))
                assert newest is not None and self._shape(newest) == expected[0]

    def _shape(self, found: Any) -> Any:
        return (
            found.checkpoint["id"],
            found.checkpoint["channel_values"],
            {**found.metadata},
            sorted(map(repr, found.pending_writes or [])),
        )

    # The journal.

    @rule(run=runs, asked=st.lists(prompts, max_size=4), value=values, crash=st.booleans())
    def run_steps(self, run: str, asked: list[str], value: Any, crash: bool) -> None:
        made: list[str] = []
        answer = [value]  # a constant in its closure would make it another function

        @rowtrail.step(name="ask", kind="tool")
        def ask(prompt: str) -> Any:
            made.append(prompt)
            return answer[0]

        expected: list[str] = []
        try:
            with self.saver.journal.run(run):
                counts: dict[str, int] = {}
                for prompt in asked:
                    n = counts[prompt] = counts.get(prompt, 0) + 1
                    if (run, prompt, n) not in self.answers:
                        expected.append(prompt)
                        self.answers[run, prompt, n] = value
                    given, recorded = ask(prompt), self.answers[run, prompt, n]
                    assert type(given) is type(recorded) and given == recorded
                if crash:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass
        assert made == expected  # what was recorded is not asked again, whatever happened since

    @rule()
    def reopen(self) -> None:
        self.saver.close()
        self.begin()

    @rule()
    def crash(self) -> None:
        """Go on with what is on disk at this moment, as after a kill."""
        copy = Path(tempfile.mkdtemp(prefix="rowtrail-"))
        self.saver.journal.recover()  # whatever is queued is committed
        for path in self.folder.iterdir():
            shutil.copyfile(path, copy / path.name)
        (copy / "agent.db-shm").unlink(missing_ok=True)
        self.saver.close()
        shutil.rmtree(self.folder)
        self.folder = copy
        self.begin()

    @rule(run=runs)
    def start_over(self, run: str) -> None:
        with self.saver.journal.run(run, fresh=True):
            pass
        self.answers = {key: value for key, value in self.answers.items() if key[0] != run}


TestJournalMachine = pytest.mark.timeout(3600)(JournalMachine.TestCase)
TestJournalMachine.settings = settings(
    max_examples=1000 if IS_FULL else EXAMPLES, stateful_step_count=50 if IS_FULL else STEPS
)
