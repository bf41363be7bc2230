"""Quantised numbers: to and from them, and products of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dtypes
from pyflow.apply import convert
from pyflow.dtypes import DType
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import BOOLEAN, DTYPE, EVERY, FLOATS, INT, NUMERIC, call
from pyflow.ops.arrays.indexing import gather, iota
from pyflow.ops.arrays.shape import expand_dims, reshape
from pyflow.ops.common import normalise_axis
from pyflow.ops.composite import GIVEN, composite, optional, per_channel, present
from pyflow.ops.elementwise.casting import cast
from pyflow.ops.layers.conv_nd import conv

__all__ = [
    "conv_integer",
    "dequantize_linear",
    "dynamic_quantize_linear",
    "fake_quantize",
    "matmul_integer",
    "qlinear_conv",
    "qlinear_matmul",
    "quantize_linear",
]

LIMITS = {
    "int2": (-2, 1),
    "uint2": (0, 3),
    "int4": (-8, 7),
    "uint4": (0, 15),
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
    "uint16": (0, 65535),
    "int32": (-(2**31), 2**31 - 1),
}
"""The least and the largest number of each integer dtype that values are quantised to."""


def _spread(parameter: Value, x: Value, axis: int, block: int) -> Value:
    """A scale or zero point as it broadcasts to ``x``: one number, one per element of ``axis``, or one per block."""
    if _is_one(parameter, block):
        return reshape(parameter, ())
    if not block:
        return reshape(parameter, (-1, *(1,) * (x.ndim - axis - 1)))
    return gather(parameter, iota(x.dims[axis]) // block, axis)


def _is_one(value: Value, block: int) -> bool:
    """One number for all elements, 0-d or in a row of its own."""
    return value.ndim == 0 or (value.ndim == 1 and value.dims[0] == 1 and not block)


def _check(x: Value, scale: Value, *more: Value, axis: int, block: int, **rest: Any) -> dict[str, Any]:
    if scale.ndim > 1 and not block:
        raise InvalidArgumentError(f"expected a scale of 0 or 1 axes without block_size, got {scale.type}")
    if block and scale.ndim != x.ndim:
        raise InvalidArgumentError(f"expected a scale of the rank of x: {x.type} with block_size, got {scale.type}")
    if block < 0 or any(
        value.ndim != scale.ndim and not (_is_one(value, block) and _is_one(scale, block)) for value in more
    ):
        raise InvalidArgumentError(f"expected block_size >= 0 and a zero point of the shape of scale: {scale.type}")
    return {"axis": 0 if _is_one(scale, block) else normalise_axis(axis, x.ndim, f"x: {x.type}")}


def _quantize_expand(
    x: Value,
    scale: Value,
    *more: Value,
    given: Sequence[str],
    axis: int,
    block: int,
    dtype: DType,
    saturate: bool,
    precision: DType,
) -> Value:
    (zero,) = optional(given, more, "zero")
    scaled = call("cast", x, precision) / call("cast", _spread(scale, x, axis, block), precision)
    if dtype.name not in LIMITS:
        kept: Value = cast(scaled, dtype, saturate and dtype.name.startswith("float8"))
        return kept
    low, high = LIMITS[dtype.name]
    rounded = call("round", scaled)
    if zero is not None:
        rounded = rounded + call("cast", _spread(zero, x, axis, block), precision)
    result: Value = call("cast", call("clip", rounded, float(low), float(high)), dtype)
    return result


def _spread_ref(parameter: np.ndarray, shape: Sequence[int], axis: int, block: int) -> np.ndarray:
    if parameter.size == 1 and not block:
        return parameter.reshape(())
    if block:
        return np.repeat(parameter, block, axis)[tuple(slice(size) for size in shape)]
    return parameter.reshape([-1 if i == axis else 1 for i in range(len(shape))])


def _quantize_ref(
    x: np.ndarray,
    scale: np.ndarray,
    *more: np.ndarray,
    given: Sequence[str],
    axis: int,
    block: int,
    dtype: DType,
    saturate: bool,
    precision: DType,
) -> np.ndarray:
    wide = precision.numpy
    scaled = x.astype(wide) / _spread_ref(scale, x.shape, axis, block).astype(wide)
    if dtype.name not in LIMITS:
        return dtypes.converted(scaled, dtype, saturate and dtype.name.startswith("float8"))
    low, high = LIMITS[dtype.name]
    zero = _spread_ref(more[0], x.shape, axis, block).astype(np.float64) if more else 0.0
    return np.clip(np.rint(scaled).astype(np.float64) + zero, low, high).astype(np.int64).astype(dtype.numpy)


_quantize = composite(
    "quantize_linear",
    "x:T, scale:S, *more:*",
    attrs={
        "given": GIVEN,
        "axis": INT,
        "block": INT,
        "dtype": DTYPE,
        "saturate": BOOLEAN,
        "precision": DTYPE,
    },
    kinds={"T": NUMERIC, "S": FLOATS | {dtypes.float8_e8m0fnu}},
    canonical=_check,
    expand=_quantize_expand,
    ref=_quantize_ref,
    onnx="QuantizeLinear",
    doc="``round(x / scale) + zero_point``, saturated; see :func:`pyflow.quantize_linear`.",
)


def quantize_linear(
    x: Any,
    scale: Any,
    zero_point: Any = None,
    axis: int = 1,
    block_size: int = 0,
    dtype: Any = None,
    saturate: bool = True,
    precision: Any = None,
    *,
    name: str | None = None,
) -> Value:
    """``x / scale`` rounded (halves to even), plus ``zero_point``, saturated to a small dtype; as ONNX defines it.

    x: numeric. scale: floating; one number, one per element of ``axis``, or with ``block_size`` one per block of that
        many elements along it. zero_point: of scale's shape and the result's dtype; None: 0.
    dtype: int2 to int16, uint2 to uint16, a float8 or float4 (default: that of zero_point, else uint8); float8
        saturates if ``saturate``. precision: the dtype of the division; default: that of scale, at least float32.
    """
    value, factor = convert(x), convert(scale)
    zero = None if zero_point is None else convert(zero_point)
    wanted = dtypes.as_dtype(dtype) if dtype is not None else zero.dtype if zero is not None else dtypes.uint8
    if wanted.name not in LIMITS and not wanted.storage_only:
        what = f"expected an integer of at most 32 bits, float8 or float4, got {wanted}"
        raise InvalidArgumentError(message("quantize_linear", what, user_origin()))
    wide = dtypes.float64 if dtypes.float64 in (factor.dtype, value.dtype) else dtypes.float32
    given, more = present(zero=zero if wanted.name in LIMITS else None)
    result: Value = _quantize(
        value,
        factor,
        *more,
        given=given,
        axis=axis,
        block=block_size,
        dtype=wanted,
        saturate=saturate,
        precision=wide if precision is None else precision,
        name=name,
    )
    return result


def _dequantize_expand(
    x: Value, scale: Value, *more: Value, given: Sequence[str], axis: int, block: int, dtype: DType
) -> Value:
    (zero,) = optional(given, more, "zero")
    wide = dtypes.float64 if dtype is dtypes.float64 else dtypes.float32
    if zero is not None and x.dtype.is_integer:
        moved = call("cast", x, dtypes.int64) - call("cast", _spread(zero, x, axis, block), dtypes.int64)
    else:
        moved = x
    factor = call("cast", _spread(scale, x, axis, block), wide)
    result: Value = call("cast", call("cast", moved, wide) * factor, dtype)
    return result


def _dequantize_ref(
    x: np.ndarray, scale: np.ndarray, *more: np.ndarray, given: Sequence[str], axis: int, block: int, dtype: DType
) -> np.ndarray:
    wide = np.float64 if dtype is dtypes.float64 else np.float32
    zero = _spread_ref(more[0], x.shape, axis, block).astype(np.float64) if more else 0.0
    moved = (x.astype(np.float64) - zero).astype(wide)
    return (moved * _spread_ref(scale, x.shape, axis, block).astype(wide)).astype(dtype.numpy)


_dequantize = composite(
    "dequantize_linear",
    "x:T, scale:S, *more:*",
    attrs={"given": GIVEN, "axis": INT, "block": INT, "dtype": DTYPE},
    kinds={"T": EVERY, "S": FLOATS | {dtypes.float8_e8m0fnu}},
    canonical=_check,
    expand=_dequantize_expand,
    ref=_dequantize_ref,
    onnx="DequantizeLinear",
    doc="``(x - zero_point) * scale``; see :func:`pyflow.dequantize_linear`.",
)


def dequantize_linear(
    x: Any,
    scale: Any,
    zero_point: Any = None,
    axis: int = 1,
    block_size: int = 0,
    dtype: Any = None,
    *,
    name: str | None = None,
) -> Value:
    """``(x - zero_point) * scale``: what :func:`pyflow.quantize_linear` made, nearly.

    x: integers, float8 or float4. scale, zero_point, axis, block_size: as there. dtype: of the result, default: that of
    scale.
    """
    value, factor = convert(x), convert(scale)
    given, more = present(zero=zero_point if value.dtype.name in LIMITS else None)
    wanted = factor.dtype if dtype is None else dtypes.as_dtype(dtype)
    result: Value = _dequantize(value, factor, *more, given=given, axis=axis, block=block_size, dtype=wanted, name=name)
    return result


def dynamic_quantize_linear(x: Any) -> tuple[Value, Value, Value]:
    """``(y, scale, zero_point)``: ``x`` (floating) as uint8 over its own range, which is widened to hold 0."""
    value = convert(x)
    low = call("minimum", call("min", value), 0)
    high = call("maximum", call("max", value), 0)
    scale = (high - low) / 255.0
    safe = call("where", scale == 0, 1, scale)
    zero = call("cast", call("clip", call("round", 0 - low / safe), 0, 255), dtypes.uint8)
    return quantize_linear(value, safe, zero), scale, zero


def fake_quantize(x: Any, scale: Any, zero_point: Any = 0, low: int = 0, high: int = 255, axis: int = 1) -> Value:
    """``x`` rounded to what ``low ... high`` hold with ``scale`` and ``zero_point``, still floating.

    scale, zero_point: one number or one per element of ``axis``. The gradient passes where nothing was cut off.
    """
    value = convert(x)
    factor, zero = (convert(entry, value.dtype) for entry in (scale, zero_point))
    along = normalise_axis(axis, value.ndim) if factor.ndim or zero.ndim else 0
    factor, zero = (_spread(entry, value, along, 0) for entry in (factor, zero))
    exact = value / factor + zero
    kept = call("clip", exact, float(low), float(high))
    rounded = call("clip", call("round", value / factor) + zero, float(low), float(high))
    result: Value = (kept + call("stop_gradient", rounded - kept) - zero) * factor
    return result


def _exact(x: Any, zero: Any, axis: int | None = None) -> Value:
    """``x - zero`` in int32; a zero point per row or channel lies along ``axis``."""
    value = convert(x)
    wide: Value = call("cast", value, dtypes.int32)
    if zero is None:
        return wide
    point = call("cast", convert(zero), dtypes.int32)
    if point.ndim == 1 and point.dims[0] == 1:
        point = reshape(point, ())
    if point.ndim == 1 and axis is not None:
        point = reshape(point, (-1, *(1,) * (wide.ndim - axis % wide.ndim - 1)))
    return wide - point


def matmul_integer(a: Any, b: Any, a_zero_point: Any = None, b_zero_point: Any = None) -> Value:
    """``(a - a_zero_point) @ (b - b_zero_point)`` of 8-bit integers, exact in int32.

    a_zero_point: one number or one per row of a; b_zero_point: one number or one per column of b.
    """
    result: Value = call("matmul", _exact(a, a_zero_point, -2), _exact(b, b_zero_point, -1))
    return result


def _requantized(product: Value, scale: Any, y_scale: Any, y_zero_point: Any) -> Value:
    factor = call("cast", convert(scale), dtypes.float32) / call("cast", convert(y_scale), dtypes.float32)
    zero = convert(y_zero_point)
    low, high = LIMITS[zero.dtype.name]
    scaled = call("round", call("cast", product, dtypes.float32) * factor)
    moved = scaled + call("cast", reshape(zero, ()) if zero.ndim == 1 and zero.dims[0] == 1 else zero, dtypes.float32)
    result: Value = call("cast", call("clip", moved, float(low), float(high)), zero.dtype)
    return result


def _one(value: Any) -> Value:
    """A scale of one number as 0-d."""
    scale = convert(value)
    return reshape(scale, ()) if scale.ndim == 1 and scale.dims[0] == 1 else scale


def qlinear_matmul(
    a: Any,
    a_scale: Any,
    a_zero_point: Any,
    b: Any,
    b_scale: Any,
    b_zero_point: Any,
    y_scale: Any,
    y_zero_point: Any,
) -> Value:
    """The product of quantised matrices, quantised: exact in int32, then scaled in float32.

    Scales and zero points: one number, or one per row of a and one per column of b; those of y are one number.
    """
    product = matmul_integer(a, b, a_zero_point, b_zero_point)
    left, right = _one(a_scale), _one(b_scale)
    left = expand_dims(left, left.ndim) if left.ndim else left
    return _requantized(product, left * right, _one(y_scale), y_zero_point)


def conv_integer(
    x: Any,
    w: Any,
    x_zero_point: Any = None,
    w_zero_point: Any = None,
    stride: Any = 1,
    padding: Any = "valid",
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    """Convolution of 8-bit integers less their zero points, exact in int32; padding is x's zero point.

    w_zero_point: one number or one per output channel; the rest as for :func:`pyflow.conv`.
    """
    left, right = _exact(x, x_zero_point), _exact(w, w_zero_point, 0)
    return conv(left, right, None, stride, padding, dilation, groups)


def qlinear_conv(
    x: Any,
    x_scale: Any,
    x_zero_point: Any,
    w: Any,
    w_scale: Any,
    w_zero_point: Any,
    y_scale: Any,
    y_zero_point: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = "valid",
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    """The convolution of quantised values, quantised: exact in int32, then scaled in float32.

    w_scale, w_zero_point: one number or one per output channel. bias: int32 [O], of the scale ``x_scale * w_scale``.
    """
    product = conv_integer(x, w, x_zero_point, w_zero_point, stride, padding, dilation, groups)
    if bias is not None:
        product = product + per_channel(convert(bias), product.ndim)
    scale = _one(x_scale) * _one(w_scale)
    scale = per_channel(scale, product.ndim) if scale.ndim else scale
    return _requantized(product, scale, _one(y_scale), y_zero_point)
