"""Variances, norms, counts, medians and quantiles, and reductions that leave NaN out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.apply import convert, is_operand
from pyflow.errors import DTypeError, InvalidArgumentError, message, user_origin
from pyflow.graph import Node, Value
from pyflow.opdef import ANY, FLOATS, INT, NUMERIC, TensorType, call
from pyflow.ops.arrays.sorting import sort
from pyflow.ops.common import axes_of, axis_of, count_along, no_gradient, zeros_where
from pyflow.ops.reductions.reduce import infer_reduced, mean_ref, number, reduction_op, restored

__all__ = [
    "amax",
    "amin",
    "average",
    "count_nonzero",
    "logsumexp",
    "median",
    "nanmax",
    "nanmean",
    "nanmin",
    "nanprod",
    "nanstd",
    "nansum",
    "nanvar",
    "norm",
    "percentile",
    "ptp",
    "quantile",
    "reduce_l1",
    "reduce_l2",
    "reduce_log_sum",
    "reduce_sum_square",
    "std",
    "var",
]

Axes = int | Sequence[int] | None


def amax(x: Any, axis: Axes = None, keepdims: bool = False, *, name: str | None = None) -> Value:
    """:func:`max` under NumPy's other name."""
    result: Value = call("max", x, axis, keepdims, name=name)
    return result


def amin(x: Any, axis: Axes = None, keepdims: bool = False, *, name: str | None = None) -> Value:
    """:func:`min` under NumPy's other name."""
    result: Value = call("min", x, axis, keepdims, name=name)
    return result


def ptp(x: Any, axis: Axes = None, keepdims: bool = False, *, name: str | None = None) -> Value:
    """The largest less the smallest over ``axis``."""
    result: Value = call("subtract", amax(x, axis, keepdims), amin(x, axis, keepdims), name=name)
    return result


def _deviation(x: Value, axis: Sequence[int]) -> Value:
    result: Value = x - call("mean", x, axis, True)
    return result


def _freedom(x: Value, axis: Sequence[int], ddof: int) -> Any:
    """How many elements the axes hold, less ``ddof``, not below 0: ready to divide values of ``x``'s dtype by."""
    count = number(count_along(x, axis), x.dtype)
    if not ddof:
        return count
    return max(count - ddof, 0.0) if isinstance(count, float) else call("maximum", count - ddof, 0)


def _var_ref(x: np.ndarray, axis: tuple[int, ...], keepdims: bool, ddof: int) -> Any:
    deviation = np.square(x - mean_ref(x, axis, True))
    freedom = max(math.prod(x.shape[a] for a in axis) - ddof, 0)
    return np.sum(deviation, axis=axis, keepdims=keepdims) / x.dtype.type(freedom)


def _var_expand(x: Value, axis: tuple[int, ...], keepdims: bool, ddof: int) -> Value:
    squares = call("square", _deviation(x, axis))
    if not ddof:
        mean: Value = call("mean", squares, axis, keepdims)
        return mean
    result: Value = call("sum", squares, axis, keepdims) / _freedom(x, axis, ddof)
    return result


def _var_vjp(node: Node, gradient: Value) -> tuple[Value]:
    x, axes = node.inputs[0], node.attrs["axis"]
    scaled = gradient * 2 / _freedom(x, axes, node.attrs["ddof"])
    return (restored(scaled, node) * _deviation(x, axes),)


def _std_vjp(node: Node, gradient: Value) -> tuple[Value]:
    x, axes = node.inputs[0], node.attrs["axis"]
    scaled = gradient / (node.outputs[0] * _freedom(x, axes, node.attrs["ddof"]))
    return (restored(scaled, node) * _deviation(x, axes),)


_DDOF: Mapping[str, Any] = {"attrs": {"ddof": INT}, "defaults": {"ddof": 0}}

var = reduction_op(
    "var",
    _var_ref,
    "The sum of ``(x - mean(x)) ** 2`` over ``axis``, divided by ``n - ddof``. dtype: floating, as for mean.",
    kinds=FLOATS,
    vjp=_var_vjp,
    expand=_var_expand,
    **_DDOF,
)

std = reduction_op(
    "std",
    lambda x, axis, keepdims, ddof: np.sqrt(_var_ref(x, axis, keepdims, ddof)),
    "``sqrt(var(x))`` over ``axis``; its gradient where all elements are equal is NaN. dtype: floating, as for mean.",
    kinds=FLOATS,
    vjp=_std_vjp,
    expand=lambda x, axis, keepdims, ddof: call("sqrt", _var_expand(x, axis, keepdims, ddof)),
    **_DDOF,
)


def _logsumexp_ref(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> Any:
    top = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, x.dtype.type(0))
    result = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return result if keepdims else np.squeeze(result, axis)


def _logsumexp_expand(x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    top = call("max_or_lowest", x, axis, True)
    top = zeros_where(call("logical_not", call("isfinite", top)), top)
    result: Value = call("log", call("sum", call("exp", x - top), axis, True)) + top
    return result if keepdims else call("squeeze", result, axis)


def _logsumexp_vjp(node: Node, gradient: Value) -> tuple[Value]:
    share = call("exp", node.inputs[0] - restored(node.outputs[0], node))
    return (restored(gradient, node) * share,)


logsumexp = reduction_op(
    "logsumexp",
    _logsumexp_ref,
    "``log(sum(exp(x)))`` over ``axis``, without overflow; -inf over nothing. dtype: floating; integers are converted "
    "to float64.",
    kinds=FLOATS,
    vjp=_logsumexp_vjp,
    expand=_logsumexp_expand,
    onnx="ReduceLogSumExp",
)


def _of_sum(name: str, ref: Any, expand: Any, doc: str, onnx: str, kinds: Any = NUMERIC) -> Any:
    return reduction_op(name, ref, doc, kinds=kinds, vjp=None, expand=expand, onnx=onnx)


def _sum_in(x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    """The sum in the dtype of ``x``, as ONNX has it: integers wrap."""
    result: Value = call("cast", call("sum", x, axis, keepdims), x.dtype)
    return result


reduce_l1 = _of_sum(
    "reduce_l1",
    lambda x, axis, keepdims: np.sum(np.abs(x), axis=axis, keepdims=keepdims, dtype=x.dtype),
    lambda x, axis, keepdims: _sum_in(call("abs", x), axis, keepdims),
    "The sum of ``|x|`` over ``axis``, in the dtype of ``x``.",
    "ReduceL1",
)
reduce_sum_square = _of_sum(
    "reduce_sum_square",
    lambda x, axis, keepdims: np.sum(np.square(x), axis=axis, keepdims=keepdims, dtype=x.dtype),
    lambda x, axis, keepdims: _sum_in(call("square", x), axis, keepdims),
    "The sum of ``x * x`` over ``axis``, in the dtype of ``x``.",
    "ReduceSumSquare",
)
reduce_l2 = _of_sum(
    "reduce_l2",
    lambda x, axis, keepdims: np.sqrt(np.sum(np.square(x), axis=axis, keepdims=keepdims)),
    lambda x, axis, keepdims: call("sqrt", call("sum", call("square", x), axis, keepdims)),
    "The root of the sum of ``x * x`` over ``axis``; its gradient at 0 is NaN. Integers are converted to float64.",
    "ReduceL2",
    FLOATS,
)
reduce_log_sum = _of_sum(
    "reduce_log_sum",
    lambda x, axis, keepdims: np.log(np.sum(x, axis=axis, keepdims=keepdims)),
    lambda x, axis, keepdims: call("log", call("sum", x, axis, keepdims)),
    "The logarithm of the sum over ``axis``. Integers are converted to float64.",
    "ReduceLogSum",
    FLOATS,
)


def _count_infer(x: Value, axis: tuple[int, ...], keepdims: bool) -> TensorType:
    return TensorType(dtypes.int64, infer_reduced(x, axis, keepdims).dims)


count_nonzero = reduction_op(
    "count_nonzero",
    lambda x, axis, keepdims: np.count_nonzero(x, axis=axis, keepdims=keepdims),
    "How many elements over ``axis`` are not 0 (NaN is not): int64. dtype: numeric or bool.",
    kinds=ANY,
    infer=_count_infer,
    vjp=no_gradient,
    expand=lambda x, axis, keepdims: call(
        "sum", call("cast", call("cast", x, dtypes.bool_), dtypes.int64), axis, keepdims
    ),
)


def norm(x: Any, ord: Any = None, axis: Axes = None, keepdims: bool = False, *, name: str | None = None) -> Value:
    """The norm of vectors along one axis, or of matrices along two.

    ord: None: the root of the sum of squares, over all ``axis``. Along one axis: a number p (the p-th root of the sum
    of ``|x| ** p``), inf or -inf (the largest or smallest ``|x|``), 0 (how many are not 0). Along two: ``"fro"``, 1,
    -1, inf, -inf (the largest or smallest sum of ``|x|`` down columns, or along rows), ``"nuc"``, 2, -2 (of singular
    values: their sum, the largest, the smallest). axis: default all, where ``ord`` is given of a vector or a matrix.
    """
    value = convert(x)
    value = value if value.dtype.is_floating or value.dtype.kind == "c" else call("cast", value, dtypes.float64)
    given = (axis,) if isinstance(axis, int) else axis
    # The order of two axes matters: the first counts rows.
    axes = tuple(axis_of("norm", a, value) for a in given) if given is not None else tuple(range(value.ndim))
    if ord is None:
        result: Value = call("sqrt", call("sum", call("square", call("abs", value)), axes, keepdims), name=name)
        return result
    if len(axes) == 1:
        return _vector_norm(value, ord, axes[0], keepdims, name)
    if len(axes) == 2:
        return _matrix_norm(value, ord, axes, keepdims, name)
    what = f"expected one axis or two for ord {ord!r}, got {len(axes)}"
    raise InvalidArgumentError(message("norm", what, user_origin()))


def _vector_norm(x: Value, ord: Any, axis: int, keepdims: bool, name: str | None) -> Value:
    if isinstance(ord, str):
        raise InvalidArgumentError(message("norm", f"expected a number for vectors, got ord {ord!r}", user_origin()))
    size = call("abs", x)
    if math.isinf(ord):
        result: Value = call("max" if ord > 0 else "min", size, axis, keepdims, name=name)
    elif ord == 0:
        result = call("cast", count_nonzero(x, axis, keepdims), x.dtype, name=name)
    elif ord == 1:
        result = call("sum", size, axis, keepdims, name=name)
    elif ord == 2:
        result = call("sqrt", call("sum", call("square", size), axis, keepdims), name=name)
    else:
        result = call("pow", call("sum", call("pow", size, float(ord)), axis, keepdims), 1.0 / ord, name=name)
    return result


def _matrix_norm(x: Value, ord: Any, axes: tuple[int, ...], keepdims: bool, name: str | None) -> Value:
    rows, columns = axes
    if ord == "fro":
        return norm(x, None, axes, keepdims, name=name)
    if ord in (1, -1, math.inf, -math.inf):
        summed, chosen = (rows, columns) if abs(ord) == 1 else (columns, rows)
        sums = call("sum", call("abs", x), summed, True)
        result: Value = call("max" if ord > 0 else "min", sums, chosen, True)
    elif ord in ("nuc", 2, -2):
        others = [axis for axis in range(x.ndim) if axis not in axes]
        values = call("linalg_svdvals", call("transpose", x, (*others, rows, columns)))
        result = call({"nuc": "sum", 2: "max", -2: "min"}[ord], values, -1)
        for axis in sorted(axes):
            result = call("expand_dims", result, axis)
    else:
        what = f"expected ord None, 'fro', 'nuc', 1, -1, 2, -2, inf or -inf for matrices, got {ord!r}"
        raise InvalidArgumentError(message("norm", what, user_origin()))
    return result if keepdims else call("squeeze", result, axes, name=name)


def average(x: Any, axis: Axes = None, weights: Any = None, keepdims: bool = False) -> Value:
    """The mean over ``axis``, each element counting as much as its weight. weights: broadcasts with ``x``."""
    if weights is None:
        plain: Value = call("mean", x, axis, keepdims)
        return plain
    value = convert(x)
    shares = call("broadcast_to", convert(weights, None), value.dims)
    result: Value = call("sum", value * shares, axis, keepdims) / call("sum", shares, axis, keepdims)
    return result


def quantile(x: Any, q: Any, axis: Axes = None, keepdims: bool = False, method: str = "linear") -> Value:
    """The elements below which a share ``q`` of those over ``axis`` lies; NaN if there is one among them.

    q: a number or a 1-d value of numbers from 0 to 1; a 1-d one is a new first axis of the result. method: what is
    taken between two elements: ``"linear"`` (between them), ``"lower"``, ``"higher"``, ``"nearest"`` or ``"midpoint"``.
    """
    if method not in ("linear", "lower", "higher", "nearest", "midpoint"):
        raise InvalidArgumentError(message("quantile", f"no method is called {method!r}", user_origin()))
    if not is_operand(q) and not np.all((np.asarray(q) >= 0) & (np.asarray(q) <= 1)):
        raise InvalidArgumentError(message("quantile", f"expected 0 <= q <= 1, got {q}", user_origin()))
    value = convert(x)
    if value.dtype.kind == "c":
        raise DTypeError(message("quantile", f"complex numbers have no order: {value.type}", user_origin()))
    value = value if value.dtype.is_floating else call("cast", value, dtypes.float64)
    axes = axes_of("quantile", axis, value)
    others = [a for a in range(value.ndim) if a not in axes]
    kept = [value.dims[a] for a in others]
    flat = call(
        "reshape", call("transpose", value, (*others, *axes)), (*kept, dims.product(value.dims[a] for a in axes))
    )
    ordered = sort(flat, -1)
    share = convert(q, value.dtype)
    last = number(count_along(flat, [flat.ndim - 1]), value.dtype) - 1
    place = share * last
    low, high = call("floor", place), call("ceil", place)
    if method == "nearest":
        low = high = call("round", place)
    elif method in ("lower", "higher"):
        low = high = low if method == "lower" else high
    below = call("gather", ordered, call("cast", low, dtypes.int64), -1)
    above = call("gather", ordered, call("cast", high, dtypes.int64), -1)
    between = 0.5 if method == "midpoint" else place - low
    result = below if method in ("nearest", "lower", "higher") else below + between * (above - below)
    missing = call("any", call("isnan", flat), -1)
    missing = call("expand_dims", missing, missing.ndim) if share.ndim else missing
    result = call("where", missing, math.nan, result)
    if share.ndim:
        result = call("transpose", result, (result.ndim - 1, *range(result.ndim - 1)))
    if keepdims:
        for a in axes:
            result = call("expand_dims", result, a + share.ndim)
    finished: Value = result
    return finished


def percentile(x: Any, q: Any, axis: Axes = None, keepdims: bool = False, method: str = "linear") -> Value:
    """:func:`quantile` of ``q / 100``."""
    share = np.asarray(q) / 100 if not hasattr(q, "__pyflow_value__") and not isinstance(q, Value) else convert(q) / 100
    return quantile(x, share, axis, keepdims, method)


def median(x: Any, axis: Axes = None, keepdims: bool = False) -> Value:
    """The middle element over ``axis``, the mean of the two where their number is even; NaN if there is one."""
    return quantile(x, 0.5, axis, keepdims)


def _present(x: Any, missing_as: float) -> tuple[Value, Value | None]:
    """``x`` with a number in place of NaN, and where that is; None: its dtype has no NaN."""
    value = convert(x)
    if not value.dtype.is_inexact:
        return value, None
    missing = call("isnan", value)
    return call("where", missing, missing_as, value), missing


def _count_present(missing: Value, dtype: Any, axis: Axes, keepdims: bool) -> Value:
    result: Value = call("sum", call("cast", call("logical_not", missing), dtype), axis, keepdims)
    return result


def nansum(x: Any, axis: Axes = None, keepdims: bool = False) -> Value:
    """The sum over ``axis`` of what is not NaN."""
    result: Value = call("sum", _present(x, 0)[0], axis, keepdims)
    return result


def nanprod(x: Any, axis: Axes = None, keepdims: bool = False) -> Value:
    """The product over ``axis`` of what is not NaN."""
    result: Value = call("prod", _present(x, 1)[0], axis, keepdims)
    return result


def nanmean(x: Any, axis: Axes = None, keepdims: bool = False) -> Value:
    """The mean over ``axis`` of what is not NaN; NaN over nothing."""
    value, missing = _present(x, 0)
    if missing is None:
        return call("mean", value, axis, keepdims)  # type: ignore[no-any-return]
    count = _count_present(missing, value.dtype, axis, keepdims)
    result: Value = call("sum", value, axis, keepdims) / count
    return result


def nanvar(x: Any, axis: Axes = None, keepdims: bool = False, ddof: int = 0) -> Value:
    """:func:`var` over ``axis`` of what is not NaN."""
    value, missing = _present(x, 0)
    if missing is None:
        return call("var", value, axis, keepdims, ddof)  # type: ignore[no-any-return]
    count = _count_present(missing, dtypes.real_dtype(value.dtype), axis, keepdims)
    squares = zeros_where(missing, call("square", call("abs", value - nanmean(x, axis, True))))
    result: Value = call("sum", squares, axis, keepdims) / (count - ddof if ddof else count)
    return result


def nanstd(x: Any, axis: Axes = None, keepdims: bool = False, ddof: int = 0) -> Value:
    """:func:`std` over ``axis`` of what is not NaN."""
    result: Value = call("sqrt", nanvar(x, axis, keepdims, ddof))
    return result


def _nan_extreme(op: str, x: Any, axis: Axes, keepdims: bool, limit: float) -> Value:
    value, missing = _present(x, limit)
    found: Value = call(op, value, axis, keepdims)
    if missing is None:
        return found
    result: Value = call("where", call("all", missing, axis, keepdims), math.nan, found)
    return result


def nanmax(x: Any, axis: Axes = None, keepdims: bool = False) -> Value:
    """The largest over ``axis`` of what is not NaN; NaN where nothing is left."""
    return _nan_extreme("max", x, axis, keepdims, -math.inf)


def nanmin(x: Any, axis: Axes = None, keepdims: bool = False) -> Value:
    """The smallest over ``axis`` of what is not NaN; NaN where nothing is left."""
    return _nan_extreme("min", x, axis, keepdims, math.inf)
