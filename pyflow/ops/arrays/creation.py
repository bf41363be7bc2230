"""Values made of a shape: filled ones, ranges, grids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.apply import convert, is_operand
from pyflow.dims import Size
from pyflow.dtypes import DType
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import call
from pyflow.ops.arrays.indexing import arange
from pyflow.ops.arrays.joining import stack
from pyflow.ops.sizes import as_sizes

__all__ = [
    "empty",
    "empty_like",
    "full",
    "full_like",
    "geomspace",
    "indices",
    "linspace",
    "logspace",
    "meshgrid",
    "ones",
    "ones_like",
    "vander",
    "zeros",
    "zeros_like",
]


def full(shape: Any, value: Any, dtype: Any = None, *, name: str | None = None) -> Value:
    """``value`` everywhere.

    ``shape``: ints, Dims, or an integer value. ``value``: a number or a value that broadcasts to it; its dtype is the
    result's unless ``dtype`` is given.
    """
    element = convert(value) if dtype is None or is_operand(value) else convert(np.asarray(value), dtype)
    if dtype is not None:
        element = convert(element, dtype)
    result: Value = call("broadcast_to", element, shape, name=name)
    return result


def zeros(shape: Any, dtype: Any = dtypes.float32, *, name: str | None = None) -> Value:
    """0 everywhere. ``shape``: ints, Dims, or an integer value."""
    return full(shape, np.zeros((), dtypes.as_dtype(dtype).numpy), name=name)


def ones(shape: Any, dtype: Any = dtypes.float32, *, name: str | None = None) -> Value:
    """1 everywhere. ``shape``: ints, Dims, or an integer value."""
    return full(shape, np.ones((), dtypes.as_dtype(dtype).numpy), name=name)


def empty(shape: Any, dtype: Any = dtypes.float32, *, name: str | None = None) -> Value:
    """Like :func:`zeros`: a value of a graph is never undefined."""
    return zeros(shape, dtype, name=name)


def full_like(x: Any, value: Any, dtype: Any = None, *, name: str | None = None) -> Value:
    """``value`` everywhere, in the shape of ``x`` and its dtype, unless ``dtype`` is given."""
    like = convert(x)
    return full(like.dims, value, like.dtype if dtype is None else dtype, name=name)


def zeros_like(x: Any, dtype: Any = None, *, name: str | None = None) -> Value:
    """0 everywhere, in the shape of ``x`` and its dtype, unless ``dtype`` is given."""
    like = convert(x)
    return zeros(like.dims, like.dtype if dtype is None else dtype, name=name)


def ones_like(x: Any, dtype: Any = None, *, name: str | None = None) -> Value:
    """1 everywhere, in the shape of ``x`` and its dtype, unless ``dtype`` is given."""
    like = convert(x)
    return ones(like.dims, like.dtype if dtype is None else dtype, name=name)


def empty_like(x: Any, dtype: Any = None, *, name: str | None = None) -> Value:
    """Like :func:`zeros_like`: a value of a graph is never undefined."""
    return zeros_like(x, dtype, name=name)


def _range(start: Any, stop: Any, num: int, endpoint: bool) -> Value:
    """float64: ``num`` numbers, evenly spaced; start and stop broadcast, the numbers are a new first axis."""
    if isinstance(num, bool) or not hasattr(num, "__index__") or int(num) < 0:
        what = f"expected a number of elements, got {num!r}"
        raise InvalidArgumentError(message("linspace", what, user_origin()))
    count = int(num)
    first, last = convert(start, dtypes.float64), convert(stop, dtypes.float64)
    steps = arange(count, dtype=dtypes.float64)
    ndim = max(first.ndim, last.ndim)
    if ndim:
        steps = call("reshape", steps, (count, *(1,) * ndim))
    parts = count - 1 if endpoint else count
    result: Value = first + steps * ((last - first) / max(parts, 1))
    return call("where", steps == parts, last, result) if endpoint and count > 1 else result


def linspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = dtypes.float32, *, name: str | None = None
) -> Value:
    """``num`` numbers, evenly spaced from ``start`` to ``stop``, which is the last one unless ``endpoint`` is False.

    ``start`` and ``stop``: numbers or values that broadcast together; the numbers lie along a new first axis. They are
    computed in float64 and rounded to ``dtype``.
    """
    result: Value = call("cast", _range(start, stop, num, endpoint), dtype, name=name)
    return result


def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: float = 10.0,
    dtype: Any = dtypes.float32,
    *,
    name: str | None = None,
) -> Value:
    """``base`` to the powers that :func:`linspace` gives."""
    powers = call("pow", float(base), _range(start, stop, num, endpoint))
    result: Value = call("cast", powers, dtype, name=name)
    return result


def geomspace(
    start: float,
    stop: float,
    num: int = 50,
    endpoint: bool = True,
    dtype: Any = dtypes.float32,
    *,
    name: str | None = None,
) -> Value:
    """``num`` numbers from ``start`` to ``stop``, each the same multiple of the one before.

    ``start`` and ``stop`` are positive. Raises InvalidArgumentError if they are not.
    """
    if not (start > 0 and stop > 0):
        what = f"expected positive numbers, got {start} and {stop}"
        raise InvalidArgumentError(message("geomspace", what, user_origin()))
    logarithms = _range(float(np.log(start)), float(np.log(stop)), num, endpoint)
    result: Value = call("cast", call("exp", logarithms), dtype, name=name)
    return result


def meshgrid(*xs: Any, indexing: str = "xy") -> tuple[Value, ...]:
    """Each of the 1-d ``xs`` along an axis of its own, repeated over the axes of the others.

    indexing: ``"xy"``: the first two axes are exchanged (rows are y), as NumPy does by default; ``"ij"``: axis i is
    that of ``xs[i]``.
    """
    if indexing not in ("xy", "ij"):
        what = f"expected indexing 'xy' or 'ij', got {indexing!r}"
        raise InvalidArgumentError(message("meshgrid", what, user_origin()))
    values = [convert(x) for x in xs]
    for value in values:
        if value.ndim > 1:
            what = f"expected values of at most 1 axis, got {value.type}"
            raise InvalidArgumentError(message("meshgrid", what, user_origin()))
    places = list(range(len(values)))
    if indexing == "xy" and len(values) > 1:
        places[:2] = [1, 0]
    sizes: list[Size] = [1] * len(values)
    for value, place in zip(values, places, strict=True):
        sizes[place] = dims.product(value.dims)
    spread = []
    for value, place in zip(values, places, strict=True):
        row = [1] * len(values)
        lone = call("reshape", value, (*row[:place], sizes[place], *row[place + 1 :]))
        spread.append(call("broadcast_to", lone, sizes))
    return tuple(spread)


def indices(shape: Any, dtype: Any = dtypes.int64) -> Value:
    """The coordinates of every place of ``shape``: ``[len(shape), *shape]``; row i holds those along axis i."""
    sizes = as_sizes(shape)
    rows = _coordinates(sizes, dtypes.as_dtype(dtype))
    return stack(rows) if rows else zeros((0,), dtype)


def _coordinates(sizes: Sequence[Size], dtype: DType) -> list[Value]:
    rows = []
    for axis, size in enumerate(sizes):
        along = call("reshape", arange(size, dtype=dtype), (*(1,) * axis, size, *(1,) * (len(sizes) - axis - 1)))
        rows.append(call("broadcast_to", along, sizes))
    return rows


def vander(x: Any, n: Any = None, increasing: bool = False) -> Value:
    """The Vandermonde matrix of the 1-d ``x``: column j is ``x ** (n - 1 - j)``, or ``x ** j`` if ``increasing``.

    n: how many columns; default: as many as ``x`` has elements.
    """
    values = convert(x)
    count = values.dims[0] if n is None else n
    powers = arange(count, dtype=values.dtype)
    if not increasing:
        powers = call("flip", powers)
    result: Value = call("pow", call("expand_dims", values, 1), powers)
    return result
