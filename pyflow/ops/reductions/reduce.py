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
    COMPLEX,
    FLOATS,
    FUNCTIONS,
    INT,
    INTS,
    NUMERIC,
    SIZES,
    Attr,
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
)
from pyflow.ops.elementwise import complex_rules
from pyflow.ops.elementwise.complex_rules import conjugate, in_parts
from pyflow.ops.sizes import broadcast_check, differ
from pyflow.plan import View

__all__ = ["all", "any", "argmax", "argmin", "max", "mean", "min", "prod", "sum", "sum_to"]

SUMMED = FLOATS | {dtypes.int64, dtypes.uint64} | COMPLEX
"""Smaller integers and bool are summed, and multiplied, in int64 or uint64, as in NumPy on Linux."""

_SHAPES = """
    x: any shape. axis: None for all axes, an int or several; negative ones count from the end. The result has the other
    axes, and with ``keepdims`` the reduced ones with size 1. Raises InvalidArgumentError if an axis is out of range or
    named twice."""


def _canonical(x: Value, axis: Sequence[int] | None, keepdims: bool, **others: Any) -> Mapping[str, Any]:
    return {"axis": normalise_axes(axis, x.ndim, f"x: {x.type}")}


def _remaining(shape: Sequence[Size], axes: Sequence[int], keepdims: bool) -> tuple[Size, ...]:
    if keepdims:
        return tuple(1 if i in axes else size for i, size in enumerate(shape))
    return tuple(size for i, size in enumerate(shape) if i not in axes)


def infer_reduced(x: Value, axis: tuple[int, ...], keepdims: bool, **others: Any) -> TensorType:
    return TensorType(x.dtype, _remaining(x.dims, axis, keepdims))


def _infer_bool(x: Value, axis: tuple[int, ...], keepdims: bool) -> TensorType:
    return TensorType(dtypes.bool_, _remaining(x.dims, axis, keepdims))


def _require_elements(x: Value, axes: Sequence[int]) -> None:
    left = _remaining(x.dims, axes, False)
    if builtins.any(x.dims[a] == 0 for a in axes) and builtins.all(differ(size, 0) for size in left):
        raise InvalidArgumentError(f"nothing to choose from: x: {x.type} has no elements along axis {tuple(axes)}")


def _infer_chosen(x: Value, axis: tuple[int, ...], keepdims: bool) -> TensorType:
    _require_elements(x, axis)
    return infer_reduced(x, axis, keepdims)


def may_be_empty(x: Value, axes: Sequence[int]) -> bool:
    return builtins.any((dims.bounds(x.dims[a])[0] or 0) < 1 for a in axes)


def _with_axes(view: View, axes: Sequence[int]) -> View:
    for axis in axes:
        view = views.insert_axis(view, axis)
    return view


def _lower(kernel: str, ints: tuple[int, ...]) -> Callable[..., Lowering]:
    def lower(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
        axes = () if node.attrs["keepdims"] else node.attrs["axis"]
        return Lowering(kernel, inputs, (_with_axes(outputs[0], axes),), ints)

    return lower


def restored(value: Value, node: Node) -> Value:
    """``value``, of the shape of the node's result, with the reduced axes back as size 1."""
    if node.attrs["keepdims"]:
        return value
    for axis in node.attrs["axis"]:
        value = call("expand_dims", value, axis)
    return value


def _spread(value: Value, node: Node) -> Value:
    """``value``, of the shape of the node's result, repeated over its input's shape."""
    result: Value = call("broadcast_to", restored(value, node), node.inputs[0].dims)
    return result


def number(count: int | Value, dtype: DType) -> Any:
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


def reduction_op(
    name: str,
    ref: Any,
    doc: str,
    *,
    kinds: Any,
    vjp: Any = no_gradient,
    infer: Any = infer_reduced,
    kernel: str = "",
    ints: tuple[int, ...] = (),
    attrs: Mapping[str, Attr] | None = None,
    defaults: Mapping[str, Any] | None = None,
    in_complex: Callable[..., Any] | None = None,
    **rest: Any,
) -> Callable[..., Any]:
    """Defines a reduction in one row.

    kernel, ints: what computes it, default: that of its name; of no account with ``expand``. attrs, defaults: those
    besides axis and keepdims. in_complex: how it is composed for complex numbers (complex_rules.py).
    """
    lower = None if "expand" in rest else _lower(kernel or f"reduce_{name}", ints)
    if in_complex is not None:
        rest["expand"] = in_parts(in_complex)
    return define(
        name,
        "x:T",
        attrs={"axis": INTS.optional(), "keepdims": BOOLEAN, **(attrs or {})},
        defaults={"axis": None, "keepdims": False, **(defaults or {})},
        kinds={"T": kinds},
        canonical=_canonical,
        infer=infer,
        ref=quiet(ref),
        vjp=vjp,
        lower=lower,
        doc=doc.rstrip() + "\n" + _SHAPES,
        **rest,
    )


def mean_ref(x: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> Any:
    count = x.dtype.type(dims.product(x.shape[a] for a in axis))
    return np.sum(x, axis=axis, keepdims=keepdims) / count


def _mean_vjp(node: Node, gradient: Value) -> tuple[Value]:
    count = count_along(node.inputs[0], node.attrs["axis"])
    return (_spread(gradient / number(count, gradient.dtype), node),)


def _extreme_vjp(node: Node, gradient: Value) -> tuple[Value]:
    x = node.inputs[0]
    chosen = call("cast", x == restored(node.outputs[0], node), x.dtype)
    ties = call("sum", chosen, node.attrs["axis"], True)
    return (chosen * (restored(gradient, node) / ties),)


def _prod_vjp(node: Node, gradient: Value) -> tuple[Value]:
    x, axes = node.inputs[0], node.attrs["axis"]
    zero = x == 0
    zeros = call("sum", call("cast", zero, dtypes.int64), axes, True)
    filled = call("where", zero, 1, x)
    product = call("prod", filled, axes, True)
    others = call("where", zero, product, product / filled)
    matters = call("logical_or", zeros == 0, call("logical_and", zeros == 1, zero))
    return (call("where", matters, restored(gradient, node) * conjugate(others), 0),)


sum = reduction_op(
    "sum",
    np.sum,
    """The sum over ``axis``; 0 over nothing. dtype: floating and complex as it is; integers and bool in int64 or
    uint64, which wrap.""",
    kinds=SUMMED,
    in_complex=complex_rules.each_part("sum"),
    vjp=lambda node, gradient: (_spread(gradient, node),),
    content=_folded(dims.add, 0),
    onnx="ReduceSum",
)

mean = reduction_op(
    "mean",
    mean_ref,
    "The mean over ``axis``; NaN over nothing. dtype: floating; integers are converted to float64, bool to float32.",
    kinds=FLOATS | COMPLEX,
    in_complex=complex_rules.each_part("mean"),
    vjp=_mean_vjp,
    onnx="ReduceMean",
)

max = reduction_op(
    "max",
    np.max,
    """The largest over ``axis``; NaN if there is one. dtype: numeric or bool.

    The gradient is shared evenly by all that are largest. Nothing to choose from raises InvalidArgumentError, when the
    graph is built if the size is known then.""",
    kinds=ANY,
    infer=_infer_chosen,
    vjp=_extreme_vjp,
    content=_folded(dims.maximum, None),
    fallible=lambda node: may_be_empty(node.inputs[0], node.attrs["axis"]),
    onnx="ReduceMax",
)

min = reduction_op(
    "min",
    np.min,
    """The smallest over ``axis``; NaN if there is one. dtype: numeric or bool.

    The gradient is shared evenly by all that are smallest. Nothing to choose from raises InvalidArgumentError, when the
    graph is built if the size is known then.""",
    kinds=ANY,
    infer=_infer_chosen,
    vjp=_extreme_vjp,
    content=_folded(dims.minimum, None),
    fallible=lambda node: may_be_empty(node.inputs[0], node.attrs["axis"]),
    onnx="ReduceMin",
)


def _limit(dtype: np.dtype, highest: bool) -> Any:
    if dtype.kind == "b":
        return highest
    if dtype.kind == "f":
        return np.inf if highest else -np.inf
    return np.iinfo(dtype).max if highest else np.iinfo(dtype).min


def _limited_ref(function: Any, highest: bool) -> Any:
    return lambda x, axis, keepdims: function(x, axis=axis, keepdims=keepdims, initial=_limit(x.dtype, highest))


max_or_lowest = reduction_op(
    "max_or_lowest",
    _limited_ref(np.max, False),
    "The largest over ``axis`` as :func:`max` gives it, and over nothing the lowest value of the dtype.",
    kinds=ANY,
    kernel="reduce_max",
    ints=(1,),
    vjp=_extreme_vjp,
    onnx="ReduceMax",
)

min_or_highest = reduction_op(
    "min_or_highest",
    _limited_ref(np.min, True),
    "The smallest over ``axis`` as :func:`min` gives it, and over nothing the highest value of the dtype.",
    kinds=ANY,
    kernel="reduce_min",
    ints=(1,),
    vjp=_extreme_vjp,
    onnx="ReduceMin",
)

prod = reduction_op(
    "prod",
    np.prod,
    """The product over ``axis``; 1 over nothing. dtype: floating and complex as it is; integers and bool in int64 or
    uint64, which wrap.

    The gradient is right where elements are 0.""",
    kinds=SUMMED,
    in_complex=complex_rules.prod,
    vjp=_prod_vjp,
    content=_folded(dims.mul, 1),
    onnx="ReduceProd",
)

any = reduction_op(
    "any",
    np.any,
    "True if one element over ``axis`` is; False over nothing. dtype: bool.",
    kinds=BOOL,
    infer=_infer_bool,
)
all = reduction_op(
    "all",
    np.all,
    "True if every element over ``axis`` is; True over nothing. dtype: bool.",
    kinds=BOOL,
    infer=_infer_bool,
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
        fallible=lambda node: may_be_empty(node.inputs[0], (node.attrs["axis"],)),
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
    kinds={"T": NUMERIC | COMPLEX},
    expand=in_parts(complex_rules.each_part("sum_to")),
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
