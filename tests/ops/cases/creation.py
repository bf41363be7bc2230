"""Values made of a shape; diagonals and triangles."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyflow as pf
from cases.case import ANY, Case, normal, sample

F64 = np.float64


def made(function: Any, numpy: Any = None, **settings: Any) -> Case:
    """A row without inputs: ``function()`` is what NumPy makes."""
    return Case(lambda: function(pf), (), {}, lambda: (numpy or function)(np), **settings)


FILLED = [
    made(lambda m: m.zeros((2, 3)), dtype=np.float32, label="zeros"),
    made(lambda m: m.ones(5, m.int32), dtype=np.int32, label="ones"),
    made(lambda m: m.full((2, 0), 7), dtype=np.int64, label="full"),
    made(lambda m: m.full((2, 2), 1.5, m.float64), dtype=F64, label="full of a dtype"),
    made(lambda m: m.empty((2, 2), m.bool), lambda m: np.zeros((2, 2), bool), label="empty"),
    Case(lambda x: pf.full((2, *x.shape), x), (normal(3, dtype=F64),), {}, lambda x: np.stack([x, x])),
    *(
        Case(f, (sample(2, 3, dtype=d),), {}, g, dtype=d, label=f.__name__)
        for d in ANY
        for f, g in ((pf.zeros_like, np.zeros_like), (pf.ones_like, np.ones_like), (pf.empty_like, np.zeros_like))
    ),
    Case(
        pf.full_like,
        (normal(2, 3),),
        {"value": 3, "dtype": pf.int32},
        lambda x, **_: np.full((2, 3), 3),
        dtype=np.int32,
    ),
]

RANGES = [
    *(
        made(lambda m, n=n, e=e: m.linspace(-1, 2.5, n, endpoint=e), label=f"linspace {n} {e}", rtol=1e-6)
        for n in (0, 1, 2, 7)
        for e in (True, False)
    ),
    made(lambda m: m.linspace(0, 1, 11, dtype=m.float64), dtype=F64, label="linspace float64"),
    made(lambda m: m.logspace(0, 2, 5, dtype=m.float64), label="logspace"),
    made(lambda m: m.geomspace(1, 256, 9, dtype=m.float64), label="geomspace"),
    Case(
        lambda x, y: pf.linspace(x, y, 4, dtype=pf.float64),
        (normal(3, dtype=F64), normal(2, 1, dtype=F64)),
        {},
        lambda x, y: np.linspace(x, y, 4),
    ),
    made(lambda m: m.indices((2, 3)), label="indices"),
    *(
        Case(
            lambda x, y, indexing: pf.meshgrid(x, y, indexing=indexing),
            (normal(3), normal(4)),
            {"indexing": indexing},
            lambda x, y, indexing: tuple(np.meshgrid(x, y, indexing=indexing)),
            label=f"meshgrid {indexing}",
        )
        for indexing in ("xy", "ij")
    ),
    Case(pf.vander, (normal(3, dtype=F64),), {}, np.vander, gradient=False),
    Case(
        pf.vander,
        (normal(3, dtype=F64),),
        {"n": 4, "increasing": True},
        lambda x, n, increasing: np.vander(x, n, increasing),
    ),
]

OFFSETS = (-7, -2, -1, 0, 1, 3, 9)

MATRICES = [
    *(made(lambda m, k=k: m.eye(4, 6, k), label=f"eye {k}") for k in OFFSETS),
    made(lambda m: m.eye(3, dtype=m.int64), dtype=np.int64, label="eye 3"),
    *(made(lambda m, k=k: m.tri(4, 3, k), label=f"tri {k}") for k in OFFSETS),
    *(
        Case(getattr(pf, op), (normal(2, 4, 3, dtype=F64),), {"k": k}, getattr(np, op), label=op)
        for op in ("tril", "triu")
        for k in OFFSETS
    ),
    *(Case(pf.tril, (sample(3, 5, dtype=d),), {}, np.tril) for d in ANY),
    Case(
        lambda x, k: pf.triu(x, k),
        (normal(3, 3), np.array(1)),
        {},
        lambda x, k: np.triu(x, int(k)),
        label="k is a value",
    ),
    *(Case("diagonal", (normal(4, 6, dtype=F64),), {"offset": k}, np.diagonal) for k in OFFSETS),
    Case("diagonal", (normal(2, 4, 3, dtype=F64),), {"offset": 1, "axis1": 2, "axis2": 0}, np.diagonal),
    Case("diagonal", (normal(2, 4, 3, dtype=F64),), {"axis1": -1, "axis2": 1}, np.diagonal),
    *(
        Case(
            "diagonal_matrix",
            (normal(2, 3, dtype=F64),),
            {"offset": k, "rows": 3 + max(-k, 0), "columns": 3 + max(k, 0)},
            lambda x, offset, **_: np.stack([np.diag(row, offset)[:, : x.shape[-1] + max(offset, 0)] for row in x])[
                :, : x.shape[-1] + max(-offset, 0)
            ],
        )
        for k in (-2, 0, 1)
    ),
    *(Case(pf.diag, (normal(3, dtype=F64),), {"k": k}, np.diag) for k in (-2, 0, 1)),
    Case(pf.diag, (normal(3, 5, dtype=F64),), {"k": 1}, np.diag),
    Case(pf.trace, (normal(3, 5, dtype=F64),), {}, np.trace),
    Case(pf.trace, (normal(3, 5, 2, dtype=F64),), {"offset": -1, "axis1": 1, "axis2": 2}, np.trace),
    made(lambda m: m.diag_indices(3), label="diag_indices"),
]

CASES = [*FILLED, *RANGES, *MATRICES]
