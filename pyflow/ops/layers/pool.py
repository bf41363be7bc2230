"""Pooling over two spatial axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pyflow.dims import Size
from pyflow.graph import Node, Value
from pyflow.opdef import BOOLEAN, FLOATS, NUMERIC, SIZES, Lowering, TensorType, call, define
from pyflow.ops.layers.windows import (
    DATA_FORMAT,
    FROM_LAST,
    PADDING,
    PAIR,
    TO_LAST,
    Padding,
    arranged,
    channels_of,
    last,
    over_windows,
    spatial,
    windows,
)
from pyflow.plan import View

__all__ = ["avg_pool2d", "max_pool2d"]

_POOL = {"kernel": PAIR, "stride": PAIR.optional(), "padding": PADDING}
_MAX = {**_POOL, "dilation": PAIR, "data_format": DATA_FORMAT}
_MEAN = {**_POOL, "count_include_pad": BOOLEAN, "data_format": DATA_FORMAT}
_DEFAULTS = {"stride": None, "padding": "valid", "data_format": "NCHW"}
_MAX_DEFAULTS = {**_DEFAULTS, "dilation": (1, 1)}
_MEAN_DEFAULTS = {**_DEFAULTS, "count_include_pad": False}
_WINDOWS = """kernel, stride, dilation: an int or (height, width); stride is by default the kernel. padding: as for
        :func:`pyflow.conv2d`."""


def _canonical(*values: Value, kernel: Any, stride: Any, **attrs: Any) -> Mapping[str, Any]:
    return {"stride": kernel if stride is None else stride}


def _infer(
    x: Value, *, kernel: Any, stride: Any, padding: Padding, data_format: str, dilation: Any = (1, 1), **attrs: Any
) -> TensorType:
    out, _ = windows(spatial(x, data_format), kernel, stride, padding, dilation)
    return TensorType(x.dtype, arranged(x.dims[0], out, channels_of(x, data_format), data_format))


def _ints(size: tuple[Size, ...], attrs: Mapping[str, Any]) -> tuple[Size, ...]:
    dilation = attrs.get("dilation", (1, 1))
    _, before = windows(size, attrs["kernel"], attrs["stride"], attrs["padding"], dilation)
    rest = dilation if "dilation" in attrs else (int(attrs["count_include_pad"]),)
    return (*attrs["kernel"], *attrs["stride"], *before, *rest)


def _lower(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
    """The first operand of rank 4 whose windows count: x for pools and their gradient by x, else the result."""
    data_format = node.attrs["data_format"]
    images = tuple(last(view, data_format) for view in inputs)
    result = last(outputs[0], data_format)
    whole = result if "size" in node.attrs else images[0]
    return Lowering(node.op.name, images, (result,), _ints(whole.dims[1:3], node.attrs))


def _framed(x: np.ndarray, fill: Any, out: Any, kernel: Any, stride: Any, before: Any, dilation: Any) -> np.ndarray:
    """``x`` [N, H, W, C] amid ``fill``, large enough for every window."""
    reach = [(out[i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 for i in range(2)]
    spans = [max(reach[i], before[i] + x.shape[i + 1]) for i in range(2)]
    result = np.full((x.shape[0], *spans, x.shape[3]), fill, x.dtype)
    result[:, before[0] : before[0] + x.shape[1], before[1] : before[1] + x.shape[2]] = x
    return result


def _lowest(dtype: np.dtype) -> Any:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def max_ref(
    x: np.ndarray, *, kernel: Any, stride: Any, padding: Padding, dilation: Any, data_format: str
) -> np.ndarray:
    x = x.transpose(TO_LAST[data_format])
    out, before = windows(x.shape[1:3], kernel, stride, padding, dilation)
    wide = _framed(x, _lowest(x.dtype), out, kernel, stride, before, dilation)
    result = np.full((x.shape[0], *out, x.shape[3]), _lowest(x.dtype), x.dtype)

    def visit(i: int, j: int, rows: slice, columns: slice) -> None:
        np.maximum(result, wide[:, rows, columns], out=result)

    over_windows(out, kernel, stride, dilation, visit)
    return result.transpose(FROM_LAST[data_format])


def _max_grad_ref(
    x: np.ndarray, dy: np.ndarray, *, kernel: Any, stride: Any, padding: Padding, dilation: Any, data_format: str
) -> np.ndarray:
    attrs = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    x, dy = x.transpose(TO_LAST[data_format]), dy.transpose(TO_LAST[data_format])
    best = max_ref(x, **attrs, data_format="NHWC")
    out, before = windows(x.shape[1:3], **attrs)
    wide = _framed(x, _lowest(x.dtype), out, kernel, stride, before, dilation)
    inside = _framed(np.ones(x.shape, np.bool_), False, out, kernel, stride, before, dilation)
    flow = np.zeros_like(wide)
    taken = np.zeros(best.shape, np.bool_)

    def visit(i: int, j: int, rows: slice, columns: slice) -> None:
        window = wide[:, rows, columns]
        first = ~taken & inside[:, rows, columns] & ((window == best) | (np.isnan(window) & np.isnan(best)))
        flow[:, rows, columns] += np.where(first, dy, 0)
        np.logical_or(taken, first, out=taken)

    over_windows(out, kernel, stride, dilation, visit)
    dx = flow[:, before[0] : before[0] + x.shape[1], before[1] : before[1] + x.shape[2]]
    return dx.transpose(FROM_LAST[data_format])


max_pool2d_grad = define(
    "max_pool2d_grad",
    "x:T, dy:T",
    attrs=_MAX,
    defaults=_MAX_DEFAULTS,
    canonical=_canonical,
    infer=lambda x, dy, **attrs: x.type,
    ref=_max_grad_ref,
    lower=_lower,
    doc="The gradient of max_pool2d by x: ``dy`` at the first maximum of each window.",
)

max_pool2d = define(
    "max_pool2d",
    "x:T",
    attrs=_MAX,
    defaults=_MAX_DEFAULTS,
    kinds={"T": NUMERIC},
    canonical=_canonical,
    infer=_infer,
    ref=max_ref,
    lower=_lower,
    vjp=lambda node, gradient: (max_pool2d_grad(node.inputs[0], gradient, **node.attrs),),
    onnx="MaxPool",
    doc=f"""The maximum of each window.

    x: [N, C, H, W], or with ``data_format="NHWC"`` [N, H, W, C]; the result likewise, of x's dtype.
    {_WINDOWS} Padding is never the maximum; NaN wins. The gradient goes to the first maximum of a window.
    :func:`pyflow.max_pool` has ``ceil_mode``, and any number of spatial axes.
    """,
)


def _mean_sizes(size: Any, kernel: Any, stride: Any, padding: Padding, include: bool) -> tuple[Any, Any, np.ndarray]:
    """(outputs, padding before, elements that each window counts [OH, OW, 1])."""
    out, before = windows(size, kernel, stride, padding)
    ones = np.ones((1, *size, 1))
    frame = _framed(ones, 0.0, out, kernel, stride, before, (1, 1))
    count = np.zeros((1, *out, 1))

    def visit(i: int, j: int, rows: slice, columns: slice) -> None:
        np.add(count, frame[:, rows, columns], out=count)

    over_windows(out, kernel, stride, (1, 1), visit)
    return out, before, np.full(count[0].shape, kernel[0] * kernel[1]) if include else count[0]


def _mean_ref(
    x: np.ndarray, *, kernel: Any, stride: Any, padding: Padding, count_include_pad: bool, data_format: str
) -> np.ndarray:
    x = x.transpose(TO_LAST[data_format])
    out, before, count = _mean_sizes(x.shape[1:3], kernel, stride, padding, count_include_pad)
    wide = _framed(x, 0, out, kernel, stride, before, (1, 1))
    total = np.zeros((x.shape[0], *out, x.shape[3]), x.dtype)

    def visit(i: int, j: int, rows: slice, columns: slice) -> None:
        np.add(total, wide[:, rows, columns], out=total)

    over_windows(out, kernel, stride, (1, 1), visit)
    with np.errstate(all="ignore"):
        return (total / count).astype(x.dtype).transpose(FROM_LAST[data_format])


def _mean_grad_infer(dy: Value, *, size: tuple[Size, ...], data_format: str, **attrs: Any) -> TensorType:
    spatial(dy, data_format)
    return TensorType(dy.dtype, arranged(dy.dims[0], size, channels_of(dy, data_format), data_format))


def _mean_grad_ref(
    dy: np.ndarray,
    *,
    size: tuple[int, ...],
    kernel: Any,
    stride: Any,
    padding: Padding,
    count_include_pad: bool,
    data_format: str,
) -> np.ndarray:
    dy = dy.transpose(TO_LAST[data_format])
    out, before, count = _mean_sizes(size, kernel, stride, padding, count_include_pad)
    with np.errstate(all="ignore"):
        share = (dy / count).astype(dy.dtype)
    flow = _framed(np.zeros((dy.shape[0], *size, dy.shape[3]), dy.dtype), 0, out, kernel, stride, before, (1, 1))

    def visit(i: int, j: int, rows: slice, columns: slice) -> None:
        flow[:, rows, columns] += share

    over_windows(out, kernel, stride, (1, 1), visit)
    dx = flow[:, before[0] : before[0] + size[0], before[1] : before[1] + size[1]]
    return dx.transpose(FROM_LAST[data_format])


def _without_size(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attrs.items() if name != "size"}


avg_pool2d_grad = define(
    "avg_pool2d_grad",
    "dy:T",
    attrs={"size": SIZES, **_MEAN},
    defaults=_MEAN_DEFAULTS,
    kinds={"T": FLOATS},
    canonical=_canonical,
    infer=_mean_grad_infer,
    ref=_mean_grad_ref,
    lower=_lower,
    vjp=lambda node, gradient: (call("avg_pool2d", gradient, **_without_size(node.attrs)),),
    doc="The gradient of avg_pool2d by x, whose height and width are ``size``.",
)

avg_pool2d = define(
    "avg_pool2d",
    "x:T",
    attrs=_MEAN,
    defaults=_MEAN_DEFAULTS,
    kinds={"T": FLOATS},
    canonical=_canonical,
    infer=_infer,
    ref=_mean_ref,
    lower=_lower,
    vjp=lambda node, gradient: (
        avg_pool2d_grad(gradient, spatial(node.inputs[0], node.attrs["data_format"]), **node.attrs),
    ),
    onnx="AveragePool",
    doc=f"""The mean of each window.

    x: floating [N, C, H, W], or with ``data_format="NHWC"`` [N, H, W, C]; the result likewise, of x's dtype.
    {_WINDOWS.replace(", dilation", "")} Padding counts as zeros with ``count_include_pad``, else not at all.
    """,
)
