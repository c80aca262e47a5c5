"""Times as people write them: an age, or a date."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from math import isnan
from typing import Any

import click

from rowtrail._clock import Clock

MAX_SECONDS = 3_600
"""A query that takes longer than an hour is a mistake."""
LATEST_MS = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp() * 1000)
"""A later time may not exist in UTC."""

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Seconds(click.FloatRange):
    """A range of seconds; NaN lies in none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number."""
        number = float(super().convert(value, param, ctx))
        if isnan(number):
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        return number


def age(ctx: click.Context, param: click.Parameter, value: str | None) -> timedelta | None:
    """Return a length of time such as `30d` or `12h`."""
    found = None if value is None else _age(value)
    if value is not None and found is None:
        raise click.BadParameter(
            f"{value!r} is not an age: write 90s, 15m, 12h, 30d or 8w", ctx, param
        )
    return found


def since(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """Return the time of an age or of a UTC date and time, to the millisecond."""
    if value is None:
        return None
    ago = _age(value)
    if ago is not None:
        return _moment(Clock().now_ms() - int(ago.total_seconds() * 1000))
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter(
            f"{value!r} is not a time: write an age (90s, 15m, 12h, 30d, 8w) or a UTC date "
            "and time (2026-11-22, 2026-11-22T09:30)",
            ctx,
            param,
        ) from error
    utc = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return _moment(int(utc.timestamp() * 1000))


def iso(moment: datetime) -> str:
    """Return a UTC time as the views show it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(min(max(ms, 0), LATEST_MS) / 1000, UTC)


since_option = click.option(
    "--since",
    callback=since,
    metavar="WHEN",
    help="Only what began since then: an age (2h, 7d) or a UTC date (2026-11-22).",
)
"""`--since`, as a UTC time."""

until_option = click.option(
    "--until",
    callback=since,
    metavar="WHEN",
    help="Only what began until then.",
)
"""`--until`, as a UTC time."""


def _age(value: str) -> timedelta | None:
    found = re.fullmatch(r"(\d{1,6})([smhdw])", value)
    return None if found is None else timedelta(**{UNITS[found[2]]: int(found[1])})
