"""reduce_*, argmax, argmin against numpy in float64, and the fixed order of sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from arrays import ISAS, Array, everywhere, layouts, same_bits, values

from pyflow import _core

SHAPES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((), ()),
    ((1,), (0,)),
    ((7,), (0,)),
    ((4099,), (0,)),
    ((3, 67), (1,)),
    ((67, 3), (0,)),
    ((5, 131), (0,)),
    ((131, 70), (0,)),
    ((97, 10), (1,)),
    ((3, 5, 17), (0, 2)),
    ((3, 5, 17), (1,)),
    ((4, 3, 7, 7), (0, 2, 3)),
    ((4, 3, 7, 7), ()),
    ((2, 2500, 9), (1,)),
    ((0, 3), (1,)),
]


def kept(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if axis in axes else size for axis, size in enumerate(shape))


def fixed_order(sequence: Array, op: Any) -> Any:
    """The order that docs/numerics.md states, written down plainly."""

    def tree(parts: list[Any]) -> Any:
        size = 1
        while size * 2 < len(parts):
            size *= 2
        return parts[0] if len(parts) == 1 else op(tree(parts[:size]), tree(parts[size:]))

    chunks = []
    for begin in range(0, len(sequence), 2048):
        chunk = sequence[begin : begin + 2048]
        lanes = list(chunk[:64])
        for i in range(64, len(chunk)):
            lanes[i % 64] = op(lanes[i % 64], chunk[i])
        half = 32
        while half:
            lanes = [
                op(lane, lanes[i + half]) if i + half < len(lanes) else lane for i, lane in enumerate(lanes[:half])
            ]
            half //= 2
        chunks.append(lanes[0])
    return tree(chunks)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize(("shape", "axes"), SHAPES)
def test_sum(shape: tuple[int, ...], axes: tuple[int, ...], dtype: Any) -> None:
    x = values(shape, dtype, high=2**30)
    exact = np.sum(x.astype(np.float64), axis=axes, keepdims=True) if dtype in (np.float32, np.float64) else None
    answers = [everywhere("reduce_sum", [view], kept(shape, axes), dtype) for view in layouts(x)]
    for answer in answers:
        if exact is None:
            np.testing.assert_array_equal(answer, np.sum(x, axis=axes, keepdims=True, dtype=dtype))
        else:
            scale = np.sum(np.abs(x.astype(np.float64)), axis=axes, keepdims=True)
            assert np.all(np.abs(answer - exact) <= 8 * np.finfo(dtype).eps * scale)
        assert same_bits(answer, answers[0])


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 100, 2047, 2048, 2049, 7 * 2048 + 5])
def test_sum_order_is_the_documented_one(length: int) -> None:
    x = values((length,), np.float32, seed=length)
    expected = fixed_order(x, lambda a, b: np.float32(a + b))
    for isa in ISAS:
        row = np.zeros((1,), np.float32)
        _core.call_kernel("reduce_sum", [x], [row], isa=isa)
        columns = np.zeros((1, 9), np.float32)
        _core.call_kernel("reduce_sum", [np.repeat(x[:, None], 9, axis=1)], [columns], isa=isa)
        rows = np.zeros((9, 1), np.float32)
        _core.call_kernel("reduce_sum", [np.repeat(x[None, :], 9, axis=0)], [rows], isa=isa)
        assert row[0] == expected
        assert np.all(columns == expected)
        assert np.all(rows == expected)


@pytest.mark.parametrize(("shape", "axes"), [((700_001,), (0,)), ((100_003, 9), (0,)), ((2, 150_001), (1,))])
def test_long_sums_in_two_phases(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    x = values(shape, np.float32) + np.float32(1)
    answer = everywhere("reduce_sum", [x], kept(shape, axes), np.float32)
    np.testing.assert_allclose(answer, np.sum(x.astype(np.float64), axis=axes, keepdims=True), rtol=1e-6)
    if len(shape) == 1:
        assert answer[0] == np.float32(fixed_order(x, lambda a, b: a + b))
    wide = np.zeros((shape[0], shape[-1] * 2) if len(shape) > 1 else (shape[0] * 2,), np.float32)[..., ::2]
    wide[...] = x
    assert same_bits(everywhere("reduce_sum", [wide], kept(shape, axes), np.float32), answer)


@pytest.mark.parametrize(("name", "ufunc"), [("reduce_max", np.max), ("reduce_min", np.min)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.bool_])
@pytest.mark.parametrize(("shape", "axes"), SHAPES)
def test_extremes(shape: tuple[int, ...], axes: tuple[int, ...], dtype: Any, name: str, ufunc: Any) -> None:
    x = values(shape, dtype)
    if dtype in (np.float32, np.float64) and x.size > 8:
        x.reshape(-1)[[1, 3, 5]] = [np.nan, np.inf, -np.inf]
    if np.issubdtype(dtype, np.integer) and x.size > 8:
        x.reshape(-1)[[1, 3]] = [np.iinfo(dtype).min, np.iinfo(dtype).max]
    expected = ufunc(x, axis=axes, keepdims=True)
    for view in layouts(x):
        np.testing.assert_array_equal(everywhere(name, [view], kept(shape, axes), dtype), expected)


@pytest.mark.parametrize(("shape", "axes"), SHAPES)
def test_product_mean_any_all(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    x = values(shape, np.float64)
    bools = values(shape, np.bool_, seed=3)
    wrapping = np.asarray(values(shape, np.int64) * 2 + 1)
    for view in layouts(x):
        mean = everywhere("reduce_mean", [view], kept(shape, axes), np.float64)
        np.testing.assert_allclose(mean, np.mean(x, axis=axes, keepdims=True), rtol=1e-12, atol=1e-14)
        product = everywhere("reduce_prod", [view], kept(shape, axes), np.float64)
        np.testing.assert_allclose(product, np.prod(x, axis=axes, keepdims=True), rtol=1e-10)
    for view in layouts(wrapping):
        product = everywhere("reduce_prod", [view], kept(shape, axes), np.int64)
        np.testing.assert_array_equal(product, np.prod(wrapping, axis=axes, keepdims=True))
    for view in layouts(bools):
        for name, ufunc in (("reduce_any", np.any), ("reduce_all", np.all)):
            answer = everywhere(name, [view], kept(shape, axes), np.bool_)
            np.testing.assert_array_equal(answer, ufunc(bools, axis=axes, keepdims=True))


def test_float32_sum_is_accurate() -> None:
    x = np.full((1_000_003,), 0.1, np.float32)
    answer = everywhere("reduce_sum", [x], (1,), np.float32)
    assert abs(float(answer[0]) - float(np.sum(x.astype(np.float64)))) <= 8 * np.spacing(answer[0])


def test_special_values_and_broadcast() -> None:
    huge = np.array([[3e38, 3e38], [np.inf, -np.inf], [-0.0, -0.0]], np.float32)
    answer = everywhere("reduce_sum", [huge], (3, 1), np.float32)
    assert np.isposinf(answer[0, 0])
    assert np.isnan(answer[1, 0])
    assert np.signbit(answer[2, 0])
    repeated = np.broadcast_to(np.float32(1.5), (70, 80))
    assert everywhere("reduce_sum", [repeated], (1, 1), np.float32)[0, 0] == 8400


def test_empty_reductions() -> None:
    empty = np.zeros((0, 3), np.float32)
    for name, expected in (("reduce_sum", 0.0), ("reduce_prod", 1.0), ("reduce_mean", np.nan)):
        np.testing.assert_array_equal(everywhere(name, [empty], (1, 3), np.float32), np.full((1, 3), expected))
    flags = np.zeros((2, 0), np.bool_)
    assert not everywhere("reduce_any", [flags], (2, 1), np.bool_).any()
    assert everywhere("reduce_all", [flags], (2, 1), np.bool_).tobytes() == b"\x01\x01"
    for name in ("reduce_max", "reduce_min"):
        with pytest.raises(Exception, match="no elements"):
            _core.call_kernel(name, [empty], [np.zeros((1, 3), np.float32)])
        _core.call_kernel(name, [np.zeros((0, 0), np.float32)], [np.zeros((1, 0), np.float32)])
    with pytest.raises(Exception, match="axis of size 0"):
        _core.call_kernel("argmax", [empty], [np.zeros((1, 3), np.int64)], ints=[0])


@pytest.mark.parametrize(("name", "function"), [("argmax", np.argmax), ("argmin", np.argmin)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.bool_])
@pytest.mark.parametrize("shape", [(1,), (5003,), (3, 67), (67, 90), (7, 2, 11), (131, 9), (0, 4)])
def test_arg(shape: tuple[int, ...], dtype: Any, name: str, function: Any) -> None:
    x = values(shape, dtype, low=-5, high=5)
    if dtype in (np.float32, np.float64) and x.size > 30:
        x.reshape(-1)[[4, 11, 20]] = [np.inf, np.nan, np.nan]
    for axis in range(len(shape)):
        if shape[axis] == 0:
            continue
        expected = np.expand_dims(function(x, axis=axis), axis)
        for view in layouts(x):
            answer = everywhere(name, [view], kept(shape, (axis,)), np.int64, ints=[axis])
            np.testing.assert_array_equal(answer, expected)


def test_refusals() -> None:
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(Exception, match="one dtype"):
        _core.call_kernel("reduce_sum", [x], [np.zeros((1, 3), np.float64)])
    with pytest.raises(Exception, match="dim 1 of the result is 2"):
        _core.call_kernel("reduce_sum", [x], [np.zeros((1, 2), np.float32)])
    with pytest.raises(Exception, match="does not take int32"):
        _core.call_kernel("reduce_mean", [x.astype(np.int32)], [np.zeros((1, 3), np.int32)])
    with pytest.raises(Exception, match="axis 2 is out of range"):
        _core.call_kernel("argmin", [x], [np.zeros((1, 3), np.int64)], ints=[2])
