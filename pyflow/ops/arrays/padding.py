"""Padding with elements of the value itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyflow import dims
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Value
from pyflow.opdef import EVERY, SIZES, TensorType, call, choice, define
from pyflow.ops.arrays.indexing import arange
from pyflow.ops.sizes import differ

__all__ = ["pad_repeated"]

PAD_MODES = ("edge", "reflect", "symmetric", "wrap")


def _infer(x: Value, *, before: tuple[Size, ...], after: tuple[Size, ...], mode: str) -> TensorType:
    if len(before) != x.ndim or len(after) != x.ndim:
        raise InvalidArgumentError(f"expected a (before, after) pair per axis of x: {x.type}, got {len(before)}")
    sizes = []
    for axis, (size, low, high) in enumerate(zip(x.dims, before, after, strict=True)):
        total = dims.add(size, dims.add(low, high))
        if size == 0 and differ(total, 0):
            raise InvalidArgumentError(f"axis {axis} of x: {x.type} has no elements to pad with")
        if differ(dims.maximum(total, 0), total):
            raise InvalidArgumentError(f"axis {axis} of x: {x.type}, cropped by {low} and {high}, has a negative size")
        sizes.append(total)
    return TensorType(x.dtype, tuple(sizes))


def _number(size: Size) -> Any:
    return size if isinstance(size, int) else call("sizes", (size,), scalar=True)


def _places(size: Size, low: Size, high: Size, mode: str) -> Value:
    """Which elements of an axis the padded axis holds."""
    count = _number(size)
    place = arange(dims.add(size, dims.add(low, high))) - _number(low)
    if mode == "edge":
        result: Value = call("clip", place, 0, count - 1)
    elif mode == "wrap":
        result = place % count
    else:
        turn = count * 2 if mode == "symmetric" else (count - 1) * 2
        there = place % call("maximum", turn, 1)
        result = call("minimum", there, turn - there - (1 if mode == "symmetric" else 0))
        result = call("maximum", result, 0)
    return result


def _expand(x: Value, *, before: tuple[Size, ...], after: tuple[Size, ...], mode: str) -> Value:
    for axis, (low, high) in enumerate(zip(before, after, strict=True)):
        if (low, high) != (0, 0):
            x = call("gather", x, _places(x.dims[axis], low, high, mode), axis)
    return x


def _ref(x: np.ndarray, *, before: tuple[int, ...], after: tuple[int, ...], mode: Any) -> np.ndarray:
    for axis, (low, high) in enumerate(zip(before, after, strict=True)):
        places = np.pad(np.arange(x.shape[axis]), (max(low, 0), max(high, 0)), mode)
        x = np.take(x, places[max(-low, 0) : len(places) - max(-high, 0)], axis=axis)
    return x


pad_repeated = define(
    "pad_repeated",
    "x:T",
    attrs={"before": SIZES, "after": SIZES, "mode": choice(*PAD_MODES)},
    kinds={"T": EVERY},
    infer=_infer,
    ref=_ref,
    expand=_expand,
    onnx="Pad",
    doc="""``x`` with ``before`` and ``after`` more (or, negative, fewer) elements per axis, taken from ``x``.

    mode: ``"edge"`` repeats the last element, ``"reflect"`` mirrors at it, ``"symmetric"`` mirrors behind it, so that
    it comes twice, ``"wrap"`` goes on at the other end. Raises InvalidArgumentError for an axis without elements.""",
)
