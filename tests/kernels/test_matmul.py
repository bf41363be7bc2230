from __future__ import annotations

import itertools

import numpy as np
import pytest
from products import (
    CODES,
    ISAS,
    bias_relu,
    bias_residual_to_float64,
    hollow,
    layouts,
    real,
    same_bits,
    untouched,
    whole,
)

from pyflow import _core
from pyflow.ops.internal.packed import PANEL

SIZES = [
    (1, 1, 1),
    (1, 32, 16),
    (1, 4, 32),
    (1, 200, 300),
    (2, 33, 7),
    (3, 64, 257),
    (4, 31, 5),
    (5, 97, 1),
    (7, 65, 40),
    (13, 300, 19),
    (96, 32, 64),
    (97, 33, 259),
    (128, 577, 31),
    (211, 70, 513),
    (13, 40, 2053),
    (97, 33, 1025),
]
EMPTY = [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)]


def matmul(a, b, out, *, extras=(), programs=(), isa=None, threads=1):
    _core.call_kernel("matmul", [a, b, *extras], [out], programs=list(programs), isa=isa, threads=threads)
    return out


def pack(b, isa=None, threads=1):
    shape = (*b.shape[:-2], -(-b.shape[-1] // PANEL), b.shape[-2], PANEL)
    panels = np.full(shape, np.nan, b.dtype)
    _core.call_kernel("matmul_pack", [b], [panels], isa=isa, threads=threads)
    return panels


def matmul_packed(a, panels, out, *, extras=(), programs=(), isa=None, threads=1):
    inputs = [a, panels, *extras]
    _core.call_kernel("matmul_packed", inputs, [out], programs=list(programs), isa=isa, threads=threads)
    return out


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
def test_sizes(dtype, isa):
    rng = np.random.default_rng(1)
    for m, n, k in SIZES + EMPTY:
        a, b = whole(rng, (m, k), dtype), whole(rng, (k, n), dtype)
        expected = a.astype("float64") @ b.astype("float64")
        out, around = hollow((m, n), dtype, transposed=False)
        np.testing.assert_array_equal(matmul(a, b, out, isa=isa), expected, err_msg=f"{m} {n} {k}")
        assert untouched(out, around)
        if dtype.startswith("float"):
            np.testing.assert_array_equal(matmul_packed(a, pack(b, isa), out, isa=isa), expected)
            assert untouched(out, around)


@pytest.mark.parametrize("isa", ISAS)
def test_pack_format(isa):
    rng = np.random.default_rng(2)
    b = real(rng, (2, 5, 67))
    for _, layout in layouts(b):
        panels = pack(layout, isa, threads=2)
        assert panels.shape == (2, 5, 5, PANEL)
        np.testing.assert_array_equal(panels.transpose(0, 2, 1, 3).reshape(2, 5, 5 * PANEL)[..., :67], b)
        assert (panels[:, 4, :, 3:] == 0).all()


@pytest.mark.parametrize("isa", ISAS)
def test_every_variant_gives_the_same_bits(isa):
    rng = np.random.default_rng(3)
    for (m, n, k), dtype in itertools.product(SIZES, ["float32", "float64"]):
        a, b = real(rng, (m, k), dtype), real(rng, (k, n), dtype)
        first = matmul(a, b, np.empty((m, n), dtype), isa=isa)
        exact = a.astype("longdouble") @ b.astype("longdouble")
        bound = np.abs(a).astype("longdouble") @ np.abs(b) * np.finfo(dtype).eps * (k + 1)
        assert (np.abs(first - exact) <= bound).all()
        panels = pack(b, isa)
        for threads in (1, 2, 3):
            assert same_bits(first, matmul(a, b, np.empty((m, n), dtype), isa=isa, threads=threads))
            assert same_bits(first, matmul_packed(a, panels, np.empty((m, n), dtype), isa=isa, threads=threads))
        for (_, left), (_, right) in itertools.product(layouts(a), layouts(b)):
            out, around = hollow((m, n), dtype, transposed=True)
            assert same_bits(first, matmul(left, right, out, isa=isa))
            assert untouched(out, around)
        for row in range(0, m, 41):
            alone = matmul(a[row : row + 1], b, np.empty((1, n), dtype), isa=isa)
            assert same_bits(first[row : row + 1], alone), "a row's bits depend on the rows beside it"


def test_an_element_is_one_chain_over_k():
    rng = np.random.default_rng(4)
    a, b = real(rng, (9, 700)), real(rng, (700, 37))
    expected = np.zeros((9, 37), "float32")
    for k in range(700):
        expected = expected + a[:, k : k + 1] * b[k]
    assert same_bits(matmul(a, b, np.empty((9, 37), "float32"), isa="portable"), expected)
    if "avx2" in ISAS:
        fused = np.zeros((9, 37), "float32")
        for k in range(700):  # float64 holds the product exactly; longdouble leaves no second rounding to see
            fused = (fused.astype("longdouble") + a[:, k : k + 1].astype("longdouble") * b[k]).astype("float32")
        assert same_bits(matmul(a, b, np.empty((9, 37), "float32"), isa="avx2"), fused)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("m", [1, 4, 70, 150])
def test_batches(m, isa):
    rng = np.random.default_rng(5)
    k, n = 37, 45
    cases = [
        ((2, 3), (2, 3)),
        ((2, 3), (1, 3)),
        ((2, 3), (2, 1)),
        ((2, 3), (1, 1)),
        ((1, 3), (2, 1)),
        ((1, 1), (2, 3)),
        ((0, 3), (0, 3)),
    ]
    for dtype, (left, right) in itertools.product(["float32", "int64"], cases):
        a, b = whole(rng, (*left, m, k), dtype), whole(rng, (*right, k, n), dtype)
        expected = np.matmul(a, b)
        batch = expected.shape[:-2]
        wide = [np.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (a, b)]
        for threads, transposed in ((1, False), (3, True)):
            out, around = hollow(expected.shape, dtype, transposed)
            np.testing.assert_array_equal(matmul(*wide, out, isa=isa, threads=threads), expected)
            assert untouched(out, around)
        if dtype == "float32":
            panels = pack(b, isa)
            panels = np.broadcast_to(panels, (*batch, *panels.shape[-3:]))
            out = np.empty(expected.shape, dtype)
            np.testing.assert_array_equal(matmul_packed(wide[0], panels, out, isa=isa, threads=2), expected)


@pytest.mark.parametrize("isa", ISAS)
def test_rows_lie_along_an_outer_axis(isa):
    """a[L, B, K] as the transpose of what is stored [B, L, K]: the long axis L is walked as the rows."""
    rng = np.random.default_rng(11)
    for length, batch, n, k in [(64, 8, 45, 33), (150, 3, 70, 200), (5, 2, 1, 7), (7, 0, 4, 3), (193, 1, 33, 12)]:
        stored, b, bias = real(rng, (batch, length, k)), real(rng, (k, n)), real(rng, (n,))
        residual = real(rng, (batch, length, n)).transpose(1, 0, 2)
        a = stored.transpose(1, 0, 2)
        sums = matmul(
            np.ascontiguousarray(stored), np.broadcast_to(b, (batch, k, n)), np.empty((batch, length, n), "f")
        )
        expected = ((sums + bias).transpose(1, 0, 2) + residual).astype("float64")
        panels = np.broadcast_to(pack(b, isa), (length, -(-n // PANEL), k, PANEL))
        extras = [np.broadcast_to(bias, expected.shape), residual]
        for threads in (1, 3):
            out = np.empty(expected.shape, "float64")
            programs = [bias_residual_to_float64()]
            matmul_packed(a, panels, out, extras=extras, programs=programs, isa=isa, threads=threads)
            np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
            plain, around = hollow(expected.shape, "float32", transposed=False)
            matmul(a, np.broadcast_to(b, (length, k, n)), plain, isa=isa, threads=threads)
            np.testing.assert_allclose(plain, sums.transpose(1, 0, 2), rtol=1e-4, atol=1e-4)
            for row in range(length):
                alone = matmul(np.ascontiguousarray(a[row]), b, np.empty((batch, n), "float32"), isa=isa)
                assert same_bits(np.ascontiguousarray(plain[row]), alone)
            assert untouched(plain, around)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
def test_epilogue_bias_relu(dtype, isa):
    rng = np.random.default_rng(6)
    for (m, n, k), batch in itertools.product([(1, 32, 16), (5, 33, 1300), (100, 70, 9), (4, 0, 3)], [(), (3,)]):
        a, b = whole(rng, (*batch, m, k), dtype), whole(rng, (k, n), dtype)
        bias = whole(rng, (n,), dtype)
        expected = np.maximum(a @ b + bias, 0)
        wide = [np.broadcast_to(b, (*batch, k, n)), np.broadcast_to(bias, expected.shape)]
        for transposed in (False, True):
            out, around = hollow(expected.shape, dtype, transposed)
            matmul(a, wide[0], out, extras=[wide[1]], programs=[bias_relu(dtype)], isa=isa, threads=2)
            np.testing.assert_array_equal(out, expected)
            assert untouched(out, around)


@pytest.mark.parametrize("isa", ISAS)
def test_epilogue_with_residual_and_another_dtype(isa):
    rng = np.random.default_rng(7)
    for m, n, k in [(1, 40, 16), (5, 33, 1300), (100, 70, 9)]:
        a, b, bias = real(rng, (2, m, k)), real(rng, (k, n)), real(rng, (n,))
        sums = matmul(a, np.broadcast_to(b, (2, k, n)), np.empty((2, m, n), "float32"), isa=isa)
        residual = real(rng, (2, m, n))
        expected = ((sums + bias) + residual).astype("float64")
        panels = np.broadcast_to(pack(b, isa), (2, -(-n // PANEL), k, PANEL))
        for _, layout in layouts(residual):
            extras = [np.broadcast_to(bias, sums.shape), layout]
            for threads in (1, 2):
                out = np.empty(sums.shape, "float64")
                programs = [bias_residual_to_float64()]
                matmul_packed(a, panels, out, extras=extras, programs=programs, isa=isa, threads=threads)
                assert same_bits(out, expected)


def test_integers_wrap():
    a = np.full((2, 3), 2**31 - 1, "int32")
    out = matmul(a, np.full((3, 2), 2**31 - 1, "int32"), np.empty((2, 2), "int32"))
    assert (out == 3).all()


def test_special_values_reach_the_result():
    a = np.zeros((3, 40), "float32")
    b = np.ones((40, 35), "float32")
    b[7, 34] = np.inf
    a[1, 2] = np.nan
    out = matmul(a, b, np.empty((3, 35), "float32"))
    assert np.isnan(out[:, 34]).all()
    assert np.isnan(out[1]).all()
    assert (out[[0, 2], :34] == 0).all()


def test_refusals():
    a = np.zeros((2, 2), "float32")
    with pytest.raises(Exception, match="one float32, float64, int32, int64 or uint64 dtype"):
        matmul(a, np.zeros((2, 2), "float64"), np.empty((2, 2), "float32"))
    with pytest.raises(Exception, match="rank"):
        matmul(np.zeros(2, "float32"), a, np.empty((2, 2), "float32"))
    with pytest.raises(Exception, match="float32, not float64"):
        matmul(a, a, np.empty((2, 2), "float64"))
    code = CODES["float64"]
    with pytest.raises(Exception, match="register 0"):
        matmul(a, a, np.empty((2, 2), "float64"), programs=[([code], [("relu", code, [0], 0)], [1])])
