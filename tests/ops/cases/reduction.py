"""Reductions."""

from __future__ import annotations

from typing import Any

import numpy as np

from cases.case import ANY, FLOATS, INTEGERS, NUMERIC, Case, bools, distinct, integers, normal, sample

AXES: list[tuple[tuple[int, ...], Any, bool]] = [
    ((), None, False),
    ((7,), None, False),
    ((7,), 0, True),
    ((3, 5), 1, False),
    ((3, 5), -2, True),
    ((3, 5), (), False),
    ((2, 3, 17), (0, 2), False),
    ((2, 3, 5), (-1, 0), True),
    ((2, 3, 5), None, True),
    ((1, 131), 1, False),
    ((3, 0), 0, False),
]
EMPTY: list[tuple[tuple[int, ...], Any, bool]] = [((0,), None, False), ((3, 0), 1, False), ((0, 0), (0, 1), True)]
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def rows(op: str, expected: Any, dtypes: Any, values: Any = sample, empty: bool = True, **rest: Any) -> list[Case]:
    return [
        Case(
            op,
            (values(*shape, dtype=dtype),),
            {"axis": axis, "keepdims": keepdims},
            expected,
            **rest,
            **precision(dtype),
        )
        for dtype in dtypes
        for shape, axis, keepdims in (AXES + EMPTY if empty else AXES)
    ]


def precision(dtype: Any) -> dict[str, float]:
    return TOLERANCE if dtype is np.float32 else {"rtol": 1e-12, "atol": 1e-12} if dtype is np.float64 else {}


def logsumexp(x: np.ndarray, axis: Any, keepdims: bool) -> np.ndarray:
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


def with_zeros(*shape: int, dtype: Any) -> np.ndarray:
    return integers(-2, 3, *shape, seed=4).astype(dtype)


def arg_rows(op: str, function: Any) -> list[Case]:
    return [
        Case(
            op, (integers(-3, 4, *shape).astype(dtype),), {"axis": axis, "keepdims": keepdims}, function, dtype=np.int64
        )
        for dtype in ANY
        for shape, axis, keepdims in [
            ((7,), 0, False),
            ((3, 5), -1, True),
            ((3, 5), 0, False),
            ((2, 17, 3), 1, False),
            ((4, 1), 1, False),
            ((0, 4), 1, False),
            ((3, 5), None, False),
            ((3, 5), None, True),
        ]
    ]


SUM_TO = [
    ((3, 5), (3, 5)),
    ((3, 5), (1, 5)),
    ((3, 5), (5,)),
    ((2, 3, 5), (3, 1)),
    ((2, 3, 5), ()),
    ((0, 5), (1, 5)),
    ((1, 4), (1, 1)),
]


def sum_to(x: np.ndarray, dims: tuple[int, ...]) -> np.ndarray:
    lead = x.ndim - len(dims)
    x = x.sum(axis=tuple(range(lead)))
    return x.sum(axis=tuple(i for i, size in enumerate(dims) if size == 1), keepdims=True)


CASES = [
    *rows("sum", np.sum, [*NUMERIC, np.bool_]),
    *rows("mean", lambda x, axis, keepdims: np.mean(x * 1.0, axis=axis, keepdims=keepdims), NUMERIC),
    *rows("prod", np.prod, [*NUMERIC, np.bool_]),
    *rows("prod", np.prod, FLOATS, values=with_zeros, label="zeros"),
    *rows("max", np.max, ANY, values=lambda *shape, dtype: distinct(*shape, dtype=dtype), empty=False),
    *rows("min", np.min, ANY, values=lambda *shape, dtype: distinct(*shape, dtype=dtype), empty=False),
    *rows("any", np.any, [np.bool_]),
    *rows("all", np.all, [np.bool_]),
    *rows("logsumexp", logsumexp, FLOATS, empty=False),
    *rows("var", np.var, FLOATS),
    *[case for case in rows("std", np.std, FLOATS) if np.size(case.inputs[0]) > 1 and case.attrs["axis"] != ()],
    *arg_rows("argmax", np.argmax),
    *arg_rows("argmin", np.argmin),
    *[
        Case(op, (np.array([[1, np.nan, 3], [-np.inf, 0, np.inf]], dtype),), {"axis": 1}, function, label="special")
        for dtype in FLOATS
        for op, function in {
            "sum": np.sum,
            "mean": np.mean,
            "max": np.max,
            "min": np.min,
            "prod": np.prod,
            "argmax": np.argmax,
            "argmin": np.argmin,
        }.items()
    ],
    *[
        Case(
            "logsumexp",
            (np.array([[1e4, 1e4], [-np.inf, -np.inf], [np.inf, 0]], dtype),),
            {"axis": 1},
            lambda x, axis: [1e4 + np.log(2), -np.inf, np.inf],
        )
        for dtype in FLOATS
    ],
    *[Case("sum", (np.array([2**31 - 1, 1], np.int32),), {}, lambda x: 2**31, dtype=np.int64, label="int32_in_int64")],
    *[
        Case(
            "sum_to",
            (sample(*shape, dtype=dtype),),
            {"dims": wanted},
            sum_to,
            dtype=dtype,
            symbolic=False,
            **precision(dtype),
        )
        for dtype in NUMERIC
        for shape, wanted in SUM_TO
    ],
    Case("sum", (normal(1009, dtype=np.float32),), {}, np.sum, rtol=1e-4, atol=1e-5, label="long"),
    Case("all", (bools(257),), {}, np.all, dtype=np.bool_),
    *[Case("max", (integers(-99, 99, 257, dtype=dtype),), {}, np.max, dtype=dtype) for dtype in INTEGERS],
]
