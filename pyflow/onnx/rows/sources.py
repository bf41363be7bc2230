"""Constants, shapes as values, what is made from nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import pyflow as pf
from pyflow import dtypes
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Value
from pyflow.onnx.importer import LARGEST_KNOWN
from pyflow.onnx.node import OnnxNode
from pyflow.onnx.table import onnx_op
from pyflow.onnx.tensors import dtype_of
from pyflow.ops.sources import holding

_AS = {
    "value": None,
    "sparse_value": None,
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
    "value_string": object,
    "value_strings": object,
}


@onnx_op("Constant")
def constant(node: OnnxNode) -> Value:
    given = [name for name, value in node.attrs.items() if value is not None]
    if len(given) != 1:
        raise InvalidArgumentError(f"expected one of the attributes {', '.join(_AS)}, got {given}")
    return holding(np.array(node[given[0]], _AS[given[0]]))


@onnx_op("ConstantOfShape")
def constant_of_shape(node: OnnxNode, shape: Value) -> Value:
    value = node.get("value")
    one = np.zeros((), np.float32) if value is None else np.asarray(value)
    if one.size != 1:
        raise InvalidArgumentError(f"the attribute 'value' has {one.size} elements; expected 1")
    return pf.broadcast_to(pf.constant(one.reshape(())), node.sizes(shape))


@onnx_op("Shape")
def shape(node: OnnxNode, x: Value) -> Value:
    sizes = pf.shape(x)
    start, end = node.get("start", 0), node.get("end")
    return sizes if not start and end is None else sizes[slice(start, end)]


@onnx_op("EyeLike")
def eye_like(node: OnnxNode, x: Value) -> Value:
    if x.ndim != 2:
        raise InvalidArgumentError(f"expected a matrix, got {x.type}")
    dtype = x.dtype if node.get("dtype") is None else node.dtype("dtype")
    rows, columns = (pf.arange(size) for size in x.dims)
    on = pf.equal(pf.add(pf.expand_dims(rows, 1), node["k"]), pf.expand_dims(columns, 0))
    return pf.cast(on, dtype)


@onnx_op("Range")
def range_(node: OnnxNode, start: Value, limit: Value, delta: Value) -> Value:
    if any(value.dims not in ((), (1,)) for value in (start, limit, delta)):
        raise InvalidArgumentError(f"expected three numbers, got {start.type}, {limit.type} and {delta.type}")
    start, limit, delta = bounds = tuple(
        pf.reshape(value, []) if value.ndim else value for value in (start, limit, delta)
    )
    known = [node.known(value) for value in bounds]
    if known[2] is not None and not known[2].item():
        raise InvalidArgumentError("expected a delta other than 0")
    if all(array is not None for array in known):
        low, high, by = (array.item() for array in known)  # type: ignore[union-attr]
        count = (high - low) / by
        if not math.isfinite(count) or count >= 2**63:
            raise InvalidArgumentError(f"from {low} to {high} by {by} are no, or too many, numbers")
        if count <= LARGEST_KNOWN:
            return pf.constant(np.arange(low, high, by).astype(start.dtype.numpy))
    wide = pf.float64 if start.dtype.is_floating else pf.int64
    step = node.known(delta)
    if wide is pf.int64 and step is not None and start.content is not None and limit.content is not None:
        return pf.cast(pf.arange(start.content, limit.content, int(step.item())), start.dtype)
    first, last, by = (pf.cast(value, wide) for value in bounds)
    count = pf.ceil(pf.divide(pf.cast(pf.subtract(last, first), pf.float64), pf.cast(by, pf.float64)))
    (size,) = node.sizes(pf.reshape(pf.cast(pf.maximum(count, 0.0), pf.int64), [1]))
    return pf.cast(pf.add(first, pf.multiply(pf.cast(pf.arange(size), wide), by)), start.dtype)


@onnx_op("OneHot")
def one_hot(node: OnnxNode, indices: Value, depth: Value, values: Value) -> Value:
    (size,) = node.sizes(pf.reshape(pf.cast(depth, pf.int64), [1]))
    whole = indices if indices.dtype.is_integer else pf.cast(indices, pf.int64)
    count = pf.cast(pf.shape(pf.broadcast_to(pf.constant(False), [size]))[0], whole.dtype)
    settled = pf.where(pf.less(whole, 0), pf.add(whole, count), whole)
    on = pf.one_hot(settled, size, pf.bool_, node["axis"])
    return pf.where(on, values[1], values[0])


def random_dtype(node: OnnxNode, like: Value | None) -> Any:
    """The dtype that a random op's result has."""
    if node.get("dtype") is not None:
        return dtype_of(node["dtype"], "the attribute 'dtype'")
    return dtypes.float32 if like is None else like.dtype


def _seed(node: OnnxNode) -> int | None:
    seed = node.get("seed")
    return None if seed is None else int(np.float32(seed).view(np.uint32))


@onnx_op("RandomUniform", "RandomUniformLike")
def random_uniform(node: OnnxNode, like: Value | None = None) -> Value:
    shape = node["shape"] if like is None else like.dims
    dtype = random_dtype(node, like)
    return pf.cast(pf.random_uniform(shape, node["low"], node["high"], seed=_seed(node)), dtype)


@onnx_op("RandomNormal", "RandomNormalLike")
def random_normal(node: OnnxNode, like: Value | None = None) -> Value:
    shape = node["shape"] if like is None else like.dims
    dtype = random_dtype(node, like)
    return pf.cast(pf.random_normal(shape, node["mean"], node["scale"], seed=_seed(node)), dtype)


@onnx_op("Multinomial")
def multinomial(node: OnnxNode, logits: Value) -> Value:
    """The input holds logarithms of probabilities, which need not sum to 1."""
    dtype = random_dtype(node, None) if node.get("dtype") else pf.int32
    return pf.cast(pf.categorical(logits, node["sample_size"], seed=_seed(node)), dtype)


@onnx_op("Bernoulli")
def bernoulli(node: OnnxNode, x: Value) -> Value:
    dtype = x.dtype if node.get("dtype") is None else node.dtype("dtype")
    drawn = pf.random_uniform(x.dims, seed=_seed(node))
    return pf.cast(pf.less(drawn, pf.cast(x, pf.float32)), dtype)
