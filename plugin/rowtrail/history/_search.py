"""`search`: where something was said, asked for, returned or complained about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args

from rowtrail.errors import UnknownIdError, UsageError
from rowtrail.history._answer import Answer
from rowtrail.history._background import go_on_filling, is_filling
from rowtrail.history._budget import fit
from rowtrail.history._embedder import Embedder, EmbedderLike
from rowtrail.history._filling import Filled, Progress, fill
from rowtrail.history._finding import Filter, Finding, Mode
from rowtrail.history._index_file import (
    MEMORY,
    SUFFIX,
    IndexFile,
    check_can_search,
    discard,
    index_path,
    with_index,
)
from rowtrail.history._page import Moment, check_limit, millis_of
from rowtrail.history._source import Readable, Source, reader_of
from rowtrail.history._vectors import embed_missing
from rowtrail.vocabulary import Kind

FILL_S = 0.5
"""So long a search fills the index before it answers with what was read."""
SNIPPET_CHARS = 240
"""About 60 tokens: ten hits are an answer that a model reads."""
ADVICE = (
    "narrow with kind, thread_id, run_id or since, or ask for fewer with limit",
    "raise max_tokens",
)

GoOn = Callable[[str], None]
"""Called with the path of a journal whose index lacks older steps."""

MIN_CHARS, MAX_CHARS = 40, 4_000
"""Of a snippet: a few words, and more than a part of a text."""


@dataclass(frozen=True)
class Indexed:
    """What a search index holds: parts of texts, and vectors for them. `path` is its file."""

    path: str
    texts: int
    vectors: int

    def as_dict(self) -> dict[str, Any]:
        """Return the figures by name."""
        return {"path": self.path, "texts": self.texts, "vectors": self.vectors}


def search(
    source: Source,
    text: str,
    *,
    kind: Kind | None = None,
    thread_id: str | None = None,
    run_id: str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    mode: Mode = "auto",
    limit: int = 10,
    chars: int = SNIPPET_CHARS,
    max_tokens: int | None = None,
    embedder: EmbedderLike | None = None,
    progress: Progress | None = None,
    go_on: GoOn = go_on_filling,
) -> Answer:
    """Find where the words or the meaning of `text` came up: in messages, tool arguments, results
    and errors.

    The rows, the best first: step_id, run_id, thread_id, agent, node, kind, name, where (`message`,
    `arguments`, `result`, `error`, `question` or `answer`), snippet (what was found in brackets),
    score (within one answer, higher is better), at (when the step began). A text that came up often
    is one row: the first step that it came up in, as far as the filters go.

    Any text may be searched for. All of its words are looked for, then any of them; `"words in
    quotes"` only side by side. Case, accents, full and half width, English endings, and groups of
    digits (48213, 48,213) make no difference; Chinese, Japanese, Korean and Thai are found by their
    parts; words such as "the" count for nothing beside others. The note says what to try where
    nothing has all of it.

    The index, a file `-search` beside the journal, is filled before the answer, the newest steps
    first. What takes longer than a second is read afterwards: the note then says how far it is. It
    may be deleted at any time. Of one value the first 1.1 million characters are searched, of what
    was stored encrypted nothing.

    Args:
        source: The journal.
        text: What to look for.
        kind: Only steps of this kind.
        thread_id: Only this thread.
        run_id: Only this run.
        since: Only steps begun since then: a datetime, or ISO-8601 text; UTC without a zone.
        until: Only steps begun until then.
        mode: `keyword`; `semantic` (what means the same, by the embedder); `hybrid` (both, fused by
            rank); `auto` (hybrid where there is an embedder, else keyword).
        limit: How many rows are returned at most.
        chars: How many characters of a text are shown, around what was found.
        max_tokens: How many tokens `Answer.text()` may have; rows are cut from the end.
        embedder: A LangChain `Embeddings`, or a function that returns a vector for each text of a
            list. Texts are embedded once; those that another embedder did are embedded anew.
        progress: Called while the index is filled.
        go_on: Reads the rest, if any; by default a thread of this process does.

    Raises:
        UsageError: An argument makes no sense.
        UnknownIdError: There is no such thread or run.
        MissingPackageError: The extra `search` is not installed.
        EmbedderError: The embedder failed, with `mode` `semantic` or `hybrid`.
        StorageError: The journal cannot be read, or the index cannot be written.
    """
    _check(text, kind, mode, limit, max_tokens, embedder)
    if not MIN_CHARS <= chars <= MAX_CHARS:
        raise UsageError(f"chars={chars!r}: use {MIN_CHARS} to {MAX_CHARS:,}")
    chosen = None if embedder is None or mode == "keyword" else Embedder(embedder)
    reader = reader_of(source)
    runs = _runs(reader, thread_id, run_id)
    within = Filter(kind, runs, millis_of("since", since), millis_of("until", until))
    path = index_path(reader)
    # Vectors are made of all texts, and a journal in memory has no file to go on with.
    seconds = FILL_S if chosen is None and path != MEMORY else None
    if seconds is not None and is_filling(path.removesuffix(SUFFIX)):
        seconds = 0.0  # a page, which has the newest steps

    def work(index: IndexFile) -> tuple[Answer, Filled]:
        filled = fill(index, reader, progress or _say_nothing, seconds=seconds, runs=runs)
        return Finding(index, reader, text, within, limit, chars).answer(mode, chosen), filled

    answer, filled = with_index(reader, work)
    notes = [] if answer.note is None else [answer.note]
    if not filled.is_whole:
        go_on(path.removesuffix(SUFFIX))
        notes.append(
            f"{filled.read:,} of {filled.total:,} steps were searched, the newest first: the rest "
            "is being read, ask again"
        )
    if max_tokens is not None:
        return fit(answer, notes, max_tokens, text, ADVICE)
    return replace(answer, note="; ".join(notes) or None)


def build_index(
    source: Source,
    *,
    embedder: EmbedderLike | None = None,
    rebuild: bool = False,
    progress: Progress | None = None,
) -> Indexed:
    """Bring the search index to what the journal holds now; with an embedder, its vectors too.

    Killed in the middle, the next call goes on from there; several processes may do it at once.

    Raises:
        UsageError: The embedder embeds nothing.
        MissingPackageError: The extra `search` is not installed.
        EmbedderError: The embedder failed.
        StorageError: The journal cannot be read, or the index cannot be written.
    """
    chosen = None if embedder is None else Embedder(embedder)
    reader = reader_of(source)
    path = index_path(reader)
    check_can_search("searching")  # before anything is deleted
    if rebuild and path != MEMORY:
        discard(path)

    def work(index: IndexFile) -> Indexed:
        fill(index, reader, progress or _say_nothing)
        if chosen is not None:
            embed_missing(index, reader, chosen, progress or _say_nothing)
        return Indexed(path, index.value("docs_count"), index.value("vectors_count"))

    return with_index(reader, work)


def _say_nothing(what: str, done: int, total: int) -> None:
    """Tell nobody how far it has come."""


def _check(
    text: str,
    kind: str | None,
    mode: str,
    limit: int,
    max_tokens: int | None,
    embedder: object,
) -> None:
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # from anybody
        raise UsageError(f"text={text!r} is not text: give what to look for as a str")
    if kind is not None and kind not in get_args(Kind):
        raise UsageError(f"kind={kind!r} is unknown: use 'llm', 'tool' or 'function'")
    if mode not in get_args(Mode):
        raise UsageError(f"mode={mode!r} is unknown: use one of {', '.join(get_args(Mode))}")
    check_limit(limit)
    if max_tokens is not None and max_tokens < 1:
        raise UsageError(f"max_tokens={max_tokens!r} leaves no room: use 1 or more")
    if mode in ("semantic", "hybrid") and embedder is None:
        raise UsageError(
            f"mode={mode!r} needs an embedder: Journal(path, embedder=...), "
            "search(..., embedder=...) or --embedder module:attribute"
        )


def _runs(source: Readable, thread_id: str | None, run_id: str | None) -> tuple[int, ...] | None:
    if thread_id is None and run_id is None:
        return None
    rows = source.read(lambda tx: tx.all("search_run_rows", thread_id=thread_id, run_id=run_id))
    if not rows:
        kind, value = ("run", run_id) if run_id is not None else ("thread", thread_id)
        of = f" in the thread {thread_id!r}" if run_id is not None and thread_id is not None else ""
        raise UnknownIdError(
            f"no {kind} has the id {value!r}{of}, or it made no call yet",
            kind=kind,
            value=str(value),
        )
    return tuple(row["id"] for row in rows)
