"""`@rowtrail.step`: a function whose calls are recorded and replayed."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, overload

from rowtrail.content import Codec
from rowtrail.errors import UsageError
from rowtrail.journal._active import active_scope
from rowtrail.journal._call import Call
from rowtrail.journal._current import current_frame
from rowtrail.journal._request import EFFECTS, ON_DOUBT_WORDS, OnDoubt, Request, fingerprint_of
from rowtrail.journal._scope import Scope
from rowtrail.replay import Effect, Kind

P = ParamSpec("P")
R = TypeVar("R")

DECLARED = "__rowtrail_declared__"
"""Attribute of a decorated function: what it declares, as `(effect, on_doubt)`."""

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
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def step(
    fn: Callable[P, R] | None = None,
    *,
    name: str | None = None,
    kind: Kind = "function",
    effect: Effect = "read",
    on_doubt: OnDoubt | None = None,
    key: Callable[..., Any] | None = None,
) -> Any:
    """Record each call of a function, sync or async, and replay it when its run is resumed.

    Outside a run the function is called as if it were not decorated.

    Args:
        name: Name in the journal; the function's qualified name when None.
        kind: `function`, or `tool` or `llm` where that is what the function does.
        effect: What a call does to the world: `read`, `idempotent` or `write`.
        on_doubt: What decides when a `write` call may or may not have happened: `fail` (also when
            None), `ask`, `retry`, or a function of the `Step` that returns its result or `NOT_DONE`.
        key: Takes the arguments and returns what the call asks for, where they do not say it
            themselves (a connection, a time); anything that `repr` tells apart.

    Raises:
        UsageError: An argument of the decorator has no meaning, or `fn` is a generator function.
    """
    _check(kind, effect, on_doubt)

    def decorate(fn: Callable[P, R]) -> Callable[P, R]:
        return _decorate(fn, name or fn.__qualname__, kind, effect, on_doubt, key)

    return decorate if fn is None else decorate(fn)


def _check(kind: Any, effect: Any, on_doubt: Any) -> None:
    if kind not in KINDS:
        raise UsageError(f"kind={kind!r} is unknown: use one of {', '.join(KINDS)}")
    check_effect(effect, on_doubt)


def check_effect(effect: Any, on_doubt: Any) -> None:
    """Refuse an effect or an in-doubt policy that is none.

    Raises:
        UsageError: The value is not one of the documented ones.
    """
    if effect not in EFFECTS:
        raise UsageError(f"effect={effect!r} is unknown: use one of {', '.join(EFFECTS)}")
    if on_doubt is not None and on_doubt not in ON_DOUBT_WORDS and not callable(on_doubt):
        words = ", ".join(ON_DOUBT_WORDS)
        raise UsageError(f"on_doubt={on_doubt!r} is unknown: use one of {words}, or a function")


def _decorate(
    fn: Callable[P, R],
    name: str,
    kind: Kind,
    effect: Effect,
    on_doubt: OnDoubt | None,
    key: Callable[..., Any] | None,
) -> Callable[P, R]:
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise UsageError(f"{name} is a generator: a step has one result, so return a list")
    hints = _Result(fn)

    def request(scope: Scope, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
        asked = {"args": list(args), "kwargs": kwargs} if key is None else key(*args, **kwargs)
        return Request(
            kind=kind,
            name=name,
            fingerprint=fingerprint_of(kind, name, asked),
            input=scope.attempt.prepare(scope.attempt.codec.encode_shown(asked)),
            effect=effect,
            on_doubt=on_doubt,
            arguments=asked,
            ask=scope.attempt.ask,
        )

    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def arecorded(*args: P.args, **kwargs: P.kwargs) -> Any:
            scope = active_scope()
            if scope is None or _is_recorded_by_frame(arecorded):
                return await fn(*args, **kwargs)
            call = await scope.abegin(request(scope, args, kwargs))
            if call.replayed:
                return hints.rebuild(call.result)
            return await _arun(call, hints, lambda: fn(*args, **kwargs))

        setattr(arecorded, DECLARED, (effect, on_doubt))
        return arecorded  # type: ignore[return-value]

    @functools.wraps(fn)
    def recorded(*args: P.args, **kwargs: P.kwargs) -> R:
        scope = active_scope()
        if scope is None or _is_recorded_by_frame(recorded):
            return fn(*args, **kwargs)
        call = scope.begin(request(scope, args, kwargs))
        if call.replayed:
            return hints.rebuild(call.result)  # type: ignore[no-any-return]
        return _run(call, hints, lambda: fn(*args, **kwargs))

    setattr(recorded, DECLARED, (effect, on_doubt))
    return recorded


def _is_recorded_by_frame(function: Callable[..., Any]) -> bool:
    """Tell whether the step around this call is the record of the function itself.

    So it is with `@rowtrail.step` under `@tool`, where the tool call is the step.
    """
    frame = current_frame.get()
    return frame is not None and frame.records is function


def _run(call: Call, hints: _Result, make: Callable[[], R]) -> R:
    try:
        with call.running():
            result = make()
    except BaseException as error:
        call.fail(error)
        raise
    call.complete(hints.reduce(result))
    return result


async def _arun(call: Call, hints: _Result, make: Callable[[], Any]) -> Any:
    try:
        with call.running():
            result = await make()
    except BaseException as error:
        await call.afail(error)
        raise
    await call.acomplete(hints.reduce(result))
    return result


class _Result:
    """Results of a class that the function's return annotation names: stored as plain data."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self._fn = fn
        self._codec = Codec()

    @functools.cached_property
    def _class(self) -> type | None:
        try:
            found = inspect.get_annotations(self._fn, eval_str=True).get("return")
        except (NameError, TypeError, SyntaxError):
            return None
        is_model = hasattr(found, "model_validate") or hasattr(found, "__dataclass_fields__")
        return found if isinstance(found, type) and is_model else None

    def reduce(self, result: Any) -> Any:
        """Return the data of a model or dataclass that `rebuild` can make again, else `result`."""
        if self._class is None or type(result) is not self._class:
            return result
        data = self._data(result)
        try:
            if self.rebuild(self._codec.decode(self._codec.encode(data))) == result:
                return data
        except Exception:  # a constructor of the user's: any failure means that it is not safe
            return result
        return result

    def rebuild(self, stored: Any) -> Any:
        """Undo `reduce`."""
        if self._class is None or not isinstance(stored, dict):
            return stored
        validate = getattr(self._class, "model_validate", None)
        return validate(stored) if validate is not None else self._class(**stored)

    def _data(self, result: Any) -> dict[str, Any]:
        if hasattr(result, "model_dump"):
            return result.model_dump()  # type: ignore[no-any-return]
        return {name: getattr(result, name) for name in result.__dataclass_fields__}
