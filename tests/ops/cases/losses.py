"""Rows of losses and embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyflow as pf
from cases.case import Case, distinct, integers, normal, uniform

F64 = np.float64
_X, _Y = distinct(4, 5, dtype=F64), distinct(4, 5, dtype=F64, seed=1) + 0.03
_P, _Q = uniform(0.05, 0.95, 4, 5, dtype=F64), uniform(0.05, 0.95, 4, 5, dtype=F64, seed=1)
_SIGNS = np.array([1, -1, -1, 1])
_LABELS = integers(0, 6, 4, 3)
_LABELS[1, 2] = -100
_WEIGHT = uniform(0.5, 2, 6, dtype=F64)


def _log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def _nll(logs: np.ndarray, labels: np.ndarray, smoothing: float = 0.0) -> float:
    total = count = 0.0
    for n, i in np.ndindex(*labels.shape):
        label = labels[n, i]
        if label >= 0:
            weighted = -_WEIGHT * logs[n, :, i]
            total += (1 - smoothing) * weighted[label] + smoothing * weighted.mean()
            count += _WEIGHT[label]
    return total / count


def _cosine(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.broadcast_arrays(x, y)
    return (x * y).sum(1) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))


def _triplet(a: np.ndarray, p: np.ndarray, n: np.ndarray) -> float:
    return np.maximum(np.linalg.norm(a - p + 1e-6, axis=1) - np.linalg.norm(a - n + 1e-6, axis=1) + 1, 0).mean()


def _bags(indices: np.ndarray, table: np.ndarray, mode: str) -> np.ndarray:
    reduce = {"sum": np.sum, "mean": np.mean, "max": np.max}[mode]
    return np.stack([reduce(table[row], axis=0) for row in indices])


def _ragged(indices: np.ndarray, table: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    return np.stack([table[part].sum(0) for part in np.split(indices, offsets[1:])])


def _row(op: Any, inputs: tuple[np.ndarray, ...], expected: Any, **attrs: Any) -> Case:
    return Case(op, inputs, attrs, expected, rtol=1e-11, atol=1e-13)


CASES = [
    _row(pf.l1_loss, (_X, _Y), lambda x, y: np.abs(x - y).mean()),
    _row(pf.mse_loss, (_X, _Y), lambda x, y, **_: ((x - y) ** 2).sum(), reduction="sum"),
    _row(pf.huber_loss, (_X, _Y), lambda x, y: np.mean([d**2 / 2 if d <= 1 else d - 0.5 for d in np.abs(x - y).flat])),
    _row(
        pf.smooth_l1_loss,
        (_X, _Y),
        lambda x, y, beta: np.mean([d**2 / 2 / beta if d < beta else d - beta / 2 for d in np.abs(x - y).flat]),
        beta=0.7,
    ),
    _row(pf.binary_cross_entropy, (_P, _Q), lambda p, t: -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()),
    _row(
        pf.binary_cross_entropy_with_logits,
        (_X, _Q),
        lambda x, t: (t * np.log1p(np.exp(-x)) + (1 - t) * np.log1p(np.exp(x))).mean(),
    ),
    _row(pf.nll_loss, (normal(4, 6, 3, dtype=F64), _LABELS), lambda x, t, **_: _nll(x, t), weight=_WEIGHT),
    *(
        _row(
            pf.softmax_cross_entropy,
            (normal(4, 6, 3, dtype=F64), _LABELS),
            lambda x, t, weight, label_smoothing: _nll(_log_softmax(x), t, label_smoothing),
            weight=_WEIGHT,
            label_smoothing=smoothing,
        )
        for smoothing in (0.0, 0.2)
    ),
    _row(pf.softmax_cross_entropy, (_X, _Q), lambda x, t: -(t * _log_softmax(x)).sum(1).mean()),
    _row(pf.kl_div, (_X, _P), lambda x, t: (t * (np.log(t) - x)).mean()),
    _row(pf.hinge_loss, (_X, _Y), lambda x, y: np.maximum(1 - x * y, 0).mean()),
    _row(
        pf.hinge_embedding_loss,
        (_X[:, 0], _SIGNS),
        lambda x, t: np.where(t == 1, x, np.maximum(1 - x, 0)).mean(),
    ),
    _row(
        pf.margin_ranking_loss,
        (_X[:, 0], _Y[:, 0], _SIGNS),
        lambda x, y, t, margin: np.maximum(margin - t * (x - y), 0).mean(),
        margin=0.1,
    ),
    _row(pf.poisson_nll_loss, (_X, _Q), lambda x, t: (np.exp(x) - t * x).mean()),
    _row(pf.cosine_similarity, (_X, _Y), _cosine),
    _row(pf.cosine_similarity, (_X, _Y[:, :1]), _cosine),
    _row(pf.cosine_similarity, (_X[:1], _Y), _cosine),
    _row(
        pf.cosine_embedding_loss,
        (_X, _Y, _SIGNS),
        lambda x, y, t: np.where(t == 1, 1 - _cosine(x, y), np.maximum(_cosine(x, y), 0)).mean(),
    ),
    _row(pf.triplet_margin_loss, (_X, _Y, normal(4, 5, dtype=F64)), _triplet),
    _row(pf.embedding, (_LABELS[0], normal(6, 4, dtype=F64)), lambda i, t: t[i]),
    *(
        _row(pf.embedding_bag, (integers(0, 6, 4, 3), distinct(6, 4, dtype=F64)), _bags, mode=mode)
        for mode in ("sum", "mean", "max")
    ),
    _row(
        lambda i, t, o: pf.embedding_bag(i, t, o, "sum"),
        (integers(0, 6, 9), normal(6, 4, dtype=F64), np.array([0, 2, 2, 7])),
        _ragged,
    ),
]
