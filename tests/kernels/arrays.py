"""Arrays for kernel tests: values with surprises in them, lying in memory in every way a view can."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from pyflow import _core

Array = np.ndarray[Any, Any]
ISAS: list[str] = _core.cpu_isas()


def values(shape: tuple[int, ...], dtype: Any, seed: int = 0, low: int = -50, high: int = 50) -> Array:
    """Random values of a dtype; floats are standard normal."""
    generator = np.random.default_rng(seed)
    if np.dtype(dtype) == np.bool_:
        return np.asarray(generator.random(shape) < 0.5)
    if np.issubdtype(dtype, np.integer):
        return np.asarray(generator.integers(low, high, shape)).astype(dtype)
    return np.asarray(generator.standard_normal(shape)).astype(dtype)


def layouts(array: Array) -> Iterator[Array]:
    """The same values, adjacent, in Fortran order, with gaps and with negative strides."""
    yield array.copy()
    if array.ndim == 0:
        return
    yield np.asfortranarray(array)
    gaps = np.zeros([2 * size + 1 for size in array.shape], array.dtype)
    spread = gaps[tuple(slice(0, 2 * size, 2) for size in array.shape)]
    spread[...] = array
    yield spread
    back = (slice(None, None, -1),) * array.ndim
    yield np.ascontiguousarray(array[back])[back]


def same_bits(a: Array, b: Array) -> bool:
    """True if shapes and bits are equal."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def everywhere(name: str, inputs: list[Array], shape: tuple[int, ...], dtype: Any, **attributes: Any) -> Array:
    """Runs a kernel on every ISA with 1, 2 and 3 threads; threads must agree bit for bit. Answers the last ISA's."""
    result = np.zeros(shape, dtype)
    for isa in ISAS:
        answers = []
        for threads in (1, 2, 3):
            result = np.full(shape, 77, dtype)
            _core.call_kernel(name, inputs, [result], isa=isa, threads=threads, **attributes)
            answers.append(result)
        assert all(same_bits(answer, answers[0]) for answer in answers), (name, isa)
    return result
