"""Random numbers as a pure function of (key, counter, index): Philox4x32-10 in numpy, as the kernels compute it.

J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011.
docs/numerics.md "Random numbers" defines every element.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox4x32(key: tuple[int, int], counter: Array) -> Array:
    """The four output words, uint32[n,4], of Philox4x32-10 for a key of two 32-bit words and counters uint32[n,4]."""
    c0, c1, c2, c3 = (counter[:, i].astype(np.uint64) for i in range(4))
    k0, k1 = key
    for _ in range(10):
        product0 = c0 * np.uint64(0xD2511F53)
        product1 = c2 * np.uint64(0xCD9E8D57)
        c0, c2 = (product1 >> _HALF) ^ c1 ^ np.uint64(k0), (product0 >> _HALF) ^ c3 ^ np.uint64(k1)
        c1, c3 = product1 & _LOW, product0 & _LOW
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def _words(key: Array, blocks: int) -> Array:
    """The first ``4 * blocks`` words of the stream of ``key``: int64[2], the key and its counter."""
    word0, word1 = (int(word) & 0xFFFFFFFFFFFFFFFF for word in key)
    index = np.arange(blocks, dtype=np.uint64)
    counter = np.empty((blocks, 4), np.uint32)
    counter[:, 0] = index & _LOW
    counter[:, 1] = index >> _HALF
    counter[:, 2] = word1 & 0xFFFFFFFF
    counter[:, 3] = word1 >> 32
    return np.ravel(philox4x32((word0 & 0xFFFFFFFF, word0 >> 32), counter))


def _wide_words(key: Array, count: int) -> Array:
    words = _words(key, -(-count // 2)).reshape(-1, 2).astype(np.uint64)
    return np.asarray(words[:count, 0] | words[:count, 1] << _HALF)


def _bits(key: Array, count: int, dtype: np.dtype[Any]) -> tuple[Array, int]:
    """``count`` integers of as many random bits as the mantissa of ``dtype`` holds, and that number of bits."""
    if dtype == np.float32:
        return (_words(key, -(-count // 4))[:count] >> np.uint32(8)).astype(np.int64), 24
    if dtype == np.float64:
        return (_wide_words(key, count) >> np.uint64(11)).astype(np.int64), 53
    raise TypeError(f"random numbers are float32 or float64; got {dtype}")


def _count(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def uniform(key: Array, shape: Sequence[int], dtype: Any, low: float = 0.0, high: float = 1.0) -> Array:
    """Numbers in [low, high), float32 or float64; ``key`` is int64[2]. The bits are those of the kernel."""
    dtype = np.dtype(dtype)
    real = dtype.type
    bits, precision = _bits(key, _count(shape), dtype)
    start, stop = real(low), real(high)
    values = start + bits.astype(dtype) * real(2.0**-precision) * real(stop - start)
    if stop > start:
        values = np.minimum(values, np.nextafter(stop, start))
    return np.reshape(values.astype(dtype), shape)


def normal(key: Array, shape: Sequence[int], dtype: Any, mean: float = 0.0, stddev: float = 1.0) -> Array:
    """Normally distributed numbers, float32 or float64, by Box and Muller; a few ULP from the kernel's."""
    dtype = np.dtype(dtype)
    count = _count(shape)
    bits, precision = _bits(key, count + count % 2, dtype)
    unit = 2.0**-precision
    radius = np.sqrt(-2.0 * np.log((bits[0::2] + 1) * unit))
    turn = bits[1::2]
    quarter = 1 << (precision - 2)
    quadrant = (turn + quarter // 2) >> (precision - 2)
    angle = (turn - quadrant * quarter) * (np.pi / 2 / quarter)
    sine, cosine = np.sin(angle), np.cos(angle)
    across = np.where(quadrant & 1, sine, cosine) * np.where((quadrant + 1) & 2, -1.0, 1.0)
    along = np.where(quadrant & 1, cosine, sine) * np.where(quadrant & 2, -1.0, 1.0)
    values = np.stack([radius * across, radius * along], axis=1).reshape(-1)[:count].astype(dtype)
    return np.asarray(dtype.type(mean) + dtype.type(stddev) * values, dtype).reshape(shape)


def integers(key: Array, shape: Sequence[int], dtype: Any, low: int, high: int) -> Array:
    """Integers in [low, high), int32 or int64. The bits are those of the kernel.

    Raises ValueError if the range is empty or does not fit ``dtype``.
    """
    dtype = np.dtype(dtype)
    info = np.iinfo(dtype)
    if low >= high:
        raise ValueError(f"the range [{low}, {high}) is empty")
    if low < info.min or high > int(info.max) + (dtype.itemsize < 8):
        raise ValueError(f"the range [{low}, {high}) does not fit {dtype}")
    words = _wide_words(key, _count(shape))
    span = high - low
    span_low, span_high = np.uint64(span & 0xFFFFFFFF), np.uint64(span >> 32)
    word_low, word_high = words & _LOW, words >> _HALF
    middle = word_high * span_low + (word_low * span_low >> _HALF)
    other = word_low * span_high + (middle & _LOW)
    scaled = word_high * span_high + (middle >> _HALF) + (other >> _HALF)
    return np.reshape((scaled + np.uint64(low & 0xFFFFFFFFFFFFFFFF)).astype(np.int64).astype(dtype), shape)
