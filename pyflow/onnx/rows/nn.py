"""Convolution, pooling, dropout, what is sampled."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyflow as pf
from pyflow import dims
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Value
from pyflow.onnx.node import OnnxNode
from pyflow.onnx.table import onnx_op
from pyflow.ops.common import constant_array
from pyflow.ops.sources import holding

_AUTO = {"VALID": "valid", "SAME_UPPER": "same", "SAME_LOWER": "same_lower"}


def padding_of(node: OnnxNode, ndim: int) -> Any:
    """The attributes auto_pad and pads as pyflow's windows take them."""
    auto = node.get("auto_pad", "NOTSET")
    if auto in _AUTO:
        return _AUTO[auto]
    if auto != "NOTSET":
        raise InvalidArgumentError(f"unknown auto_pad {auto!r}")
    pads = node.get("pads") or [0] * (2 * ndim)
    if len(pads) != 2 * ndim:
        raise InvalidArgumentError(f"expected {2 * ndim} pads, got {len(pads)}")
    return [size for i in range(ndim) for size in (pads[i], pads[i + ndim])]


@onnx_op("Dropout", since=7)
def dropout_7(node: OnnxNode, x: Value) -> tuple[Value, ...]:
    return pf.identity(x), pf.broadcast_to(pf.constant(True), x.dims)


@onnx_op("Dropout", since=12)
def dropout(node: OnnxNode, x: Value, ratio: Value | None = None, training: Value | None = None) -> tuple[Value, ...]:
    known = None if training is None else node.known(training)
    if training is None or (known is not None and not known.any()):
        return pf.identity(x), pf.broadcast_to(pf.constant(True), x.dims)
    rate = pf.constant(np.float32(0.5)) if ratio is None else pf.cast(ratio, pf.float32)
    rate = pf.where(training, rate, np.float32(0))
    keep = pf.greater_equal(pf.random_uniform(x.dims, seed=node.get("seed")), rate)
    scale = pf.cast(pf.reciprocal(pf.subtract(np.float32(1), rate)), x.dtype)
    return pf.where(keep, pf.multiply(x, scale), pf.constant(np.zeros((), x.dtype.numpy))), keep


@onnx_op("GlobalAveragePool")
def global_average_pool(node: OnnxNode, x: Value) -> Value:
    return pf.mean(x, list(range(2, x.ndim)), True)


@onnx_op("GlobalMaxPool")
def global_max_pool(node: OnnxNode, x: Value) -> Value:
    return pf.max(x, list(range(2, x.ndim)), True)


def settled_conv(node: OnnxNode, x: Value, w: Value) -> dict[str, Any]:
    """What all convolutions share."""
    kernel = node.get("kernel_shape")
    if kernel is not None and tuple(kernel) != tuple(w.dims[2:]):
        raise InvalidArgumentError(f"kernel_shape is {list(kernel)}, the weights are {w.type}")
    return {
        "stride": node.get("strides") or 1,
        "padding": padding_of(node, x.ndim - 2),
        "dilation": node.get("dilations") or 1,
        "groups": node["group"],
    }


@onnx_op("Conv")
def conv(node: OnnxNode, x: Value, w: Value, bias: Value | None = None) -> Value:
    """A constant bias is a constant as the sum reads it too: a reshape would be folded in each compile."""
    function = pf.conv2d if x.ndim == 4 and x.dtype.is_floating else pf.conv
    settled = settled_conv(node, x, w)
    array = constant_array(bias) if bias is not None else None
    if array is None or array.ndim != 1:
        return function(x, w, bias, **settled)
    result: Value = pf.add(function(x, w, **settled), holding(array.reshape(-1, *(1,) * (x.ndim - 2))))
    return result


@onnx_op("DeformConv")
def deform_conv(
    node: OnnxNode, x: Value, w: Value, offset: Value, bias: Value | None = None, mask: Value | None = None
) -> Value:
    groups = node["offset_group"]
    return pf.deform_conv2d(x, offset, w, bias, mask=mask, offset_groups=groups, **settled_conv(node, x, w))


@onnx_op("ConvTranspose")
def conv_transpose(node: OnnxNode, x: Value, w: Value, bias: Value | None = None) -> Value:
    extra, shape = node.get("output_padding") or 0, node.get("output_shape")
    return pf.conv_transpose(x, w, bias, output_padding=extra, output_shape=shape, **settled_conv(node, x, w))


def _windows(node: OnnxNode, x: Value) -> dict[str, Any]:
    """What pools share; a stride that is left out is 1."""
    return {
        "kernel": node["kernel_shape"],
        "stride": node.get("strides") or 1,
        "padding": padding_of(node, x.ndim - 2),
        "dilation": node.get("dilations") or 1,
        "ceil_mode": bool(node.get("ceil_mode", 0)),
    }


@onnx_op("MaxPool")
def max_pool(node: OnnxNode, x: Value) -> Value | tuple[Value, Value]:
    """Indices count in all of x, with ``storage_order`` 1 in column-major order within a plane."""
    if not node.wants(1):
        return pf.max_pool(x, **_windows(node, x))
    return pf.max_pool_with_indices(x, column_major=bool(node["storage_order"]), whole=True, **_windows(node, x))


@onnx_op("AveragePool")
def average_pool(node: OnnxNode, x: Value) -> Value:
    include = bool(node.get("count_include_pad", 0))
    return pf.avg_pool(x, count_include_pad=include, **_windows(node, x))


@onnx_op("LpPool", since=2)
def lp_pool(node: OnnxNode, x: Value) -> Value:
    return pf.lp_pool(x, p=float(node["p"]), **_windows(node, x))


@onnx_op("GlobalLpPool", since=2)
def global_lp_pool(node: OnnxNode, x: Value) -> Value:
    return pf.global_lp_pool(x, float(node["p"]))


@onnx_op("MaxUnpool")
def max_unpool(node: OnnxNode, x: Value, indices: Value, shape: Value | None = None) -> Value:
    """Without ``output_shape``: the size that the pool of these attributes came from."""
    stride = node.get("strides") or [1] * (x.ndim - 2)
    pads = node.get("pads") or [0] * (2 * (x.ndim - 2))
    sizes = [
        dims.add(dims.mul(dims.add(size, -1), step), kernel - low - high)
        for size, step, kernel, low, high in zip(
            x.dims[2:], stride, node["kernel_shape"], pads[: x.ndim - 2], pads[x.ndim - 2 :], strict=True
        )
    ]
    made = pf.max_unpool(x, indices, sizes, whole=True)
    if shape is None:
        return made
    wanted = node.sizes(shape)
    after = [dims.add(size, dims.mul(have, -1)) for size, have in zip(wanted[2:], sizes, strict=True)]
    return pf.pad(made, [(0, 0), (0, 0), *((0, size) for size in after)])
