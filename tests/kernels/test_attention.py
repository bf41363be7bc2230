"""attend against softmax(q kᵀ · scale + bias) v in higher precision; in float32 where numbers end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from arrays import ISAS, everywhere, layouts, same_bits, values

from pyflow import _core

LOWEST = -np.inf
SHAPES = [
    (1, 1, 1, 1, 1, 1),
    (2, 3, 5, 7, 3, 2),
    (1, 2, 31, 257, 17, 33),
    (1, 3, 197, 197, 64, 64),
    (2, 1, 49, 513, 40, 8),
    (1, 2, 1, 300, 64, 64),
]
TOLERANCE = {"float32": (2e-5, 1e-5), "float64": (1e-12, 1e-13)}


def added(scores: Any, bias: Any, causal: bool, offset: int) -> Any:
    total = np.zeros(scores.shape[-2:]) if bias is None else np.where(bias, 0.0, LOWEST) if bias.dtype == bool else bias
    if causal:
        queries, keys = (np.arange(size) for size in scores.shape[-2:])
        total = np.where(keys <= queries[:, None] + offset, total, LOWEST)
    return total


def expected(q, k, v, bias=None, scale=1.0, causal=False, offset=0, zero=0, wide=np.float64):
    q, k, v = (array.astype(wide) for array in (q, k, v))
    with np.errstate(all="ignore"):
        scores = np.matmul(q * wide(scale), k.swapaxes(-1, -2))
        bias = added(scores, bias, causal, offset)
        scores = (scores + bias).astype(wide)
        powers = np.exp(scores - scores.max(-1, keepdims=True, initial=LOWEST))
        weights = powers / powers.sum(-1, keepdims=True)
        if zero == 1:
            weights = np.where(np.isneginf(bias.max(-1, keepdims=True, initial=LOWEST)), wide(0), weights)
        if zero == 2:
            weights = np.where(np.isnan(weights), wide(0), weights)
        return np.matmul(weights, v)


def attend(q, k, v, bias=None, scale=1.0, causal=False, offset=0, zero=0, out=None, isa=None, threads=1):
    inputs = [q, k, v] if bias is None else [q, k, v, bias]
    out = np.full((*q.shape[:-1], v.shape[-1]), 77, q.dtype) if out is None else out
    ints = [int(causal), offset, zero]
    _core.call_kernel("attend", inputs, [out], ints=ints, floats=[scale], isa=isa, threads=threads)
    return out


def operands(shape: tuple[int, ...], dtype: str) -> list[Any]:
    b, h, m, n, d, e = shape
    return [values(size, dtype, i) for i, size in enumerate(((b, h, m, d), (b, h, n, d), (b, h, n, e)))]


def biases(shape: tuple[int, ...], dtype: str) -> list[Any]:
    b, h, m, n, _, _ = shape
    full = (b, h, m, n)
    return [
        None,
        values(full, dtype, 5),
        values(full, "bool", 6),
        np.broadcast_to(values((b, 1, 1, n), dtype, 7), full),
        np.broadcast_to(values((b, 1, 1, n), "bool", 8), full),
        np.broadcast_to(values((m, 1), dtype, 9), full),
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_higher_precision_on_every_isa_and_thread_count(shape, dtype):
    q, k, v = operands(shape, dtype)
    rtol, atol = TOLERANCE[dtype]
    for bias in biases(shape, dtype):
        for causal, offset, zero in ((False, 0, 0), (True, 0, 1), (True, -3, 2), (True, 2, 0)):
            want = expected(q, k, v, bias, 0.3, causal, offset, zero)
            inputs = [q, k, v] if bias is None else [q, k, v, bias]
            ints = [int(causal), offset, zero]
            have = everywhere("attend", inputs, want.shape, dtype, ints=ints, floats=[0.3])
            np.testing.assert_allclose(have, want, rtol, atol)


@pytest.mark.parametrize("isa", ISAS)
def test_operands_and_results_that_lie_anywhere(isa):
    shape = (2, 3, 29, 270, 24, 16)
    q, k, v = operands(shape, "float32")
    bias = values((2, 3, 29, 270), "float32", 5)
    want = attend(q, k, v, bias, 0.2, isa=isa)
    for placed in zip(*map(layouts, (q, k, v, bias)), strict=True):
        for room in layouts(np.zeros_like(want)):
            assert same_bits(attend(*placed, 0.2, out=room, isa=isa, threads=2).copy(), want)


@pytest.mark.parametrize("isa", ISAS)
def test_heads_side_by_side(isa):
    joined = values((2, 37, 3, 4, 16), "float32")  # [B, L, qkv, heads, size]
    q, k, v = (joined[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    room = np.full((2, 39, 4, 16), 77, "float32")
    attend(q, k, v, scale=0.25, out=room[:, 1:-1].transpose(0, 2, 1, 3), isa=isa, threads=2)
    want = expected(q, k, v, scale=0.25).transpose(0, 2, 1, 3)
    np.testing.assert_allclose(room[:, 1:-1], want, 2e-5, 1e-5)
    assert (room[:, 0] == 77).all() and (room[:, -1] == 77).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", [(0, 2, 3, 4, 5, 6), (1, 2, 0, 4, 5, 6), (1, 2, 3, 4, 0, 6), (1, 2, 3, 4, 5, 0)])
def test_size_zero(shape, isa):
    q, k, v = operands(shape, "float32")
    np.testing.assert_allclose(attend(q, k, v, isa=isa), expected(q, k, v), 1e-5, 1e-6)


@pytest.mark.parametrize("isa", ISAS)
def test_no_keys_give_zero(isa):
    q, k, v = operands((1, 2, 3, 0, 5, 6), "float32")
    assert (attend(q, k, v, isa=isa) == 0).all()


@pytest.mark.parametrize("zero", [0, 1, 2])
@pytest.mark.parametrize("keys", [9, 300, 600])
def test_rows_that_see_nothing(keys, zero):
    q, k, v = operands((1, 2, 7, keys, 8, 8), "float32")
    mask = values((1, 2, 7, keys), "bool", 3)
    mask[:, :, 2] = False
    mask[:, 0, 4, : keys - 1] = False
    for bias in (mask, np.where(mask, 0, LOWEST).astype("float32")):
        have, want = attend(q, k, v, bias, zero=zero), expected(q, k, v, bias, zero=zero)
        np.testing.assert_allclose(have, want, 2e-5, 1e-5)
        assert np.isnan(have[:, :, 2]).all() == (zero == 0)
        q[0, 0, 2, 0] = k[0, 1, 1, 1] = np.nan
        np.testing.assert_allclose(attend(q, k, v, bias, zero=zero), expected(q, k, v, bias, zero=zero), 2e-5, 1e-5)
        q[0, 0, 2, 0] = k[0, 1, 1, 1] = 1


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("keys", [5, 270])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-42, 1e19])
def test_numbers_at_the_ends(number, keys, isa):
    """What is NaN and what is infinite is so where float32 arithmetic has it, with or without keys that no row sees."""
    shape = (1, 1, 11, keys, 9, 16)
    for which, place in ((0, (0, 0, 3, 2)), (1, (0, 0, 2, 1)), (2, (0, 0, keys - 1, 4))):
        given = operands(shape, "float32")
        given[which][place] = number
        q, k, v = given
        for causal in (False, True):
            want = expected(q, k, v, scale=0.5, causal=causal, wide=np.float32)
            have = attend(q, k, v, scale=0.5, causal=causal, isa=isa)
            if causal:
                seen = expected(q, k[:, :, :11], v[:, :, :11], scale=0.5, causal=True, wide=np.float32)
                want = np.where(np.isnan(have), want, seen)
            assert (np.isnan(have) == np.isnan(want)).all() and (np.isinf(have) == np.isinf(want)).all()
            np.testing.assert_allclose(have, want, 2e-4, 1e-5)


def test_large_values_do_not_overflow():
    q, k, v = operands((1, 1, 4, 700, 8, 8), "float32")
    v[...] = 3e38
    np.testing.assert_allclose(attend(q, k, v), v[:, :, :4], 1e-5)


def test_a_row_does_not_depend_on_the_others():
    q, k, v = operands((1, 2, 200, 300, 16, 16), "float32")
    whole = attend(q, k, v, threads=2)
    for rows in (slice(0, 1), slice(3, 50), slice(100, 200)):
        assert same_bits(attend(q[:, :, rows], k, v).copy(), whole[:, :, rows].copy())


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("offset", [0, -130, 37, 600])
def test_keys_that_no_row_sees_are_not_looked_at(offset, isa):
    """What they give is what a mask gives, also beside another, and what lies there does not matter."""
    q, k, v = operands((1, 2, 500, 700, 16, 24), "float32")
    full = (1, 2, 500, 700)
    seen = np.arange(700) <= np.arange(500)[:, None] + offset
    last = max(1, min(700, 500 + offset))
    hidden = [k.copy(), v.copy()]
    hidden[0][:, :, last:], hidden[1][:, :, last:] = np.nan, np.inf
    rows, keys = values((500, 1), "float32", 5), values((1, 2, 1, 700), "bool", 8)
    spread = values((1, 2, 1, 1400), "float32", 9)[..., ::2]
    for bias in (None, keys, spread, rows, values(full, "bool", 6), values(full, "float32", 7)):
        given = 0 if bias is None else np.where(bias, 0, LOWEST) if bias.dtype == bool else bias
        added = np.where(seen, given, LOWEST).astype("float32")
        masked = attend(q, k, v, np.broadcast_to(added, full), 0.25, zero=1, isa=isa)
        wide = None if bias is None else np.broadcast_to(bias, full)
        for threads in (1, 3):
            have = attend(q, *hidden, wide, 0.25, causal=True, offset=offset, zero=1, isa=isa, threads=threads)
            np.testing.assert_allclose(have, masked, 2e-6, 1e-6)


def test_up_to_256_keys_has_the_bits_of_softmax_between_products():
    q, k, v = operands((1, 2, 50, 256, 16, 16), "float32")
    scores, y = np.empty((1, 2, 50, 256), "float32"), np.empty((1, 2, 50, 16), "float32")
    _core.call_kernel("matmul", [q, k.swapaxes(-1, -2)], [scores])
    _core.call_kernel("softmax", [scores], [scores], ints=[3])
    _core.call_kernel("matmul", [scores, v], [y])
    assert same_bits(attend(q, k, v), y)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda q, k, v: [q.astype("int32"), k, v], "int32"),
        (lambda q, k, v: [q, k.astype("float64"), v], "one dtype"),
        (lambda q, k, v: [q, k[0], v], "one rank"),
    ],
)
def test_refused(change, what):
    given = change(*operands((1, 2, 3, 4, 5, 6), "float32"))
    with pytest.raises(Exception, match=what):
        attend(*given, out=np.zeros((1, 2, 3, 6), "float32"))
