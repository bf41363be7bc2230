"""Kernels that move data: copy, gather, scatter_add, pad, iota, sizes, nonzero, assert. All exact."""

from __future__ import annotations

import itertools
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from arrays import ISAS, everywhere, layouts, same_bits, values

from pyflow import _core

ANY = [np.float32, np.float64, np.int32, np.int64, np.bool_]
COPIED = [np.uint8, np.float16, ml_dtypes.bfloat16, np.float32, np.complex64, np.int64, np.complex128]


@pytest.mark.parametrize("dtype", COPIED)
@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (7,), (67, 131), (5, 3, 17), (2, 3, 5, 7), (300, 257)])
def test_copy(shape: tuple[int, ...], dtype: Any) -> None:
    x = (np.arange(int(np.prod(shape))) % 251).reshape(shape).astype(dtype)
    axes = list(itertools.permutations(range(len(shape)))) if len(shape) < 4 else [(0, 2, 3, 1), (0, 3, 1, 2)]
    for view, order in itertools.product(layouts(x), axes):
        source = view.transpose(order)
        for isa in ISAS:
            for target in layouts(np.zeros(source.shape, dtype)):
                _core.call_kernel("copy", [source], [target], isa=isa, threads=2)
                assert same_bits(target, source)


def test_copy_of_broadcast_views_and_slices() -> None:
    x = np.broadcast_to(np.arange(5, dtype=np.float32)[:, None], (3, 5, 70))
    np.testing.assert_array_equal(everywhere("copy", [x], x.shape, np.float32), x)
    board = np.zeros((4, 90), np.int32)
    _core.call_kernel("copy", [values((4, 30), np.int32)], [board[:, 30:60]])
    np.testing.assert_array_equal(board[:, 30:60], values((4, 30), np.int32))
    assert not board[:, :30].any()
    assert not board[:, 60:].any()
    with pytest.raises(Exception, match="dim 0 of the result is 3; expected 2"):
        _core.call_kernel("copy", [np.zeros(2)], [np.zeros(3)])


@pytest.mark.parametrize("dtype", ANY)
@pytest.mark.parametrize("index_dtype", [np.int32, np.int64])
@pytest.mark.parametrize(
    ("shape", "index_shape"),
    [((5,), (7,)), ((5, 67), (2, 3)), ((3, 4, 5), ()), ((3, 5, 2), (0,)), ((2, 3, 4), (11, 2))],
)
def test_gather(shape: tuple[int, ...], index_shape: tuple[int, ...], index_dtype: Any, dtype: Any) -> None:
    x = values(shape, dtype)
    for axis in range(len(shape)):
        indices = np.random.default_rng(1).integers(-shape[axis], shape[axis], index_shape).astype(index_dtype)
        expected = np.take(x, indices, axis=axis)
        for view, index_view in itertools.product(layouts(x), layouts(indices)):
            answer = everywhere("gather", [view, index_view], expected.shape, dtype, ints=[axis])
            np.testing.assert_array_equal(answer, expected)
        for target in layouts(np.zeros(expected.shape, dtype)):
            _core.call_kernel("gather", [x, indices], [target], ints=[axis])
            np.testing.assert_array_equal(target, expected)


@pytest.mark.parametrize("index", [7, 5, -6, 2**40])
def test_index_out_of_range(index: int) -> None:
    for place in (0, 2):
        indices = np.zeros(3, np.int64)
        indices[place] = index
        message = f"index {index} is out of range for axis 0 of size 5"
        with pytest.raises(Exception, match=message):
            _core.call_kernel("gather", [np.zeros((5, 2)), indices], [np.zeros((3, 2))], ints=[0])
        with pytest.raises(Exception, match=message):
            _core.call_kernel("scatter_add", [indices, np.zeros((3, 2))], [np.zeros((5, 2))], ints=[0])
    with pytest.raises(Exception, match="index 0 is out of range for axis 0 of size 0"):
        _core.call_kernel("gather", [np.zeros((0, 2)), np.zeros(1, np.int64)], [np.zeros((1, 2))], ints=[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize(
    ("shape", "index_shape"),
    [((5,), (40,)), ((5, 131), (2, 30)), ((3, 4, 5), ()), ((3, 5, 2), (0,)), ((2, 3, 4), (11, 2))],
)
def test_scatter_add(shape: tuple[int, ...], index_shape: tuple[int, ...], dtype: Any) -> None:
    for axis in range(len(shape)):
        indices = np.random.default_rng(2).integers(-shape[axis], shape[axis], index_shape)
        updates = values(shape[:axis] + index_shape + shape[axis + 1 :], dtype)
        expected = np.zeros(shape, dtype)
        rows = np.moveaxis(expected, axis, 0)
        sources = np.moveaxis(updates, range(axis, axis + len(index_shape)), range(len(index_shape)))
        for place in np.ndindex(*index_shape):
            rows[indices[place]] += sources[place]
        for view in layouts(updates):
            answer = everywhere("scatter_add", [indices, view], shape, dtype, ints=[axis])
            np.testing.assert_array_equal(answer, expected)
        for target in layouts(np.ones(shape, dtype)):
            _core.call_kernel("scatter_add", [indices, updates], [target], ints=[axis], threads=2)
            np.testing.assert_array_equal(target, expected)


@pytest.mark.parametrize("dtype", ANY)
@pytest.mark.parametrize(("shape", "before", "after"), [
    ((), (), ()),
    ((5,), (2,), (3,)),
    ((5,), (-2,), (1,)),
    ((5,), (-1,), (-3,)),
    ((5,), (-9,), (20,)),
    ((3, 67), (1, -3), (2, 4)),
    ((3, 67), (-1, 5), (0, -60)),
    ((2, 3, 5), (0, 1, 2), (1, 0, 3)),
    ((0, 3), (1, 1), (1, 1)),
])  # fmt: skip
def test_pad(shape: tuple[int, ...], before: tuple[int, ...], after: tuple[int, ...], dtype: Any) -> None:
    x = values(shape, dtype)
    value = np.array(1, dtype)
    result_shape = tuple(size + a + b for size, a, b in zip(shape, before, after, strict=True))
    expected = np.full(result_shape, value)
    for place in np.ndindex(*result_shape):
        source = tuple(at - a for at, a in zip(place, before, strict=True))
        if all(0 <= at < size for at, size in zip(source, shape, strict=True)):
            expected[place] = x[source]
    for view in layouts(x):
        answer = everywhere("pad", [view, value], result_shape, dtype, ints=list(before))
        np.testing.assert_array_equal(answer, expected)
    for target in layouts(np.zeros(result_shape, dtype)):
        _core.call_kernel("pad", [x, value], [target], ints=list(before))
        np.testing.assert_array_equal(target, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("size", [0, 1, 67, 70_001])
def test_iota(size: int, dtype: Any) -> None:
    np.testing.assert_array_equal(everywhere("iota", [], (size,), dtype), np.arange(size).astype(dtype))
    back = np.zeros(size, dtype)[::-1]
    _core.call_kernel("iota", [], [back])
    np.testing.assert_array_equal(back, np.arange(size).astype(dtype))


def test_sizes() -> None:
    for ints, shape in (([], (0,)), ([5], ()), ([5], (1,)), ([3, -1, 2**40], (3,))):
        answer = everywhere("sizes", [], shape, np.int64, ints=ints)
        np.testing.assert_array_equal(answer.reshape(-1), ints)
    with pytest.raises(Exception, match="2 values for 3 elements"):
        _core.call_kernel("sizes", [], [np.zeros(3, np.int64)], ints=[1, 2])


@pytest.mark.parametrize("dtype", ANY)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (67,), (5, 0), (7, 11), (3, 5, 7), (200, 181)])
def test_nonzero(shape: tuple[int, ...], dtype: Any) -> None:
    x = values(shape, dtype, low=-1, high=2)
    if x.size > 3 and dtype in (np.float32, np.float64):
        x[x < 0.3] = 0
        x.reshape(-1)[:3] = [np.nan, -0.0, np.inf]
    expected = np.array(np.nonzero(np.atleast_1d(x)), np.int64)[: x.ndim]
    count = int(np.count_nonzero(x))
    for view, isa, threads in itertools.product(layouts(x), ISAS, (1, 3)):
        room = np.full((x.ndim, x.size), -1, np.int64)
        defines = _core.call_kernel("nonzero", [view], [room], isa=isa, threads=threads, ndefines=1)
        assert defines == [count]
        np.testing.assert_array_equal(room.reshape(-1)[: x.ndim * count].reshape(x.ndim, count), expected)
        assert np.all(room.reshape(-1)[x.ndim * count :] == -1)


def test_nonzero_without_room() -> None:
    with pytest.raises(Exception, match="5 elements are not zero; the result has room for 4"):
        _core.call_kernel("nonzero", [np.ones(5)], [np.zeros((1, 4), np.int64)], ndefines=1)


def test_assert() -> None:
    for shape in ((), (0,), (3, 5), (70_001,)):
        good = np.ones(shape, np.bool_)
        for view in layouts(good):
            _core.call_kernel("assert", [view], [], text="x must be positive", threads=2)
        if good.size:
            bad = good.copy()
            bad.reshape(-1)[-1] = False
            for view, isa in itertools.product(layouts(bad), ISAS):
                with pytest.raises(Exception, match="x must be positive"):
                    _core.call_kernel("assert", [view], [], text="x must be positive", isa=isa)
