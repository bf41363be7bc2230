"""Reductions, softmax and what is like it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import pyflow as pf
from pyflow import dims
from pyflow.errors import UnimplementedError
from pyflow.graph import Value
from pyflow.onnx.node import OnnxNode
from pyflow.onnx.rows.shapes import named, size_value
from pyflow.onnx.table import onnx_op
from pyflow.ops.common import normalise_axes, normalise_axis

Reduce = Callable[[Value, Any, bool], Value]


def in_its_dtype(function: Callable[..., Value]) -> Reduce:
    """The reduction, in the dtype of what it reduces."""
    return lambda x, axes, keep: pf.cast(function(x, axes, keep), x.dtype)


def _sum(x: Value, axes: Any, keep: bool) -> Value:
    return pf.cast(pf.sum(x, axes, keep), x.dtype)


def _extreme(function: Callable[..., Value], outermost: Callable[[Any], Any]) -> Reduce:
    """The largest or smallest; of nothing, the value that none is beyond."""

    def reduce(x: Value, axes: Any, keep: bool) -> Value:
        over = normalise_axes(axes, x.ndim)
        if over and any(not isinstance(x.dims[axis], int) or x.dims[axis] == 0 for axis in over):
            pads = [(0, int(axis in over)) for axis in range(x.ndim)]
            x = pf.pad(x, pads, pf.constant(np.asarray(outermost(x.dtype), x.dtype.numpy)))
        return function(x, axes, keep)

    return reduce


def _limit(dtype: Any, sign: int) -> Any:
    if dtype.is_floating:
        return sign * np.inf
    return sign > 0 if dtype is pf.bool_ else getattr(np.iinfo(dtype.numpy), "max" if sign > 0 else "min")


REDUCE: dict[str, Reduce] = {
    "ReduceSum": _sum,
    "ReduceMean": in_its_dtype(pf.mean),
    "ReduceMax": _extreme(pf.max, lambda dtype: _limit(dtype, -1)),
    "ReduceMin": _extreme(pf.min, lambda dtype: _limit(dtype, 1)),
    "ReduceProd": in_its_dtype(pf.prod),
    "ReduceL1": lambda x, axes, keep: _sum(pf.abs(x), axes, keep),
    "ReduceL2": lambda x, axes, keep: pf.cast(pf.sqrt(_sum(pf.square(x), axes, keep)), x.dtype),
    "ReduceSumSquare": lambda x, axes, keep: _sum(pf.square(x), axes, keep),
    "ReduceLogSum": lambda x, axes, keep: pf.cast(pf.log(_sum(x, axes, keep)), x.dtype),
    "ReduceLogSumExp": in_its_dtype(pf.logsumexp),
}
AXES_ARE_AN_INPUT = {name: 13 if name == "ReduceSum" else 18 for name in REDUCE}


def _by_attribute(function: Reduce) -> Any:
    def row(node: OnnxNode, x: Value) -> Value:
        return function(x, node.get("axes"), bool(node["keepdims"]))

    return row


def _by_input(function: Reduce) -> Any:
    def row(node: OnnxNode, x: Value, axes: Value | None = None) -> Value:
        if axes is not None and node.content(axes) is None:
            return _at_run_time(node, function, x, axes)
        over = None if axes is None else node.ints(axes, "the input 'axes'")
        if not over and node["noop_with_empty_axes"]:
            return function(x, [], True)
        return function(x, over or None, bool(node["keepdims"]))

    return row


def _at_run_time(node: OnnxNode, function: Reduce, x: Value, axes: Value) -> Value:
    """Over axes that a run tells, of which the number is known: they are brought to the end by one gather."""
    count = axes.dims[0] if axes.ndim == 1 else None
    if not isinstance(count, int) or count > x.ndim:
        raise UnimplementedError(f"how many axes are reduced is not known: {axes.type}")
    chosen = named(axes, x.ndim)
    places = pf.concat(
        [
            pf.reshape(pf.nonzero(pf.logical_not(chosen)), [x.ndim - count]),
            pf.reshape(pf.nonzero(chosen), [count]),
        ]
    )
    sizes = pf.shape(x)
    strides = pf.stack([size_value(dims.product(x.dims[axis + 1 :])) for axis in range(x.ndim)])
    index, flat, inner = pf.constant(0), pf.arange(dims.product(x.dims)), pf.constant(1)
    for place in reversed(range(x.ndim)):
        size = pf.gather(sizes, places[place])
        at = pf.mod(pf.floor_divide(flat, pf.maximum(inner, 1)), pf.maximum(size, 1))
        index = pf.add(index, pf.multiply(at, pf.gather(strides, places[place])))
        inner = pf.multiply(inner, size)
    moved = pf.gather(pf.reshape(x, [-1]), index)
    kept = node.sizes(pf.gather(sizes, places[: x.ndim - count]))
    last = node.sizes(pf.reshape(pf.prod(pf.gather(sizes, places[x.ndim - count :])), [1]))
    result = function(pf.reshape(moved, [*kept, *last]), [x.ndim - count], False)
    return pf.reshape(result, node.sizes(pf.where(chosen, 1, sizes))) if node["keepdims"] else result


for _name, _function in REDUCE.items():
    onnx_op(_name)(_by_attribute(_function))
    onnx_op(_name, since=AXES_ARE_AN_INPUT[_name])(_by_input(_function))


def _arg(function: Callable[..., Value]) -> Any:
    def row(node: OnnxNode, x: Value) -> Value:
        axis, keep = normalise_axis(node["axis"], x.ndim), bool(node["keepdims"])
        if not node.get("select_last_index"):
            return function(x, axis, keep)
        last = pf.subtract(pf.shape(x)[axis], 1)
        return pf.subtract(last, function(pf.flip(x, axis), axis, keep))

    return row


onnx_op("ArgMax")(_arg(pf.argmax))
onnx_op("ArgMin")(_arg(pf.argmin))


def _along(function: Callable[..., Value]) -> Any:
    return lambda node, x: function(x, axis=node["axis"])


def _flattened(function: Callable[..., Value]) -> Any:
    """Before version 13: over all axes from ``axis`` on, as one."""

    def row(node: OnnxNode, x: Value) -> Value:
        axis = normalise_axis(node["axis"], x.ndim)
        rows = pf.reshape(x, [dims.product(x.dims[:axis]), dims.product(x.dims[axis:])])
        return pf.reshape(function(rows, axis=1), x.dims)

    return row


def hardmax_of(x: Value, axis: int) -> Value:
    """1 at the first largest element along ``axis``, else 0."""
    axis = normalise_axis(axis, x.ndim)
    return pf.one_hot(pf.argmax(x, axis), x.dims[axis], x.dtype, axis)


for _name, _function in {"Softmax": pf.softmax, "LogSoftmax": pf.log_softmax, "Hardmax": hardmax_of}.items():
    onnx_op(_name)(_flattened(_function))
    onnx_op(_name, since=13)(_along(_function))
