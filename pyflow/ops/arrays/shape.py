"""Ops that change how elements are arranged: most are windows on their input and cost nothing at run time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyflow import dims, views
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Node, Value
from pyflow.opdef import EVERY, INTS, Lowering, TensorType, call, define
from pyflow.ops.common import normalise_axes, normalise_axis, sum_to
from pyflow.ops.sizes import AMOUNTS, SHAPE, Check, broadcast_check, differ, equal_check, text_of
from pyflow.plan import View

__all__ = ["broadcast_to", "expand_dims", "flip", "pad", "reshape", "squeeze", "transpose"]


def _reshape_canonical(x: Value, *, shape: tuple[Size, ...]) -> Mapping[str, Any]:
    unknown = [i for i, size in enumerate(shape) if size == -1]
    if any(isinstance(size, int) and size < -1 for size in shape) or len(unknown) > 1:
        raise InvalidArgumentError(f"expected sizes and at most one -1, got {text_of(shape)} for x: {x.type}")
    if not unknown:
        return {"shape": shape}
    rest = dims.product(size for size in shape if size != -1)
    if rest == 0:
        raise InvalidArgumentError(f"-1 in {text_of(shape)} could be any size, as another size is 0; x: {x.type}")
    found = dims.floordiv(dims.product(x.dims), rest)
    return {"shape": tuple(found if i in unknown else size for i, size in enumerate(shape))}


def _reshape_infer(x: Value, *, shape: tuple[Size, ...]) -> TensorType:
    have, want = dims.product(x.dims), dims.product(shape)
    if differ(have, want):
        raise InvalidArgumentError(f"x: {x.type} has {have} elements, {text_of(shape)} has {want}")
    return TensorType(x.dtype, shape)


def _reshape_checks(node: Node) -> list[Check]:
    have, want = dims.product(node.inputs[0].dims), dims.product(node.attrs["shape"])
    if have == want:
        return []
    return equal_check(have, want, f"reshape of {node.inputs[0].type} to {text_of(node.attrs['shape'])}: elements")


def _reshape_content(x: Value, *, shape: tuple[Size, ...]) -> Any:
    if x.content is None or len(shape) > 1:
        return None
    entries = x.content if isinstance(x.content, tuple) else (x.content,)
    return entries if shape else entries[0]


def _one_view(view: View | None) -> tuple[View, ...] | None:
    return None if view is None else (view,)


def _reshape_lower(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
    (x,), (y,) = inputs, outputs
    window = views.reshape(y, x.dims)
    assert window is not None, "what a reshape writes is contiguous"
    return Lowering("copy", (x,), (window,))


reshape = define(
    "reshape",
    "x:T",
    attrs={"shape": SHAPE},
    kinds={"T": EVERY},
    canonical=_reshape_canonical,
    infer=_reshape_infer,
    checks=_reshape_checks,
    content=_reshape_content,
    ref=lambda x, shape: np.reshape(x, shape),
    view=lambda node, inputs: _one_view(views.reshape(inputs[0], node.attrs["shape"])),
    lower=_reshape_lower,
    vjp=lambda node, gradient: (call("reshape", gradient, node.inputs[0].dims),),
    onnx="Reshape",
    doc="""The elements of ``x``, in row-major order, in another shape.

    ``shape``: ints, Dims, at most one -1 (what is left), or a 1-d integer value made of sizes
    (``pf.concat([pf.shape(x)[:1], [-1]])``). Raises InvalidArgumentError if the numbers of elements differ; where
    sizes are not known yet, the run does.
    """,
)


def _transpose_canonical(x: Value, *, axes: tuple[int, ...] | None) -> Mapping[str, Any]:
    if axes is None:
        return {"axes": tuple(reversed(range(x.ndim)))}
    settled = tuple(normalise_axis(axis, x.ndim, f"x: {x.type}") for axis in axes)
    if sorted(settled) != list(range(x.ndim)):
        raise InvalidArgumentError(f"expected a permutation of {x.ndim} axes, got {list(axes)} for x: {x.type}")
    return {"axes": settled}


transpose = define(
    "transpose",
    "x:T",
    attrs={"axes": INTS.optional()},
    defaults={"axes": None},
    kinds={"T": EVERY},
    canonical=_transpose_canonical,
    infer=lambda x, axes: TensorType(x.dtype, tuple(x.dims[axis] for axis in axes)),
    content=lambda x, axes: x.content,
    ref=lambda x, axes: np.transpose(x, axes),
    view=lambda node, inputs: (views.permute(inputs[0], node.attrs["axes"]),),
    vjp=lambda node, gradient: (call("transpose", gradient, inverse_permutation(node.attrs["axes"])),),
    onnx="Transpose",
    doc="""``x`` with its axes permuted: axis i of the result is axis ``axes[i]`` of ``x``; default: reversed.

    Raises InvalidArgumentError unless ``axes`` is a permutation (negative axes count from the end).
    """,
)


def inverse_permutation(axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(axis) for axis in np.argsort(axes))


def _expand_dims_infer(x: Value, *, axis: tuple[int, ...]) -> TensorType:
    sizes = list(x.dims)
    for entry in sorted(axis):
        sizes.insert(entry, 1)
    return TensorType(x.dtype, tuple(sizes))


def _expand_dims_view(node: Node, inputs: tuple[View, ...]) -> tuple[View, ...]:
    view = inputs[0]
    for axis in node.attrs["axis"]:
        view = views.insert_axis(view, axis)
    return (view,)


expand_dims = define(
    "expand_dims",
    "x:T",
    attrs={"axis": INTS},
    kinds={"T": EVERY},
    canonical=lambda x, axis: {"axis": normalise_axes(axis, x.ndim + len(axis), "the result")},
    infer=_expand_dims_infer,
    content=lambda x, axis: (x.content,) if x.ndim == 0 and len(axis) == 1 and x.content is not None else None,
    ref=lambda x, axis: np.expand_dims(x, axis),
    view=_expand_dims_view,
    vjp=lambda node, gradient: (call("squeeze", gradient, node.attrs["axis"]),),
    onnx="Unsqueeze",
    doc="""``x`` with axes of size 1 inserted: ``axis`` (an int or several) are their places in the result.

    Raises InvalidArgumentError if one is out of range or stands twice.
    """,
)


def _squeeze_canonical(x: Value, *, axis: tuple[int, ...] | None) -> Mapping[str, Any]:
    if axis is None:
        return {"axis": tuple(i for i, size in enumerate(x.dims) if size == 1)}
    return {"axis": normalise_axes(axis, x.ndim, f"x: {x.type}")}


def _squeeze_infer(x: Value, *, axis: tuple[int, ...]) -> TensorType:
    for entry in axis:
        if differ(x.dims[entry], 1):
            raise InvalidArgumentError(f"axis {entry} of x: {x.type} has size {x.dims[entry]}, expected 1")
    return TensorType(x.dtype, tuple(size for i, size in enumerate(x.dims) if i not in axis))


def _squeeze_view(node: Node, inputs: tuple[View, ...]) -> tuple[View, ...]:
    view = inputs[0]
    for axis in reversed(node.attrs["axis"]):
        view = views.remove_axis(view, axis)
    return (view,)


squeeze = define(
    "squeeze",
    "x:T",
    attrs={"axis": INTS.optional()},
    defaults={"axis": None},
    kinds={"T": EVERY},
    canonical=_squeeze_canonical,
    infer=_squeeze_infer,
    checks=lambda node: [
        check
        for axis in node.attrs["axis"]
        for check in equal_check(node.inputs[0].dims[axis], 1, f"squeeze of {node.inputs[0].type}: axis {axis}")
    ],
    content=lambda x, axis: x.content[0] if x.content is not None and x.ndim == len(axis) == 1 else x.content,
    ref=lambda x, axis: np.squeeze(x, axis),
    view=_squeeze_view,
    vjp=lambda node, gradient: (expand_dims(gradient, node.attrs["axis"]),),
    onnx="Squeeze",
    doc="""``x`` without axes of size 1: ``axis`` (an int or several), or all that are known to be 1.

    Raises InvalidArgumentError if an axis named is out of range or not of size 1.
    """,
)


def _broadcast_pairs(x: Value, shape: Sequence[Size]) -> list[tuple[int, Size, Size]]:
    return [(i, have, want) for i, (have, want) in enumerate(zip(x.dims, shape[len(shape) - x.ndim :], strict=True))]


def _broadcast_to_infer(x: Value, *, shape: tuple[Size, ...]) -> TensorType:
    if len(shape) < x.ndim or any(differ(h, 1) and differ(h, w) for _, h, w in _broadcast_pairs(x, shape)):
        raise InvalidArgumentError(f"x: {x.type} does not broadcast to {text_of(shape)}")
    return TensorType(x.dtype, shape)


def _broadcast_to_checks(node: Node) -> list[Check]:
    x, shape = node.inputs[0], node.attrs["shape"]
    what = f"broadcast of {x.type} to {text_of(shape)}: axis"
    pairs = _broadcast_pairs(x, shape)
    return [check for i, have, want in pairs for check in broadcast_check(have, want, f"{what} {i} is not 1 or {want}")]


def _broadcast_to_content(x: Value, *, shape: tuple[Size, ...]) -> Any:
    if x.content is None or len(shape) > 1 or x.dims == shape:
        return x.content if x.dims == shape else None
    if not isinstance(shape[0], int):
        return None
    return (x.content if x.ndim == 0 else x.content[0],) * shape[0]


broadcast_to = define(
    "broadcast_to",
    "x:T",
    attrs={"shape": SHAPE},
    kinds={"T": EVERY},
    infer=_broadcast_to_infer,
    checks=_broadcast_to_checks,
    content=_broadcast_to_content,
    ref=lambda x, shape: np.broadcast_to(x, shape),
    view=lambda node, inputs: (views.broadcast_to(inputs[0], node.attrs["shape"]),),
    vjp=lambda node, gradient: (sum_to(gradient, node.inputs[0]),),
    onnx="Expand",
    doc="""``x`` repeated along axes of size 1, and along new leading axes, to ``shape``, NumPy's rule.

    ``shape``: ints and Dims. Raises InvalidArgumentError where an axis is neither 1 nor the size wanted.
    """,
)


def _flip_view(node: Node, inputs: tuple[View, ...]) -> tuple[View, ...]:
    view = inputs[0]
    for axis in node.attrs["axis"]:
        size = view.dims[axis]
        view = views.slice_axis(view, axis, dims.add(size, -1), size, -1)
    return (view,)


flip = define(
    "flip",
    "x:T",
    attrs={"axis": INTS.optional()},
    defaults={"axis": None},
    kinds={"T": EVERY},
    canonical=lambda x, axis: {"axis": normalise_axes(axis, x.ndim, f"x: {x.type}")},
    infer=lambda x, axis: x.type,
    content=lambda x, axis: x.content[::-1] if x.ndim == 1 and x.content is not None and axis else x.content,
    ref=lambda x, axis: np.flip(x, axis),
    view=_flip_view,
    vjp=lambda node, gradient: (call("flip", gradient, node.attrs["axis"]),),
    doc="``x`` with its elements in reverse along ``axis`` (an int, several, or default all).",
)


def filled(shape: Sequence[Size], value: float, like: Value) -> Value:
    """``value`` everywhere, in ``like``'s dtype."""
    result: Value = broadcast_to(call("constant", np.asarray(value, like.dtype.numpy)), shape)
    return result


def _pad_infer(x: Value, value: Value, *, before: tuple[Size, ...], after: tuple[Size, ...]) -> TensorType:
    if len(before) != x.ndim or len(after) != x.ndim:
        raise InvalidArgumentError(f"expected a (before, after) pair per axis of x: {x.type}, got {len(before)}")
    if value.ndim:
        raise InvalidArgumentError(f"expected one value to pad with, got {value.type}")
    sizes = tuple(dims.add(size, dims.add(b, a)) for size, b, a in zip(x.dims, before, after, strict=True))
    if any(differ(dims.maximum(size, 0), size) for size in sizes):
        raise InvalidArgumentError(f"x: {x.type} cropped by {text_of(before)} and {text_of(after)} has negative sizes")
    return TensorType(x.dtype, sizes)


def _pad_ref(x: np.ndarray, value: np.ndarray, *, before: tuple[int, ...], after: tuple[int, ...]) -> np.ndarray:
    result = np.full([n + b + a for n, b, a in zip(x.shape, before, after, strict=True)], value, x.dtype)
    inner = tuple(slice(max(b, 0), max(n + b + min(a, 0), 0)) for n, b, a in zip(x.shape, before, after, strict=True))
    outer = tuple(slice(max(-b, 0), max(n + min(a, 0), 0)) for n, b, a in zip(x.shape, before, after, strict=True))
    result[inner] = x[outer]
    return result


def _pad_vjp(node: Node, gradient: Value) -> tuple[Value | None, ...]:
    x, value = node.inputs
    before, after = node.attrs["before"], node.attrs["after"]
    outside = _pad(filled(x.dims, 0, value), filled((), 1, value), before, after)
    to_value = call("sum", call("multiply", gradient, outside))
    lows = [dims.bounds(size)[0] for size in (*before, *after)]
    if all(low is not None and low >= 0 for low in lows):
        return call("slice", gradient, before, x.dims, (1,) * x.ndim), to_value
    back = [tuple(dims.mul(size, -1) for size in side) for side in (before, after)]
    return _pad(gradient, filled((), 0, value), back[0], back[1]), to_value


_pad = define(
    "pad",
    "x:T, value:T",
    attrs={"before": AMOUNTS, "after": AMOUNTS},
    kinds={"T": EVERY},
    infer=_pad_infer,
    ref=_pad_ref,
    lower=lambda node, inputs, outputs: Lowering("pad", inputs, outputs, node.attrs["before"]),
    vjp=_pad_vjp,
    onnx="Pad",
    doc="``x`` with ``before`` and ``after`` more (or, negative, fewer) elements per axis; new ones are ``value``.",
)


def pad(x: Any, paddings: Any, value: Any = 0, mode: str = "constant", name: str | None = None) -> Value:
    """``x`` with ``value`` around it; with a ``mode`` other than ``"constant"``, with its own elements.

    ``paddings``: one (before, after) pair of ints or Dims per axis, or one pair or number for all; negative crop. The
    result has ``before + size + after`` elements along an axis. ``value``: a number or 0-d value of x's dtype.
    ``mode``: ``"edge"``, ``"reflect"``, ``"symmetric"`` or ``"wrap"``: see :func:`pad_repeated`.
    """
    entries = paddings if hasattr(paddings, "__iter__") else [paddings, paddings]
    pairs = [tuple(pair) if hasattr(pair, "__len__") else pair for pair in entries]
    if pairs and not isinstance(pairs[0], tuple):
        pairs = [tuple(pairs)] * np.ndim(x)
    if any(not isinstance(pair, tuple) or len(pair) != 2 for pair in pairs):
        what = f"expected (before, after) pairs of ints, got {paddings!r}"
        raise InvalidArgumentError(message("pad", what, user_origin()))
    if str(getattr(x, "dtype", "")) == "bool" and type(value) in (int, float) and value in (0, 1):
        value = bool(value)
    before, after = [before for before, _ in pairs], [after for _, after in pairs]
    if mode != "constant":
        repeated: Value = call("pad_repeated", x, before, after, mode, name=name)
        return repeated
    result: Value = _pad(x, value, before, after, name=name)
    return result
