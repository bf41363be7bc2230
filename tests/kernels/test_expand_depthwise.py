"""expand_depthwise and expand_depthwise_project against the convolutions that they stand for: the same bits."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
from products import ISAS, bias_relu, bias_residual_to_float64, hollow, layouts, real, same_bits, untouched

from pyflow import _core
from pyflow.ops.internal.packed import to_panels


@dataclass(frozen=True)
class Window:
    """Of a convolution: what its kernels take."""

    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (1, 1, 1, 1)
    dilation: tuple[int, int] = (1, 1)

    def over(self, size: tuple[int, int]) -> tuple[int, ...]:
        """Height and width of what comes out."""
        spans = [(self.kernel[i] - 1) * self.dilation[i] + 1 for i in (0, 1)]
        rooms = [size[i] + self.pad[i] + self.pad[2 + i] - spans[i] for i in (0, 1)]
        return tuple(max(0, room // self.stride[i] + 1) for i, room in enumerate(rooms))

    def ints(self, groups: int) -> list[int]:
        return [*self.stride, *self.pad[:2], *self.dilation, groups, *self.kernel]


PLAIN = Window((1, 1), pad=(0, 0, 0, 0))


@dataclass(frozen=True)
class Case:
    """Images [N, H, W, C], channels between, columns of a projection; windows of the depthwise and the first."""

    x: tuple[int, int, int, int]
    channels: int
    columns: int
    window: Window = Window()
    first: Window = PLAIN

    @property
    def wide(self) -> tuple[int, ...]:
        return (self.x[0], *self.first.over(self.x[1:3]), self.channels)

    @property
    def y(self) -> tuple[int, ...]:
        return (self.x[0], *self.window.over(self.wide[1:3]), self.channels)

    @property
    def projected(self) -> tuple[int, ...]:
        return (*self.y[:3], self.columns)

    @property
    def ints(self) -> list[int]:
        *first, _, height, width = self.first.ints(1)
        return [*self.window.ints(self.channels), *first, height, width, *self.wide[1:3]]


NARROW = Window((3, 2), (3, 1), dilation=(2, 3))
FIVE = Window((5, 5), pad=(2, 2, 2, 2))
CASES = [
    Case((1, 1, 1, 1), 16, 1),
    Case((2, 7, 5, 3), 32, 8),
    Case((1, 31, 17, 16), 96, 24, Window(stride=(2, 2))),
    Case((3, 45, 6, 1030), 16, 19, Window(pad=(0, 2, 1, 0))),
    Case((1, 29, 40, 24), 48, 40, FIVE),
    Case((2, 33, 11, 8), 16, 5, Window((5, 5), (2, 2), (1, 2, 2, 1))),
    Case((1, 19, 23, 7), 16, 33, NARROW),
    Case((1, 40, 4, 5), 16, 16, Window((1, 1), (4, 2), (0, 0, 0, 0))),
    Case((1, 41, 37, 3), 32, 16, first=Window(stride=(2, 2))),
    Case((2, 30, 23, 5), 16, 7, Window(stride=(2, 2)), Window((2, 3), (1, 2), (0, 2, 3, 1), (3, 2))),
    Case((1, 9, 12, 130), 16, 24, first=Window(pad=(0, 0, 0, 0))),
    Case((1, 17, 16, 4), 1040, 24, first=FIVE),
    Case((1, 20, 9, 6), 16, 8, first=Window((1, 1), (2, 3), (0, 0, 0, 0))),
    Case((1, 6, 200, 2), 32, 8, first=Window((3, 3), (1, 1), (5, 0, 5, 0))),
]
EMPTY = [
    Case((0, 5, 5, 3), 16, 8),
    Case((1, 2, 5, 3), 16, 8, Window(pad=(0, 0, 0, 0))),
    Case((1, 5, 5, 0), 16, 8),
    Case((1, 5, 5, 0), 16, 8, first=FIVE),
    Case((1, 5, 5, 3), 16, 0),
    Case((1, 2, 2, 3), 16, 8, first=Window(pad=(0, 0, 0, 0))),
    Case((1, 0, 0, 3), 16, 8, first=Window((1, 1), (9, 9), (0, 0, 0, 0))),
]
BOUNDS = [(0.0, 6.0), (0.0, np.inf), (-np.inf, np.inf), (-0.5, 0.25)]


def operands(rng, case):
    """Those of expand_depthwise, then those of a projection."""
    depth = math.prod(case.first.kernel) * case.x[3]
    x, w = real(rng, case.x), real(rng, (depth, case.channels))
    bias, taps = real(rng, (case.channels,)), real(rng, (math.prod(case.window.kernel), case.channels))
    projection = real(rng, (case.channels, case.columns))
    return (
        [x, to_panels(w)[None], bias, to_panels(taps)[None]],
        [real(rng, bias.shape), to_panels(projection)[None]],
    )


def call(inputs, case, bounds, *, projects=False, dtype="float32", programs=(), isa=None, threads=1, transposed=False):
    out, around = hollow(case.projected if projects else case.y, dtype, transposed)
    options = {"programs": list(programs), "isa": isa, "threads": threads}
    kernel = "expand_depthwise_project" if projects else "expand_depthwise"
    floats = [*bounds, *NEXT] if projects else list(bounds)
    _core.call_kernel(kernel, inputs, [out], ints=case.ints, floats=floats, **options)
    result = out.copy()
    assert untouched(out, around)
    return result


NEXT = (-0.25, 3.0)
"""Bounds before a projection."""


def cut(x, bias, bounds):
    x = x + bias
    x = np.where(x < np.float32(bounds[0]), np.float32(bounds[0]), x)
    return np.where(x > np.float32(bounds[1]), np.float32(bounds[1]), x)


def apart(inputs, case, bounds, projection=(), isa=None):
    """The convolutions, one after the other."""
    x, panels, bias, taps = inputs
    wide = np.empty(case.wide, "float32")
    _core.call_kernel("conv2d_packed", [x, panels], [wide], ints=case.first.ints(1), isa=isa)
    y = np.empty(case.y, "float32")
    wide = cut(wide, bias, bounds)
    _core.call_kernel("conv2d_packed", [wide, taps], [y], ints=case.window.ints(case.channels), isa=isa)
    if not projection:
        return y
    next_bias, last = projection
    result = np.empty(case.projected, "float32")
    _core.call_kernel("conv2d_packed", [cut(y, next_bias, NEXT), last], [result], ints=PLAIN.ints(1), isa=isa)
    return result


@pytest.mark.parametrize("projects", [False, True])
@pytest.mark.parametrize("isa", ISAS)
def test_the_bits_are_those_of_the_convolutions(isa, projects):
    rng = np.random.default_rng(1)
    for case, bounds in zip(CASES + EMPTY, itertools.cycle(BOUNDS)):
        (x, panels, bias, taps), projection = operands(rng, case)
        more = projection if projects else []
        expected = apart((x, panels, bias, taps), case, bounds, more, isa)
        for threads, (_, source) in zip((1, 2, 3, 2, 3), layouts(x), strict=True):
            spread = np.repeat(bias, 2)[::2]
            inputs = [source, panels, bias if threads == 1 else spread, taps, *more]
            options = {"isa": isa, "threads": threads, "transposed": threads == 2}
            assert same_bits(call(inputs, case, bounds, projects=projects, **options), expected), str(case)


@pytest.mark.parametrize("projects", [False, True])
@pytest.mark.parametrize("isa", ISAS)
def test_epilogues_act_on_the_finished_sums(isa, projects):
    rng = np.random.default_rng(2)
    for case in CASES:
        inputs, projection = operands(rng, case)
        shape = case.projected if projects else case.y
        bias, residual = real(rng, shape[3:]), real(rng, shape)
        inputs += projection if projects else []
        options = {"projects": projects, "isa": isa}
        sums, wide = call(inputs, case, BOUNDS[0], **options), np.broadcast_to(bias, shape)
        y = call([*inputs, wide], case, BOUNDS[0], programs=[bias_relu("float32")], threads=2, **options)
        np.testing.assert_array_equal(y, np.maximum(sums + bias, 0), err_msg=str(case))
        programs = [bias_residual_to_float64()]
        y = call([*inputs, wide, residual], case, BOUNDS[0], dtype="float64", programs=programs, **options)
        np.testing.assert_array_equal(y, residual + (sums + bias), err_msg=str(case))


@pytest.mark.parametrize("projects", [False, True])
def test_a_nan_reaches_the_windows_that_see_it(projects):
    case = CASES[2]
    inputs, projection = operands(np.random.default_rng(3), case)
    more = projection if projects else []
    clean = call([*inputs, *more], case, BOUNDS[0], projects=projects)
    inputs[0][0, 10, 8, 3], inputs[0][0, 20, 2, 1] = np.nan, np.inf
    y = call([*inputs, *more], case, BOUNDS[0], projects=projects)
    assert same_bits(y, apart(inputs, case, BOUNDS[0], more))
    assert np.isnan(y[0, 5, 4]).all()
    assert same_bits(y[0, :4], clean[0, :4])


def test_refusals():
    case = CASES[1]
    (x, panels, bias, taps), (next_bias, projection) = operands(np.random.default_rng(4), case)
    with pytest.raises(Exception, match="float32"):
        call([x.astype("float64"), panels, bias, taps], case, BOUNDS[0])
    with pytest.raises(Exception, match="are not those of"):
        call([x, panels, bias[:-1], taps], case, BOUNDS[0])
    with pytest.raises(Exception, match="are not those of"):
        call([x[..., :2], panels, bias, taps], case, BOUNDS[0])
    with pytest.raises(Exception, match="no panels"):
        call([x, panels, bias, taps], Case(case.x, 24, 8), BOUNDS[0])
    for wrong in ([next_bias[:-1], projection], [next_bias, projection[:, :, 1:]]):
        with pytest.raises(Exception, match="not those of a projection"):
            call([x, panels, bias, taps, *wrong], case, BOUNDS[0], projects=True)
    with pytest.raises(Exception, match="at least 6 inputs"):
        call([x, panels, bias, taps], case, BOUNDS[0], projects=True)
