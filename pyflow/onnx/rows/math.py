"""Element-wise ops, casts and products."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pyflow as pf
from pyflow import dims, dtypes
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Value
from pyflow.onnx.node import OnnxNode, present
from pyflow.onnx.table import onnx_op


def never_negative(value: Value) -> bool:
    """Whether the sizes that ``value`` holds, as far as that is known, are all 0 or more."""
    if value.dtype.kind == "u":
        return True
    if value.content is None:
        return False
    entries = value.content if isinstance(value.content, tuple) else (value.content,)
    return all((dims.bounds(entry)[0] or 0) >= 0 and dims.bounds(entry)[0] is not None for entry in entries)


@onnx_op("Div")
def div(node: OnnxNode, x: Value, y: Value) -> Value:
    """Integers: rounded towards 0."""
    if not x.dtype.is_integer:
        return pf.divide(x, y)
    quotient = pf.floor_divide(x, y)
    if never_negative(x) and never_negative(y):
        return quotient
    inexact = pf.not_equal(pf.multiply(quotient, y), x)
    return pf.where(pf.logical_and(inexact, pf.less(quotient, 0)), pf.add(quotient, 1), quotient)


@onnx_op("Mod")
def mod(node: OnnxNode, x: Value, y: Value) -> Value:
    return pf.fmod(x, y) if node["fmod"] else pf.mod(x, y)


@onnx_op("Pow")
def power(node: OnnxNode, x: Value, y: Value) -> Value:
    """The result is of x's type."""
    if x.dtype is y.dtype or x.dtype.is_floating:
        return pf.pow(x, pf.cast(y, x.dtype))
    if y.dtype.is_floating:
        return pf.cast(pf.pow(pf.cast(x, y.dtype), y), x.dtype)
    common = pf.int64
    return pf.cast(pf.pow(pf.cast(x, common), pf.cast(y, common)), x.dtype)


def _folded(function: Any) -> Any:
    return lambda node, *values: reduce(function, present(values)) if len(values) > 1 else pf.identity(values[0])


onnx_op("Max")(_folded(lambda x, y: pf.maximum(x, y)))
onnx_op("Min")(_folded(lambda x, y: pf.minimum(x, y)))
onnx_op("Sum")(_folded(lambda x, y: pf.add(x, y)))


@onnx_op("Mean")
def mean(node: OnnxNode, *values: Value) -> Value:
    return pf.divide(reduce(pf.add, present(values)), float(len(values)))


@onnx_op("Clip", since=6)
def clip_6(node: OnnxNode, x: Value) -> Value:
    return pf.clip(x, node["min"], node["max"])


@onnx_op("Clip", since=11)
def clip(node: OnnxNode, x: Value, low: Value | None = None, high: Value | None = None) -> Value:
    return pf.clip(x, low, high) if low is not None or high is not None else pf.identity(x)


@onnx_op("IsInf")
def is_inf(node: OnnxNode, x: Value) -> Value:
    positive, negative = bool(node["detect_positive"]), bool(node["detect_negative"])
    if positive and negative:
        return pf.isinf(x)
    one_side = pf.greater(x, 0) if positive else pf.less(x, 0)
    return pf.logical_and(pf.isinf(x), one_side if positive or negative else pf.not_equal(x, x))


@onnx_op("BitShift")
def bit_shift(node: OnnxNode, x: Value, y: Value) -> Value:
    if node["direction"] not in ("LEFT", "RIGHT"):
        raise InvalidArgumentError(f"expected the direction LEFT or RIGHT, got {node['direction']!r}")
    return pf.bitwise_left_shift(x, y) if node["direction"] == "LEFT" else pf.bitwise_right_shift(x, y)


@onnx_op("Cast")
def cast(node: OnnxNode, x: Value) -> Value:
    return _cast(node, x, node.dtype("to"))


@onnx_op("BitCast")
def bit_cast(node: OnnxNode, x: Value) -> Value:
    """Integers of 2 and 4 bits are wrapped, which keeps their bits."""
    dtype = node.dtype("to")
    if dtype.bits == x.dtype.bits < 8 and dtype.is_integer and x.dtype.is_integer:
        return pf.cast(x, dtype)
    return pf.bitcast(x, dtype)


@onnx_op("CastLike")
def cast_like(node: OnnxNode, x: Value, like: Value) -> Value:
    return _cast(node, x, like.dtype)


def _cast(node: OnnxNode, x: Value, dtype: Any) -> Value:
    """Of a number beyond a 2- or 4-bit integer the lowest bits are kept, wherever it comes from."""
    if x.dtype is dtype:
        return pf.identity(x)
    if dtype.is_integer and dtype.storage_only and x.dtype.is_floating:
        return pf.cast(pf.cast(x, pf.int32), dtype)
    if dtype is dtypes.float8_e8m0fnu:
        return _power_of_two(x, bool(node.get("saturate", 1)), node.get("round_mode", "up"))
    if dtype.name.startswith("float8"):
        return pf.cast(x, dtype, saturate=bool(node.get("saturate", 1)))
    return pf.cast(x, dtype)


def _power_of_two(x: Value, saturate: bool, rounding: str) -> Value:
    """x as float8_e8m0fnu: its exponent, moved by one where the fraction rounds up."""
    bits = pf.cast(pf.bitcast(pf.cast(x, pf.float32), pf.uint32), pf.int64)
    exponent = pf.bitwise_and(pf.bitwise_right_shift(bits, 23), 255)
    fraction, half = pf.bitwise_and(bits, 0x7FFFFF), 0x400000
    if rounding == "up":
        up = pf.greater(fraction, 0)
    elif rounding == "nearest":
        tie = pf.logical_and(pf.equal(fraction, half), pf.greater(exponent, 0))
        up = pf.logical_or(pf.greater(fraction, half), tie)
    elif rounding == "down":
        up = pf.less(fraction, 0)
    else:
        raise InvalidArgumentError(f"expected the round_mode up, nearest or down, got {rounding!r}")
    up = pf.logical_and(up, pf.less(exponent, 254 if saturate else 255))
    moved = pf.cast(pf.add(exponent, pf.cast(up, pf.int64)), pf.uint8)
    return pf.bitcast(moved, dtypes.float8_e8m0fnu)


@onnx_op("MatMul")
def matmul(node: OnnxNode, x: Value, y: Value) -> Value:
    return pf.matmul(x, y)


@onnx_op("Det")
def det(node: OnnxNode, x: Value) -> Value:
    return pf.linalg.det(x)


@onnx_op("Einsum")
def einsum(node: OnnxNode, *values: Value) -> Value:
    return pf.einsum(node["equation"], *present(values))


@onnx_op("Gemm", since=7)
def gemm(node: OnnxNode, x: Value, y: Value, c: Value | None = None) -> Value:
    if x.ndim != 2 or y.ndim != 2:
        raise InvalidArgumentError(f"expected matrices, got {x.type} and {y.type}")
    x = pf.transpose(x) if node["transA"] else x
    y = pf.transpose(y) if node["transB"] else y
    product = scaled(pf.matmul(x, y), node["alpha"])
    return product if c is None else pf.add(product, scaled(c, node["beta"]))


def scaled(x: Value, factor: float) -> Value:
    """``x * factor`` in x's dtype."""
    if factor == 1:
        return x
    number = int(factor) if x.dtype.is_integer else factor
    return pf.multiply(x, number)
