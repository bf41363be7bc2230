"""Rows of ops that pick by index."""

from __future__ import annotations

from typing import Any

import numpy as np

from cases.case import ANY, INTEGERS, NUMERIC, Case, integers, normal, sample
from pyflow.dtypes import bool_, float32, float64, int32
from pyflow.opdef import call
from pyflow.ops.arrays.indexing import arange

F64 = np.float64


def _scattered(indices: np.ndarray, updates: np.ndarray, **_: Any) -> np.ndarray:
    result = np.zeros((2, 5, 3), updates.dtype)
    for row in range(2):
        for place, index in enumerate(indices):
            result[row, index] += updates[row, place]
    return result


def _positive(x: Any) -> Any:
    return x[call("nonzero", x > 0)[0]]


def _by(label: str, key: Any, *shape: int, gradient: bool = True) -> Case:
    """``x[key]``; ``key`` may be a function of ``x``."""

    def indexed(x: Any) -> Any:
        return x[key(x)] if callable(key) else x[key]

    inputs = (normal(*shape, dtype=F64),)
    return Case(indexed, inputs, expected=indexed, gradient=gradient, label=f"x[{label}]")


PAIR, COLUMN, WHOLE = np.array([0, -2]), np.array([[1], [-1], [0]]), slice(None)
BY_ARRAYS = [
    _by("arrays", (PAIR, [1, 1]), 3, 4),
    _by("broadcast", (PAIR, COLUMN), 3, 4),
    _by("first two", (PAIR, PAIR), 3, 4, 5),
    _by("last two", (WHOLE, PAIR, COLUMN), 3, 4, 5),
    _by("apart", (PAIR, WHOLE, PAIR), 3, 4, 5),
    _by("int apart", (0, WHOLE, PAIR), 3, 4, 5),
    _by("new axis between", (PAIR, None, PAIR), 3, 4, 5),
    _by("new axis before", (WHOLE, None, PAIR, PAIR), 3, 4, 5),
    _by("reversed", (slice(None, None, -1), COLUMN, PAIR), 3, 4, 5),
    _by("mask", lambda x: x > 0, 3, 5, gradient=False),
    _by("mask of rows", lambda x: x[:, 1] > 0, 7, 5, gradient=False),
    _by("mask of columns", lambda x: (WHOLE, x[0] > 0), 3, 5, gradient=False),
    _by("mask and slice", lambda x: (x[:, :, 0] > 0, slice(1, None, 2)), 3, 4, 5, gradient=False),
    _by("mask apart", lambda x: (x[:, 0, 0] > 0, WHOLE, [1]), 3, 4, 5, gradient=False),
    _by("mask of nothing", np.zeros(3, np.bool_), 3, 5),
]


def _from_one(x: Any) -> Any:
    return arange(1, x.shape[0] + 1)


def _picked(x: np.ndarray, indices: np.ndarray, **_: Any) -> np.ndarray:
    return x[indices.astype(np.int64)]


def _hot_first(indices: np.ndarray, **_: Any) -> np.ndarray:
    return indices[None] == np.arange(4)[:, None, None]


def _places(x: np.ndarray, **_: Any) -> np.ndarray:
    return np.stack(np.nonzero(x))


def _made(*args: Any, **kwargs: Any) -> Any:
    return lambda: arange(*args, **kwargs)


CASES = [
    *(
        Case(
            "gather",
            (sample(4, 3, dtype=d), np.array([[3, -4], [0, 0]], i)),
            {},
            _picked,
        )
        for d in ANY
        for i in INTEGERS
    ),
    Case("gather", (normal(2, 5, 3, dtype=F64), integers(-5, 5, 7)), {"axis": 1}, lambda x, i, **_: x[:, i]),
    Case("gather", (normal(2, 5, dtype=F64), np.array(3)), {"axis": -1}, lambda x, i, **_: x[:, 3]),
    Case("gather", (normal(2, 5), np.zeros(0, np.int64)), {"axis": 0}, lambda x, i, **_: x[:0]),
    *(
        Case(
            "scatter_add",
            (np.array([4, 0, 4, -2], np.int64), sample(2, 4, 3, dtype=d)),
            {"size": 5, "axis": 1},
            _scattered,
        )
        for d in NUMERIC
    ),
    *(
        Case(
            "one_hot",
            (integers(-1, 5, 2, 3, dtype=d),),
            {"depth": 4, "dtype": t},
            lambda i, **_: i[..., None] == np.arange(4),
        )
        for d in INTEGERS
        for t in (float32, float64, int32, bool_)
    ),
    Case(
        "one_hot",
        (integers(0, 4, 2, 3),),
        {"depth": 4, "axis": 0},
        _hot_first,
    ),
    *(Case("nonzero", (sample(3, 4, dtype=d),), {}, _places, dtype=np.int64) for d in ANY),
    Case("nonzero", (np.zeros((2, 3), np.float32),), {}, lambda x, **_: np.zeros((2, 0)), dtype=np.int64, label="none"),
    Case(_made(5), (), {}, lambda **_: np.arange(5), dtype=np.int64, label="arange 5"),
    Case(_made(2, 11, 3), (), {}, lambda **_: np.arange(2, 11, 3), label="arange 2 11 3"),
    Case(_made(7, 0, -2, dtype=int32), (), {}, lambda **_: np.arange(7, 0, -2), dtype=np.int32, label="arange 7 0 -2"),
    Case(_made(3, 3), (), {}, lambda **_: np.arange(0), label="arange 3 3"),
    Case(_made(0.5, 2.0, 0.25), (), {}, lambda **_: np.arange(0.5, 2.0, 0.25), dtype=np.float32, label="arange floats"),
    Case(_from_one, (normal(4),), expected=lambda x: np.arange(1, 5)),
    Case(_positive, (normal(9, dtype=F64),), expected=lambda x: x[x > 0], gradient=False),
    *BY_ARRAYS,
]
