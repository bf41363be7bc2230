"""Arithmetic, powers, exponentials, rounding, extremes, casts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cases.case import ANY, FLOATS, INTEGERS, NUMERIC, Case, distinct, integers, normal, sample, uniform

SHAPES: list[tuple[int, ...]] = [(), (0,), (1,), (17,), (3, 1, 5), (2, 0, 3), (101,)]
BROADCASTS: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((), ()),
    ((7,), ()),
    ((3, 1), (1, 5)),
    ((5,), (2, 3, 5)),
    ((0, 3), (1, 3)),
    ((2, 1, 4), (3, 1)),
    ((67,), (67,)),
]
SPECIAL = [0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan]
PAIRS = np.array([(a, b) for a in SPECIAL for b in SPECIAL])


def positive(*shape: int, dtype: Any, seed: int = 0) -> np.ndarray:
    return uniform(0.3, 3.0, *shape, dtype=dtype, seed=seed)


def nonzero(*shape: int, dtype: Any, seed: int = 0) -> np.ndarray:
    signs = np.where(integers(0, 2, *shape, seed=seed + 50) == 1, 1, -1)
    sizes = (
        integers(1, 9, *shape, dtype=dtype, seed=seed)
        if np.dtype(dtype).kind == "i"
        else uniform(0.4, 2.5, *shape, seed=seed)
    )
    return (sizes * signs).astype(dtype)


def binary(
    op: str,
    expected: Callable[..., Any],
    dtypes: Any = NUMERIC,
    first: Callable[..., np.ndarray] = sample,
    second: Callable[..., np.ndarray] = sample,
    special: bool = True,
    **rest: Any,
) -> list[Case]:
    rows = [
        Case(op, (first(*left, dtype=dtype, seed=1), second(*right, dtype=dtype, seed=2)), {}, expected, **rest)
        for dtype in dtypes
        for left, right in (BROADCASTS if dtype in FLOATS else BROADCASTS[1:4])
    ]
    if special:
        rows += [
            Case(op, (PAIRS[:, 0].astype(dtype), PAIRS[:, 1].astype(dtype)), {}, expected, label="special", **rest)
            for dtype in FLOATS
        ]
    return rows


def unary(
    op: str,
    expected: Callable[..., Any],
    dtypes: Any = FLOATS,
    values: Callable[..., np.ndarray] = sample,
    special: bool = True,
    **rest: Any,
) -> list[Case]:
    rows = [
        Case(op, (values(*shape, dtype=dtype),), {}, expected, **rest)
        for dtype in dtypes
        for shape in (SHAPES if dtype in FLOATS else SHAPES[1:4])
    ]
    if special:
        rows += [Case(op, (np.array(SPECIAL, dtype),), {}, expected, label="special", **rest) for dtype in FLOATS]
    return rows


def wide(*shape: int, dtype: Any, seed: int = 0) -> np.ndarray:
    return uniform(-20, 20, *shape, dtype=dtype, seed=seed)


def above_minus_one(*shape: int, dtype: Any, seed: int = 0) -> np.ndarray:
    return uniform(-0.9, 4, *shape, dtype=dtype, seed=seed)


def true_modulo(x: Any, y: Any) -> Any:
    return x - y * np.floor(x / y) if np.asarray(x).dtype.kind == "f" else x % y


erf = np.vectorize(math.erf, otypes=[np.float64])

ARITHMETIC = [
    *binary("add", lambda x, y: x + y),
    *binary("subtract", lambda x, y: x - y),
    *binary("multiply", lambda x, y: x * y),
    *binary("divide", lambda x, y: x / y, second=nonzero),
    *binary("floor_divide", lambda x, y: x // y, second=nonzero, special=False),
    *binary("mod", true_modulo, second=nonzero, special=False, atol=2e-6),
    *binary("pow", lambda x, y: x**y, dtypes=FLOATS, first=positive),
    Case(
        "floor_divide", (np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])), {}, lambda x, y: np.array([3, -4, -4, 3])
    ),
    Case(
        "mod", (np.array([7, -7, 7, -7, 6]), np.array([2, 2, -2, -2, -3])), {}, lambda x, y: np.array([1, 1, -1, -1, 0])
    ),
    Case("mod", (np.array([7.5, -7.5, 7.5]), np.array([2, 2, -2.0])), {}, lambda x, y: np.array([1.5, 0.5, -0.5])),
    Case(
        "add",
        (np.array([2**31 - 1, -(2**31)], np.int32), np.array([1, -1], np.int32)),
        {},
        lambda x, y: np.array([-(2**31), 2**31 - 1]),
        label="wraps",
    ),
    Case(
        "add",
        (np.ones(3, np.int32), np.ones(3, np.float32)),
        {},
        lambda x, y: x + y,
        dtype=np.float64,
        label="promotes",
    ),
    Case("divide", (np.array([7, -7], np.int32), np.array([2, 2], np.int32)), {}, lambda x, y: x / y, dtype=np.float64),
    Case("divide", (np.array([7, -7], np.int64), np.array([2, 2], np.int64)), {}, lambda x, y: x / y, dtype=np.float64),
    *[
        Case("pow", (integers(-4, 5, 11, dtype=dtype), integers(0, 6, 11, dtype=dtype, seed=3)), {}, lambda x, y: x**y)
        for dtype in INTEGERS
    ],
    *[
        Case(
            "pow",
            (np.array([0, 0, -2, 2.5, -1.5], dtype), np.array([2, 1, 3, 0, 2], dtype)),
            {},
            lambda x, y: x**y,
            gradient=False,
        )
        for dtype in FLOATS
    ],
    Case(lambda x: x**2, (np.array([0.0, -1.5, 2.0]),), {}, lambda x: x * x, label="pow_of_zero"),
    Case(
        lambda x: 1 - 2 * x / 4 + (-x),
        (normal(5),),
        {},
        lambda x: 1 - x / 2 - x,
        dtype=np.float32,
        label="numbers",
        rtol=1e-5,
    ),
]

EXTREMES = [
    *binary("minimum", np.minimum, dtypes=ANY),
    *binary("maximum", np.maximum, dtypes=ANY),
    *[
        Case(
            "clip",
            (sample(5, 7, dtype=dtype), np.array(-1, dtype), np.array(1, dtype)),
            {},
            lambda x, a, b: np.clip(x, a, b),
        )
        for dtype in NUMERIC
    ],
    Case(
        "clip",
        (
            normal(3, 4, dtype=np.float64),
            normal(4, dtype=np.float64, seed=1) - 1,
            normal(3, 1, dtype=np.float64, seed=2),
        ),
        {},
        lambda x, a, b: np.minimum(np.maximum(x, a), b),
        label="limits_cross",
    ),
    Case(
        "clip",
        (np.array(SPECIAL), np.array(-0.5), np.array(0.5)),
        {},
        lambda x, a, b: np.clip(x, a, b),
        label="special",
    ),
    Case(lambda x: clip_of(x, min=0.0), (normal(9),), {}, lambda x: np.maximum(x, 0), label="clip_min"),
    Case(lambda x: clip_of(x, max=0.0), (normal(9),), {}, lambda x: np.minimum(x, 0), label="clip_max"),
    Case(lambda x: clip_of(x), (normal(9),), {}, lambda x: x, label="clip_none"),
]


def clip_of(x: Any, **limits: Any) -> Any:
    from pyflow import clip

    return clip(x, **limits)


UNARY = [
    *unary("negative", np.negative, dtypes=NUMERIC),
    *unary("abs", np.abs, dtypes=NUMERIC),
    *unary("sign", np.sign, dtypes=NUMERIC),
    *unary("square", lambda x: x * x, dtypes=NUMERIC),
    *unary("sqrt", np.sqrt, values=positive),
    *unary("rsqrt", lambda x: x**-0.5, values=positive, special=False),
    Case(
        "rsqrt",
        (np.array([0.0, 4.0, np.inf, -1.0, np.nan], np.float32),),
        {},
        lambda x: [np.inf, 0.5, 0, np.nan, np.nan],
    ),
    *unary("reciprocal", lambda x: 1 / x, values=nonzero),
    *unary("exp", np.exp),
    *unary("expm1", np.expm1),
    *unary("log", np.log, values=positive),
    *unary("log1p", np.log1p, values=above_minus_one),
    *unary("sin", np.sin, values=wide, atol=2e-7),
    *unary("cos", np.cos, values=wide, atol=2e-7),
    *unary("tanh", np.tanh),
    *unary("erf", erf),
    *unary("floor", np.floor, values=distinct),
    *unary("ceil", np.ceil, values=distinct),
    *unary("trunc", np.trunc, values=distinct),
    *unary("round", np.rint, values=distinct),
    *[
        Case(
            op, (np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.0], dtype),), {}, expected, gradient=False, label="halves"
        )
        for dtype in FLOATS
        for op, expected in {"round": np.rint, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc}.items()
    ],
    *[
        Case(
            "exp",
            (np.array([-110, -88, -1e-9, 0.5, 88, 89.5], dtype),),
            {},
            np.exp,
            gradient=False,
            label="range",
            atol=1e-44,
        )
        for dtype in FLOATS
    ],
    *[
        Case(op, (np.array([1e-7, -1e-5, 1e-3], dtype),), {}, function, gradient=False, label="near_zero")
        for dtype in FLOATS
        for op, function in {"expm1": np.expm1, "log1p": np.log1p, "tanh": np.tanh, "erf": erf}.items()
    ],
    Case("sqrt", (np.array([4, 9], np.int64),), {}, np.sqrt, dtype=np.float64, label="from_ints"),
    Case("exp", (np.array([True, False]),), {}, lambda x: np.exp(x * 1.0), dtype=np.float32, label="from_bools"),
    Case("abs", (np.array([0.0]),), {}, np.abs, gradient=False, label="at_zero"),
]

CASTS = [
    Case(
        "cast",
        (sample(2, 7, dtype=source),),
        {"dtype": np.dtype(target).name},
        lambda x, dtype: x.astype(dtype),
        dtype=target,
        gradient=target is not np.float32,
    )
    for source in ANY
    for target in ANY
] + [
    Case(
        "cast",
        (np.array([-2.9, 2.9, 0.0]),),
        {"dtype": "int32"},
        lambda x, dtype: [-2, 2, 0],
        gradient=False,
        label="truncates",
    ),
    Case(
        "cast",
        (np.array([2**31, -(2**31) - 1]),),
        {"dtype": "int32"},
        lambda x, dtype: [-(2**31), 2**31 - 1],
        label="wraps",
    ),
    Case(
        "cast",
        (np.array([np.nan, 0.5, -0.0]),),
        {"dtype": "bool"},
        lambda x, dtype: [True, True, False],
        label="to_bool",
    ),
    *[Case("identity", (sample(3, dtype=dtype),), {}, lambda x: x, dtype=dtype) for dtype in ANY],
    Case("identity", (sample(3, dtype=np.float64),), {}, lambda x: x),
    *[Case("stop_gradient", (sample(3, dtype=dtype),), {}, lambda x: x, gradient=False) for dtype in ANY],
]

CASES = [*ARITHMETIC, *EXTREMES, *UNARY, *CASTS]
