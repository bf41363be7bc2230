"""Rows of control flow, and of the ops that only it makes."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyflow as pf
from cases.case import ANY, Case, normal, sample
from pyflow.dims import fresh_late_symbol
from pyflow.opdef import call
from pyflow.ops.sizes import named_by

F64 = np.float64


def branch(x: Any) -> Any:
    return pf.cond(pf.sum(x) > 0.0, lambda: (x * x, pf.sum(x)), lambda: (pf.exp(x), pf.max(x)))


def _branch(x: np.ndarray) -> Any:
    return (x * x, x.sum()) if x.sum() > 0 else (np.exp(x), x.max())


def longer_branch(x: Any) -> Any:
    return pf.cond(pf.sum(x) > 0.0, lambda: pf.concat([x, x * 2.0], axis=0), lambda: x[1:])


def turns(x: Any) -> Any:
    return pf.while_loop(lambda y: pf.sum(y * y) < 90.0, lambda y: y * 1.5 + x, (x,), max_iterations=7)[0]


def _turns(x: np.ndarray) -> np.ndarray:
    y, turn = x, 0
    while (y * y).sum() < 90 and turn < 7:
        y, turn = y * 1.5 + x, turn + 1
    return y


def sums(x: Any, start: Any, reverse: bool = False) -> Any:
    return pf.scan(lambda total, row: (total + row, total * row), start, x, reverse=reverse)


def _sums(x: np.ndarray, start: np.ndarray, reverse: bool = False) -> Any:
    total, rows = start, np.zeros_like(x)
    for place in range(len(x))[:: -1 if reverse else 1]:
        rows[place] = total * x[place]
        total = total + x[place]
    return total, rows


def named(x: Any) -> Any:
    return named_by(x, [1], [fresh_late_symbol("size")])


def _put(rows: np.ndarray, index: np.ndarray, row: np.ndarray) -> np.ndarray:
    result = rows.copy()
    result[index] = row
    return result


CASES = [
    Case(branch, (normal(3, 5, dtype=F64),), expected=_branch, label="taken"),
    Case(branch, (normal(3, 5, dtype=F64) - 9,), expected=_branch, label="not taken"),
    Case(longer_branch, (normal(5, dtype=F64) + 9,), expected=lambda x: np.concatenate([x, x * 2]), label="taken"),
    Case(longer_branch, (normal(5, dtype=F64) - 9,), expected=lambda x: x[1:], label="not taken"),
    Case(turns, (normal(2, 3, dtype=F64) + 1,), expected=_turns),
    Case(turns, (normal(2, 3, dtype=F64) + 99,), expected=_turns, label="no turn"),
    Case(sums, (normal(5, 3, dtype=F64), normal(3, dtype=F64)), expected=_sums),
    Case(sums, (normal(5, 3, dtype=F64), normal(3, dtype=F64)), {"reverse": True}, expected=_sums),
    Case(sums, (normal(0, 3, dtype=F64), normal(3, dtype=F64)), expected=_sums),
    Case(named, (normal(2, 3, dtype=F64),), expected=lambda x: x),
    *(Case("put_row", (sample(4, 3, dtype=d), np.array(2), sample(3, dtype=d)), {}, _put) for d in ANY),
    Case("put_row", (normal(4, 3, 5, dtype=F64), np.array(0), normal(3, 5, dtype=F64)), {}, _put),
    Case("put_row", (normal(7, dtype=F64), np.array(6), normal(dtype=F64)), {}, _put),
    Case(
        lambda rows, index, row: call("put_row", call("transpose", rows), index, row[::-1]),
        (normal(3, 4, dtype=F64), np.array(1), normal(3, dtype=F64)),
        expected=lambda rows, index, row: _put(rows.T, index, row[::-1]),
        label="put_row, strided",
    ),
]
