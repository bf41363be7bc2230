"""What the tests of matmul, convolution and pooling share: data, awkward layouts, epilogues, variants to compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pyflow import _core

CODES = {"int32": 3, "int64": 4, "float32": 11, "float64": 12}
ISAS = _core.cpu_isas()
Program = tuple[list[int], list[tuple[str, int, list[int], int]], list[int]]


def whole(rng: np.random.Generator, shape: Sequence[int], dtype: str = "float32") -> np.ndarray:
    """Small whole numbers: sums of their products are exact in every dtype and order."""
    return rng.integers(-4, 5, tuple(shape)).astype(dtype)


def real(rng: np.random.Generator, shape: Sequence[int], dtype: str = "float32") -> np.ndarray:
    return rng.standard_normal(tuple(shape)).astype(dtype)


def layouts(array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The same values behind different strides."""
    yield "contiguous", np.ascontiguousarray(array)
    yield "reversed axes", np.ascontiguousarray(array.T).T
    spread = np.full([2 * dim for dim in array.shape], 99, array.dtype)
    spread[tuple(slice(None, None, 2) for _ in array.shape)] = array
    yield "every other", spread[tuple(slice(None, None, 2) for _ in array.shape)]
    flip = tuple(slice(None, None, -1) for _ in array.shape)
    yield "negative", np.ascontiguousarray(array[flip])[flip]
    if array.ndim == 4:
        yield "channels first", np.ascontiguousarray(array.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)


def hollow(shape: Sequence[int], dtype: str, transposed: bool) -> tuple[np.ndarray, np.ndarray]:
    """An output inside a larger array, and that array: what lies beside the output must stay 7."""
    shape = tuple(shape)
    order = tuple(reversed(range(len(shape)))) if transposed else tuple(range(len(shape)))
    around = np.full([shape[axis] + 3 for axis in order], 7, dtype)
    inside = around[tuple(slice(1, 1 + shape[axis]) for axis in order)]
    return inside.transpose(order), around


def untouched(output: np.ndarray, around: np.ndarray) -> bool:
    """True if nothing but the output was written; clears the output."""
    output[...] = 7
    return bool((around == 7).all())


def bias_relu(dtype: str) -> Program:
    """relu(sum + bias)"""
    code = CODES[dtype]
    return ([code, code], [("add", code, [0, 1], 0), ("relu", code, [2], 0)], [3])


def bias_residual_to_float64() -> Program:
    """float64(sum + bias + residual), sums in float32"""
    code = CODES["float32"]
    return (
        [code, code, code],
        [("add", code, [0, 1], 0), ("add", code, [3, 2], 0), ("cast", CODES["float64"], [4], 0)],
        [5],
    )


def largest(y: np.ndarray) -> np.ndarray:
    """The largest of each whole window of 2 x 2 in [N, H, W, C]; NaN if there is one."""
    batch, height, width, channels = y.shape
    whole = y[:, : height // 2 * 2, : width // 2 * 2]
    return whole.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()
