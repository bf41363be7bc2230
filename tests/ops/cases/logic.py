"""Comparisons, logic, tests for special values, where."""

from __future__ import annotations

import numpy as np

from cases.case import ANY, FLOATS, Case, bools, integers, normal, sample
from cases.math import BROADCASTS, PAIRS, SPECIAL

COMPARE = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
}
LOGICAL = {"logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor}

CASES = [
    *[
        Case(
            op,
            (integers(-2, 3, *left, seed=1).astype(dtype), integers(-2, 3, *right, seed=2).astype(dtype)),
            {},
            function,
        )
        for op, function in COMPARE.items()
        for dtype in ANY
        for left, right in BROADCASTS[:4]
    ],
    *[
        Case(op, (PAIRS[:, 0].astype(dtype), PAIRS[:, 1].astype(dtype)), {}, function, dtype=np.bool_, label="special")
        for op, function in COMPARE.items()
        for dtype in FLOATS
    ],
    *[
        Case(op, (bools(*left, seed=1), bools(*right, seed=2)), {}, function, dtype=np.bool_)
        for op, function in LOGICAL.items()
        for left, right in BROADCASTS
    ],
    *[Case("logical_not", (bools(*shape),), {}, np.logical_not) for shape in [(), (0,), (17,), (3, 5)]],
    *[
        Case(op, (np.array(SPECIAL, dtype),), {}, function, dtype=np.bool_)
        for op, function in {"isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite}.items()
        for dtype in FLOATS
    ],
    *[
        Case(
            "where",
            (bools(*c), sample(*x, dtype=dtype, seed=1), sample(*y, dtype=dtype, seed=2)),
            {},
            np.where,
            dtype=dtype,
        )
        for dtype in ANY
        for c, x, y in [((5, 3), (5, 3), (5, 3)), ((5, 1), (), (3,)), ((), (7,), (7,)), ((0,), (1,), (0,))]
    ],
    Case(
        "where",
        (np.array([True, False]), np.array([1.0, np.nan], np.float32), np.array([np.inf, 2.0], np.float32)),
        {},
        lambda c, x, y: [1, 2],
        label="ignores_the_rest",
    ),
    Case(lambda x: (x > 0) & ~(x > 1) | (x != x) ^ (x < -1), (normal(9),), {}, lambda x: (x > 0) & (x <= 1) | (x < -1)),
]
