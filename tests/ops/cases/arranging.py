"""Rearranging, repeating, joining, padding with a value's own elements."""

from __future__ import annotations

import numpy as np

import pyflow as pf
from cases.case import Case, integers, normal

F64 = np.float64
X = normal(2, 3, 5, dtype=F64)
M = normal(4, 3, dtype=F64)

REARRANGED = [
    Case(pf.ravel, (X,), {}, np.ravel),
    *(
        Case(
            pf.flatten,
            (X,),
            {"axis": a},
            lambda x, axis: x.reshape(int(np.prod(x.shape[: axis % 3 if axis < 0 else axis])), -1),
            label="flatten",
        )
        for a in (0, 1, 2, 3, -1)
    ),
    Case(pf.moveaxis, (X,), {"source": 0, "destination": -1}, np.moveaxis),
    Case(pf.moveaxis, (X,), {"source": (0, 1), "destination": (-1, 0)}, np.moveaxis),
    *(
        Case(pf.rollaxis, (X,), {"axis": a, "start": s}, np.rollaxis, label="rollaxis")
        for a in range(3)
        for s in range(4)
    ),
    Case(pf.swapaxes, (X,), {"axis1": 0, "axis2": -1}, np.swapaxes),
    Case(pf.matrix_transpose, (X,), {}, lambda x: np.swapaxes(x, -1, -2)),
    Case(pf.fliplr, (M,), {}, np.fliplr),
    Case(pf.flipud, (M,), {}, np.flipud),
    *(
        Case(pf.rot90, (X,), {"k": k, "axes": a}, np.rot90, label=f"rot90 {k}")
        for k in range(-1, 5)
        for a in ((0, 1), (2, 0))
    ),
    *(
        Case(pf.roll, (X,), {"shift": s, "axis": a}, np.roll, label="roll")
        for s in (0, 1, -2, 13)
        for a in (None, 0, -1)
    ),
    Case(pf.roll, (X,), {"shift": (1, 2), "axis": (0, 2)}, np.roll, label="roll"),
    Case(pf.roll, (np.zeros((0, 3)),), {"shift": 1, "axis": 0}, np.roll, label="roll nothing"),
]

REPEATED = [
    *(
        Case(pf.tile, (M,), {"repeats": r}, lambda x, repeats: np.tile(x, repeats), label=f"tile {r}")
        for r in (2, (2, 1), (1, 3), (2, 3, 2), (0, 2))
    ),
    *(Case(pf.repeat, (M,), {"repeats": 3, "axis": a}, np.repeat, label="repeat") for a in (None, 0, -1)),
    Case(
        pf.repeat, (M,), {"repeats": np.array([0, 2, 1, 3]), "axis": 0}, np.repeat, symbolic=False, label="repeat each"
    ),
    Case(
        pf.repeat,
        (M, np.array([0, 2, 1, 3])),
        {"axis": 0},
        lambda x, r, axis: np.repeat(x, r, axis),
        gradient=False,
        label="repeat late",
    ),
    Case(
        pf.broadcast_arrays,
        (normal(3, 1, dtype=F64), normal(4, dtype=F64)),
        {},
        lambda *x: tuple(np.broadcast_arrays(*x)),
    ),
    *(
        Case(f, (normal(*shape, dtype=F64),), {}, getattr(np, f.__name__), label=f.__name__)
        for f in (pf.atleast_1d, pf.atleast_2d, pf.atleast_3d)
        for shape in ((), (3,), (2, 3), (2, 3, 4))
    ),
]

JOINED = [
    *(
        Case(
            lambda *x, f=f: f(x),
            (normal(*shape, dtype=F64), normal(*shape, dtype=F64, seed=1)),
            {},
            lambda *x, f=f: getattr(np, f.__name__)(x),
            label=f.__name__,
        )
        for f in (pf.vstack, pf.hstack, pf.dstack, pf.column_stack)
        for shape in ((3,), (2, 3), (2, 3, 4))
        if not (f is pf.column_stack and len(shape) == 3)
    ),
    Case(pf.unstack, (M,), {"axis": 1}, lambda x, axis: tuple(np.moveaxis(x, axis, 0)), symbolic=False),
    *(
        Case(
            pf.array_split,
            (normal(11, 2, dtype=F64),),
            {"sections": s, "axis": 0},
            lambda x, sections, axis: tuple(np.array_split(x, sections, axis)),
            label=f"array_split {s}",
        )
        for s in (1, 3, 4, (2, 5), (-3, 10), (4, 2, 30))
    ),
    Case(pf.vsplit, (M,), {"sections": 2}, lambda x, sections: tuple(np.vsplit(x, sections))),
    Case(pf.hsplit, (M,), {"sections": 3}, lambda x, sections: tuple(np.hsplit(x, sections))),
    Case(pf.dsplit, (X,), {"sections": 5}, lambda x, sections: tuple(np.dsplit(x, sections))),
]

PADDED = [
    *(
        Case(
            "pad_repeated",
            (normal(*shape, dtype=F64),),
            {"before": b, "after": a, "mode": m},
            lambda x, before, after, mode: np.pad(x, tuple(zip(before, after, strict=True)), mode),
        )
        for shape in ((3, 4), (1, 5))
        for b, a in (((1, 2), (0, 3)), ((7, 0), (9, 11)), ((0, 0), (0, 0)))
        for m in ("edge", "reflect", "symmetric", "wrap")
    ),
    Case(
        "pad_repeated",
        (normal(5, 4, dtype=F64),),
        {"before": (-1, 2), "after": (1, -1), "mode": "edge"},
        lambda x, **_: np.pad(x, ((0, 1), (2, 0)), "edge")[1:, :-1],
    ),
    Case(lambda x: pf.pad(x, 1), (np.array([True, False]),), {}, lambda x: np.pad(x, 1), dtype=np.bool_, label="pad"),
    Case(lambda x: pf.pad(x, 2, mode="reflect"), (integers(0, 9, 4, 5),), {}, lambda x: np.pad(x, 2, "reflect")),
]

CASES = [*REARRANGED, *REPEATED, *JOINED, *PADDED]
