"""Philox: known answers, numpy's bits, the shape of the distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from arrays import everywhere, layouts, same_bits

from pyflow import _core
from pyflow.ops.randoms import philox

KEY = np.array([0x1234_5678_9ABC_DEF0, 42], np.int64)
SHAPES = [(), (0,), (1,), (3,), (127,), (5, 13), (40_001,)]
ONES = 0xFFFFFFFF


def test_known_answers() -> None:
    """Vectors of the Random123 distribution (kat_vectors, philox4x32 10)."""
    rows = [
        ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ONES, ONES), (ONES,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0xA4093822, 0x299F31D0),
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ]
    for key, counter, expected in rows:
        assert tuple(philox.philox4x32(key, np.array([counter], np.uint32))[0]) == expected


def test_kernel_gives_the_known_answer() -> None:
    zero = np.zeros(2, np.int64)
    answer = everywhere("random_uniform", [zero], (4,), np.float32, floats=[0.0, 1.0])
    words = np.array([0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8], np.uint32)
    np.testing.assert_array_equal(answer, (words >> 8).astype(np.float32) * np.float32(2.0**-24))
    wide = everywhere("random_integers", [zero], (2,), np.int64, ints=[-(2**63), 2**63 - 1])
    expected = [int(words[1]) << 32 | int(words[0]), int(words[3]) << 32 | int(words[2])]
    span = 2**64 - 1
    np.testing.assert_array_equal(wide, [(word * span >> 64) - 2**63 for word in expected])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_uniform(shape: tuple[int, ...], dtype: Any) -> None:
    for low, high in ((0.0, 1.0), (-2.5, 7.25), (1.0, float(np.nextafter(dtype(1), dtype(2)))), (3.0, 3.0)):
        answer = everywhere("random_uniform", [KEY], shape, dtype, floats=[low, high])
        assert same_bits(answer, philox.uniform(KEY, shape, dtype, low, high))
        assert np.all(answer >= low)
        assert low == high or np.all(answer < high)
    for target in layouts(np.zeros(shape, dtype)):
        _core.call_kernel("random_uniform", [KEY], [target], floats=[-2.5, 7.25])
        np.testing.assert_array_equal(target, philox.uniform(KEY, shape, dtype, -2.5, 7.25))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_normal(shape: tuple[int, ...], dtype: Any) -> None:
    answer = everywhere("random_normal", [KEY], shape, dtype, floats=[0.0, 1.0])
    expected = philox.normal(KEY, shape, dtype)
    assert np.all(np.abs(answer - expected) <= 6 * np.spacing(np.abs(expected)))
    moved = everywhere("random_normal", [KEY], shape, dtype, floats=[3.0, 0.5])
    np.testing.assert_array_equal(moved, dtype(3) + dtype(0.5) * answer)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("shape", SHAPES)
def test_integers(shape: tuple[int, ...], dtype: Any) -> None:
    info = np.iinfo(dtype)
    for low, high in (
        (0, 10),
        (-7, -6),
        (-1000, 3),
        (int(info.min), int(info.max)),
        (int(info.min), int(info.min) + 5),
    ):
        answer = everywhere("random_integers", [KEY], shape, dtype, ints=[low, high])
        assert same_bits(answer, philox.integers(KEY, shape, dtype, low, high))
        assert np.all(answer >= low)
        assert np.all(answer < high)


def test_statistics() -> None:
    uniform = philox.uniform(KEY, (100_000,), np.float32)
    normal = philox.normal(KEY, (100_000,), np.float64)
    dice = np.bincount(philox.integers(KEY, (60_000,), np.int64, 0, 6))
    assert abs(uniform.mean(dtype=np.float64) - 0.5) < 0.005
    assert abs(uniform.var(dtype=np.float64) - 1 / 12) < 0.002
    assert abs(normal.mean()) < 0.015
    assert abs(normal.var() - 1) < 0.02
    assert abs((normal**4).mean() - 3) < 0.15
    assert np.all(np.abs(dice - 10_000) < 500)


def test_another_counter_is_another_stream() -> None:
    first, second, other = (
        everywhere("random_uniform", [np.array(key, np.int64)], (64,), np.float32, floats=[0.0, 1.0])
        for key in ([5, 0], [5, 1], [6, 0])
    )
    assert not np.any(first == second)
    assert not np.any(first == other)


def test_refusals() -> None:
    with pytest.raises(Exception, match=r"the range \[3, 3\) is empty"):
        _core.call_kernel("random_integers", [KEY], [np.zeros(3, np.int64)], ints=[3, 3])
    with pytest.raises(Exception, match="does not fit int32"):
        _core.call_kernel("random_integers", [KEY], [np.zeros(3, np.int32)], ints=[0, 2**31 + 1])
    with pytest.raises(ValueError, match="does not fit int32"):
        philox.integers(KEY, (3,), np.int32, 0, 2**31 + 1)
