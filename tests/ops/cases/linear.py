"""Matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from cases.case import FLOATS, NUMERIC, Case, sample

SHAPES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((1, 1), (1, 1)),
    ((3, 5), (5, 7)),
    ((7,), (7,)),
    ((7,), (7, 3)),
    ((3, 7), (7,)),
    ((2, 3, 4), (4,)),
    ((4,), (2, 4, 3)),
    ((2, 3, 4), (4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (5, 4, 2)),
    ((3, 4), (2, 4, 5)),
    ((0, 4), (4, 3)),
    ((3, 0), (0, 2)),
    ((3, 4), (4, 0)),
    ((0, 3, 4), (4, 5)),
    ((13, 67), (67, 35)),
]


def precision(dtype: Any) -> dict[str, float]:
    return (
        {"rtol": 1e-5, "atol": 1e-4}
        if dtype is np.float32
        else {"rtol": 1e-11, "atol": 1e-11}
        if dtype is np.float64
        else {}
    )


CASES = [
    Case(
        "matmul", (sample(*x, dtype=dtype, seed=1), sample(*y, dtype=dtype, seed=2)), {}, np.matmul, **precision(dtype)
    )
    for dtype in NUMERIC
    for x, y in SHAPES
] + [
    Case(
        "matmul",
        (np.array([[np.inf, 1], [np.nan, 1]], dtype), np.array([[0, 1], [1, 1]], dtype)),
        {},
        np.matmul,
        label="special",
    )
    for dtype in FLOATS
]
