"""`--embedder`: naming what turns texts into vectors."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rowtrail.history.searching import EmbedderLike

F = TypeVar("F", bound=Callable[..., Any])


def load(ctx: click.Context, param: click.Parameter, value: str | None) -> EmbedderLike | None:
    """Import what `module:attribute` names, from the current folder too."""
    if not value:
        return None
    module, _, attribute = value.partition(":")
    if not module or not attribute:
        raise click.BadParameter(f"{value!r} names nothing: write module:attribute", ctx, param)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = import_module(module)
        for name in attribute.split("."):
            found = getattr(found, name)
    except Exception as error:  # the module is the user's: it may raise anything
        raise click.BadParameter(
            f"{value!r} cannot be imported ({type(error).__name__}: {error}): write "
            "module:attribute, of a module that can be imported from here",
            ctx,
            param,
        ) from error
    given: EmbedderLike = found
    return given


def embedder_option(command: F) -> F:
    """Add `--embedder`."""
    return click.option(
        "--embedder",
        callback=load,
        metavar="MODULE:ATTRIBUTE",
        envvar="ROWTRAIL_EMBEDDER",
        show_envvar=True,
        help="A LangChain Embeddings object, or a function from a list of texts to vectors. "
        "The module is imported.",
    )(command)
