"""What has been combined so far along an axis, and differences of neighbours."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pyflow import dims
from pyflow.apply import convert
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Node, Value
from pyflow.opdef import BOOLEAN, COMPLEX, FLOATS, INT, NUMERIC, TensorType, call, define
from pyflow.ops.common import axis_of, normalise_axis, quiet, slice_along
from pyflow.ops.elementwise.complex_rules import each_part, in_parts
from pyflow.ops.reductions.reduce import SUMMED

__all__ = ["cummax", "cummin", "cumprod", "cumsum", "diff", "linear_recurrence", "logcumsumexp"]

_ATTRS = """

    x: any shape. axis: an int; negative ones count from the end. exclusive: an element is not counted among those up to
    it. reverse: from the last element on. The result has the shape of ``x``. Raises InvalidArgumentError if the axis is
    out of range."""


def _canonical(x: Value, *others: Value, axis: int, **rest: Any) -> Mapping[str, Any]:
    return {"axis": normalise_axis(axis, x.ndim, f"x: {x.type}")}


def _along(step: Callable[[Any, Any], Any], start: Callable[[np.dtype], Any]) -> Callable[..., np.ndarray]:
    """``ref`` of a cumulative op: one element after the other."""

    def ref(x: np.ndarray, axis: int, exclusive: bool, reverse: bool) -> np.ndarray:
        rows = np.moveaxis(x, axis, 0)
        result = np.empty_like(rows)
        state = np.full(rows.shape[1:], start(x.dtype), x.dtype)
        for place in reversed(range(len(rows))) if reverse else range(len(rows)):
            before, state = state, step(state, rows[place])
            result[place] = before if exclusive else state
        return np.moveaxis(result, 0, axis)

    return quiet(ref)


def _cumulative(
    name: str, step: Any, start: Any, vjp: Any, doc: str, kinds: Any = NUMERIC, **rest: Any
) -> Callable[..., Any]:
    return define(
        name,
        "x:T",
        attrs={"axis": INT, "exclusive": BOOLEAN, "reverse": BOOLEAN},
        defaults={"exclusive": False, "reverse": False},
        kinds={"T": kinds},
        canonical=_canonical,
        infer=lambda x, axis, exclusive, reverse: x.type,
        ref=_along(step, start),
        vjp=vjp,
        doc=doc + _ATTRS,
        **rest,
    )


def _cumsum_vjp(node: Node, gradient: Value) -> tuple[Value]:
    attrs = node.attrs
    return (call("cumsum", gradient, attrs["axis"], attrs["exclusive"], not attrs["reverse"]),)


def _moved(x: Value, axis: int, reverse: bool, fill: float) -> Value:
    """``x`` moved by one towards the end of ``axis`` (``reverse``: the beginning), with ``fill`` where it was."""
    before, after = [0] * x.ndim, [0] * x.ndim
    before[axis], after[axis] = (-1, 1) if reverse else (1, -1)
    padded = call("pad", x, call("constant", np.asarray(fill, x.dtype.numpy)), before, after)
    result: Value = padded
    return result


def _cumprod_vjp(node: Node, gradient: Value) -> tuple[Value]:
    """What an element is multiplied with: the product before it, times the gradients behind it, each times the product
    between. No division, so zeros are nothing special."""
    x, axis, reverse = node.inputs[0], node.attrs["axis"], node.attrs["reverse"]
    before = call("cumprod", x, axis, True, reverse)
    arrived = _moved(gradient, axis, not reverse, 0.0) if node.attrs["exclusive"] else gradient
    behind = call("linear_recurrence", _moved(x, axis, not reverse, 1.0), arrived, axis, not reverse)
    return (before * behind,)


def _extreme_vjp(better: str) -> Any:
    """The gradient goes to the first element that was the extreme: its index is the largest so far of those that were
    new ones."""

    def vjp(node: Node, gradient: Value) -> tuple[Value]:
        x, attrs = node.inputs[0], node.attrs
        axis, reverse = attrs["axis"], attrs["reverse"]
        if attrs["exclusive"]:
            gradient = _moved(gradient, axis, not reverse, 0.0)
        size = x.dims[axis]
        order = call("reshape", call("iota", size), (*(1,) * axis, size, *(1,) * (x.ndim - axis - 1)))
        before = call(node.op.name, x, axis, True, reverse)
        new = call("logical_or", call(better, x, before), call("isnan", x))
        new = call("logical_and", new, call("logical_not", call("isnan", before)))
        first = (
            (size - 1 if isinstance(size, int) else call("sizes", (dims.add(size, -1),), scalar=True)) if reverse else 0
        )
        place = call("where", call("logical_or", new, order == first), order, first)
        index = call("cummin" if reverse else "cummax", place, axis, False, reverse)
        zeros = call("broadcast_to", call("constant", np.zeros((), gradient.dtype.numpy)), x.dims)
        return (call("scatter_elements", zeros, index, gradient, axis, "add"),)

    return vjp


def _logcumsumexp_vjp(node: Node, gradient: Value) -> tuple[Value]:
    """The sum of gradient * exp(x - result) over what follows: positive and negative gradients apart, as logarithms."""
    x, y, attrs = node.inputs[0], node.outputs[0], node.attrs

    def share(sign: float) -> Value:
        weights = call("log", call("maximum", gradient * sign, 0.0)) - y
        weights = call("where", gradient * sign > 0, weights, float("-inf"))
        sums = call("logcumsumexp", weights, attrs["axis"], attrs["exclusive"], not attrs["reverse"])
        result: Value = call("exp", sums + x)
        return result

    return (share(1.0) - share(-1.0),)


def _lowest(dtype: np.dtype) -> Any:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def _highest(dtype: np.dtype) -> Any:
    return np.inf if dtype.kind == "f" else np.iinfo(dtype).max


cumsum = _cumulative(
    "cumsum",
    np.add,
    lambda dtype: 0,
    _cumsum_vjp,
    "The sum of the elements up to each along ``axis``. dtype: floating as it is; integers in int64, which wraps.",
    kinds=SUMMED,
    expand=in_parts(each_part("cumsum")),
    onnx="CumSum",
)
cumprod = _cumulative(
    "cumprod",
    np.multiply,
    lambda dtype: 1,
    _cumprod_vjp,
    "The product of the elements up to each along ``axis``. dtype: as for :func:`cumsum`. The gradient is right at 0.",
    kinds=SUMMED - COMPLEX,
    onnx="CumProd",
)
cummax = _cumulative(
    "cummax",
    np.maximum,
    _lowest,
    _extreme_vjp("greater"),
    "The largest of the elements up to each along ``axis``; NaN from the first NaN on. dtype: numeric. The gradient "
    "goes to the first of equals.",
)
cummin = _cumulative(
    "cummin",
    np.minimum,
    _highest,
    _extreme_vjp("less"),
    "The smallest of the elements up to each along ``axis``; NaN from the first NaN on. dtype: numeric. The gradient "
    "goes to the first of equals.",
)
logcumsumexp = _cumulative(
    "logcumsumexp",
    np.logaddexp,
    lambda dtype: -np.inf,
    _logcumsumexp_vjp,
    "``log(cumsum(exp(x)))`` without overflow. dtype: floating; integers are converted to float64.",
    kinds=FLOATS,
)


def _recurrence_infer(a: Value, b: Value, *, axis: int, reverse: bool) -> TensorType:
    if a.dims != b.dims:
        raise InvalidArgumentError(f"expected operands of one shape, got a: {a.type} and b: {b.type}")
    return b.type


def _recurrence_ref(a: np.ndarray, b: np.ndarray, axis: int, reverse: bool) -> np.ndarray:
    factors, terms = np.moveaxis(a, axis, 0), np.moveaxis(b, axis, 0)
    result = np.empty_like(terms)
    state = np.zeros(terms.shape[1:], b.dtype)
    for place in reversed(range(len(terms))) if reverse else range(len(terms)):
        state = result[place] = factors[place] * state + terms[place]
    return np.moveaxis(result, 0, axis)


def _recurrence_vjp(node: Node, gradient: Value) -> tuple[Value, Value]:
    a, axis, reverse = node.inputs[0], node.attrs["axis"], node.attrs["reverse"]
    flown = call("linear_recurrence", _moved(a, axis, not reverse, 0.0), gradient, axis, not reverse)
    return flown * _moved(node.outputs[0], axis, reverse, 0.0), flown


linear_recurrence = define(
    "linear_recurrence",
    "a:T, b:T",
    attrs={"axis": INT, "reverse": BOOLEAN},
    defaults={"axis": -1, "reverse": False},
    kinds={"T": NUMERIC},
    canonical=_canonical,
    infer=_recurrence_infer,
    ref=quiet(_recurrence_ref),
    vjp=_recurrence_vjp,
    doc="""``y[i] = a[i] * y[i - 1] + b[i]`` along ``axis``, from 0: the recurrence of linear state-space models.

    a, b: of one shape and dtype, numeric. reverse: from the last element on. Raises InvalidArgumentError if the shapes
    differ or the axis is out of range.""",
)


def diff(x: Any, n: int = 1, axis: int = -1) -> Value:
    """The difference of neighbours along ``axis``, ``n`` times over: each time the axis is one shorter, not below 0.

    x: numeric (its difference) or bool (where neighbours differ).
    """
    value = convert(x)
    place = axis_of("diff", axis, value)
    if n < 0:
        raise InvalidArgumentError(message("diff", f"expected a number of times, got {n}", user_origin()))
    step = functools.partial(call, "not_equal" if value.dtype.kind == "b" else "subtract")
    for _ in range(n):
        value = step(slice_along(value, place, 1, None), slice_along(value, place, None, -1))
    return value
