"""Arrays and scalars of numpy, where it is installed; `_frames.py` has what pandas adds."""

from __future__ import annotations

import functools
import importlib
import math
import sys
from collections.abc import Callable, Collection
from typing import Any, Protocol

from rowtrail.content._tagged import TypeCodec

ARRAY, SCALAR = "ndarray", "numpy"
_SHORT_BYTES = 8
"""Numbers of up to this size are JSON numbers, exactly."""


def optional_codec(kind: type) -> TypeCodec | None:
    """Return how objects of a class of numpy or pandas are written, None for any other."""
    library = kind.__module__.partition(".")[0]
    if library == "numpy" and library in sys.modules:
        return _codec_of_numpy(kind)
    if library == "pandas" and library in sys.modules:
        return _frames().codec_of(kind)
    return None


def optional_codec_of_tag(tag: str) -> TypeCodec | None:
    """Return how what has this tag is read, None where it is not of numpy or pandas.

    Raises:
        ImportError: It is, and that is not installed.
    """
    if tag == ARRAY:
        return _ARRAY_CODEC
    if tag == SCALAR:
        return _SCALAR_CODEC
    frames = _frames()
    return frames.codec_of_tag(tag) if tag in frames.TAGS else None


class _Frames(Protocol):
    """The module for pandas."""

    @property
    def TAGS(self) -> Collection[str]: ...  # noqa: N802 - a constant
    @property
    def codec_of(self) -> Callable[[type], TypeCodec | None]: ...
    @property
    def codec_of_tag(self) -> Callable[[str], TypeCodec]: ...


def _frames() -> _Frames:
    from rowtrail.content import _frames  # it needs this module

    return _frames


@functools.cache
def _codec_of_numpy(kind: type) -> TypeCodec | None:
    numpy = _numpy()
    if kind is numpy.ndarray:
        return _ARRAY_CODEC
    return _SCALAR_CODEC if issubclass(kind, numpy.generic) else None


def _numpy() -> Any:
    return importlib.import_module("numpy")


def _array_to_json(array: Any) -> dict[str, Any]:
    if array.dtype == object:
        # Not tolist(): of an array without dimensions it gives the object.
        return {"dtype": "O", "shape": list(array.shape), "items": list(array.flat)}
    is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    return {
        "dtype": importlib.import_module("numpy.lib.format").dtype_to_descr(array.dtype),
        "shape": list(array.shape),
        "order": "F" if is_fortran else "C",
        "data": array.tobytes(order="F" if is_fortran else "C"),
    }


def _array_from_json(stored: dict[str, Any]) -> Any:
    numpy, shape = _numpy(), stored["shape"]
    if stored["dtype"] == "O":
        items = numpy.empty(len(stored["items"]), dtype=object)
        for at, item in enumerate(stored["items"]):  # not items[:] = ..., which unpacks lists
            items[at] = item
        return items.reshape(shape)
    dtype = importlib.import_module("numpy.lib.format").descr_to_dtype(stored["dtype"])
    if dtype.itemsize * math.prod(shape) != len(stored["data"]):
        raise ValueError(f"{len(stored['data'])} bytes are no array of {shape} {dtype}")
    if not stored["data"]:
        return numpy.zeros(shape, dtype, order=stored["order"])
    flat = numpy.frombuffer(bytearray(stored["data"]), dtype)
    return flat.reshape(shape, order=stored["order"])


def _scalar_to_json(scalar: Any) -> list[Any]:
    """Return the type and the number, or an array without dimensions."""
    if scalar.dtype.kind in "biuf" and scalar.dtype.itemsize <= _SHORT_BYTES:
        return [scalar.dtype.name, scalar.item()]
    return ["array", _numpy().asarray(scalar)]


def _scalar_from_json(stored: list[Any]) -> Any:
    name, value = stored
    if name == "array":
        return value[()]
    return _numpy().dtype(name).type(value)


_ARRAY_CODEC = TypeCodec(ARRAY, object, _array_to_json, _array_from_json)
_SCALAR_CODEC = TypeCodec(SCALAR, object, _scalar_to_json, _scalar_from_json)
