"""Trigonometry, special functions, bits, and parts of floating numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

import pyflow as pf
from cases.case import FLOATS, INTEGERS, NUMERIC, Case, bools, integers, normal, uniform
from cases.math import PAIRS, SPECIAL, binary, nonzero, positive, unary
from pyflow.dtypes import bfloat16
from pyflow.ops.elementwise.floating import addcmul, allclose, divmod, float_power

F64 = np.float64
EXTREMES_OF_INT64 = np.array([2**63 - 1, -(2**63), 2**53 + 1, 0, -1])
NEIGHBOURS = ([1.0, 1.0, -1.0, -1.0, 0.0, -0.0, 2.0, np.inf, np.nan], [2.0, 0.0, 0.0, -2.0, 1.0, -1.0, 2.0, 0.0, 1.0])
ULPS = {"rtol": 3e-6}


def _next_to(results: Any, inputs: Any) -> None:
    wanted = np.nextafter(*inputs)
    assert results[0].dtype == wanted.dtype
    np.testing.assert_array_equal(results[0].astype(np.float32), wanted.astype(np.float32))


def inside(*shape: int, dtype: Any, seed: int = 0) -> np.ndarray:
    return uniform(-0.95, 0.95, *shape, dtype=dtype, seed=seed)


def above_one(*shape: int, dtype: Any, seed: int = 0) -> np.ndarray:
    return uniform(1.1, 5, *shape, dtype=dtype, seed=seed)


def fractions(*shape: int, dtype: Any, seed: int = 0) -> np.ndarray:
    return uniform(0.05, 0.95, *shape, dtype=dtype, seed=seed)


def several(*shape: int, dtype: Any, seed: int = 0) -> np.ndarray:
    """Numbers that are integers now and then, and no ties of neighbours."""
    return np.round(normal(*shape, dtype=dtype, seed=seed, scale=4)) / 2


TINY = np.array([1e-30, -1e-9, 1e-5, 0.0, -0.0])

TRIGONOMETRY = [
    *unary("tan", np.tan, values=inside),
    *unary("asin", np.arcsin, values=inside),
    *unary("acos", np.arccos, values=inside),
    *unary("atan", np.arctan),
    *unary("sinh", np.sinh),
    *unary("cosh", np.cosh),
    *unary("asinh", np.arcsinh),
    *unary("acosh", np.arccosh, values=above_one),
    *unary("atanh", np.arctanh, values=inside, rtol=4e-6),
    *(Case(op, (TINY.astype(d),), {}, getattr(np, f"arc{op[1:]}")) for op in ("asinh", "atanh") for d in FLOATS),
    *binary("atan2", np.arctan2),
    *binary("hypot", np.hypot, special=False),
    Case("hypot", (PAIRS[:, 0], PAIRS[:, 1]), {}, np.hypot, gradient=False, label="special"),
    *unary("deg2rad", np.deg2rad),
    *unary("rad2deg", np.rad2deg),
    *unary("sinc", np.sinc, special=False, atol=3e-7),
    Case("sinc", (np.array([0.0, 0.5, -1.5]),), {}, np.sinc, gradient=False),
]

FUNCTIONS = [
    *unary("exp2", np.exp2, rtol=3e-6),
    *unary("log2", np.log2, values=positive, atol=1e-6),
    *unary("log10", np.log10, values=positive, atol=1e-6),
    *unary("cbrt", np.cbrt, special=False),
    *(Case("cbrt", (np.array(SPECIAL, d),), {}, np.cbrt, gradient=False, label="special") for d in FLOATS),
    *unary("erfc", special.erfc, rtol=1e-5),
    *unary("lgamma", special.gammaln, values=positive, atol=1e-6, special=False),
    Case("lgamma", (np.array([-0.5, -2.5, -7.3]),), {}, special.gammaln, rtol=1e-12),
    Case("lgamma", (np.array([0.0, -1.0, np.inf, np.nan]),), {}, special.gammaln, gradient=False),
    *unary("digamma", special.digamma, values=positive, atol=2e-6, special=False),
    Case("digamma", (np.array([-0.5, -2.5, -7.3, 25.0, 1e9]),), {}, special.digamma, rtol=1e-12),
    Case("digamma", (np.array([0.0, -0.0, np.inf, np.nan]),), {}, special.digamma, gradient=False, label="special"),
    Case(
        "trigamma",
        (np.array([-0.5, -2.5, 0.25, 1.0, 11.5, 1e5]),),
        {},
        lambda x: (
            special.polygamma(1, np.where(x < 0, 1 - x, x)) * np.where(x < 0, -1, 1)
            + np.where(x < 0, (np.pi / np.sin(np.pi * x)) ** 2, 0)
        ),
        rtol=1e-12,
        gradient=False,
    ),
    *binary("logaddexp", np.logaddexp, special=False, atol=1e-6),
    *(
        Case("logaddexp", (PAIRS[:, 0].astype(d), PAIRS[:, 1].astype(d)), {}, np.logaddexp, gradient=False)
        for d in FLOATS
    ),
    *unary("logit", special.logit, values=fractions, special=False, rtol=1e-5, atol=1e-6),
    *binary("xlogy", special.xlogy, second=positive, special=False, rtol=1e-5),
    Case("xlogy", (PAIRS[:, 0], PAIRS[:, 1]), {}, special.xlogy, gradient=False, label="special"),
]

BITS: list[Case] = [
    *(
        row
        for op in ("bitwise_and", "bitwise_or", "bitwise_xor")
        for row in binary(op, getattr(np, op), INTEGERS, special=False)
    ),
    *(
        Case(op, (bools(9), bools(9, seed=1)), {}, getattr(np, op))
        for op in ("bitwise_and", "bitwise_or", "bitwise_xor")
    ),
    *unary("bitwise_not", np.bitwise_not, INTEGERS, special=False),
    Case("bitwise_not", (bools(9),), {}, np.bitwise_not),
    *(
        Case(op, (integers(-(2**31), 2**31, 41, dtype=d), integers(-2, 70, 41, dtype=d, seed=1)), {}, getattr(np, op))
        for op in ("left_shift", "right_shift")
        for d in INTEGERS
    ),
    *binary("gcd", np.gcd, INTEGERS, special=False),
    *binary("lcm", np.lcm, INTEGERS, special=False),
]

HALF = np.array([0.5, 1.5, -0.5, 0.0, -0.0, np.nan, np.inf, -np.inf])

PARTS = [
    *binary("fmod", np.fmod, NUMERIC, second=nonzero, special=False, atol=2e-6),
    Case("fmod", (np.array([7.5, -7.5, 7.5]), np.array([2, 2, -2.0])), {}, lambda x, y: np.array([1.5, -1.5, 1.5])),
    *binary("copysign", np.copysign),
    Case("nextafter", (np.array([1.0, 0.0, -3.0]), np.array([2.0, -1.0, -3.0])), {}, np.nextafter, gradient=False),
    Case("nextafter", (normal(3, 1), normal(5)), {}, lambda x, y: x + 0 * y, rtol=2e-7),
    *unary("signbit", np.signbit),
    *unary("isposinf", np.isposinf),
    *unary("isneginf", np.isneginf),
    *binary("heaviside", np.heaviside, FLOATS, special=False),
    Case("heaviside", (HALF, np.full(8, 0.25)), {}, np.heaviside),
    *(Case("nan_to_num", (HALF.astype(d),), {}, lambda x, t=d: np.nan_to_num(x.astype(t))) for d in FLOATS),
    Case("nan_to_num", (HALF,), {"nan": 1.5, "posinf": 7.0, "neginf": -3.0}, np.nan_to_num),
    Case("nan_to_num", (normal(5, dtype=F64),), {}, np.nan_to_num),
    *(
        Case("isclose", (PAIRS[:, 0], PAIRS[:, 1]), {"equal_nan": nan}, np.isclose, label="special")
        for nan in (False, True)
    ),
    Case(
        "isclose",
        (np.array([1.0, 1.0, 5.0]), np.array([1.0 + 1e-9, 1.1, 5.0])),
        {"rtol": 1e-3, "atol": 0.0},
        np.isclose,
    ),
    Case(allclose, (np.ones(3), np.ones(3) + 1e-9), {}, lambda x, y: True),
    Case(allclose, (np.ones(3), np.ones(3) + 1e-2), {}, lambda x, y: False),
    Case(
        "lerp",
        (normal(3, 5, dtype=F64), normal(5, dtype=F64, seed=1), np.array(0.3)),
        {},
        lambda x, y, w: x + w * (y - x),
    ),
    Case(
        addcmul,
        (normal(3, 5, dtype=F64), normal(5, dtype=F64), normal(3, 1, dtype=F64)),
        {"value": 0.5},
        lambda x, y, z, value: x + value * y * z,
    ),
    *(
        Case(name, (EXTREMES_OF_INT64,), {}, lambda x: x, dtype=np.int64)
        for name in ("floor", "ceil", "round", "trunc", "nan_to_num", "real", "conj")
    ),
    *(
        Case(name, (EXTREMES_OF_INT64, EXTREMES_OF_INT64[::-1].copy()), {}, function, dtype=np.int64)
        for name, function in {"fmax": np.fmax, "fmin": np.fmin}.items()
    ),
    *(
        Case(pf.round, (x,), {"decimals": d}, lambda x, decimals: np.round(x, decimals), label="decimals")
        for x in (normal(9, dtype=F64, scale=1e3), integers(-99999, 99999, 9))
        for d in (2, -2)
    ),
    *(Case("imag", (x,), {}, np.imag, dtype=x.dtype) for x in (EXTREMES_OF_INT64, normal(3, dtype=np.float16))),
    Case("angle", (np.array([3, -2, 0]),), {}, np.angle, dtype=F64),
    *(
        Case("nextafter", tuple(np.array(column, d) for column in NEIGHBOURS), {}, check=_next_to, label="narrow")
        for d in (np.float16, bfloat16.numpy)
    ),
    Case(
        lambda a, b: pf.real(float_power(pf.complex(a, b), 2)),
        (normal(3), normal(3, seed=1)),
        expected=lambda a, b: a * a - b * b,
        dtype=F64,
    ),
    *binary("fmax", np.fmax),
    *binary("fmin", np.fmin),
    Case(divmod, (np.array([7, -7, 9]), np.array([2, 2, -4])), {}, np.divmod),
    Case(float_power, (np.array([2, 3]), np.array([-1, 2])), {}, np.float_power, dtype=F64),
]

CASES = [*TRIGONOMETRY, *FUNCTIONS, *BITS, *PARTS]
