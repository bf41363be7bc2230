"""expand_depthwise against the two convolutions that it stands for: the same bits, whatever the strides and threads."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from products import ISAS, bias_relu, bias_residual_to_float64, hollow, layouts, real, same_bits, untouched

from pyflow import _core
from pyflow.ops.internal.packed import to_panels


@dataclass(frozen=True)
class Case:
    """Images [N, H, W, C], channels between the two, the depthwise window and its strides, padding and dilations."""

    x: tuple[int, int, int, int]
    channels: int
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (1, 1, 1, 1)
    dilation: tuple[int, int] = (1, 1)

    @property
    def wide(self) -> tuple[int, int, int, int]:
        return (*self.x[:3], self.channels)

    @property
    def y(self) -> tuple[int, int, int, int]:
        spans = [(self.kernel[i] - 1) * self.dilation[i] + 1 for i in (0, 1)]
        rooms = [self.x[1 + i] + self.pad[i] + self.pad[2 + i] - spans[i] for i in (0, 1)]
        sizes = [max(0, room // self.stride[i] + 1) for i, room in enumerate(rooms)]
        return (self.x[0], *sizes, self.channels)

    @property
    def ints(self) -> list[int]:
        return [*self.stride, *self.pad[:2], *self.dilation, self.channels, *self.kernel]


CASES = [
    Case((1, 1, 1, 1), 16),
    Case((2, 7, 5, 3), 32),
    Case((1, 31, 17, 16), 96, stride=(2, 2)),
    Case((3, 45, 6, 1030), 16, pad=(0, 2, 1, 0)),
    Case((1, 29, 40, 24), 48, kernel=(5, 5), pad=(2, 2, 2, 2)),
    Case((2, 33, 11, 8), 16, kernel=(5, 5), stride=(2, 2), pad=(1, 2, 2, 1)),
    Case((1, 19, 23, 7), 16, kernel=(3, 2), stride=(3, 1), dilation=(2, 3)),
    Case((1, 40, 4, 5), 16, kernel=(1, 1), stride=(4, 2), pad=(0, 0, 0, 0)),
]
EMPTY = [Case((0, 5, 5, 3), 16), Case((1, 2, 5, 3), 16, pad=(0, 0, 0, 0)), Case((1, 5, 5, 0), 16)]
BOUNDS = [(0.0, 6.0), (0.0, np.inf), (-np.inf, np.inf), (-0.5, 0.25)]


def operands(rng, case):
    x, w = real(rng, case.x), real(rng, (case.x[3], case.channels))
    bias, taps = real(rng, (case.channels,)), real(rng, (case.kernel[0] * case.kernel[1], case.channels))
    return x, to_panels(w)[None], bias, to_panels(taps)[None]


def call(inputs, case, bounds, *, dtype="float32", programs=(), isa=None, threads=1, transposed=False):
    out, around = hollow(case.y, dtype, transposed)
    options = {"programs": list(programs), "isa": isa, "threads": threads}
    _core.call_kernel("expand_depthwise", inputs, [out], ints=case.ints, floats=list(bounds), **options)
    result = out.copy()
    assert untouched(out, around)
    return result


def apart(inputs, case, bounds, isa=None):
    """The two convolutions, one after the other."""
    x, panels, bias, taps = inputs
    wide = np.empty(case.wide, "float32")
    _core.call_kernel("conv2d_packed", [x, panels], [wide], ints=[1, 1, 0, 0, 1, 1, 1, 1, 1], isa=isa)
    wide += bias
    wide = np.where(wide < np.float32(bounds[0]), np.float32(bounds[0]), wide)
    wide = np.where(wide > np.float32(bounds[1]), np.float32(bounds[1]), wide)
    y = np.empty(case.y, "float32")
    _core.call_kernel("conv2d_packed", [wide, taps], [y], ints=case.ints, isa=isa)
    return y


@pytest.mark.parametrize("isa", ISAS)
def test_the_bits_are_those_of_two_convolutions(isa):
    rng = np.random.default_rng(1)
    for case, bounds in zip(CASES + EMPTY, itertools.cycle(BOUNDS)):
        x, panels, bias, taps = operands(rng, case)
        expected = apart((x, panels, bias, taps), case, bounds, isa)
        for threads, (_, source) in zip((1, 2, 3, 2, 3), layouts(x), strict=True):
            spread = np.repeat(bias, 2)[::2]
            inputs = [source, panels, bias if threads == 1 else spread, taps]
            y = call(inputs, case, bounds, isa=isa, threads=threads, transposed=threads == 2)
            assert same_bits(y, expected), str(case)


@pytest.mark.parametrize("isa", ISAS)
def test_epilogues_act_on_the_finished_sums(isa):
    rng = np.random.default_rng(2)
    for case in CASES:
        inputs = list(operands(rng, case))
        bias, residual = real(rng, (case.channels,)), real(rng, case.y)
        sums, wide = call(inputs, case, BOUNDS[0], isa=isa), np.broadcast_to(bias, case.y)
        y = call([*inputs, wide], case, BOUNDS[0], programs=[bias_relu("float32")], isa=isa, threads=2)
        np.testing.assert_array_equal(y, np.maximum(sums + bias, 0), err_msg=str(case))
        programs = [bias_residual_to_float64()]
        y = call([*inputs, wide, residual], case, BOUNDS[0], dtype="float64", programs=programs, isa=isa)
        np.testing.assert_array_equal(y, residual + (sums + bias), err_msg=str(case))


def test_a_nan_reaches_the_windows_that_see_it():
    case = CASES[2]
    x, panels, bias, taps = operands(np.random.default_rng(3), case)
    clean = call([x, panels, bias, taps], case, BOUNDS[0])
    x[0, 10, 8, 3], x[0, 20, 2, 1] = np.nan, np.inf
    y = call([x, panels, bias, taps], case, BOUNDS[0])
    assert same_bits(y, apart((x, panels, bias, taps), case, BOUNDS[0]))
    assert np.isnan(y[0, 5, 4]).all()
    assert same_bits(y[0, :4], clean[0, :4])


def test_refusals():
    case = CASES[1]
    x, panels, bias, taps = operands(np.random.default_rng(4), case)
    with pytest.raises(Exception, match="float32"):
        call([x.astype("float64"), panels, bias, taps], case, BOUNDS[0])
    with pytest.raises(Exception, match="are not those of"):
        call([x, panels, bias[:-1], taps], case, BOUNDS[0])
    with pytest.raises(Exception, match="are not those of"):
        call([x[..., :2], panels, bias, taps], case, BOUNDS[0])
    with pytest.raises(Exception, match="no panels"):
        call([x, panels, bias, taps], Case(case.x, 24), BOUNDS[0])
