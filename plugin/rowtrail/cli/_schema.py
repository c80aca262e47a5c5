"""`rowtrail schema`."""

from __future__ import annotations

import click

from rowtrail.cli._journal import json_option
from rowtrail.history import describe_schema, json_text, schema_text


@click.command("schema", short_help="Print the views, in few words for a model.")
@json_option
def command(as_json: bool) -> None:
    """Print the views and their columns, and the named queries, in at most 700 tokens, with what
    values mean.

    It is what a model needs to know to write a query. With --json, also what each view holds and
    the text of the named queries.

    \b
    Example:
      rowtrail schema
      rowtrail schema --json
    """  # noqa: D301  (click reads the backspace)
    click.echo(json_text(describe_schema(), indent=2) if as_json else schema_text())
