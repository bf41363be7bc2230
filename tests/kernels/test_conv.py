from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from products import (
    ISAS,
    bias_relu,
    bias_residual_to_float64,
    hollow,
    largest,
    layouts,
    real,
    same_bits,
    untouched,
    whole,
)

from pyflow import _core
from pyflow.ops.internal.packed import PANEL


@dataclass(frozen=True)
class Case:
    """A convolution: images of height x width x channels, kernel, outputs, and the kernel's attributes."""

    x: tuple[int, int, int, int]
    kernel: tuple[int, int]
    outputs: int
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def ints(self) -> list[int]:
        return [*self.stride, *self.pad[:2], *self.dilation, self.groups]

    @property
    def w(self) -> tuple[int, int, int, int]:
        return (*self.kernel, self.x[3] // self.groups, self.outputs)

    @property
    def y(self) -> tuple[int, int, int, int]:
        reach = [(taps - 1) * dilation for taps, dilation in zip(self.kernel, self.dilation, strict=True)]
        room = [self.x[1 + i] + self.pad[i] + self.pad[2 + i] - reach[i] for i in (0, 1)]
        sizes = [max(0, (room[i] - 1) // self.stride[i] + 1) for i in (0, 1)]
        return (self.x[0], sizes[0], sizes[1], self.outputs)


CASES = [
    Case((1, 1, 1, 1), (1, 1), 1),
    Case((2, 5, 7, 3), (1, 1), 33),
    Case((2, 9, 8, 40), (1, 1), 64),
    Case((1, 8, 9, 6), (1, 1), 5, stride=(2, 3)),
    Case((2, 11, 13, 3), (3, 3), 32, pad=(1, 1, 1, 1)),
    Case((1, 12, 10, 35), (3, 3), 67, pad=(1, 1, 1, 1)),
    Case((1, 14, 15, 3), (7, 7), 10, stride=(2, 2), pad=(3, 3, 3, 3)),
    Case((2, 7, 9, 4), (3, 2), 8, stride=(1, 2), pad=(2, 0, 1, 3)),
    Case((1, 10, 9, 5), (3, 3), 6, pad=(2, 2, 2, 2), dilation=(2, 3)),
    Case((1, 9, 9, 4), (2, 3), 6, stride=(3, 2), pad=(1, 2, 0, 1), dilation=(3, 1)),
    Case((2, 6, 5, 12), (3, 3), 8, pad=(1, 1, 1, 1), groups=4),
    Case((1, 6, 5, 70), (1, 1), 70, groups=2),
    Case((2, 8, 7, 33), (3, 3), 33, pad=(1, 1, 1, 1), groups=33),
    Case((1, 9, 7, 64), (5, 3), 64, stride=(2, 1), pad=(2, 0, 2, 1), dilation=(1, 2), groups=64),
    Case((2, 9, 13, 40), (3, 3), 40, stride=(2, 2), pad=(1, 1, 1, 1), groups=40),
    Case((1, 5, 37, 16), (3, 3), 16, pad=(0, 2, 1, 1), dilation=(2, 1), groups=16),
    Case((1, 9, 8, 48), (5, 5), 48, pad=(2, 2, 2, 2), groups=48),
    Case((2, 11, 9, 24), (5, 5), 24, stride=(3, 2), pad=(1, 0, 2, 2), groups=24),
    Case((1, 7, 23, 40), (3, 3), 40, pad=(1, 1, 1, 1), groups=40),
    Case((1, 8, 24, 24), (5, 5), 24, pad=(2, 2, 2, 2), groups=24),
    Case((1, 9, 27, 24), (5, 5), 24, stride=(2, 2), pad=(2, 2, 2, 2), groups=24),
    Case((1, 4, 70, 72), (1, 3), 72, pad=(0, 1, 0, 1), groups=72),
    Case((1, 6, 9, 300), (3, 3), 24, stride=(2, 2), pad=(1, 1, 1, 1)),
    Case((1, 9, 11, 230), (1, 1), 40, stride=(2, 2)),
    Case((1, 5, 7, 1100), (1, 1), 40),
    Case((1, 5, 6, 400), (3, 3), 20, pad=(1, 1, 1, 1)),
    Case((1, 5, 4, 9), (3, 3), 130, pad=(1, 1, 1, 1)),
    Case((1, 34, 33, 5), (3, 3), 7, pad=(1, 1, 1, 1)),
    Case((2, 10, 11, 16), (3, 3), 40),
    Case((1, 12, 12, 24), (3, 3), 56, pad=(2, 2, 2, 2), dilation=(2, 2), groups=2),
    Case((1, 6, 6, 3), (3, 3), 12, pad=(1, 1, 1, 1), groups=3),
    Case((3, 1, 1, 8), (3, 3), 4, pad=(1, 1, 1, 1)),
    Case((1, 4, 4, 2), (2, 2), 3, stride=(3, 3), pad=(5, 4, 6, 5)),
]
EMPTY = [
    Case((0, 5, 5, 3), (3, 3), 4),
    Case((1, 5, 5, 3), (3, 3), 0),
    Case((1, 5, 5, 0), (3, 3), 4),
    Case((2, 2, 2, 3), (3, 3), 4),
    Case((1, 0, 4, 3), (2, 2), 4, pad=(1, 1, 1, 1)),
]


def padded(case: Case, x: np.ndarray) -> np.ndarray:
    """x with the zeros that every window can reach, in float64."""
    y = case.y
    size = [(y[1 + i] - 1) * case.stride[i] + (case.kernel[i] - 1) * case.dilation[i] + 1 for i in (0, 1)]
    size = [max(size[i], case.pad[i] + case.x[1 + i], 0) for i in (0, 1)]
    out = np.zeros((case.x[0], *size, case.x[3]))
    out[:, case.pad[0] : case.pad[0] + case.x[1], case.pad[1] : case.pad[1] + case.x[2]] = x
    return out


def windows(case: Case, image: np.ndarray):
    """For each tap, the part of a padded image that it meets, as a view [N,OH,OW,C]."""
    _, height, width, _ = case.y
    for i, j in itertools.product(range(case.kernel[0]), range(case.kernel[1])):
        rows = slice(i * case.dilation[0], i * case.dilation[0] + height * case.stride[0], case.stride[0])
        columns = slice(j * case.dilation[1], j * case.dilation[1] + width * case.stride[1], case.stride[1])
        yield (i, j), image[:, rows, columns][:, :height, :width]


def group_slices(case: Case):
    inputs, outputs = case.x[3] // case.groups, case.outputs // case.groups
    for g in range(case.groups):
        yield slice(g * inputs, (g + 1) * inputs), slice(g * outputs, (g + 1) * outputs)


def reference(case: Case, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    y = np.zeros(case.y)
    for (i, j), seen in windows(case, padded(case, x)):
        for inputs, outputs in group_slices(case):
            y[..., outputs] += seen[..., inputs] @ w[i, j, :, outputs]
    return y


def reference_input_grad(case: Case, dy: np.ndarray, w: np.ndarray) -> np.ndarray:
    image = padded(case, np.zeros(case.x))
    for (i, j), seen in windows(case, image):
        for inputs, outputs in group_slices(case):
            seen[..., inputs] += dy[..., outputs] @ w[i, j, :, outputs].T
    top, left = case.pad[:2]
    return image[:, top : top + case.x[1], left : left + case.x[2]]


def reference_filter_grad(case: Case, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    dw = np.zeros(case.w)
    for (i, j), seen in windows(case, padded(case, x)):
        for inputs, outputs in group_slices(case):
            dw[i, j, :, outputs] = np.einsum("nhwc,nhwo->co", seen[..., inputs], dy[..., outputs])
    return dw


def call(kernel, inputs, shape, ints, *, dtype="float32", programs=(), isa=None, threads=1, transposed=False):
    out, around = hollow(shape, dtype, transposed)
    _core.call_kernel(kernel, list(inputs), [out], ints=ints, programs=list(programs), isa=isa, threads=threads)
    result = out.copy()
    assert untouched(out, around)
    return result


def pack(w, groups, isa=None, threads=1):
    kernel_h, kernel_w, inputs, outputs = w.shape
    if groups > 1 and inputs == 1 and outputs == groups:
        groups = 1  # depthwise
    panels = np.full((groups, -(-(outputs // groups) // PANEL), kernel_h * kernel_w * inputs, PANEL), np.nan, w.dtype)
    _core.call_kernel("conv2d_pack", [w], [panels], ints=[groups], isa=isa, threads=threads)
    return panels


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_forward(dtype, isa):
    rng = np.random.default_rng(1)
    for case in CASES + EMPTY:
        x, w = whole(rng, case.x, dtype), whole(rng, case.w, dtype)
        expected = reference(case, x, w)
        options = {"dtype": dtype, "isa": isa}
        for (_, source), transposed in zip(layouts(x), itertools.cycle([False, True])):
            y = call("conv2d", [source, w], case.y, case.ints, transposed=transposed, **options)
            np.testing.assert_array_equal(y, expected, err_msg=str(case))
        packed_ints = [*case.ints, *case.kernel]
        for _, weights in layouts(w):
            y = call("conv2d_packed", [x, pack(weights, case.groups, isa)], case.y, packed_ints, **options)
            np.testing.assert_array_equal(y, expected, err_msg=str(case))


@pytest.mark.parametrize("isa", ISAS)
def test_every_variant_gives_the_same_bits(isa):
    rng = np.random.default_rng(2)
    for case in CASES:
        x, w = real(rng, case.x), real(rng, case.w)
        first = call("conv2d", [x, w], case.y, case.ints, isa=isa)
        np.testing.assert_allclose(first, reference(case, x, w), rtol=1e-4, atol=1e-4)
        panels = pack(w, case.groups, isa, threads=2)
        for threads, (_, source) in zip((1, 2, 3, 2, 3), layouts(x), strict=True):
            options = {"isa": isa, "threads": threads, "transposed": threads == 2}
            y = call("conv2d", [source, w], case.y, case.ints, **options)
            assert same_bits(first, y), str(case)
            y = call("conv2d_packed", [source, panels], case.y, [*case.ints, *case.kernel], **options)
            assert same_bits(first, y), str(case)


@pytest.mark.parametrize("isa", ISAS)
def test_a_one_by_one_kernel_is_a_matmul(isa):
    rng = np.random.default_rng(3)
    case = Case((2, 9, 8, 40), (1, 1), 70)
    x, w = real(rng, case.x), real(rng, case.w)
    product = np.empty((2 * 9 * 8, 70), "float32")
    _core.call_kernel("matmul", [x.reshape(-1, 40), w[0, 0]], [product], isa=isa)
    assert same_bits(call("conv2d", [x, w], case.y, case.ints, isa=isa), product.reshape(case.y))


@pytest.mark.parametrize("isa", ISAS)
def test_epilogues(isa):
    rng = np.random.default_rng(4)
    for case in CASES:
        x, w, bias = whole(rng, case.x), whole(rng, case.w), whole(rng, (case.outputs,))
        sums = reference(case, x, w)
        wide = np.broadcast_to(bias, case.y)
        residual = whole(rng, case.y)
        panels = pack(w, case.groups, isa)
        for transposed, (_, layout) in zip(itertools.cycle([False, True]), layouts(residual)):
            options = {"isa": isa, "threads": 2, "transposed": transposed}
            y = call("conv2d", [x, w, wide], case.y, case.ints, programs=[bias_relu("float32")], **options)
            np.testing.assert_array_equal(y, np.maximum(sums + bias, 0), err_msg=str(case))
            inputs, ints = [x, panels, wide, layout], [*case.ints, *case.kernel]
            programs = [bias_residual_to_float64()]
            y = call("conv2d_packed", inputs, case.y, ints, dtype="float64", programs=programs, **options)
            np.testing.assert_array_equal(y, sums + bias + residual, err_msg=str(case))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_largest_of_windows(dtype, isa):
    rng = np.random.default_rng(9)
    for case in CASES + EMPTY:
        if case.groups > 1 and case.groups == case.outputs:
            continue
        x, w, bias = real(rng, case.x, dtype), real(rng, case.w, dtype), real(rng, (case.outputs,), dtype)
        special = x.reshape(-1)[::97]
        special[:] = np.resize(np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], dtype), special.shape)
        panels, ints = pack(w, case.groups, isa), [*case.ints, *case.kernel]
        expected = largest(call("conv2d_packed", [x, panels], case.y, ints, dtype=dtype, isa=isa))
        residual, wide = real(rng, expected.shape, dtype), np.broadcast_to(bias, expected.shape)
        for threads, (_, source) in zip((1, 2, 3, 2, 3), layouts(x), strict=True):
            options = {"isa": isa, "threads": threads, "transposed": threads == 2}
            y = call("conv2d_packed", [source, panels], expected.shape, [*ints, 2], dtype=dtype, **options)
            np.testing.assert_array_equal(y, expected, err_msg=str(case))
            inputs, programs = [source, panels, wide], [bias_relu(dtype)]
            y = call("conv2d_packed", inputs, y.shape, [*ints, 2], dtype=dtype, programs=programs, **options)
            np.testing.assert_array_equal(y, np.maximum(expected + bias, 0), err_msg=str(case))
            if dtype == "float32":
                inputs, programs = [*inputs, residual], [bias_residual_to_float64()]
                y = call("conv2d_packed", inputs, y.shape, [*ints, 2], dtype="float64", programs=programs, **options)
                np.testing.assert_array_equal(y, residual + (expected + bias), err_msg=str(case))


def bits_of(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


F32 = 11
CHAINS = {
    "scale, bias, relu6": (
        ("mul", "add"),
        [("const", F32, [], bits_of(0)), ("const", F32, [], bits_of(6)), ("clip", F32, [4, 5, 6], 0)],
        lambda y: np.where(y < 0, np.float32(0), np.where(y > 6, np.float32(6), y)),
    ),
    "bias, residual, relu": (("add", "add"), [("relu", F32, [4], 0)], lambda y: np.where(y < 0, np.float32(0), y)),
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("chain", CHAINS)
def test_chains_in_registers_have_the_bits_of_the_ops(chain, isa):
    """Through NaN, infinities and zeros of both signs, for vectors and what is left of them."""
    (first, second), rest, act = CHAINS[chain]
    rng = np.random.default_rng(8)
    functions = {"add": np.add, "mul": np.multiply}
    program = [(first, F32, [0, 1], 0), (second, F32, [2, 3], 0), *rest]
    registers = [F32] * 3
    program = ([*registers], [(op, code, args, imm) for op, code, args, imm in program], [2 + len(program)])
    for case in CASES:
        x, w = real(rng, case.x), real(rng, case.w)
        a, b = real(rng, (case.outputs,)), real(rng, case.y)
        special = b.reshape(-1)[::7]
        special[:] = np.resize(np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], "float32"), special.shape)
        panels, ints = pack(w, case.groups, isa), [*case.ints, *case.kernel]
        sums = call("conv2d_packed", [x, panels], case.y, ints, isa=isa)
        with np.errstate(invalid="ignore"):
            expected = act(functions[second](functions[first](sums, a), b))
        inputs = [x, panels, np.broadcast_to(a, case.y), b]
        for threads in (1, 3):
            y = call("conv2d_packed", inputs, case.y, ints, programs=[program], isa=isa, threads=threads)
            np.testing.assert_array_equal(y, expected, err_msg=str(case))
            whole_numbers = ~np.isnan(expected)
            assert (np.signbit(y) == np.signbit(expected))[whole_numbers].all(), str(case)
            over, options = b.copy(), {"isa": isa, "threads": threads}
            _core.call_kernel("conv2d_packed", [*inputs[:3], over], [over], ints=ints, programs=[program], **options)
            assert same_bits(over, y), str(case)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients(dtype, isa):
    rng = np.random.default_rng(5)
    for case in CASES + EMPTY:
        x, w, dy = whole(rng, case.x, dtype), whole(rng, case.w, dtype), whole(rng, case.y, dtype)
        input_grad = reference_input_grad(case, dy, w)
        filter_grad = reference_filter_grad(case, x, dy)
        for (_, gradient), (_, weights), transposed in zip(layouts(dy), layouts(w), itertools.cycle([False, True])):
            options = {"dtype": dtype, "isa": isa, "transposed": transposed}
            dx = call("conv2d_input_grad", [gradient, weights], case.x, case.ints, **options)
            np.testing.assert_array_equal(dx, input_grad, err_msg=str(case))
        for (_, source), (_, gradient), transposed in zip(layouts(x), layouts(dy), itertools.cycle([False, True])):
            options = {"dtype": dtype, "isa": isa, "transposed": transposed}
            dw = call("conv2d_filter_grad", [source, gradient], case.w, case.ints, **options)
            np.testing.assert_array_equal(dw, filter_grad, err_msg=str(case))


@pytest.mark.parametrize("isa", ISAS)
def test_gradients_do_not_depend_on_threads_or_layout(isa):
    rng = np.random.default_rng(6)
    for case in CASES:
        x, w, dy = real(rng, case.x), real(rng, case.w), real(rng, case.y)
        dx = call("conv2d_input_grad", [dy, w], case.x, case.ints, isa=isa)
        dw = call("conv2d_filter_grad", [x, dy], case.w, case.ints, isa=isa)
        np.testing.assert_allclose(dx, reference_input_grad(case, dy, w), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(dw, reference_filter_grad(case, x, dy), rtol=1e-4, atol=1e-4)
        for threads, (_, gradient), (_, source) in zip((2, 3, 1, 2, 3), layouts(dy), layouts(x), strict=True):
            options = {"isa": isa, "threads": threads, "transposed": threads == 2}
            assert same_bits(dx, call("conv2d_input_grad", [gradient, w], case.x, case.ints, **options)), str(case)
            again = call("conv2d_filter_grad", [source, gradient], case.w, case.ints, **options)
            assert same_bits(dw, again), str(case)


def test_refusals():
    x, w = np.zeros((1, 4, 4, 3), "float32"), np.zeros((2, 2, 3, 4), "float32")
    with pytest.raises(Exception, match="groups do not divide"):
        call("conv2d", [x, w], (1, 3, 3, 4), [1, 1, 0, 0, 1, 1, 2])
    with pytest.raises(Exception, match="float32 or float64"):
        call("conv2d", [x.astype("int32"), w.astype("int32")], (1, 3, 3, 4), [1, 1, 0, 0, 1, 1, 1], dtype="int32")
    with pytest.raises(Exception, match="rank 4"):
        call("conv2d", [x[0], w], (1, 3, 3, 4), [1, 1, 0, 0, 1, 1, 1])
    with pytest.raises(Exception, match="7 ints"):
        call("conv2d", [x, w], (1, 3, 3, 4), [1, 1])
    for windows in (0, 1, 3, -2, 2**62):
        with pytest.raises(Exception, match="windows of 2, not"):
            call("conv2d_packed", [x, pack(w, 1)], (1, 1, 1, 4), [1, 1, 0, 0, 1, 1, 1, 2, 2, windows])
    taps = np.zeros((2, 2, 1, 3), "float32")
    with pytest.raises(Exception, match="depthwise"):
        call("conv2d_packed", [x, pack(taps, 3)], (1, 1, 1, 3), [1, 1, 0, 0, 1, 1, 3, 2, 2, 2])
