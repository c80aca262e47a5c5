"""Frames, series, indexes and scalars of pandas: each is written in parts and built again.

What is written of a frame is built and compared before it is stored: pandas has types of columns
that nothing here knows.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from rowtrail.content._tagged import TypeCodec
from rowtrail.content._types import zone_from_json, zone_to_json
from rowtrail.errors import UnstorableError

_INDEX = "Index"


@functools.cache
def codec_of(kind: type) -> TypeCodec | None:
    """Return how objects of a class of pandas are written, None where they are not."""
    pandas = _pandas()
    tag = _INDEX if issubclass(kind, pandas.Index) else kind.__name__
    is_own = getattr(pandas, kind.__name__, None) is kind
    if tag not in TAGS or not (is_own or kind in (type(pandas.NaT), type(pandas.NA))):
        return None  # a class of some other module of pandas, with the same name
    return codec_of_tag(tag)


@functools.cache
def codec_of_tag(tag: str) -> TypeCodec:
    """Return how what has this tag is written and read."""
    _pandas()
    write, read, check = TAGS[tag]
    if check is None:
        return TypeCodec(tag, object, write, read)
    return TypeCodec(tag, object, lambda value: _checked(value, write, read, check), read)


def _checked(value: Any, write: Any, read: Any, is_same: Callable[[Any, Any], bool]) -> Any:
    try:
        written = write(value)
        is_right = is_same(read(written), value)
    except UnstorableError:
        raise
    except Exception:  # columns and indexes of others may raise anything
        is_right, written = False, None
    if not is_right:
        kind = type(value).__qualname__
        raise UnstorableError(
            f"a {kind} of these types of columns or index does not come back equal",
            type_name=kind,
        )
    return written


def _pandas() -> Any:
    return importlib.import_module("pandas")


def _numpy() -> Any:
    return importlib.import_module("numpy")


# Scalars.


def _instant_to_json(stamp: Any) -> dict[str, Any]:
    """Return the time in UTC, or without a zone, to the last digit of its unit; and its zone."""
    text = str(_numpy().datetime_as_string(stamp.asm8))
    return {"at": text, "unit": stamp.unit, "zone": _zone_to_json(stamp.tzinfo)}


def _instant_from_json(stored: dict[str, Any]) -> Any:
    stamp = _pandas().Timestamp(_numpy().datetime64(stored["at"], stored["unit"]))
    zone = stored["zone"]
    return stamp if zone is None else stamp.tz_localize("UTC").tz_convert(_zone_from_json(zone))


def _zone_to_json(zone: Any) -> Any:
    if type(zone).__module__.partition(".")[0] == "pytz" and getattr(zone, "zone", None):
        return {"pytz": zone.zone}  # what pandas 2 makes of the name of a zone
    return zone_to_json(zone)


def _zone_from_json(zone: Any) -> Any:
    if not isinstance(zone, dict):
        return zone_from_json(zone)
    try:
        return importlib.import_module("pytz").timezone(zone["pytz"])
    except ImportError:
        return zone_from_json(zone["pytz"])


def _delta_to_json(delta: Any) -> list[Any]:
    return [int(delta.asm8.astype("i8")), delta.unit]


def _delta_from_json(stored: list[Any]) -> Any:
    return _pandas().Timedelta(_numpy().timedelta64(*stored))


# Columns: an array of numpy, or the parts of one of pandas' own.


def _column_to_json(values: Any) -> Any:
    """Return the values of a series or an index."""
    numpy, pandas, dtype = _numpy(), _pandas(), values.dtype
    if isinstance(dtype, numpy.dtype):
        return values.to_numpy()
    if isinstance(dtype, pandas.CategoricalDtype):
        array = values.array
        return {"codes": array.codes, "categories": array.categories, "ordered": array.ordered}
    if isinstance(dtype, pandas.DatetimeTZDtype):
        utc = pandas.DatetimeIndex(values).tz_convert("UTC").tz_localize(None)
        return {"utc": utc.to_numpy(), "zone": _zone_to_json(dtype.tz)}
    return {"dtype": str(dtype), "items": list(values.astype(object))}


def _column_from_json(stored: Any) -> Any:
    pandas = _pandas()
    if not isinstance(stored, dict):
        return stored
    if "codes" in stored:
        return pandas.Categorical.from_codes(
            stored["codes"], stored["categories"], ordered=stored["ordered"]
        )
    if "utc" in stored:
        utc = pandas.DatetimeIndex(stored["utc"]).tz_localize("UTC")
        return utc.tz_convert(_zone_from_json(stored["zone"])).array
    return pandas.array(stored["items"], dtype=stored["dtype"])


# Indexes, series and frames.


def _index_to_json(index: Any) -> dict[str, Any]:
    pandas = _pandas()
    if isinstance(index, pandas.RangeIndex):
        return {"range": [index.start, index.stop, index.step], "name": index.name}
    if isinstance(index, pandas.MultiIndex):
        codes = [_numpy().asarray(part) for part in index.codes]
        return {"levels": list(index.levels), "codes": codes, "names": list(index.names)}
    is_regular = isinstance(index, (pandas.DatetimeIndex, pandas.TimedeltaIndex))
    freq = index.freqstr if is_regular else None
    return {"data": _column_to_json(index), "name": index.name, "freq": freq}


def _index_from_json(stored: dict[str, Any]) -> Any:
    pandas = _pandas()
    if "range" in stored:
        return pandas.RangeIndex(*stored["range"], name=stored["name"])
    if "levels" in stored:
        return pandas.MultiIndex(
            levels=stored["levels"], codes=stored["codes"], names=stored["names"]
        )
    data = _column_from_json(stored["data"])
    dtype = getattr(data, "dtype", None)
    index = pandas.Index(data, dtype=dtype, name=stored["name"])
    if stored["freq"] is not None:
        index = type(index)(index, freq=stored["freq"], name=stored["name"])
    return index


def _series_to_json(series: Any) -> dict[str, Any]:
    return {
        "data": _column_to_json(series),
        "index": series.index,
        "name": series.name,
        "attrs": series.attrs,
    }


def _series_from_json(stored: dict[str, Any]) -> Any:
    data = _column_from_json(stored["data"])
    series = _pandas().Series(data, stored["index"], dtype=data.dtype, name=stored["name"])
    series.attrs = stored["attrs"]
    return series


def _frame_to_json(frame: Any) -> dict[str, Any]:
    columns = [_column_to_json(frame.iloc[:, at]) for at in range(frame.shape[1])]
    return {"columns": frame.columns, "index": frame.index, "data": columns, "attrs": frame.attrs}


def _frame_from_json(stored: dict[str, Any]) -> Any:
    pandas, index = _pandas(), stored["index"]
    parts = [_column_from_json(part) for part in stored["data"]]
    columns = {at: pandas.Series(part, index, dtype=part.dtype) for at, part in enumerate(parts)}
    frame = pandas.DataFrame(columns, index=index)
    frame.columns = stored["columns"]
    frame.attrs = stored["attrs"]
    return frame


def _is_same_index(one: Any, other: Any) -> bool:
    return bool(
        type(one) is type(other)
        and one.dtype == other.dtype
        and one.equals(other)
        and list(one.names) == list(other.names)
        and getattr(one, "freq", None) == getattr(other, "freq", None)
    )


def _is_same_series(one: Any, other: Any) -> bool:
    return bool(
        one.dtype == other.dtype
        and one.name == other.name
        and _is_same_index(one.index, other.index)
        and one.equals(other)
        and one.attrs == other.attrs
    )


def _is_same_frame(one: Any, other: Any) -> bool:
    return bool(
        _is_same_index(one.columns, other.columns)
        and _is_same_index(one.index, other.index)
        and list(one.dtypes) == list(other.dtypes)
        and one.equals(other)
        and one.attrs == other.attrs
    )


def _nothing_to_json(missing: Any) -> None:
    """Return nothing: there is only one such object."""


def _nat_from_json(stored: Any) -> Any:
    return _pandas().NaT


def _na_from_json(stored: Any) -> Any:
    return _pandas().NA


def _interval_to_json(interval: Any) -> list[Any]:
    return [interval.left, interval.right, interval.closed]


def _interval_from_json(stored: list[Any]) -> Any:
    return _pandas().Interval(*stored)


def _period_to_json(period: Any) -> list[Any]:
    return [period.ordinal, period.freqstr]


def _period_from_json(stored: list[Any]) -> Any:
    return _pandas().Period(ordinal=stored[0], freq=stored[1])


TAGS: dict[str, tuple[Any, Any, Any]] = {
    "Timestamp": (_instant_to_json, _instant_from_json, None),
    "Timedelta": (_delta_to_json, _delta_from_json, None),
    "NaTType": (_nothing_to_json, _nat_from_json, None),
    "NAType": (_nothing_to_json, _na_from_json, None),
    "Period": (_period_to_json, _period_from_json, None),
    "Interval": (_interval_to_json, _interval_from_json, None),
    _INDEX: (_index_to_json, _index_from_json, _is_same_index),
    "Series": (_series_to_json, _series_from_json, _is_same_series),
    "DataFrame": (_frame_to_json, _frame_from_json, _is_same_frame),
}
"""By tag: how it is written, how it is read, and how what is read is compared, where it must be."""
