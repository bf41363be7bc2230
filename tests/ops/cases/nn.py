"""Rows of normalisations and losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from cases.case import FLOATS, Case, integers, normal, uniform
from pyflow.ops.layers.loss import cross_entropy, mse
from pyflow.ops.layers.normalization import batch_norm_train, layer_norm

F64 = np.float64


def _layer_norm(axes: tuple[int, ...]) -> Any:
    def expected(x: np.ndarray, scale: np.ndarray, bias: np.ndarray, **_: Any) -> np.ndarray:
        return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5) * scale + bias

    return expected


def _batch_norm(x: Any, scale: Any, bias: Any, mean: Any, variance: Any, **_: Any) -> Any:
    return (x - mean[:, None]) / np.sqrt(variance[:, None] + 1e-5) * scale[:, None] + bias[:, None]


def _trained(x: Any, scale: Any, bias: Any, mean: Any, variance: Any) -> Any:
    batch_mean, batch_variance = x.mean((0, 2)), x.var((0, 2))
    y = _batch_norm(x, scale, bias, batch_mean, batch_variance)
    return y, 0.9 * mean + 0.1 * batch_mean, 0.9 * variance + 0.1 * batch_variance


def _log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    shifted = x - x.max(axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


def _norm_inputs(dtype: Any) -> tuple[np.ndarray, ...]:
    return (
        normal(4, 3, 5, dtype=dtype),
        normal(3, dtype=dtype),
        normal(3, dtype=dtype, seed=1),
        normal(3, dtype=dtype, seed=2),
        uniform(0.5, 2, 3, dtype=dtype),
    )


_LOGITS = normal(4, 6, dtype=F64, scale=3)
_TARGET = uniform(0, 1, 4, 6, dtype=F64)
_LABELS = integers(0, 6, 4)

CASES = [
    *(
        Case(
            "layer_norm",
            (normal(3, 4, 5, dtype=d), normal(5, dtype=d), normal(5, dtype=d, seed=1)),
            {},
            _layer_norm((2,)),
            rtol=1e-5 if d == np.float32 else 1e-11,
            atol=1e-6 if d == np.float32 else 1e-12,
        )
        for d in FLOATS
    ),
    Case(
        "layer_norm",
        (normal(3, 4, 5, dtype=F64), normal(4, 5, dtype=F64), normal(4, 5, dtype=F64, seed=1)),
        {"axis": 1},
        _layer_norm((1, 2)),
        rtol=1e-11,
        atol=1e-12,
    ),
    *(
        Case(
            lambda x, *rest, keep: layer_norm(x, **dict(zip(keep, rest, strict=True))),
            (normal(4, 5, dtype=F64), *(normal(5, dtype=F64, seed=1) for _ in keep)),
            {"keep": keep},
            lambda x, *rest, keep: _layer_norm((1,))(
                x, *({"scale": np.ones(5), "bias": np.zeros(5), **dict(zip(keep, rest, strict=True))}.values())
            ),
            rtol=1e-11,
            atol=1e-12,
            label="layer_norm without all",
        )
        for keep in ((), ("scale",), ("bias",))
    ),
    *(
        Case(
            "batch_norm",
            _norm_inputs(d),
            {},
            _batch_norm,
            rtol=1e-5 if d == np.float32 else 1e-12,
            atol=1e-6 if d == np.float32 else 1e-13,
        )
        for d in FLOATS
    ),
    Case(batch_norm_train, _norm_inputs(F64), {}, _trained, rtol=1e-11, atol=1e-12, gradient=False),
    Case(
        lambda *inputs: batch_norm_train(*inputs)[0],
        _norm_inputs(F64),
        label="batch_norm_train",
        expected=lambda *inputs: _trained(*inputs)[0],
        rtol=1e-11,
        atol=1e-12,
    ),
    *(
        Case(
            cross_entropy,
            (_LOGITS, _LABELS),
            {"reduction": r},
            label="classes",
            rtol=1e-12,
            expected=lambda x, i, f=f, **_: f(-_log_softmax(x, -1)[np.arange(4), i]),
        )
        for r, f in (("mean", np.mean), ("sum", np.sum), ("none", np.asarray))
    ),
    Case(
        cross_entropy,
        (_LOGITS.T.copy(), _LABELS),
        {"axis": 0},
        label="classes first",
        rtol=1e-12,
        expected=lambda x, i, **_: np.mean(-_log_softmax(x, 0)[i, np.arange(4)]),
    ),
    Case(
        cross_entropy,
        (_LOGITS, _TARGET),
        {},
        label="probabilities",
        rtol=1e-12,
        expected=lambda x, p, **_: np.mean(-(_log_softmax(x, -1) * p).sum(-1)),
    ),
    Case(
        mse,
        (normal(3, 4, dtype=F64), normal(3, 4, dtype=F64, seed=1)),
        {},
        lambda x, y, **_: np.mean((x - y) ** 2),
        rtol=1e-12,
    ),
    Case(
        mse,
        (normal(3, 4, dtype=F64), normal(3, 4, dtype=F64, seed=1)),
        {"reduction": "sum"},
        lambda x, y, **_: np.sum((x - y) ** 2),
        rtol=1e-12,
    ),
]
