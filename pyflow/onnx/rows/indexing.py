"""Gather and scatter, sorting, what is found by the data."""

from __future__ import annotations

from typing import Any

import pyflow as pf
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Value
from pyflow.onnx.node import OnnxNode
from pyflow.onnx.rows.shapes import size_value
from pyflow.onnx.table import onnx_op
from pyflow.ops.common import normalise_axis


@onnx_op("Gather")
def gather(node: OnnxNode, x: Value, indices: Value) -> Value:
    return pf.gather(x, indices, node["axis"])


@onnx_op("GatherElements")
def gather_elements(node: OnnxNode, x: Value, indices: Value) -> Value:
    return pf.gather_elements(x, indices, node["axis"])


@onnx_op("GatherND")
def gather_nd(node: OnnxNode, x: Value, indices: Value) -> Value:
    return pf.gather_nd(x, indices, node.get("batch_dims", 0))


@onnx_op("ScatterElements", "Scatter")
def scatter_elements(node: OnnxNode, x: Value, indices: Value, updates: Value) -> Value:
    return pf.scatter_elements(x, indices, updates, node["axis"], node.get("reduction", "none"))


@onnx_op("ScatterND")
def scatter_nd(node: OnnxNode, x: Value, indices: Value, updates: Value) -> Value:
    return pf.scatter_nd(x, indices, updates, reduction=node.get("reduction", "none"))


@onnx_op("TensorScatter")
def tensor_scatter(node: OnnxNode, past: Value, update: Value, indices: Value | None = None) -> Value:
    """``update`` written into the cache at each batch's place along ``axis``; "circular" wraps around."""
    axis = normalise_axis(node["axis"], past.ndim)
    if axis == 0:
        raise InvalidArgumentError("the batch is axis 0; expected another axis")
    steps = pf.arange(update.dims[axis])
    if indices is None:
        place = pf.expand_dims(steps, 0)
    else:
        place = pf.add(pf.expand_dims(pf.cast(indices, pf.int64), 1), steps)
    if node["mode"] == "circular":
        place = pf.mod(place, size_value(past.dims[axis]))
    shape = [1] * past.ndim
    shape[0], shape[axis] = place.dims
    return pf.scatter_elements(past, pf.broadcast_to(pf.reshape(place, shape), update.dims), update, axis)


@onnx_op("TopK")
def top_k_1(node: OnnxNode, x: Value) -> tuple[Value, Value]:
    return pf.top_k(x, node["k"], node["axis"])


@onnx_op("TopK", since=10)
def top_k(node: OnnxNode, x: Value, k: Value) -> tuple[Value, Value]:
    (count,) = node.sizes(pf.reshape(k, [1]))
    return pf.top_k(x, count, node["axis"], bool(node.get("largest", 1)), bool(node.get("sorted", 1)))


@onnx_op("Unique")
def unique(node: OnnxNode, x: Value) -> tuple[Value, ...]:
    axis = node.get("axis") if x.ndim != 1 else None
    return pf.unique(x, True, True, True, bool(node["sorted"]), axis)


@onnx_op("NonZero")
def nonzero(node: OnnxNode, x: Value) -> Value:
    return pf.nonzero(x)


@onnx_op("Compress")
def compress(node: OnnxNode, x: Value, condition: Value) -> Value:
    axis = node.get("axis")
    if axis is None:
        x, axis = pf.reshape(x, [-1]), 0
    return pf.gather(x, pf.reshape(pf.nonzero(condition), [-1]), axis)


@onnx_op("ReverseSequence")
def reverse_sequence(node: OnnxNode, x: Value, lengths: Value) -> Value:
    batch, time = node["batch_axis"], node["time_axis"]
    if {batch, time} != {0, 1} or x.ndim < 2:
        raise InvalidArgumentError(f"batch_axis and time_axis must be 0 and 1, got {batch} and {time} for {x.type}")
    steps, length = pf.arange(x.dims[time]), pf.cast(lengths, pf.int64)
    steps, length = pf.expand_dims(steps, batch), pf.expand_dims(length, time)
    place = pf.where(pf.less(steps, length), pf.subtract(pf.subtract(length, steps), 1), steps)
    place = pf.reshape(place, [*place.dims, *[1] * (x.ndim - 2)])
    return pf.gather_elements(x, pf.broadcast_to(place, x.dims), time)


def _cumulative(function: Any) -> Any:
    def row(node: OnnxNode, x: Value, axis: Value) -> Value:
        at = node.known(axis)
        exclusive, reverse = bool(node["exclusive"]), bool(node["reverse"])
        if at is not None:
            return pf.cast(function(x, int(at.reshape(()).item()), exclusive, reverse), x.dtype)
        results = [pf.cast(function(x, i, exclusive, reverse), x.dtype) for i in range(x.ndim)]
        place = pf.mod(pf.reshape(pf.cast(axis, pf.int64), []), x.ndim)
        result = results[0]
        for i, other in enumerate(results[1:], 1):
            result = pf.where(pf.equal(place, i), other, result)
        return result

    return row


onnx_op("CumSum")(_cumulative(pf.cumsum))
onnx_op("CumProd")(_cumulative(pf.cumprod))
