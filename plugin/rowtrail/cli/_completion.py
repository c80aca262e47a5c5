"""`rowtrail completion`."""

from __future__ import annotations

import os

import click
from click.shell_completion import get_completion_class

PROGRAM = "rowtrail"
VARIABLE = "_ROWTRAIL_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@click.command("completion", short_help="Print what makes a shell complete commands and ids.")
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@click.pass_context
def command(ctx: click.Context, shell: str | None) -> None:
    """Print the script that makes SHELL complete commands, options and the ids of runs.

    Without SHELL, the one that $SHELL names.

    \b
    Example:
      rowtrail completion bash >> ~/.bashrc
      rowtrail completion zsh >> ~/.zshrc
      rowtrail completion fish > ~/.config/fish/completions/rowtrail.fish
    """  # noqa: D301  (click reads the backspace)
    name = shell or os.path.basename(os.environ.get("SHELL", ""))
    completion = get_completion_class(name) if name in SHELLS else None
    if completion is None:
        raise click.UsageError(f"$SHELL is {name!r}: name one of {', '.join(SHELLS)}")
    click.echo(completion(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
