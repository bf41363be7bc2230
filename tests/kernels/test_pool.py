from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from products import ISAS, hollow, layouts, real, same_bits, untouched, whole

from pyflow import _core


@dataclass(frozen=True)
class Case:
    """A pooling: images of height x width x channels, output sizes, and the kernel's attributes."""

    x: tuple[int, int, int, int]
    out: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    @property
    def y(self) -> tuple[int, int, int, int]:
        return (self.x[0], *self.out, self.x[3])

    @property
    def max_ints(self) -> list[int]:
        return [*self.kernel, *self.stride, *self.pad, *self.dilation]

    def avg_ints(self, include_pad: bool) -> list[int]:
        return [*self.kernel, *self.stride, *self.pad, int(include_pad)]

    def windows(self):
        """For each output place, its taps inside x in order: [(row, column)]."""
        for p, q in itertools.product(range(self.out[0]), range(self.out[1])):
            rows = [p * self.stride[0] - self.pad[0] + i * self.dilation[0] for i in range(self.kernel[0])]
            columns = [q * self.stride[1] - self.pad[1] + j * self.dilation[1] for j in range(self.kernel[1])]
            inside = [(r, c) for r in rows for c in columns if 0 <= r < self.x[1] and 0 <= c < self.x[2]]
            yield (p, q), inside


CASES = [
    Case((1, 1, 1, 1), (1, 1), (1, 1)),
    Case((2, 8, 6, 64), (4, 3), (2, 2), stride=(2, 2)),
    Case((2, 9, 7, 67), (5, 4), (3, 3), stride=(2, 2), pad=(1, 1)),
    Case((1, 7, 5, 3), (7, 5), (3, 3), pad=(1, 1)),
    Case((1, 6, 9, 33), (3, 2), (2, 3), stride=(2, 4), pad=(1, 0)),
    Case((1, 5, 5, 130), (1, 1), (5, 5)),
    Case((1, 4, 4, 2), (6, 6), (2, 2), pad=(2, 2)),
    Case((0, 4, 4, 2), (2, 2), (2, 2), stride=(2, 2)),
    Case((1, 4, 4, 0), (2, 2), (2, 2), stride=(2, 2)),
    Case((1, 1, 4, 2), (0, 3), (2, 2)),
]
DILATED = [
    Case((1, 9, 8, 5), (5, 4), (3, 3), pad=(0, 1), dilation=(2, 3)),
    Case((2, 5, 5, 70), (3, 3), (2, 2), stride=(2, 2), pad=(1, 1), dilation=(3, 2)),
]


def lowest(dtype: str):
    return -np.inf if dtype.startswith("float") else np.iinfo(dtype).min


def max_pool(case: Case, x: np.ndarray) -> np.ndarray:
    y = np.full(case.y, lowest(x.dtype.name), x.dtype)
    for (p, q), inside in case.windows():
        if inside:
            y[:, p, q] = np.max([x[:, r, c] for r, c in inside], axis=0)
    return y


def max_pool_grad(case: Case, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    dx = np.zeros(case.x, x.dtype)
    for (p, q), inside in case.windows():
        for n, channel in itertools.product(range(case.x[0] if inside else 0), range(case.x[3])):
            values = [x[n, r, c, channel] for r, c in inside]
            r, c = inside[int(np.argmax(values))]
            dx[n, r, c, channel] += dy[n, p, q, channel]
    return dx


def divisor(case: Case, inside: list[tuple[int, int]], include_pad: bool) -> int:
    return case.kernel[0] * case.kernel[1] if include_pad else max(1, len(inside))


def avg_pool(case: Case, x: np.ndarray, include_pad: bool) -> np.ndarray:
    y = np.zeros(case.y, x.dtype)
    for (p, q), inside in case.windows():
        for r, c in inside:
            y[:, p, q] += x[:, r, c]
        y[:, p, q] /= x.dtype.type(divisor(case, inside, include_pad))
    return y


def avg_pool_grad(case: Case, dy: np.ndarray, include_pad: bool) -> np.ndarray:
    dx = np.zeros(case.x, dy.dtype)
    for (p, q), inside in case.windows():
        share = dy[:, p, q] / dy.dtype.type(divisor(case, inside, include_pad))
        for r, c in inside:
            dx[:, r, c] += share
    return dx


def call(kernel, inputs, shape, ints, *, dtype="float32", isa=None, threads=1, transposed=False):
    out, around = hollow(shape, dtype, transposed)
    _core.call_kernel(kernel, list(inputs), [out], ints=ints, isa=isa, threads=threads)
    result = out.copy()
    assert untouched(out, around)
    return result


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
def test_max_pool(dtype, isa):
    rng = np.random.default_rng(1)
    for case in CASES + DILATED:
        x, dy = whole(rng, case.x, dtype), whole(rng, case.y, dtype)
        expected, gradient = max_pool(case, x), max_pool_grad(case, x, dy)
        for threads, (_, source), (_, incoming) in zip((1, 2, 3, 2, 1), layouts(x), layouts(dy), strict=True):
            options = {"dtype": dtype, "isa": isa, "threads": threads, "transposed": threads == 2}
            y = call("max_pool2d", [source], case.y, case.max_ints, **options)
            np.testing.assert_array_equal(y, expected, err_msg=str(case))
            dx = call("max_pool2d_grad", [source, incoming], case.x, case.max_ints, **options)
            np.testing.assert_array_equal(dx, gradient, err_msg=str(case))


@pytest.mark.parametrize("isa", ISAS)
def test_nan_wins_and_takes_the_gradient(isa):
    x = np.zeros((1, 2, 4, 70), "float32")
    x[0, 0, 1] = np.nan
    x[0, 1, 0] = np.inf
    x[0, 1, 1] = np.nan
    case = Case(x.shape, (1, 2), (2, 2), stride=(2, 2))
    y = call("max_pool2d", [x], case.y, case.max_ints, isa=isa)
    assert np.isnan(y[0, 0, 0]).all()
    assert (y[0, 0, 1] == 0).all()
    dx = call("max_pool2d_grad", [x, np.ones(case.y, "float32")], case.x, case.max_ints, isa=isa)
    expected = np.zeros(case.x)
    expected[0, 0, 1:3] = 1
    np.testing.assert_array_equal(dx, expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("include_pad", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_avg_pool(dtype, include_pad, isa):
    rng = np.random.default_rng(2)
    for case in CASES:
        x, dy = real(rng, case.x, dtype), real(rng, case.y, dtype)
        expected, gradient = avg_pool(case, x, include_pad), avg_pool_grad(case, dy, include_pad)
        ints = case.avg_ints(include_pad)
        for threads, (_, source), (_, incoming) in zip((1, 2, 3, 2, 1), layouts(x), layouts(dy), strict=True):
            options = {"dtype": dtype, "isa": isa, "threads": threads, "transposed": threads == 2}
            assert same_bits(call("avg_pool2d", [source], case.y, ints, **options), expected), str(case)
            assert same_bits(call("avg_pool2d_grad", [incoming], case.x, ints, **options), gradient), str(case)


def test_refusals():
    x = np.zeros((1, 4, 4, 3), "int32")
    with pytest.raises(Exception, match="does not take int32"):
        call("avg_pool2d", [x], (1, 2, 2, 3), [2, 2, 2, 2, 0, 0, 0], dtype="int32")
    with pytest.raises(Exception, match="at least 1"):
        call("max_pool2d", [x], (1, 2, 2, 3), [2, 2, 0, 2, 0, 0, 1, 1], dtype="int32")
    with pytest.raises(Exception, match="8 ints"):
        call("max_pool2d", [x], (1, 2, 2, 3), [2, 2], dtype="int32")
