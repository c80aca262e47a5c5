"""`@rowtrail.step`: a function whose calls are recorded and replayed."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, cast, overload

from rowtrail.adapter._bound import bound_of, owner_of, unpassed_of
from rowtrail.adapter._record import Form, Replayed, arecord, record
from rowtrail.adapter._requests import ANSWERS
from rowtrail.adapter._results import Results
from rowtrail.content import STEP_MARK
from rowtrail.errors import UsageError
from rowtrail.journal import OnDoubt, Request, Scope, fingerprint_of, identity_of
from rowtrail.journal.places import (
    EFFECTS,
    ON_DOUBT_WORDS,
    here,
    refuse_not_told_apart,
    running_frame,
)
from rowtrail.replay import Effect, Kind

P = ParamSpec("P")
R = TypeVar("R")

DECLARED = STEP_MARK
"""Attribute of a decorated function: what it declares, as `(effect, on_doubt, not_done_on)`."""

KINDS = ("llm", "tool", "function")


@overload
def step(fn: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def step(
    *,
    name: str | None = None,
    kind: Kind = "function",
    effect: Effect = "read",
    on_doubt: OnDoubt | None = None,
    key: Callable[..., Any] | None = None,
    not_done_on: tuple[type[BaseException], ...] = (),
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def step(
    fn: Callable[P, R] | None = None,
    *,
    name: str | None = None,
    kind: Kind = "function",
    effect: Effect = "read",
    on_doubt: OnDoubt | None = None,
    key: Callable[..., Any] | None = None,
    not_done_on: tuple[type[BaseException], ...] = (),
) -> Any:
    """Record each call of a function, sync or async, and replay it when its run is resumed.

    Outside a run the function is called as if it were not decorated. Work that a run submits to a
    pool or a task belongs to the step that submitted it; the calls of a thread belong to the step
    that started it, while that is unfinished and no other run is active in the process. Where a
    run is active and nothing says whether a call is part of it, the call is made, not recorded,
    and logged once; a call with effect `write` raises `UsageError` instead of being made.

    A recorded result is handed back to the same call only. Objects among the arguments, and the
    object of a method, count by their class and by what their `__rowtrail_key__()` returns; else by
    the fields that `==` compares (dataclasses, attrs, pydantic), else by their public attributes.
    Credentials, clients, locks, loggers and caches never count. A function counts by its name,
    defaults and closure, a lambda also by its code, a partial or bound method by its parts. A call
    whose object has nothing that counts raises `UsageError` before it is made.

    Args:
        name: Name in the journal; the function's qualified name when None.
        kind: `function`, or `tool` or `llm` where that is what the function does; what an `llm`
            returns as a provider's JSON is shown as an answer, and handed back as it came.
        effect: What a call does to the world: `read`, `idempotent` or `write`.
        on_doubt: What decides when a `write` call may or may not have happened: `fail` (also when
            None), `ask`, `retry`, or a function of the `Step` that returns its result or
            `NOT_DONE`.
        key: Takes the arguments and returns what the call asks for, where they do not say it
            themselves (a connection, a time): plain values, or objects that can be told apart.
        not_done_on: Exceptions with which a `write` says that it did not happen, though it is one
            of those that leave it in doubt (a time-out, a lost connection, an `OSError`).

    Raises:
        UsageError: An argument of the decorator has no meaning, or `fn` is a generator function.
    """
    _check(kind, effect, on_doubt)

    def decorate(fn: Callable[P, R]) -> Callable[P, R]:
        called = str(name or getattr(fn, "__qualname__", type(fn).__qualname__))
        results = Results(fn)
        return _decorate(
            fn, _Declaration(called, fn, kind, effect, on_doubt, key, results, tuple(not_done_on))
        )

    return decorate if fn is None else decorate(fn)


def _check(kind: Any, effect: Any, on_doubt: Any) -> None:
    if kind not in KINDS:
        raise UsageError(f"kind={kind!r} is unknown: use one of {', '.join(KINDS)}")
    check_effect(effect, on_doubt)


def check_effect(effect: Any, on_doubt: Any) -> None:
    """Refuse an invalid effect or in-doubt policy.

    Raises:
        UsageError: The value is not one of the documented ones.
    """
    if effect not in EFFECTS:
        raise UsageError(f"effect={effect!r} is unknown: use one of {', '.join(EFFECTS)}")
    if on_doubt is not None and on_doubt not in ON_DOUBT_WORDS and not callable(on_doubt):
        words = ", ".join(ON_DOUBT_WORDS)
        raise UsageError(f"on_doubt={on_doubt!r} is unknown: use one of {words}, or a function")


@dataclass(frozen=True, eq=False)
class _Declaration:
    """What the decorator declares of a function."""

    name: str
    fn: Callable[..., Any]
    kind: Kind
    effect: Effect
    on_doubt: OnDoubt | None
    key: Callable[..., Any] | None
    results: Results
    not_done_on: tuple[type[BaseException], ...]

    def scope(self, *, of: Callable[..., Any]) -> Scope | None:
        """Return the scope of a call of the decorated function `of`, None where it is just made."""
        if _is_recorded_by_frame(of):
            return None
        place = here()
        return place.scope or place.scope_of(self.name, lambda: self.effect)

    def request(self, scope: Scope, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        """Return what a call asks for.

        Raises:
            UsageError: An argument, or the object of a method, cannot be told from others.
        """
        asked = self._asked(args, kwargs)
        attempt = scope.attempt
        mask = None if self.effect == "write" else attempt.canonical
        counted = self._counted(asked, args, kwargs)
        known = attempt.recorder.content.known
        text = known.text(attempt.codec, counted) if self.kind == "llm" else None
        identity = identity_of(self.kind, self.name, counted, mask, text=text)
        if identity.not_told_apart is not None:
            refuse_not_told_apart(self.name, self._named(asked, args, kwargs))
        prepare = attempt.prepare if self.kind == "llm" else attempt.prepare_arguments
        return Request(
            kind=self.kind,
            name=self.name,
            fingerprint=identity.fingerprint,
            masked_fingerprint=identity.masked,
            object_free_fingerprint=self._object_free(args, kwargs),
            encode=lambda: prepare(
                attempt.codec.encode_shown(asked, is_known_plain=identity.is_plain)
                if identity.shown is None
                else attempt.codec.encode_canonical(asked, identity.shown)
            ),
            effect=self.effect,
            on_doubt=self.on_doubt,
            arguments=asked,
            codec=self.results.codec(attempt.codec),
            not_done_on=self.not_done_on,
            ask=attempt.ask,
        )

    def _asked(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.key is not None:
            return self.key(*args, **kwargs)
        return {"args": list(args), "kwargs": kwargs, **bound_of(self.fn)}

    def _counted(self, asked: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what is asked, with the defaults that the call relies on."""
        left_out = unpassed_of(self.fn, args, kwargs) if self.key is None else {}
        return {**asked, "defaults": left_out} if left_out else asked

    def _object_free(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | None:
        """Return the fingerprint of a `write` whatever the object is that it is a method of."""
        if self.effect != "write" or self.key is not None:
            return None
        owner = owner_of(self.fn, args)
        if owner is None and not bound_of(self.fn):
            return None
        rest = [owner, *args[1:]] if owner is not None else list(args)
        asked = self._counted({"args": rest, "kwargs": kwargs}, args, kwargs)
        return fingerprint_of(self.kind, self.name, asked)

    def _named(self, asked: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return what counts of a call, each part by the name that the caller knows it by."""
        if self.key is not None:
            return {"key": asked}
        try:
            named = dict(inspect.signature(self.fn).bind(*args, **kwargs).arguments)
        except (TypeError, ValueError):  # the call itself will say what is wrong
            named = {**{str(n): value for n, value in enumerate(args)}, **kwargs}
        return {**named, **bound_of(self.fn)}


def _decorate(fn: Callable[P, R], declared: _Declaration) -> Callable[P, R]:
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise UsageError(f"{declared.name} is a generator: a step has one result, so return a list")
    form = ANSWERS_AS_THEY_WERE if declared.kind == "llm" else AS_IT_WAS
    decorated: Any
    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def arecorded(*args: P.args, **kwargs: P.kwargs) -> Any:
            scope = declared.scope(of=arecorded)
            if scope is None:
                return await fn(*args, **kwargs)
            request = declared.request(scope, args, kwargs)
            return await arecord(scope, request, lambda: fn(*args, **kwargs), form)

        decorated = arecorded
    else:

        @functools.wraps(fn)
        def recorded(*args: P.args, **kwargs: P.kwargs) -> Any:
            scope = declared.scope(of=recorded)
            if scope is None:
                return fn(*args, **kwargs)
            request = declared.request(scope, args, kwargs)
            make = functools.partial(_not_a_coroutine, declared.name, fn, *args, **kwargs)
            return record(scope, request, make, form)

        decorated = recorded
    setattr(decorated, DECLARED, (declared.effect, declared.on_doubt, declared.not_done_on))
    return cast("Callable[P, R]", decorated)


def _is_recorded_by_frame(function: Callable[..., Any]) -> bool:
    """Return whether the step around this call is the record of the function itself.

    So it is with `@rowtrail.step` under `@tool`, where the tool call is the step.
    """
    frame = running_frame()
    return frame is not None and frame.request.records is function


def _as_it_was(replayed: Replayed) -> Any:
    replayed.pass_interrupts()
    return replayed.result


AS_IT_WAS: Form[Any] = Form(restore=_as_it_was)

ANSWERS_AS_THEY_WERE: Form[Any] = Form(store=ANSWERS.store, restore=_as_it_was)
"""What a function with `kind="llm"` returns: the views show a provider's JSON as an answer."""


def _not_a_coroutine(name: str, fn: Callable[..., R], *args: Any, **kwargs: Any) -> R:
    """Call a function; refuse what one under another decorator returns in place of its result."""
    result = fn(*args, **kwargs)
    if inspect.iscoroutine(result):
        result.close()
        raise UsageError(
            f"{name} is no coroutine function, and returned a coroutine: put "
            "@rowtrail.step right above the `async def`, under its other decorators"
        )
    return result
