"""The types of Python itself that JSON cannot hold, and how each is written."""

from __future__ import annotations

import base64
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path, PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any
from uuid import UUID

from rowtrail.content._tagged import TypeCodec, expect
from rowtrail.errors import UnstorableError
from rowtrail.vocabulary import Answer, Message, TranslatedAnswer


def _moment_to_json(value: datetime | time) -> Any:
    """Return ISO-8601 text, with what it cannot say beside it: a named zone, a second 2 o'clock."""
    zone = value.tzinfo
    if value.fold == 0 and (zone is None or _is_plain_offset(zone)):
        return value.isoformat()
    naive = value.replace(tzinfo=None, fold=0)
    return {"at": naive.isoformat(), "fold": value.fold, "zone": zone_to_json(zone)}


def _is_plain_offset(zone: tzinfo) -> bool:
    if type(zone) is not timezone:
        return False
    offset = zone.utcoffset(None)
    # Python 3.11 reads an offset of some microseconds as UTC.
    return offset.microseconds == 0 and str(zone) == str(timezone(offset))


def zone_to_json(zone: tzinfo | None) -> Any:
    """Return the name of a zone, or its offset and name.

    Raises:
        UnstorableError: It is of a library that nothing here knows.
    """
    if zone is None:
        return None
    if type(zone) is timezone:
        return [_duration_to_json(zone.utcoffset(None)), zone.tzname(None)]
    key = getattr(zone, "key", None)
    if type(zone).__module__ == "zoneinfo" and isinstance(key, str):
        return key
    kind = type(zone)
    raise UnstorableError(
        f"a time in a {kind.__module__}.{kind.__qualname__} has no stored form: use "
        "datetime.timezone or zoneinfo",
        type_name=kind.__qualname__,
    )


def zone_from_json(zone: Any) -> tzinfo | None:
    """Undo `zone_to_json`."""
    if zone is None:
        return None
    if isinstance(zone, str):
        from zoneinfo import ZoneInfo

        return ZoneInfo(zone)
    offset, name = zone
    return timezone(_duration_from_json(offset), name)


def _moment_from_json(kind: type[datetime] | type[time], stored: Any) -> Any:
    if isinstance(stored, str):
        return kind.fromisoformat(stored)
    at = kind.fromisoformat(stored["at"])
    return at.replace(fold=stored["fold"], tzinfo=zone_from_json(stored["zone"]))


def _duration_to_json(value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _duration_from_json(stored: list[int]) -> timedelta:
    days, seconds, microseconds = stored
    return timedelta(days, seconds, microseconds)


def _path_from_json(kind: type[PurePath]) -> Any:
    """Return what reads a path: one of another system is pure, which is all it can be here."""
    if not issubclass(kind, Path) or kind is type(Path()):
        return kind
    return PureWindowsPath if issubclass(kind, PureWindowsPath) else PurePosixPath


BUILTIN = (
    TypeCodec("tuple", tuple, list, lambda v: tuple(expect(list, v))),
    TypeCodec("set", set, list, lambda v: set(expect(list, v)), unordered=True),
    TypeCodec("frozenset", frozenset, list, lambda v: frozenset(expect(list, v)), unordered=True),
    TypeCodec(
        "bytes",
        bytes,
        lambda v: base64.b64encode(v).decode(),
        lambda v: base64.b64decode(v, validate=True),
    ),
    TypeCodec("datetime", datetime, _moment_to_json, lambda v: _moment_from_json(datetime, v)),
    TypeCodec("date", date, date.isoformat, date.fromisoformat),
    TypeCodec("time", time, _moment_to_json, lambda v: _moment_from_json(time, v)),
    TypeCodec("timedelta", timedelta, _duration_to_json, _duration_from_json),
    TypeCodec("decimal", Decimal, str, Decimal),
    TypeCodec("uuid", UUID, str, UUID),
    TypeCodec("complex", complex, lambda v: [v.real, v.imag], lambda v: complex(v[0], v[1])),
    *(
        TypeCodec(kind.__name__, kind, str, _path_from_json(kind))
        for kind in (PosixPath, WindowsPath, PurePosixPath, PureWindowsPath)
    ),
    TypeCodec("Message", Message, Message.to_stored, Message.from_stored, flat=True),
    TypeCodec("Answer", Answer, Answer.to_stored, Answer.from_stored, flat=True),
    TypeCodec(
        "TranslatedAnswer",
        TranslatedAnswer,
        TranslatedAnswer.to_stored,
        TranslatedAnswer.given,
        flat=True,
    ),
)
"""In the order in which a reader may want to know them."""
