"""Rows of recurrent layers, and of sums over alignments."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from cases.case import Case, normal
from pyflow.flow.alignment import ctc_loss
from pyflow.flow.recurrent import gru, lstm, rnn

F64 = np.float64
SIZE = 3


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _lstm_step(row: np.ndarray, inner: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    into, out, forget, new = np.split(row + inner, 4, -1)
    cell = _sigmoid(forget) * c + _sigmoid(into) * np.tanh(new)
    return _sigmoid(out) * np.tanh(cell), cell


def _gru_step(row: np.ndarray, inner: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    (z, r, n), (iz, ir, inew) = np.split(row, 3, -1), np.split(inner, 3, -1)
    update = _sigmoid(z + iz)
    return (1 - update) * np.tanh(n + _sigmoid(r + ir) * inew) + update * h, c


def _rnn_step(row: np.ndarray, inner: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.tanh(row + inner), c


def _layer(step: Callable[..., Any], count: int) -> Callable[..., Any]:
    """Each sequence and direction by itself."""

    def expected(x: Any, w: Any, r: Any, b: Any, lengths: Any = None, direction: str = "forward", **_: Any) -> Any:
        turns = {"forward": [1], "reverse": [-1], "bidirectional": [1, -1]}[direction]
        rows, batch = x.shape[:2]
        y = np.zeros((rows, len(turns), batch, SIZE))
        states = np.zeros((2, len(turns), batch, SIZE))
        for (d, turn), n in ((dn, n) for dn in enumerate(turns) for n in range(batch)):
            many = rows if lengths is None else int(lengths[n])
            half = b.shape[1] // 2
            h = c = np.zeros(SIZE)
            for t in list(range(many))[::turn]:
                h, c = step(w[d] @ x[t, n] + b[d, :half], r[d] @ h + b[d, half:], h, c)
                y[t, d, n] = h
            states[:, d, n] = h, c
        return (y, *states[: count - 1])

    return expected


def _ctc(x: np.ndarray, labels: np.ndarray, lengths: np.ndarray, counts: np.ndarray, **_: Any) -> list[float]:
    """Every path through the classes, one by one."""
    losses = []
    for n in range(x.shape[1]):
        total = 0.0
        for path in itertools.product(range(x.shape[2]), repeat=int(lengths[n])):
            merged = [key for key, _ in itertools.groupby(path) if key != 0]
            if merged == list(labels[n, : counts[n]]):
                total += np.exp(sum(x[t, n, c] for t, c in enumerate(path)))
        losses.append(-np.log(total))
    return losses


LENGTHS = np.array([5, 2])
LAYERS = ((lstm, 4, _layer(_lstm_step, 3), {}), (gru, 3, _layer(_gru_step, 2), {"linear_before_reset": True}))


def _inputs(gates: int, directions: int) -> tuple[np.ndarray, ...]:
    return (
        normal(5, 2, 4, dtype=F64),
        normal(directions, gates * SIZE, 4, dtype=F64, scale=0.5),
        normal(directions, gates * SIZE, SIZE, dtype=F64, scale=0.5),
        normal(directions, 2 * gates * SIZE, dtype=F64),
    )


CASES = [
    *(
        Case(
            layer,
            (*_inputs(gates, 2 if direction == "bidirectional" else 1), *lengths),
            {"direction": direction, **more},
            expected,
            rtol=1e-11,
            atol=1e-12,
            symbolic=False,
            label=direction,
        )
        for layer, gates, expected, more in (*LAYERS, (rnn, 1, _layer(_rnn_step, 2), {}))
        for direction, lengths in (("forward", ()), ("reverse", (LENGTHS,)), ("bidirectional", (LENGTHS,)))
    ),
    Case(
        ctc_loss,
        (normal(5, 3, 3, dtype=F64), np.array([[1, 2], [2, 2], [1, 1]]), np.array([5, 4, 3]), np.array([2, 2, 1])),
        {"reduction": "none"},
        _ctc,
        rtol=1e-11,
        symbolic=False,
    ),
]
