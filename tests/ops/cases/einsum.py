"""Sums of products over named axes."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyflow as pf
from cases.case import NUMERIC, Case, normal, sample

F64 = np.float64
NEAR = {"rtol": 1e-10, "atol": 1e-12}

EQUATIONS: list[tuple[str, list[tuple[int, ...]]]] = [
    ("ij,jk->ik", [(3, 4), (4, 5)]),
    ("ij,jk", [(3, 4), (4, 5)]),
    ("ij,kj->ki", [(3, 4), (5, 4)]),
    ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
    ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]),
    ("ij->ji", [(3, 4)]),
    ("ij->", [(3, 4)]),
    ("ba", [(3, 4)]),
    ("ii", [(4, 4)]),
    ("ii->i", [(4, 4)]),
    ("iij->ij", [(3, 3, 2)]),
    ("iji->j", [(3, 2, 3)]),
    ("iii->i", [(3, 3, 3)]),
    ("i,j->ij", [(3,), (4,)]),
    ("i,i->", [(5,), (5,)]),
    ("i,i->i", [(5,), (5,)]),
    ("i,->i", [(5,), ()]),
    ("ij,j,i->", [(3, 4), (4,), (3,)]),
    ("ab,bc,cd,de->ae", [(2, 9), (9, 3), (3, 8), (8, 4)]),
    ("...ij,...jk->...ik", [(2, 1, 3, 4), (5, 4, 6)]),
    ("...i,...i->...", [(2, 3, 4), (3, 4)]),
    ("i...,i...->...", [(4, 2, 3), (4, 3)]),
    ("...ij->...ji", [(2, 3, 4)]),
    ("...", [(2, 3)]),
    ("b...i,ij", [(2, 5, 3), (3, 4)]),
    ("ij,ij->i", [(1, 4), (3, 1)]),
    ("ij,jk->ik", [(3, 0), (0, 2)]),
    ("ijk,jil->kl", [(3, 4, 5), (4, 3, 2)]),
    ("abcd,efcd,bf->ae", [(2, 3, 4, 2), (3, 4, 4, 2), (3, 4)]),
]


def by_equation(equation: str) -> Any:
    def einsum(*xs: Any) -> Any:
        return pf.einsum(equation, *xs)

    return einsum


CASES = [
    *(
        Case(
            by_equation(equation),
            tuple(normal(*shape, dtype=F64, seed=i) for i, shape in enumerate(shapes)),
            {},
            lambda *xs, equation=equation: np.einsum(equation, *xs),
            symbolic="1" not in [str(size) for shape in shapes for size in shape],
            label=equation,
            **NEAR,
        )
        for equation, shapes in EQUATIONS
    ),
    *(
        Case(
            by_equation("ij,jk->ki"),
            (sample(3, 4, dtype=d), sample(4, 2, dtype=d)),
            {},
            lambda x, y: (x @ y).T,
            dtype=d,
            rtol=1e-5,
            atol=1e-6,
        )
        for d in NUMERIC
    ),
    *(
        Case(
            pf.tensordot,
            (normal(3, 4, 5, dtype=F64), normal(*shape, dtype=F64)),
            {"axes": axes},
            np.tensordot,
            label="tensordot",
            **NEAR,
        )
        for shape, axes in (
            ((4, 5, 2), 2),
            ((5, 2), 1),
            ((2, 3), 0),
            ((4, 3, 2), ((1, 0), (0, 1))),
            ((2, 5), ((-1,), (1,))),
        )
    ),
    Case(pf.outer, (normal(3, dtype=F64), normal(2, 2, dtype=F64)), {}, np.outer),
    Case(pf.inner, (normal(2, 3, dtype=F64), normal(4, 3, dtype=F64)), {}, np.inner, **NEAR),
    Case(pf.inner, (normal(2, 3, dtype=F64), np.array(2.0)), {}, np.inner),
    *(
        Case(pf.dot, (normal(*a, dtype=F64), normal(*b, dtype=F64, seed=1)), {}, np.dot, label="dot", **NEAR)
        for a, b in (((3,), (3,)), ((2, 3), (3,)), ((2, 3), (4, 3, 2)), ((), (3,)))
    ),
    Case(pf.vdot, (normal(2, 3, dtype=F64), normal(2, 3, dtype=F64, seed=1)), {}, np.vdot, **NEAR),
    Case(pf.vecdot, (normal(2, 3, dtype=F64), normal(3, dtype=F64)), {}, lambda x, y: (x * y).sum(-1), **NEAR),
    Case(
        pf.matvec,
        (normal(2, 3, 4, dtype=F64), normal(2, 4, dtype=F64)),
        {},
        lambda x, y: (x @ y[..., None])[..., 0],
        **NEAR,
    ),
    Case(pf.bmm, (normal(2, 3, 4, dtype=F64), normal(2, 4, 2, dtype=F64)), {}, np.matmul, **NEAR),
    Case(
        pf.addmm,
        (normal(2, dtype=F64), normal(3, 4, dtype=F64), normal(4, 2, dtype=F64)),
        {"beta": 0.5, "alpha": 2.0},
        lambda x, a, b, beta, alpha: beta * x + alpha * (a @ b),
        **NEAR,
    ),
    *(
        Case(
            pf.linear,
            (normal(*shape, dtype=F64), normal(2, 4, dtype=F64, seed=1), *bias),
            {},
            lambda x, w, *b: x @ w.T + (b[0] if b else 0),
            label="linear",
            **NEAR,
        )
        for shape, bias in (((3, 4), ()), ((4,), ()), ((3, 1, 4), (normal(2, dtype=F64, seed=2),)))
    ),
    *(
        Case(pf.kron, (normal(*a, dtype=F64), normal(*b, dtype=F64)), {}, np.kron, label="kron")
        for a, b in (((2, 3), (4, 2)), ((3,), (2, 2)), ((2, 1, 2), (3,)))
    ),
    Case(pf.cross, (normal(4, 3, dtype=F64), normal(4, 3, dtype=F64, seed=1)), {}, np.cross, symbolic=False, **NEAR),
    Case(
        pf.cross,
        (normal(3, 4, dtype=F64), normal(3, 4, dtype=F64, seed=1)),
        {"axis": 0},
        lambda x, y, axis: np.cross(x, y, axis=axis),
        symbolic=False,
        **NEAR,
    ),
]
