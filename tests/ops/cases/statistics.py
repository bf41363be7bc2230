"""Variances, norms, quantiles, reductions without NaN; cumulative ops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import pyflow as pf
from cases.case import ANY, FLOATS, NUMERIC, Case, bools, distinct, integers, normal, sample, uniform

F64 = np.float64
NEAR = {"rtol": 1e-5, "atol": 1e-5}


def with_nan(*shape: int, dtype: Any = F64) -> np.ndarray:
    values = distinct(*shape, dtype=dtype)
    values[integers(0, 3, *shape) == 0] = np.nan
    return values


NAN_ROWS = [
    Case(getattr(pf, op), (with_nan(5, 7, dtype=d),), {"axis": axis}, getattr(np, op), label=f"{op} {axis}", **NEAR)
    for op in ("nansum", "nanprod", "nanmean", "nanvar", "nanstd", "nanmax", "nanmin")
    for axis in (None, 1, 0)
    for d in FLOATS
]

REDUCTIONS = [
    *(
        Case(op, (normal(3, 5, 4, dtype=d),), {"axis": a, "ddof": n}, getattr(np, op), **NEAR)
        for op in ("var", "std")
        for d in FLOATS
        for a in ((1,), (0, 2))
        for n in (1, 2)
    ),
    Case("var", (normal(2, 1),), {"axis": 1, "ddof": 1}, np.var, label="no freedom"),
    *(Case("count_nonzero", (sample(3, 5, dtype=d),), {"axis": 1}, np.count_nonzero, dtype=np.int64) for d in ANY),
    Case("count_nonzero", (np.array([0.0, np.nan, -0.0, 2.0]),), {}, np.count_nonzero),
    *(
        Case(
            "max_or_lowest",
            (np.zeros((3, 0), d),),
            {"axis": 1},
            lambda x, axis, d=d: np.full(3, -np.inf if d in FLOATS else False if d is np.bool_ else np.iinfo(d).min),
        )
        for d in ANY
    ),
    *(
        Case(
            "min_or_highest",
            (np.zeros((3, 0), d),),
            {"axis": 1},
            lambda x, axis, d=d: np.full(3, np.inf if d in FLOATS else True if d is np.bool_ else np.iinfo(d).max),
        )
        for d in ANY
    ),
    Case("max_or_lowest", (distinct(3, 5, dtype=F64),), {"axis": 1}, np.max),
    Case("min_or_highest", (distinct(3, 5, dtype=F64),), {"axis": 0, "keepdims": True}, np.min),
    *(
        Case("logsumexp", (np.zeros((3, 0), d),), {"axis": 1}, lambda x, axis: np.full(3, -np.inf), label="empty")
        for d in FLOATS
    ),
    *(
        Case("reduce_l1", (sample(3, 5, dtype=d),), {"axis": 1}, lambda x, axis: np.abs(x).sum(axis), dtype=d, **NEAR)
        for d in NUMERIC
    ),
    *(
        Case(
            "reduce_sum_square",
            (sample(3, 5, dtype=d),),
            {"axis": 0},
            lambda x, axis: (x * x).sum(axis),
            dtype=d,
            **NEAR,
        )
        for d in NUMERIC
    ),
    *(
        Case("reduce_l2", (sample(3, 5, dtype=d),), {"axis": 1}, lambda x, axis: np.sqrt((x * x).sum(axis)), **NEAR)
        for d in NUMERIC
    ),
    *(
        Case(
            "reduce_log_sum",
            (uniform(0.5, 2, 3, 5, dtype=d),),
            {"axis": 1},
            lambda x, axis: np.log(x.sum(axis)),
            **NEAR,
        )
        for d in FLOATS
    ),
    *(
        Case(f, (distinct(3, 5, dtype=F64),), {"axis": a}, getattr(np, f.__name__), label=f"{f.__name__} {a}")
        for f in (pf.amax, pf.amin, pf.ptp)
        for a in (None, 1)
    ),
    *(
        Case(
            pf.norm,
            (distinct(4, 5, dtype=F64),),
            {"ord": o, "axis": a, "keepdims": k},
            np.linalg.norm,
            rtol=1e-12,
            label="norm",
        )
        for o, a, k in [
            (None, None, False),
            (None, 1, True),
            (1, 0, False),
            (2, 1, False),
            (3, 1, True),
            (math.inf, 1, False),
            (-math.inf, 0, False),
            ("fro", (0, 1), True),
            (1, (0, 1), False),
            (-1, (1, 0), True),
            (math.inf, (0, 1), False),
            (-math.inf, (1, 0), False),
        ]
    ),
    Case(pf.norm, (normal(4),), {"ord": 0}, lambda x, ord: np.linalg.norm(x, 0), label="norm 0"),
    Case(
        lambda x, w: pf.average(x, 0, w),
        (normal(4, 3, dtype=F64), uniform(0.5, 2, 4, 3, dtype=F64)),
        {},
        lambda x, w: np.average(x, 0, w),
        rtol=1e-12,
    ),
]

QUANTILES = [
    *(
        Case(
            pf.quantile,
            (distinct(5, 7, dtype=d),),
            {"q": q, "axis": a, "keepdims": k},
            np.quantile,
            label="quantile",
            **NEAR,
        )
        for d in FLOATS
        for q in (0.0, 0.3, 1.0)
        for a, k in ((None, False), (1, True), ((0, 1), True))
    ),
    *(
        Case(
            pf.quantile,
            (distinct(5, 7, dtype=F64),),
            {"q": np.array([0.1, 0.5]), "axis": 0, "method": m},
            np.quantile,
            label=f"quantile {m}",
        )
        for m in ("linear", "lower", "higher", "nearest", "midpoint")
    ),
    Case(pf.percentile, (distinct(5, 7, dtype=F64),), {"q": 30, "axis": 1}, np.percentile, label="percentile"),
    Case(pf.median, (distinct(5, 6, dtype=F64),), {"axis": 1}, np.median, label="median"),
    Case(pf.median, (integers(0, 9, 5),), {}, np.median, label="median of integers"),
    Case(pf.median, (with_nan(4, 5),), {"axis": 1}, np.median, label="median of NaN"),
]


def cumulated(function: Any, start: float) -> Any:
    def expected(x: np.ndarray, axis: int, exclusive: bool = False, reverse: bool = False) -> np.ndarray:
        x = np.flip(x, axis) if reverse else x
        y = function(x, axis=axis)
        if exclusive:
            y = np.concatenate(
                [np.full_like(np.take(y, [0], axis), start), np.take(y, range(x.shape[axis] - 1), axis)], axis
            )
        return np.flip(y, axis) if reverse else y

    return expected


CUMULATIVE = {
    "cumsum": (np.cumsum, 0),
    "cumprod": (np.cumprod, 1),
    "cummax": (np.maximum.accumulate, -math.inf),
    "cummin": (np.minimum.accumulate, math.inf),
    "logcumsumexp": (np.logaddexp.accumulate, -math.inf),
}
MODES = [{"exclusive": e, "reverse": r} for e in (False, True) for r in (False, True)]


def with_zeros(*shape: int) -> np.ndarray:
    return np.where(integers(0, 4, *shape) == 0, 0.0, normal(*shape, dtype=F64, seed=3))


def recurrence(a: np.ndarray, b: np.ndarray, axis: int = -1, reverse: bool = False) -> np.ndarray:
    a, b = (np.moveaxis(np.flip(v, axis) if reverse else v, axis, 0) for v in (a, b))
    rows = [np.zeros_like(b[0])]
    for factor, term in zip(a, b, strict=True):
        rows.append(factor * rows[-1] + term)
    y = np.moveaxis(np.stack(rows[1:]), 0, axis)
    return np.flip(y, axis) if reverse else y


CUMULATED = [
    *(
        Case(
            op,
            (distinct(*shape, dtype=d),),
            {"axis": axis, **mode},
            cumulated(*CUMULATIVE[op]),
            gradient=not (mode["exclusive"] and CUMULATIVE[op][1] in (-math.inf, math.inf)),
            **NEAR,
        )
        for op in CUMULATIVE
        for d in FLOATS
        for shape, axis in (((7,), 0), ((3, 5), 1), ((2, 3, 70), -2))
        for mode in MODES
    ),
    *(Case(op, (np.zeros((3, 0)),), {"axis": a}, lambda x, axis: x) for op in CUMULATIVE for a in (0, 1)),
    *(
        Case(op, (sample(3, 5, dtype=d),), {"axis": 1}, cumulated(*CUMULATIVE[op]))
        for op in CUMULATIVE
        if op != "logcumsumexp"
        for d in (np.int32, np.int64)
    ),
    *(
        Case("cumprod", (with_zeros(4, 6),), {"axis": 1, **mode}, cumulated(np.cumprod, 1), label="zeros")
        for mode in MODES
    ),
    *(Case(op, (np.array([1.0, 3.0, np.nan, 5.0]),), {"axis": 0}, cumulated(*CUMULATIVE[op])) for op in CUMULATIVE),
    Case(
        "logcumsumexp",
        (np.array([-np.inf, -np.inf, 1e4, 1e4, np.inf, 3.0]),),
        {"axis": 0},
        lambda x, axis: np.array([-np.inf, -np.inf, 1e4, 1e4 + np.log(2), np.inf, np.inf]),
    ),
    *(
        Case(
            "linear_recurrence",
            (normal(3, 6, dtype=d), normal(3, 6, dtype=d, seed=1)),
            {"axis": a, "reverse": r},
            recurrence,
            **NEAR,
        )
        for d in NUMERIC
        for a in (0, -1)
        for r in (False, True)
    ),
    *(
        Case(pf.diff, (normal(3, 5, dtype=F64),), {"n": n, "axis": a}, np.diff, atol=1e-12, label="diff")
        for n in (0, 1, 2)
        for a in (0, -1)
    ),
    Case(pf.diff, (bools(7),), {}, np.diff, label="diff of bool"),
]

WITHOUT_NAN = np.array([[2**62 + 1, -5, 0], [3, 4, -(2**62) - 1]])
NAN_ROWS += [
    *(
        Case(
            getattr(pf, op),
            (given,),
            {"axis": 1},
            getattr(np, op),
            dtype=getattr(np, op)(given, axis=1).dtype,
            label=label,
        )
        for op in ("nansum", "nanprod", "nanmean", "nanvar", "nanmax", "nanmin")
        for given, label in ((WITHOUT_NAN, "of ints"), (WITHOUT_NAN.astype(np.int16), "of ints"))
    ),
    *(
        Case(
            lambda a, b, op=op: pf.view_as_real(getattr(pf, op)(pf.complex(a, b), 1)),
            (with_nan(3, 5), normal(3, 5, dtype=F64)),
            expected=lambda a, b, op=op: getattr(np, op)(a + 1j * b, 1).view(F64).reshape(3, 2),
            symbolic=op != "nanprod",
            label=f"complex {op}",
        )
        for op in ("nansum", "nanprod", "nanmean")
    ),
]

CASES = [*REDUCTIONS, *NAN_ROWS, *QUANTILES, *CUMULATED]
