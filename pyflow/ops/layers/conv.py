"""Convolution over two spatial axes, and its two gradients; each is a gradient of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dims
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Node, Value
from pyflow.opdef import FLOATS, INT, SIZES, Lowering, TensorType, call, define
from pyflow.ops.arrays.shape import reshape
from pyflow.ops.common import ndim_of
from pyflow.ops.layers.windows import (
    DATA_FORMAT,
    FROM_LAST,
    PADDING,
    PAIR,
    TO_LAST,
    WEIGHT_FROM_LAST,
    WEIGHT_TO_LAST,
    Padding,
    arranged,
    channels_of,
    last,
    over_windows,
    spatial,
    weight_last,
    windows,
)
from pyflow.ops.sizes import Check, check_rank, differ, equal_check
from pyflow.plan import View

__all__ = ["conv2d"]

GEOMETRY = {"stride": PAIR, "padding": PADDING, "dilation": PAIR, "groups": INT, "data_format": DATA_FORMAT}
DEFAULTS = {"stride": (1, 1), "padding": "valid", "dilation": (1, 1), "groups": 1, "data_format": "NCHW"}


def weight_sizes(w: Value, data_format: str) -> tuple[Size, Size, Size, Size]:
    """(kernel height, kernel width, input channels of a group, output channels)."""
    check_rank(w, 4, f"w in {'OIHW' if data_format == 'NCHW' else 'HWIO'}")
    height, width, inner, outer = (w.dims[axis] for axis in WEIGHT_TO_LAST[data_format])
    return height, width, inner, outer


def check_groups(groups: int, channels: Size, inner: Size, outer: Size) -> None:
    if groups < 1 or (isinstance(outer, int) and outer % groups):
        raise InvalidArgumentError(f"{outer} output channels do not split into {groups} groups")
    if differ(channels, dims.mul(inner, groups)):
        raise InvalidArgumentError(
            f"x has {channels} channels; w takes {inner} in each of {groups} groups: expected {dims.mul(inner, groups)}"
        )


def geometry_ints(size: Sequence[Size], kernel: Sequence[Size], attrs: Any) -> tuple[Size, ...]:
    """What the kernels take: strides, padding above and left, dilations, groups."""
    _, before = windows(size, kernel, attrs["stride"], attrs["padding"], attrs["dilation"])
    return (*attrs["stride"], *before, *attrs["dilation"], attrs["groups"])


def _geometry(node: Node) -> dict[str, Any]:
    return {name: node.attrs[name] for name in GEOMETRY}


def _conv2d_infer(
    x: Value,
    w: Value,
    *,
    stride: tuple[int, ...],
    padding: Padding,
    dilation: tuple[int, ...],
    groups: int,
    data_format: str,
) -> TensorType:
    height, width, inner, outer = weight_sizes(w, data_format)
    size = spatial(x, data_format)
    check_groups(groups, channels_of(x, data_format), inner, outer)
    out, _ = windows(size, (height, width), stride, padding, dilation)
    return TensorType(x.dtype, arranged(x.dims[0], out, outer, data_format))


def _conv2d_checks(node: Node) -> list[Check]:
    x, w = node.inputs
    inner = weight_sizes(w, node.attrs["data_format"])[2]
    channels = channels_of(x, node.attrs["data_format"])
    return equal_check(channels, dims.mul(inner, node.attrs["groups"]), f"conv2d of {x.type} with {w.type}: channels")


def padded(x: np.ndarray, out: Any, kernel: Sequence[int], stride: Any, before: Any, dilation: Any) -> np.ndarray:
    """``x`` [N, H, W, C] with zeros so that every window of every output lies inside, and nothing beyond."""
    spans = [(out[i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 for i in range(2)]
    result = np.zeros((x.shape[0], *(max(s, 0) for s in spans), x.shape[3]), x.dtype)
    inside = [min(n, max(s, 0) - b) for n, s, b in zip(x.shape[1:3], spans, before, strict=True)]
    result[:, before[0] : before[0] + inside[0], before[1] : before[1] + inside[1]] = x[:, : inside[0], : inside[1]]
    return result


def convolve(x: np.ndarray, w: np.ndarray, stride: Any, padding: Padding, dilation: Any, groups: int) -> np.ndarray:
    """x [N, H, W, C], w [KH, KW, C/groups, O] -> [N, OH, OW, O]."""
    kernel, outer = w.shape[:2], w.shape[3]
    out, before = windows(x.shape[1:3], kernel, stride, padding, dilation)
    wide = padded(x, out, kernel, stride, before, dilation)
    grouped = wide.reshape(*wide.shape[:3], groups, w.shape[2])
    weights = w.reshape(*kernel, w.shape[2], groups, outer // groups)
    result = np.zeros((x.shape[0], *out, groups, outer // groups), x.dtype)

    def visit(i: int, j: int, rows: slice, columns: slice) -> None:
        np.add(result, np.einsum("nhwgc,cgo->nhwgo", grouped[:, rows, columns], weights[i, j]), out=result)

    over_windows(out, kernel, stride, dilation, visit)
    return result.reshape(x.shape[0], *out, outer)


def _conv2d_ref(x: np.ndarray, w: np.ndarray, *, data_format: str, **geometry: Any) -> np.ndarray:
    y = convolve(x.transpose(TO_LAST[data_format]), w.transpose(WEIGHT_TO_LAST[data_format]), **geometry)
    return y.transpose(FROM_LAST[data_format])


def _conv2d_lower(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
    data_format = node.attrs["data_format"]
    x, w = last(inputs[0], data_format), weight_last(inputs[1], data_format)
    more = [last(view, data_format) for view in inputs[2:]]
    ints = geometry_ints(x.dims[1:3], w.dims[:2], node.attrs)
    return Lowering("conv2d", (x, w, *more), (last(outputs[0], data_format),), ints)


def _conv2d_vjp(node: Node, gradient: Value) -> tuple[Value, ...]:
    x, w = node.inputs
    geometry = _geometry(node)
    data_format = geometry["data_format"]
    return (
        conv2d_input_grad(gradient, w, spatial(x, data_format), **geometry),
        conv2d_filter_grad(x, gradient, weight_sizes(w, data_format)[:2], **geometry),
    )


_conv2d = define(
    "conv2d",
    "x:T, w:T",
    attrs=GEOMETRY,
    defaults=DEFAULTS,
    kinds={"T": FLOATS},
    epilogue=True,
    infer=_conv2d_infer,
    checks=_conv2d_checks,
    ref=_conv2d_ref,
    lower=_conv2d_lower,
    vjp=_conv2d_vjp,
    onnx="Conv",
    doc="Convolution without bias; see :func:`pyflow.conv2d`.",
)


def conv2d(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = "valid",
    dilation: Any = 1,
    groups: int = 1,
    data_format: str = "NCHW",
    name: str | None = None,
) -> Value:
    """2-d convolution (cross-correlation, as everywhere in deep learning).

    x: floating [N, C, H, W] with w [O, C/groups, KH, KW], or with ``data_format="NHWC"`` [N, H, W, C] with
        w [KH, KW, C/groups, O]. bias: [O] or None. ``groups=C`` is a depthwise convolution.
    stride, dilation: an int or (height, width).
    padding: ``"valid"`` (none), ``"same"`` (ceil(size/stride) outputs, the odd one below and right), an int,
        (height, width), or ((top, bottom), (left, right)).

    Returns [N, O, OH, OW] (or [N, OH, OW, O]) with OH = (H + top + bottom - (KH-1)*dilation - 1) // stride + 1.
    Raises InvalidArgumentError for ranks, channels or groups that do not fit, and a kernel larger than its input.
    """
    geometry = dict(stride=stride, padding=padding, dilation=dilation, groups=groups, data_format=data_format)
    if bias is not None and ndim_of(bias) != 1:
        raise InvalidArgumentError(message("conv2d", f"expected a bias of 1 axis, got {ndim_of(bias)}", user_origin()))
    y: Value = _conv2d(x, w, **geometry, name=name)
    if bias is None:
        return y
    result: Value = call("add", y, reshape(bias, (-1, 1, 1)) if data_format == "NCHW" else bias)
    return result


def _input_grad_infer(
    dy: Value,
    w: Value,
    *,
    size: tuple[Size, ...],
    stride: tuple[int, ...],
    padding: Padding,
    dilation: tuple[int, ...],
    groups: int,
    data_format: str,
) -> TensorType:
    inner, outer = weight_sizes(w, data_format)[2:]
    if differ(channels_of(dy, data_format), outer):
        raise InvalidArgumentError(f"dy: {dy.type} has not the {outer} channels that w: {w.type} makes")
    return TensorType(dy.dtype, arranged(dy.dims[0], size, dims.mul(inner, groups), data_format))


def _input_grad_ref(
    dy: np.ndarray, w: np.ndarray, *, size: tuple[int, ...], data_format: str, **geometry: Any
) -> np.ndarray:
    stride, dilation, groups = geometry["stride"], geometry["dilation"], geometry["groups"]
    dy, w = dy.transpose(TO_LAST[data_format]), w.transpose(WEIGHT_TO_LAST[data_format])
    kernel, inner, outer, out = w.shape[:2], w.shape[2], w.shape[3], dy.shape[1:3]
    _, before = windows(size, kernel, stride, geometry["padding"], dilation)
    spans = [(out[i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 for i in range(2)]
    room = [max(span, b + n) for span, b, n in zip(spans, before, size, strict=True)]
    wide = np.zeros((dy.shape[0], *room, groups, inner), dy.dtype)
    weights = w.reshape(*kernel, inner, groups, outer // groups)
    grouped = dy.reshape(*dy.shape[:3], groups, outer // groups)

    def visit(i: int, j: int, rows: slice, columns: slice) -> None:
        wide[:, rows, columns] += np.einsum("nhwgo,cgo->nhwgc", grouped, weights[i, j])

    over_windows(out, kernel, stride, dilation, visit)
    dx = wide[:, before[0] : before[0] + size[0], before[1] : before[1] + size[1]]
    return dx.reshape(dy.shape[0], *size, groups * inner).transpose(FROM_LAST[data_format])


def _input_grad_lower(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
    data_format = node.attrs["data_format"]
    dy, w = last(inputs[0], data_format), weight_last(inputs[1], data_format)
    ints = geometry_ints(node.attrs["size"], w.dims[:2], node.attrs)
    return Lowering("conv2d_input_grad", (dy, w), (last(outputs[0], data_format),), ints)


def _input_grad_vjp(node: Node, gradient: Value) -> tuple[Value, ...]:
    dy, w = node.inputs
    geometry = _geometry(node)
    kernel = weight_sizes(w, geometry["data_format"])[:2]
    return _conv2d(gradient, w, **geometry), conv2d_filter_grad(gradient, dy, kernel, **geometry)


conv2d_input_grad = define(
    "conv2d_input_grad",
    "dy:T, w:T",
    attrs={"size": SIZES, **GEOMETRY},
    defaults=DEFAULTS,
    kinds={"T": FLOATS},
    infer=_input_grad_infer,
    ref=_input_grad_ref,
    lower=_input_grad_lower,
    vjp=_input_grad_vjp,
    doc="The gradient of conv2d by x, whose height and width are ``size``.",
)


def _filter_grad_infer(
    x: Value,
    dy: Value,
    *,
    kernel: tuple[Size, ...],
    stride: tuple[int, ...],
    padding: Padding,
    dilation: tuple[int, ...],
    groups: int,
    data_format: str,
) -> TensorType:
    spatial(x, data_format)
    inner = dims.floordiv(channels_of(x, data_format), groups)
    in_last = (*kernel, inner, channels_of(dy, data_format))
    return TensorType(x.dtype, tuple(in_last[axis] for axis in WEIGHT_FROM_LAST[data_format]))


def _filter_grad_ref(
    x: np.ndarray, dy: np.ndarray, *, kernel: tuple[int, ...], data_format: str, **geometry: Any
) -> np.ndarray:
    stride, dilation, groups = geometry["stride"], geometry["dilation"], geometry["groups"]
    x, dy = x.transpose(TO_LAST[data_format]), dy.transpose(TO_LAST[data_format])
    out, before = windows(x.shape[1:3], kernel, stride, geometry["padding"], dilation)
    wide = padded(x, out, kernel, stride, before, dilation)
    inner, outer = x.shape[3] // groups, dy.shape[3]
    grouped = wide.reshape(*wide.shape[:3], groups, inner)
    flow = dy.reshape(*dy.shape[:3], groups, outer // groups)
    dw = np.zeros((*kernel, inner, groups, outer // groups), x.dtype)

    def visit(i: int, j: int, rows: slice, columns: slice) -> None:
        dw[i, j] = np.einsum("nhwgc,nhwgo->cgo", grouped[:, rows, columns], flow)

    over_windows(out, kernel, stride, dilation, visit)
    return dw.reshape(*kernel, inner, outer).transpose(WEIGHT_FROM_LAST[data_format])


def _filter_grad_lower(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
    data_format = node.attrs["data_format"]
    x, dy = last(inputs[0], data_format), last(inputs[1], data_format)
    ints = geometry_ints(x.dims[1:3], node.attrs["kernel"], node.attrs)
    return Lowering("conv2d_filter_grad", (x, dy), (weight_last(outputs[0], data_format),), ints)


def _filter_grad_vjp(node: Node, gradient: Value) -> tuple[Value, ...]:
    x, dy = node.inputs
    geometry = _geometry(node)
    size = spatial(x, geometry["data_format"])
    return conv2d_input_grad(dy, gradient, size, **geometry), _conv2d(x, gradient, **geometry)


conv2d_filter_grad = define(
    "conv2d_filter_grad",
    "x:T, dy:T",
    attrs={"kernel": SIZES, **GEOMETRY},
    defaults=DEFAULTS,
    kinds={"T": FLOATS},
    infer=_filter_grad_infer,
    ref=_filter_grad_ref,
    lower=_filter_grad_lower,
    vjp=_filter_grad_vjp,
    doc="The gradient of conv2d by w, whose height and width are ``kernel``.",
)
