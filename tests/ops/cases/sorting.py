"""Order, and reading and writing by index."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import pyflow as pf
from cases.case import ANY, FLOATS, INTEGERS, NUMERIC, Case, bools, distinct, integers, normal, sample

F64 = np.float64
NANS = np.array([3.0, np.nan, -np.inf, 0.0, np.inf, -0.0, np.nan, 3.0])


def ordered(x: np.ndarray, axis: int = -1, descending: bool = False) -> np.ndarray:
    """Stable, NaN as the largest."""
    keys = np.where(np.isnan(x), np.inf, x) if x.dtype.kind == "f" else x.astype(np.int64)
    missing = np.isnan(x) if x.dtype.kind == "f" else np.zeros(x.shape, bool)
    sign = -1 if descending else 1
    return np.lexsort((sign * keys, sign * missing.astype(np.int64)), axis=axis)


def taken(x: np.ndarray, order: np.ndarray, axis: int) -> np.ndarray:
    return np.take_along_axis(x, order, axis)


def best(x: np.ndarray, k: int, axis: int = -1, largest: bool = True) -> tuple[np.ndarray, np.ndarray]:
    order = np.take(ordered(x, axis, largest), range(k), axis)
    return taken(x, order, axis), order


SORTED = [
    *(
        Case(f, (sample(*shape, dtype=d),), {"axis": axis, "descending": down}, g, label=f.__name__)
        for d in ANY
        for shape, axis in (((7,), 0), ((3, 40), -1), ((35, 2, 3), 0), ((2, 0), 1), ((300,), 0))
        for down in (False, True)
        for f, g in (
            (pf.sort, lambda x, axis, descending: taken(x, ordered(x, axis, descending), axis)),
            (pf.argsort, ordered),
        )
    ),
    *(
        Case(f, (np.tile(NANS, 6).astype(d),), {"descending": down}, g, label=f.__name__)
        for d in FLOATS
        for down in (False, True)
        for f, g in ((pf.argsort, ordered),)
    ),
    Case(pf.sort, (integers(-(2**62), 2**62, 2000),), {}, np.sort, label="sort"),
    Case(pf.sort, (distinct(3, 4, dtype=F64),), {}, np.sort, label="gradient"),
    *(
        Case(pf.top_k, (distinct(4, 50, dtype=d),), {"k": 5, "axis": a, "largest": big}, best, label="top_k")
        for d in NUMERIC
        for a, big in ((-1, True), (1, False))
    ),
    Case(pf.top_k, (distinct(5, 6, dtype=F64),), {"k": 2, "axis": 0}, best, label="top_k gradient"),
    Case(pf.top_k, (np.array([1.0, 2.0, 2.0, 0.0]),), {"k": 0}, best, label="top_k none", gradient=False),
    Case(pf.partition, (distinct(9),), {"kth": 3}, lambda x, kth: np.sort(x), label="partition"),
    Case(pf.argpartition, (distinct(9),), {"kth": 3}, lambda x, kth: np.argsort(x), label="argpartition"),
    *(
        Case(
            "searchsorted",
            (np.sort(sample(21, dtype=d)), sample(3, 5, dtype=d, seed=1)),
            {"side": side},
            np.searchsorted,
        )
        for d in ANY
        for side in ("left", "right")
    ),
    Case("searchsorted", (np.zeros(0), normal(3)), {}, lambda o, v: np.zeros(3), label="empty"),
    Case("searchsorted", (np.array([-np.inf, 0.0, 1.0, np.nan]), NANS), {"side": "left"}, np.searchsorted, label="NaN"),
    *(
        Case(pf.digitize, (normal(9), np.array([-1, 0, 0.5], np.float32)), {"right": r}, np.digitize)
        for r in (False, True)
    ),
]


def distinct_slices(x: np.ndarray, sorted: bool = True, axis: int = 0, **_: Any) -> tuple[np.ndarray, ...]:
    values, index, inverse, counts = np.unique(x, True, True, True, axis=axis)
    if not sorted:
        order = np.argsort(index)
        values, index, counts = np.take(values, order, axis), index[order], counts[order]
        inverse = np.argsort(order)[inverse.reshape(-1)]
    return values, index, inverse.reshape(-1), counts


def distinct_values(
    x: np.ndarray,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    sorted: bool = True,
) -> Any:
    values, index, inverse, counts = np.unique(x, True, True, True)
    inverse = inverse.reshape(x.shape)
    if not sorted:
        order = np.argsort(index)
        values, index, counts = values[order], index[order], counts[order]
        inverse = np.argsort(order)[inverse]
    results = [values, *([index] * return_index), *([inverse] * return_inverse), *([counts] * return_counts)]
    return tuple(results) if len(results) > 1 else values


EVERYTHING = {"return_index": True, "return_inverse": True, "return_counts": True}

DISTINCT = [
    *(
        Case(pf.unique, (sample(31, dtype=d),), {**EVERYTHING, "sorted": s}, distinct_values, label="unique")
        for d in NUMERIC
        for s in (True, False)
    ),
    Case(pf.unique, (bools(9),), {}, np.unique, label="unique"),
    *(
        Case(pf.unique, (x,), {**EVERYTHING, "axis": axis, "sorted": s}, distinct_slices, label="unique slices")
        for x in (integers(0, 2, 7, 2), integers(0, 2, 2, 7, 2).astype(np.float32), bools(5, 2), integers(0, 2, 0, 3))
        for axis in (0, -1)
        for s in (True, False)
    ),
    Case(
        pf.unique,
        (np.array([[np.nan, 1], [0, np.nan], [np.nan, 1], [0, 2]]),),
        {"axis": 0},
        lambda x, **_: x[[3, 1, 0]],
        label="unique slices of NaN",
    ),
    Case(pf.unique, (integers(0, 5, 4, 6),), EVERYTHING, distinct_values, label="unique"),
    *(
        Case(pf.unique, (x,), EVERYTHING, distinct_values, label=f"unique {what}")
        for what, x in (("NaN", NANS), ("nothing", np.zeros(0)), ("one", np.ones(1)))
    ),
    Case(lambda x: pf.histogram(x, 5), (distinct(30, dtype=F64),), {}, lambda x: np.histogram(x, 5), label="histogram"),
    Case(
        lambda x: pf.histogram(x, 4, (-1.0, 1.0)),
        (normal(50, dtype=F64),),
        {},
        lambda x: np.histogram(x, 4, (-1, 1)),
        label="histogram range",
    ),
    Case(
        lambda x, w: pf.histogram(x, [-1.0, 0.0, 0.5, 2.0], weights=w)[0],
        (normal(50, dtype=F64), normal(50, dtype=F64, seed=1)),
        {},
        lambda x, w: np.histogram(x, [-1.0, 0.0, 0.5, 2.0], weights=w)[0],
        label="histogram weights",
        atol=1e-12,
    ),
]


def scattered(
    x: np.ndarray, indices: np.ndarray, updates: np.ndarray, axis: int = 0, reduction: str = "none"
) -> np.ndarray:
    result = x.copy()
    for place in itertools.product(*map(range, indices.shape)):
        at = list(place)
        at[axis] = int(indices[place])
        combine(result, tuple(at), updates[place], reduction)
    return result


def scattered_nd(
    x: np.ndarray, indices: np.ndarray, updates: np.ndarray, batch_dims: int = 0, reduction: str = "none"
) -> np.ndarray:
    result = x.copy()
    for place in itertools.product(*map(range, indices.shape[:-1])):
        combine(result, (*place[:batch_dims], *map(int, indices[place])), updates[place], reduction)
    return result


def gathered_nd(x: np.ndarray, indices: np.ndarray, batch_dims: int = 0) -> np.ndarray:
    rows = [
        x[(*place[:batch_dims], *map(int, indices[place]))]
        for place in itertools.product(*map(range, indices.shape[:-1]))
    ]
    return np.array(rows).reshape(*indices.shape[:-1], *x.shape[batch_dims + indices.shape[-1] :])


def combine(target: np.ndarray, at: Any, update: Any, reduction: str) -> None:
    functions = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}
    target[at] = update if reduction == "none" else functions[reduction](target[at], update)


def nd(op: str, inputs: Any, attrs: Any, expected: Any, **settings: Any) -> Case:
    """The indices are constant: their last size counts axes, and is known when the graph is built."""
    return Case(op, inputs, attrs, expected, constant=(1,), **settings)


ONCE = np.array([[3, 0, -1], [1, 2, 0]])
AGAIN = np.array([[3, 0, 3], [3, 0, -1]])
REDUCTIONS = ("none", "add", "mul", "min", "max")

BY_INDEX = [
    *(
        Case(
            "gather_elements",
            (sample(4, 3, dtype=d), ONCE.astype(i)),
            {"axis": 0},
            lambda x, i, axis: np.take_along_axis(x, np.where(i < 0, i + 4, i), 0)[:2],
        )
        for d in ANY
        for i in INTEGERS
    ),
    Case(
        "gather_elements",
        (normal(2, 5, 3, dtype=F64), integers(-5, 5, 2, 7, 2)),
        {"axis": 1},
        lambda x, i, axis: np.take_along_axis(x[..., :2], np.where(i < 0, i + 5, i), 1),
    ),
    Case(
        pf.take_along_axis,
        (normal(3, 1, 4, dtype=F64), integers(0, 4, 1, 5, 2)),
        {"axis": -1},
        lambda x, i, axis: np.take_along_axis(np.broadcast_to(x, (3, 5, 4)), np.broadcast_to(i, (3, 5, 2)), -1),
    ),
    *(
        Case(
            "scatter_elements",
            (sample(4, 3, dtype=d), AGAIN.astype(i), sample(2, 3, dtype=d, seed=1)),
            {"axis": 0, "reduction": r},
            scattered,
            atol=1e-6,
        )
        for d in NUMERIC
        for i in INTEGERS
        for r in REDUCTIONS
        if not (r == "none" and d is F64)
    ),
    Case("scatter_elements", (sample(4, 3, dtype=F64), ONCE, sample(2, 3, dtype=F64, seed=1)), {}, scattered),
    Case("scatter_elements", (bools(4, 3), AGAIN, bools(2, 3, seed=1)), {"reduction": "max"}, scattered),
    Case(
        "scatter_elements",
        (normal(2, 5, 3, dtype=F64), integers(-5, 5, 2, 4, 2), normal(2, 4, 2, dtype=F64)),
        {"axis": 1, "reduction": "add"},
        scattered,
        atol=1e-12,
    ),
    Case(
        pf.put_along_axis,
        (normal(4, 3, dtype=F64), ONCE[:1], normal(3, dtype=F64)),
        {"axis": 0},
        lambda x, i, v, axis: scattered(x, i, v[None], 0),
    ),
    *(
        nd("gather_nd", (sample(4, 3, 5, dtype=d), np.array([[[3, -1]], [[0, 2]]], i)), {}, gathered_nd)
        for d in ANY
        for i in INTEGERS
    ),
    nd("gather_nd", (normal(2, 4, 3, dtype=F64), integers(-4, 4, 2, 6, 1)), {"batch_dims": 1}, gathered_nd),
    nd("gather_nd", (normal(2, 4, 3, dtype=F64), integers(-2, 2, 2, 4, 5, 1)), {"batch_dims": 2}, gathered_nd),
    nd("gather_nd", (normal(2, 3, dtype=F64), np.zeros((4, 0), np.int64)), {}, lambda x, i: np.stack([x] * 4)),
    *(
        nd(
            "scatter_nd",
            (sample(4, 3, 5, dtype=d), np.array([[3, -1], [0, 2], [3, 2]], i), sample(3, 5, dtype=d, seed=1)),
            {"reduction": r},
            scattered_nd,
            atol=1e-6,
        )
        for d in NUMERIC
        for i in INTEGERS
        for r in REDUCTIONS
        if not (r == "none" and d is F64)
    ),
    nd(
        "scatter_nd", (normal(4, 3, dtype=F64), np.array([[3], [0]]), normal(2, 3, dtype=F64, seed=1)), {}, scattered_nd
    ),
    nd(
        "scatter_nd",
        (normal(2, 4, 3, dtype=F64), integers(0, 4, 2, 2, 1), normal(2, 2, 3, dtype=F64, seed=1)),
        {"batch_dims": 1, "reduction": "add"},
        scattered_nd,
    ),
    Case(pf.index_select, (normal(4, 3, dtype=F64), np.array([2, 0])), {"axis": 1}, lambda x, i, axis: x[:, i]),
    Case(
        pf.index_add,
        (normal(4, 3, dtype=F64), np.array([2, 0, 2]), normal(3, 3, dtype=F64, seed=1)),
        {},
        lambda x, i, u: scattered(x, np.stack([i] * 3, 1), u, 0, "add"),
        atol=1e-12,
    ),
    Case(pf.masked_fill, (normal(4, 3, dtype=F64), bools(3), np.array(2.0)), {}, lambda x, m, v: np.where(m, v, x)),
    Case(pf.masked_select, (normal(4, 3, dtype=F64), bools(4, 3)), {}, lambda x, m: x[m]),
    Case(pf.compress, (bools(4), normal(5, 3, dtype=F64)), {"axis": 0}, np.compress),
    Case(pf.compress, (bools(7), normal(5, 3)), {}, np.compress),
    Case(pf.extract, (bools(5, 3), normal(5, 3)), {}, np.extract),
]

CASES = [*SORTED, *DISTINCT, *BY_INDEX]
