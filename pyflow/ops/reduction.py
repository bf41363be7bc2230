"""Reductions over axes. Within this module ``builtins`` are named in full: ``sum``, ``max`` ... are ops."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pyflow import dims, dtypes, views
from pyflow.dims import Size
from pyflow.dtypes import DType
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Node, Value
from pyflow.opdef import (
    ANY,
    BOOL,
    BOOLEAN,
    FLOATS,
    FUNCTIONS,
    INT,
    INTS,
    NUMERIC,
    SIZES,
    Lowering,
    TensorType,
    call,
    define,
)
from pyflow.ops.common import (
    count_along,
    in_range,
    ndim_of,
    no_gradient,
    normalise_axes,
    normalise_axis,
    quiet,
    zeros_where,
)
from pyflow.ops.sizes import broadcast_check, differ
from pyflow.plan import View

__all__ = ["all", "any", "argmax", "argmin", "logsumexp", "max", "mean", "min", "prod", "std", "sum", "sum_to", "var"]

SUMMED = FLOATS | {dtypes.int64}
"""Smaller integers and bool are summed, and multiplied, in int64, as in NumPy on Linux."""

_SHAPES = """
    x: any shape. axis: None for all axes, an int or several; negative ones count from the end. The result has the other
    axes, and with ``keepdims`` the reduced ones with size 1. Raises InvalidArgumentError if an axis is out of range or
    named twice."""


def _canonical(x: Value, axis: Sequence[int] | None, keepdims: bool) -> Mapping[str, Any]:
    return {"axis": normalise_axes(axis, x.ndim, f"x: {x.type}")}


def _remaining(shape: Sequence[Size], axes: Sequence[int], keepdims: bool) -> tuple[Size, ...]:
    if keepdims:
        return tuple(1 if i in axes else size for i, size in enumerate(shape))
    return tuple(size for i, size in enumerate(shape) if i not in axes)


def _infer(x: Value, axis: tuple[int, ...], keepdims: bool) -> TensorType:
    return TensorType(x.dtype, _remaining(x.dims, axis, keepdims))


def _infer_bool(x: Value, axis: tuple[int, ...], keepdims: bool) -> TensorType:
    return TensorType(dtypes.bool_, _remaining(x.dims, axis, keepdims))


def _require_elements(x: Value, axes: Sequence[int]) -> None:
    left = _remaining(x.dims, axes, False)
    if builtins.any(x.dims[a] == 0 for a in axes) and builtins.all(differ(size, 0) for size in left):
        raise InvalidArgumentError(f"nothing to choose from: x: {x.type} has no elements along axis {tuple(axes)}")


def _infer_chosen(x: Value, axis: tuple[int, ...], keepdims: bool) -> TensorType:
    _require_elements(x, axis)
    return _infer(x, axis, keepdims)


def _may_be_empty(x: Value, axes: Sequence[int]) -> bool:
    return builtins.any((dims.bounds(x.dims[a])[0] or 0) < 1 for a in axes)


def _with_axes(view: View, axes: Sequence[int]) -> View:
    for axis in axes:
        view = views.insert_axis(view, axis)
    return view


def _lower(kernel: str) -> Callable[..., Lowering]:
    def lower(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
        axes = () if node.attrs["keepdims"] else node.attrs["axis"]
        return Lowering(kernel, inputs, (_with_axes(outputs[0], axes),))

    return lower


def _restored(value: Value, node: Node) -> Value:
    """``value``, of the shape of the node's result, with the reduced axes back as size 1."""
    if node.attrs["keepdims"]:
        return value
    for axis in node.attrs["axis"]:
        value = call("expand_dims", value, axis)
    return value


def _spread(value: Value, node: Node) -> Value:
    """``value``, of the shape of the node's result, repeated over its input's shape."""
    result: Value = call("broadcast_to", _restored(value, node), node.inputs[0].dims)
    return result


def _number(count: int | Value, dtype: DType) -> Any:
    """A count, ready to calculate with values of ``dtype``."""
    return float(count) if isinstance(count, int) else call("cast", count, dtype)


def _folded(function: Callable[[Size, Size], Size], start: Size | None) -> Callable[..., Any]:
    """``content`` of a reduction of a known 1-d value."""

    def content(x: Value, axis: tuple[int, ...], keepdims: bool) -> Any:
        if not isinstance(x.content, tuple) or axis != (0,) or (start is None and not x.content):
            return None
        entries = x.content if start is None else (start, *x.content)
        result: Size | None = entries[0]
        for entry in entries[1:]:
            result = None if result is None else in_range(function(result, entry), x.dtype)
        return None if result is None else (result,) if keepdims else result

    return content


def _reduction(
    name: str, ref: Any, doc: str, *, kinds: Any, vjp: Any = no_gradient, infer: Any = _infer, **rest: Any
) -> Callable[..., Any]:
    return define(
        name,
        "x:T",
        attrs={"axis": INTS.optional(), "keepdims": BOOLEAN},
        defaults={"axis": None, "keepdims": False},
        kinds={"T": kinds},
        canonical=_canonical,
        infer=infer,
        ref=quiet(ref),
        vjp=vjp,
        lower=None if "expand" in rest else _lower(f"reduce_{name}"),
        doc=doc.rstrip() + "\n" + _SHAPES,
        **rest,
    )


def _mean_ref(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> Any:
    count = x.dtype.type(dims.product(x.shape[a] for a in axis))
    return np.sum(x, axis=axis, keepdims=keepdims) / count


def _var_ref(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> Any:
    return _mean_ref(np.square(x - _mean_ref(x, axis, True)), axis, keepdims)


def _mean_vjp(node: Node, gradient: Value) -> tuple[Value]:
    count = count_along(node.inputs[0], node.attrs["axis"])
    return (_spread(gradient / _number(count, gradient.dtype), node),)


def _extreme_vjp(node: Node, gradient: Value) -> tuple[Value]:
    x = node.inputs[0]
    chosen = call("cast", x == _restored(node.outputs[0], node), x.dtype)
    ties = call("sum", chosen, node.attrs["axis"], True)
    return (chosen * (_restored(gradient, node) / ties),)


def _prod_vjp(node: Node, gradient: Value) -> tuple[Value]:
    x, axes = node.inputs[0], node.attrs["axis"]
    zero = x == 0
    zeros = call("sum", call("cast", zero, dtypes.int64), axes, True)
    filled = call("where", zero, 1, x)
    product = call("prod", filled, axes, True)
    others = call("where", zero, product, product / filled)
    matters = call("logical_or", zeros == 0, call("logical_and", zeros == 1, zero))
    return (call("where", matters, _restored(gradient, node) * others, 0),)


sum = _reduction(
    "sum",
    np.sum,
    "The sum over ``axis``; 0 over nothing. dtype: floating as it is; integers and bool in int64, which wraps.",
    kinds=SUMMED,
    vjp=lambda node, gradient: (_spread(gradient, node),),
    content=_folded(dims.add, 0),
    onnx="ReduceSum",
)

mean = _reduction(
    "mean",
    _mean_ref,
    "The mean over ``axis``; NaN over nothing. dtype: floating; integers are converted to float64, bool to float32.",
    kinds=FLOATS,
    vjp=_mean_vjp,
    onnx="ReduceMean",
)

max = _reduction(
    "max",
    np.max,
    """The largest over ``axis``; NaN if there is one. dtype: numeric or bool.

    The gradient is shared evenly by all that are largest. Nothing to choose from raises InvalidArgumentError, when the
    graph is built if the size is known then.""",
    kinds=ANY,
    infer=_infer_chosen,
    vjp=_extreme_vjp,
    content=_folded(dims.maximum, None),
    fallible=lambda node: _may_be_empty(node.inputs[0], node.attrs["axis"]),
    onnx="ReduceMax",
)

min = _reduction(
    "min",
    np.min,
    """The smallest over ``axis``; NaN if there is one. dtype: numeric or bool.

    The gradient is shared evenly by all that are smallest. Nothing to choose from raises InvalidArgumentError, when the
    graph is built if the size is known then.""",
    kinds=ANY,
    infer=_infer_chosen,
    vjp=_extreme_vjp,
    content=_folded(dims.minimum, None),
    fallible=lambda node: _may_be_empty(node.inputs[0], node.attrs["axis"]),
    onnx="ReduceMin",
)

prod = _reduction(
    "prod",
    np.prod,
    """The product over ``axis``; 1 over nothing. dtype: floating as it is; integers and bool in int64, which wraps.

    The gradient is right where elements are 0.""",
    kinds=SUMMED,
    vjp=_prod_vjp,
    content=_folded(dims.mul, 1),
    onnx="ReduceProd",
)

any = _reduction(
    "any",
    np.any,
    "True if one element over ``axis`` is; False over nothing. dtype: bool.",
    kinds=BOOL,
    infer=_infer_bool,
)
all = _reduction(
    "all",
    np.all,
    "True if every element over ``axis`` is; True over nothing. dtype: bool.",
    kinds=BOOL,
    infer=_infer_bool,
)


def _deviation(x: Value, axis: tuple[int, ...]) -> Value:
    result: Value = x - call("mean", x, axis, True)
    return result


def _var_expand(x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    result: Value = call("mean", call("square", _deviation(x, axis)), axis, keepdims)
    return result


def _var_vjp(node: Node, gradient: Value) -> tuple[Value]:
    x, axes = node.inputs[0], node.attrs["axis"]
    scaled = gradient * 2 / _number(count_along(x, axes), gradient.dtype)
    return (_restored(scaled, node) * _deviation(x, axes),)


def _std_vjp(node: Node, gradient: Value) -> tuple[Value]:
    x, axes = node.inputs[0], node.attrs["axis"]
    scaled = gradient / (node.outputs[0] * _number(count_along(x, axes), gradient.dtype))
    return (_restored(scaled, node) * _deviation(x, axes),)


var = _reduction(
    "var",
    _var_ref,
    "The mean of ``(x - mean(x)) ** 2`` over ``axis`` (of the population: divided by n). dtype: floating, as for mean.",
    kinds=FLOATS,
    vjp=_var_vjp,
    expand=_var_expand,
)

std = _reduction(
    "std",
    lambda x, axis, keepdims: np.sqrt(_var_ref(x, axis, keepdims)),
    "``sqrt(var(x))`` over ``axis``; its gradient where all elements are equal is NaN. dtype: floating, as for mean.",
    kinds=FLOATS,
    vjp=_std_vjp,
    expand=lambda x, axis, keepdims: call("sqrt", _var_expand(x, axis, keepdims)),
)


def _logsumexp_ref(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> Any:
    top = np.max(x, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, x.dtype.type(0))
    result = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return result if keepdims else np.squeeze(result, axis)


def _logsumexp_expand(x: Value, axis: tuple[int, ...], keepdims: bool) -> Value:
    top = call("max", x, axis, True)
    top = zeros_where(call("logical_not", call("isfinite", top)), top)
    result: Value = call("log", call("sum", call("exp", x - top), axis, True)) + top
    return result if keepdims else _without(result, axis)


def _without(value: Value, axes: Sequence[int]) -> Value:
    for axis in reversed(axes):
        value = call("squeeze", value, axis)
    return value


def _logsumexp_vjp(node: Node, gradient: Value) -> tuple[Value]:
    share = call("exp", node.inputs[0] - _restored(node.outputs[0], node))
    return (_restored(gradient, node) * share,)


logsumexp = _reduction(
    "logsumexp",
    _logsumexp_ref,
    """``log(sum(exp(x)))`` over ``axis``, without overflow. dtype: floating; integers are converted to float64.

    Raises InvalidArgumentError over nothing, as :func:`max` does.""",
    kinds=FLOATS,
    infer=_infer_chosen,
    vjp=_logsumexp_vjp,
    expand=_logsumexp_expand,
    fallible=lambda node: _may_be_empty(node.inputs[0], node.attrs["axis"]),
    onnx="ReduceLogSumExp",
)


def _arg_canonical(x: Value, axis: int, keepdims: bool) -> Mapping[str, Any]:
    return {"axis": normalise_axis(axis, x.ndim, f"x: {x.type}")}


def _arg_infer(x: Value, axis: int, keepdims: bool) -> TensorType:
    _require_elements(x, (axis,))
    return TensorType(dtypes.int64, _remaining(x.dims, (axis,), keepdims))


def _arg_op(name: str, numpy: Any, onnx: str) -> Callable[..., Any]:
    def lower(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
        axis = node.attrs["axis"]
        return Lowering(name, inputs, (_with_axes(outputs[0], () if node.attrs["keepdims"] else (axis,)),), (axis,))

    return define(
        name,
        "x:T",
        attrs={"axis": INT, "keepdims": BOOLEAN},
        defaults={"keepdims": False},
        kinds={"T": ANY},
        canonical=_arg_canonical,
        infer=_arg_infer,
        ref=lambda x, axis, keepdims: np.asarray(numpy(x, axis=axis, keepdims=keepdims), np.int64),
        vjp=no_gradient,
        lower=lower,
        fallible=lambda node: _may_be_empty(node.inputs[0], (node.attrs["axis"],)),
        onnx=onnx,
    )


_argmax = _arg_op("argmax", np.argmax, "ArgMax")
_argmin = _arg_op("argmin", np.argmin, "ArgMin")


def _arg(function: Callable[..., Any], x: Any, axis: int | None, keepdims: bool, name: str | None) -> Value:
    if axis is not None:
        chosen: Value = function(x, axis, keepdims, name=name)
        return chosen
    flat = function(call("reshape", x, (-1,)), 0, name=name)
    result: Value = call("reshape", flat, (1,) * ndim_of(x)) if keepdims else flat
    return result


def argmax(x: Any, axis: int | None = None, keepdims: bool = False, *, name: str | None = None) -> Value:
    """The index of the largest element along ``axis``, the first of equals, NaN counting as largest: int64.

    x: any shape, numeric or bool. axis: None for the index in the flattened ``x``. The result has the other axes, and
    with ``keepdims`` that one with size 1. Raises InvalidArgumentError if ``axis`` is out of range or empty.
    """
    return _arg(_argmax, x, axis, keepdims, name)


def argmin(x: Any, axis: int | None = None, keepdims: bool = False, *, name: str | None = None) -> Value:
    """The index of the smallest element along ``axis``, the first of equals, NaN counting as smallest: int64.

    x: any shape, numeric or bool. axis: None for the index in the flattened ``x``. The result has the other axes, and
    with ``keepdims`` that one with size 1. Raises InvalidArgumentError if ``axis`` is out of range or empty.
    """
    return _arg(_argmin, x, axis, keepdims, name)


FUNCTIONS["argmax"] = argmax
FUNCTIONS["argmin"] = argmin


def _sum_to_infer(x: Value, dims: tuple[Size, ...]) -> TensorType:
    lead = x.ndim - len(dims)
    fits = lead >= 0 and builtins.all(
        want == 1 or not differ(have, want) for have, want in zip(x.dims[lead:], dims, strict=True)
    )
    if not fits:
        raise InvalidArgumentError(f"x: {x.type} is no broadcast of [{','.join(map(str, dims))}]")
    return TensorType(x.dtype, dims)


def _sum_to_checks(node: Node) -> Sequence[tuple[Size, Size, str]]:
    x, wanted = node.inputs[0], node.types[0].dims
    pairs = zip(x.dims[x.ndim - len(wanted) :], wanted, strict=True)
    what = f"sum of {x.type} to [{','.join(map(str, wanted))}]: a size of the result is neither 1 nor that of x"
    return [check for have, want in pairs for check in broadcast_check(want, have, what)]


def _sum_to_ref(x: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    lead = x.ndim - len(dims)
    shape = (1,) * lead + tuple(dims)
    axes = tuple(i for i, size in enumerate(shape) if size == 1 and (i < lead or x.shape[i] != 1))
    result: np.ndarray = np.sum(x, axis=axes, dtype=x.dtype).reshape(dims)
    return result


def _sum_to_lower(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
    lead = len(inputs[0].dims) - len(outputs[0].dims)
    return Lowering("reduce_sum", inputs, (_with_axes(outputs[0], range(lead)),))


sum_to = define(
    "sum_to",
    "x:T",
    attrs={"dims": SIZES},
    kinds={"T": NUMERIC},
    infer=_sum_to_infer,
    checks=_sum_to_checks,
    ref=_sum_to_ref,
    vjp=lambda node, gradient: (call("broadcast_to", gradient, node.inputs[0].dims),),
    view=lambda node, inputs: inputs if node.inputs[0].dims == node.types[0].dims else None,
    lower=_sum_to_lower,
    doc="""``x`` summed over the axes that ``dims`` lacks in front, or has with size 1: what undoes broadcasting.

    x: numeric. dims: the result's shape, ints and Dims; one that turns out equal to the size of ``x`` is not summed.
    The dtype is that of ``x``; integers wrap. Raises InvalidArgumentError if ``x`` is no broadcast of ``dims``.""",
)
