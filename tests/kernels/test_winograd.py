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
from pyflow.ops.internal.winograd import transforms

TILES = (2, 4)


@dataclass(frozen=True)
class Case:
    """Images of height x width x channels, outputs, and padding above, left, below, right."""

    x: tuple[int, int, int, int]
    outputs: int
    pad: tuple[int, int, int, int] = (1, 1, 1, 1)

    @property
    def y(self) -> tuple[int, int, int, int]:
        sizes = (self.x[1 + i] + self.pad[i] + self.pad[2 + i] - 2 for i in (0, 1))
        return (self.x[0], *sizes, self.outputs)


CASES = [
    Case((1, 1, 1, 1), 1),
    Case((1, 3, 3, 8), 32, (0, 0, 0, 0)),
    Case((2, 7, 7, 16), 33),
    Case((3, 5, 11, 19), 40, (0, 2, 1, 0)),
    Case((1, 13, 17, 64), 64),
    Case((1, 14, 14, 230), 24),
    Case((1, 6, 7, 1030), 20),
    Case((1, 38, 41, 24), 70),
    Case((5, 16, 18, 5), 9, (3, 2, 4, 5)),
]
EMPTY = [Case((0, 5, 5, 3), 4), Case((1, 5, 5, 3), 0), Case((1, 5, 5, 0), 4), Case((2, 2, 2, 3), 4, (0, 0, 0, 0))]


def windows(case: Case, x: np.ndarray) -> np.ndarray:
    """[N, OH, OW, C, 3, 3]"""
    top, left, below, right = case.pad
    wide = np.pad(x, ((0, 0), (top, below), (left, right), (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(wide, (3, 3), (1, 2))


def reference(case: Case, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    if 0 in case.y:
        return np.zeros(case.y)
    return np.einsum("nhwcyx,yxco->nhwo", windows(case, x.astype(np.float64)), w.astype(np.float64), optimize=True)


def bound(case: Case, tile: int, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """What docs/numerics.md promises for each element."""
    results, weights, source = (np.abs(matrix) for matrix in transforms(tile))
    n, height, width, outputs = case.y
    down, across = -(-height // tile), -(-width // tile)
    wide = np.zeros((n, down * tile + 2, across * tile + 2, case.x[3]))
    top, left = case.pad[:2]
    rows, columns = (min(case.x[1 + i], wide.shape[1 + i] - case.pad[i]) for i in (0, 1))
    wide[:, top : top + rows, left : left + columns] = np.abs(x[:, :rows, :columns])
    tiles = np.lib.stride_tricks.sliding_window_view(wide, (tile + 2, tile + 2), (1, 2))[:, ::tile, ::tile]
    made = np.einsum("iy,jx,nabcyx->ijnabc", source, source, tiles, optimize=True)
    panels = np.einsum("iy,jx,yxco->ijco", weights, weights, np.abs(w).astype(np.float64), optimize=True)
    products = np.einsum("ijnabc,ijco->ijnabo", made, panels, optimize=True)
    size = np.einsum("yi,xj,ijnabo->naybxo", results, results, products, optimize=True)
    size = size.reshape(n, down * tile, across * tile, outputs)[:, :height, :width]
    return (case.x[3] + 20) * 2.0**-24 * size


def call(inputs, case, tile, *, dtype="float32", programs=(), isa=None, threads=1, transposed=False, pool=1):
    shape = (case.y[0], case.y[1] // pool, case.y[2] // pool, case.y[3])
    out, around = hollow(shape, dtype, transposed)
    ints = [*case.pad[:2], tile, *([] if pool == 1 else [pool])]
    _core.call_kernel("conv2d_winograd", inputs, [out], ints=ints, programs=list(programs), isa=isa, threads=threads)
    result = out.copy()
    assert untouched(out, around)
    return result


def pack(w, tile, isa=None, threads=1):
    panels = np.full(((tile + 2) ** 2, -(-w.shape[3] // PANEL), w.shape[2], PANEL), np.nan, "float32")
    _core.call_kernel("winograd_pack", [w], [panels], ints=[tile], isa=isa, threads=threads)
    return panels


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("tile", TILES)
def test_within_the_bound(tile, isa):
    rng = np.random.default_rng(1)
    for case in CASES:
        x, w = real(rng, case.x), real(rng, (3, 3, case.x[3], case.outputs))
        y = call([x, pack(w, tile, isa)], case, tile, isa=isa)
        error = np.abs(y - reference(case, x, w))
        assert (error <= bound(case, tile, x, w)).all(), str(case)
        assert error.max() <= 4e-6 * np.sqrt(case.x[3]) * np.abs(w).max() * np.abs(x).max(), "and far below it"


@pytest.mark.parametrize("isa", ISAS)
def test_tiles_of_two_are_exact_on_whole_numbers(isa):
    rng = np.random.default_rng(2)
    for case in CASES + EMPTY:
        x, w = whole(rng, case.x), whole(rng, (3, 3, case.x[3], case.outputs))
        for (_, source), (_, weights), transposed in zip(layouts(x), layouts(w), itertools.cycle([False, True])):
            y = call([source, pack(weights, 2, isa)], case, 2, isa=isa, transposed=transposed)
            np.testing.assert_array_equal(y, reference(case, x, w), err_msg=str(case))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("tile", TILES)
def test_every_variant_gives_the_same_bits(tile, isa):
    rng = np.random.default_rng(3)
    for case in CASES:
        x, w = real(rng, case.x), real(rng, (3, 3, case.x[3], case.outputs))
        panels = pack(w, tile, isa)
        first = call([x, panels], case, tile, isa=isa)
        assert same_bits(panels, pack(np.asfortranarray(w), tile, isa, threads=3))
        for threads, (_, source) in zip((1, 2, 3, 2, 3), layouts(x), strict=True):
            y = call([source, panels], case, tile, isa=isa, threads=threads, transposed=threads == 2)
            assert same_bits(first, y), str(case)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("tile", TILES)
def test_epilogues_act_on_the_finished_sums(tile, isa):
    rng = np.random.default_rng(4)
    for case in CASES:
        x, w, bias = real(rng, case.x), real(rng, (3, 3, case.x[3], case.outputs)), real(rng, (case.outputs,))
        residual = real(rng, case.y)
        panels, wide = pack(w, tile, isa), np.broadcast_to(bias, case.y)
        sums = call([x, panels], case, tile, isa=isa)
        for transposed, (_, layout) in zip(itertools.cycle([False, True]), layouts(residual)):
            options = {"isa": isa, "threads": 2, "transposed": transposed}
            y = call([x, panels, wide], case, tile, programs=[bias_relu("float32")], **options)
            np.testing.assert_array_equal(y, np.maximum(sums + bias, 0), err_msg=str(case))
            programs = [bias_residual_to_float64()]
            y = call([x, panels, wide, layout], case, tile, dtype="float64", programs=programs, **options)
            np.testing.assert_array_equal(y, residual + (sums + bias), err_msg=str(case))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("tile", TILES)
def test_the_largest_of_windows(tile, isa):
    rng = np.random.default_rng(6)
    for case in CASES + EMPTY:
        x, w, bias = real(rng, case.x), real(rng, (3, 3, case.x[3], case.outputs)), real(rng, (case.outputs,))
        special = x.reshape(-1)[::397]
        special[:] = np.resize(np.array([np.nan, np.inf, -np.inf], "float32"), special.shape)
        panels = pack(w, tile, isa)
        expected = largest(call([x, panels], case, tile, isa=isa))
        residual, wide = real(rng, expected.shape), np.broadcast_to(bias, expected.shape)
        for threads, (_, source) in zip((1, 2, 3, 2, 3), layouts(x), strict=True):
            options = {"isa": isa, "threads": threads, "transposed": threads == 2, "pool": 2}
            y = call([source, panels], case, tile, **options)
            np.testing.assert_array_equal(y, expected, err_msg=str(case))
            y = call([source, panels, wide], case, tile, programs=[bias_relu("float32")], **options)
            np.testing.assert_array_equal(y, np.maximum(expected + bias, 0), err_msg=str(case))
            programs = [bias_residual_to_float64()]
            y = call([source, panels, wide, residual], case, tile, dtype="float64", programs=programs, **options)
            np.testing.assert_array_equal(y, residual + (expected + bias), err_msg=str(case))


@pytest.mark.parametrize("tile", TILES)
def test_a_nan_stays_within_the_tiles_that_see_it(tile):
    rng = np.random.default_rng(5)
    case = Case((1, 16, 16, 8), 8)
    x, w = real(rng, case.x), real(rng, (3, 3, 8, 8))
    panels = pack(w, tile)
    clean = call([x, panels], case, tile)
    x[0, 0, 0, 3] = np.nan
    y = call([x, panels], case, tile)
    assert np.isnan(y[0, :2, :2]).all()
    assert same_bits(y[0, tile:], clean[0, tile:]) and same_bits(y[0, :, tile:], clean[0, :, tile:])


def test_refusals():
    x, w = np.zeros((1, 6, 6, 3), "float32"), np.zeros((3, 3, 3, 4), "float32")
    case = Case((1, 6, 6, 3), 4)
    with pytest.raises(Exception, match="tiles of 2 or 4"):
        call([x, pack(w, 2)], case, 3)
    with pytest.raises(Exception, match="windows of 2, not 3"):
        call([x, pack(w, 2)], case, 2, pool=3)
    with pytest.raises(Exception, match="3 by 3"):
        pack(np.zeros((2, 3, 3, 4), "float32"), 2)
    with pytest.raises(Exception, match="float32"):
        call([x.astype("float64"), pack(w, 2)], case, 2, dtype="float64")
