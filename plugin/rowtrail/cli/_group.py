"""The group of commands: loads a command when it is called, and turns errors into exit codes."""

from __future__ import annotations

import errno
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from rowtrail.cli._output import is_colored, protect_streams
from rowtrail.errors import (
    BusyError,
    MissingPackageError,
    RowtrailError,
    RunBusyError,
    UnknownIdError,
)

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

INTERRUPTED = 130
"""What a shell reports of a program that SIGINT ended: 128 + 2."""

UNWRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""What writing to a full disk says; a closed pipe is click's."""


class Entry(NamedTuple):
    """Where a command is, as `module:attribute`, and its line in the list of commands."""

    target: str
    help: str


class Failure(click.ClickException):
    """A message for stderr; the class says the exit code."""

    exit_code = 1

    def format_message(self) -> str:
        """Return the message as it may be printed."""
        from rowtrail.history import visible

        return visible(self.message, keep="\n")


class NotFound(Failure):
    """What was asked for is not there."""

    exit_code = 3


class Busy(Failure):
    """Somebody else holds it."""

    exit_code = 5


_FAILURES: dict[type[RowtrailError], type[Failure]] = {
    UnknownIdError: NotFound,
    BusyError: Busy,
    RunBusyError: Busy,
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and help, without importing them."""

    def __init__(self, *args: Any, entries: dict[str, Entry], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order in which they are declared."""
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self._entries:
            return None
        module, _, attribute = self._entries[cmd_name].target.partition(":")
        try:
            command = getattr(import_module(module), attribute)
        except MissingPackageError as error:
            raise failure(error) from error
        except ImportError as error:
            raise Failure(
                f"`rowtrail {cmd_name}` cannot be loaded ({error}): install rowtrail again, with "
                "its dependencies"
            ) from error
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read what is before the command; for an option of a command, say where it goes."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            says = f"No such option {error.option_name!r} here. Options go after the command, as in"
            raise click.UsageError(f"{says} `rowtrail runs --json`.", ctx) from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; for a wrong name, say which one is near."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchOption:
            raise
        except click.UsageError as error:
            import difflib

            near = difflib.get_close_matches(args[0], self._entries, n=1)
            if not near:
                raise
            # Its own words are not asked whether they name one: some versions of click do so.
            says = f"No such command {args[0]!r}. Did you mean {near[0]!r}?"
            raise click.UsageError(says, ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self._entries.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands that begin so, without importing one."""
        from click.shell_completion import CompletionItem

        named = [
            CompletionItem(name, help=entry.help)
            for name, entry in self._entries.items()
            if name.startswith(incomplete)
        ]
        return named or click.Command.shell_complete(self, ctx, incomplete)  # options

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; every error of rowtrail becomes a message and an exit code."""
        protect_streams()
        ctx.color = is_colored()
        try:
            return super().invoke(ctx)
        except RowtrailError as error:
            raise failure(error) from error
        except OSError as error:
            if error.errno not in UNWRITTEN:
                raise
            raise Failure(f"not all of it could be written: {error.strerror}") from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None


def failure(error: RowtrailError) -> Failure:
    """Return the message and the exit code of an error."""
    kinds = (to for kind, to in _FAILURES.items() if isinstance(error, kind))
    return next(kinds, Failure)(str(error))
