"""Sums and the like over segments, which a number per row tells apart, and moments of several arrays together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.apply import convert
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import call
from pyflow.ops.arrays.shape import reshape
from pyflow.ops.common import axis_of
from pyflow.ops.reductions.statistics import var
from pyflow.ops.sizes import as_size

__all__ = [
    "aminmax",
    "confusion_matrix",
    "corrcoef",
    "cov",
    "nanargmax",
    "nanargmin",
    "nancumprod",
    "nancumsum",
    "segment_max",
    "segment_mean",
    "segment_min",
    "segment_prod",
    "segment_sum",
    "std_mean",
    "trapezoid",
    "var_mean",
]

Axes = int | Sequence[int] | None


def _operands(op: str, x: Any, segments: Any) -> tuple[Value, Value]:
    value, numbers = convert(x), convert(segments)
    if value.ndim < 1 or numbers.ndim != 1 or not numbers.dtype.is_integer:
        what = f"expected x [n, ...] and integers [n] as segments, got {value.type} and {numbers.type}"
        raise InvalidArgumentError(message(op, what, user_origin()))
    return value, numbers


def segment_sum(x: Any, segments: Any, count: Any) -> Value:
    """The sums of the rows of ``x`` [n, ...] that have the same number in ``segments``: [count, ...].

    segments: integers [n], in any order, from 0 to ``count - 1``; a segment without rows is 0. count: an int or a Dim.
    The run fails with OutOfRangeError for other numbers.
    """
    value, numbers = _operands("segment_sum", x, segments)
    result: Value = call("scatter_add", numbers, value, as_size(count), 0)
    return result


def segment_mean(x: Any, segments: Any, count: Any) -> Value:
    """The means of the rows of each segment, see :func:`segment_sum`; 0 of a segment without rows. x: floating."""
    value, numbers = _operands("segment_mean", x, segments)
    rows = segment_sum(call("broadcast_to", call("constant", 1, value.dtype), (value.dims[0],)), numbers, count)
    shape = (-1, *(1,) * (value.ndim - 1))
    result: Value = segment_sum(value, numbers, count) / reshape(call("maximum", rows, 1), shape)
    return result


def _scattered(op: str, x: Any, segments: Any, count: Any, reduction: str, start: Any) -> Value:
    value, numbers = _operands(op, x, segments)
    kind = value.dtype.numpy
    if start is None:
        limits = np.iinfo(kind) if value.dtype.is_integer else None
        low = limits.min if limits is not None else -math.inf
        high = limits.max if limits is not None else math.inf
        start = low if reduction == "max" else high
    first = call("constant", np.full((), start, kind))
    room = call("broadcast_to", first, (as_size(count), *value.dims[1:]))
    result: Value = call("scatter_nd", room, call("expand_dims", numbers, 1), value, 0, reduction)
    return result


def segment_max(x: Any, segments: Any, count: Any) -> Value:
    """The largest of each segment, see :func:`segment_sum`; the lowest value of the dtype where it has no rows."""
    return _scattered("segment_max", x, segments, count, "max", None)


def segment_min(x: Any, segments: Any, count: Any) -> Value:
    """The smallest of each segment, see :func:`segment_sum`; the highest value of the dtype where it has no rows."""
    return _scattered("segment_min", x, segments, count, "min", None)


def segment_prod(x: Any, segments: Any, count: Any) -> Value:
    """The products of each segment, see :func:`segment_sum`; 1 where it has no rows."""
    return _scattered("segment_prod", x, segments, count, "mul", 1)


def confusion_matrix(labels: Any, predictions: Any, classes: Any) -> Value:
    """How often each label (row) was predicted as each class (column): int64[classes, classes].

    labels, predictions: integers from 0 to ``classes - 1``, of one shape.
    """
    size = as_size(classes)
    number = size if isinstance(size, int) else call("sizes", (size,), scalar=True)
    rows, columns = (reshape(convert(each, dtypes.int64), (-1,)) for each in (labels, predictions))
    ones = call("broadcast_to", call("constant", np.int64(1)), rows.dims)
    counts = segment_sum(ones, rows * number + columns, dims.mul(size, size))
    result: Value = reshape(counts, (size, size))
    return result


def aminmax(x: Any, axis: Axes = None, keepdims: bool = False) -> tuple[Value, Value]:
    """(the smallest, the largest) over ``axis``."""
    return call("min", x, axis, keepdims), call("max", x, axis, keepdims)


def var_mean(x: Any, axis: Axes = None, ddof: int = 0, keepdims: bool = False) -> tuple[Value, Value]:
    """(:func:`var`, :func:`mean`) over ``axis``."""
    return var(x, axis, keepdims=keepdims, ddof=ddof), call("mean", x, axis, keepdims)


def std_mean(x: Any, axis: Axes = None, ddof: int = 0, keepdims: bool = False) -> tuple[Value, Value]:
    """(:func:`std`, :func:`mean`) over ``axis``."""
    return call("sqrt", var(x, axis, keepdims=keepdims, ddof=ddof)), call("mean", x, axis, keepdims)


def _filled(x: Any, number: float) -> Value:
    value = convert(x)
    result: Value = call("where", call("isnan", value), number, value) if value.dtype.is_floating else value
    return result


def nanargmax(x: Any, axis: int | None = None) -> Value:
    """The index of the largest element along ``axis`` that is not NaN; 0 where all are."""
    result: Value = call("argmax", _filled(x, -math.inf), axis)
    return result


def nanargmin(x: Any, axis: int | None = None) -> Value:
    """The index of the smallest element along ``axis`` that is not NaN; 0 where all are."""
    result: Value = call("argmin", _filled(x, math.inf), axis)
    return result


def nancumsum(x: Any, axis: int = 0) -> Value:
    """:func:`cumsum` with NaN counting as 0."""
    result: Value = call("cumsum", _filled(x, 0.0), axis)
    return result


def nancumprod(x: Any, axis: int = 0) -> Value:
    """:func:`cumprod` with NaN counting as 1."""
    result: Value = call("cumprod", _filled(x, 1.0), axis)
    return result


def cov(x: Any, y: Any = None, rowvar: bool = True, ddof: int = 1) -> Value:
    """The covariances of variables, a row of ``x`` (floating, 1-d or 2-d) each; with ``rowvar=False`` a column each.

    y: more of them. Sums are divided by the number of observations minus ``ddof``. 0-d for one variable.
    """
    parts = []
    for each in (x, y):
        if each is not None:
            value = convert(each)
            if value.ndim > 2:
                raise InvalidArgumentError(message("cov", f"expected 1 or 2 axes, got {value.type}", user_origin()))
            parts.append(reshape(value, (1, -1)) if value.ndim < 2 else value if rowvar else call("transpose", value))
    rows = parts[0] if len(parts) == 1 else call("concat", *parts, axis=0)
    centred = rows - call("mean", rows, 1, True)
    count = dims.add(rows.dims[1], -ddof)
    number = count if isinstance(count, int) else call("cast", call("sizes", (count,), scalar=True), rows.dtype)
    result: Value = call("matmul", centred, call("transpose", centred)) / number
    return reshape(result, ()) if rows.dims[0] == 1 else result


def corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> Value:
    """The correlations of variables, see :func:`cov`."""
    covariances = cov(x, y, rowvar)
    if covariances.ndim == 0:
        return covariances / covariances  # type: ignore[no-any-return]
    deviations = call("sqrt", call("diagonal", covariances))
    result: Value = covariances / (call("expand_dims", deviations, 1) * deviations)
    return result


def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Value:
    """The integral of ``y`` along ``axis`` by the trapezoidal rule; x: the places, 1-d, or ``dx`` apart."""
    value = convert(y)
    at = axis_of("trapezoid", axis, value)
    last = call("transpose", value, (*(i for i in range(value.ndim) if i != at), at))
    means = (last[..., 1:] + last[..., :-1]) * 0.5
    if x is None:
        result: Value = call("sum", means, -1) * dx
        return result
    places = convert(x)
    result = call("sum", means * (places[1:] - places[:-1]), -1)
    return result
