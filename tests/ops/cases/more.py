"""Rows of what users of NumPy, PyTorch and TensorFlow look for beside the ops themselves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import pyflow as pf
from cases.case import Case, bools, distinct, integers, normal, uniform

F64 = np.float64
_X, _Y = distinct(4, 5, dtype=F64), distinct(4, 5, dtype=F64, seed=1) + 0.03
_P = uniform(0.05, 0.95, 4, 5, dtype=F64)
_IDS = np.array([2, 0, 2, 2, 0, 4, 1])
_ROWS = distinct(7, 3, dtype=F64)
_LABELS = np.array([[3, 0, -1, 1, 2], [1, -1, 0, 2, 3], [4, 3, 2, 1, 0], [-1, 0, 1, 2, 3]])
_CLASSES = np.array([1, 0, 4, 2])
_NANS = np.array([[np.nan, 2, 1], [3, np.nan, np.nan], [0.5, -1, 7]])


def _row(op: Any, inputs: tuple[np.ndarray, ...], expected: Any, **attrs: Any) -> Case:
    fields = {name[1:]: value for name, value in attrs.items() if name.startswith("_")}
    attrs = {name: value for name, value in attrs.items() if not name.startswith("_")}
    return Case(op, inputs, attrs, expected, **{"rtol": 1e-11, "atol": 1e-13, **fields})


def _segments(reduce: Any, nothing: float) -> Any:
    def expected(x: np.ndarray, ids: np.ndarray, count: int = 6) -> np.ndarray:
        parts = [x[ids == i] for i in range(count)]
        return np.stack([reduce(part, axis=0) if len(part) else np.full(x.shape[1:], nothing) for part in parts])

    return expected


def _deleted(x: np.ndarray) -> np.ndarray:
    return np.delete(x, [1, -1], 1)


def _block(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    made = np.zeros((a.shape[0] + b.shape[0] + 1, a.shape[1] + b.shape[1] + len(c)))
    made[: a.shape[0], : a.shape[1]] = a
    made[a.shape[0] : -1, a.shape[1] : -len(c)] = b
    made[-1, -len(c) :] = c
    return made


def _reversed(x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return np.stack([np.concatenate([row[:n][::-1], row[n:]]) for row, n in zip(x, lengths, strict=True)])


def _multi_margin(x: np.ndarray, t: np.ndarray, p: float = 1) -> float:
    total = 0.0
    for row, label in zip(x, t, strict=True):
        total += sum(max(0, 1 - row[label] + v) ** p for i, v in enumerate(row) if i != label) / len(row)
    return total / len(x)


def _multilabel(x: np.ndarray, t: np.ndarray) -> float:
    total = 0.0
    for row, labels in zip(x, t, strict=True):
        mine = list(labels[: list(labels).index(-1)]) if -1 in labels else list(labels)
        total += sum(max(0, 1 - row[j] + row[i]) for j in mine for i in range(len(row)) if i not in mine) / len(row)
    return total / len(x)


def _focal(x: np.ndarray, t: np.ndarray) -> float:
    p = 1 / (1 + np.exp(-x))
    right = p * t + (1 - p) * (1 - t)
    cost = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    return (cost * (1 - right) ** 2 * (0.25 * t + 0.75 * (1 - t))).mean()


def _distances(x: np.ndarray, y: np.ndarray, p: float = 2.0) -> np.ndarray:
    return np.linalg.norm(x[..., :, None, :] - y[..., None, :, :], p, axis=-1)


def _pairs(x: np.ndarray) -> np.ndarray:
    return np.sqrt(x[..., ::2] ** 2 + x[..., 1::2] ** 2)


_ERF = np.vectorize(math.erf)

CASES = [
    # the normal distribution
    _row(lambda x: pf.erf(pf.erfinv(x)), (uniform(-0.999, 0.999, 4, 5, dtype=F64),), lambda x: x),
    _row(lambda x: pf.erfinv(pf.erf(x)), (uniform(-3, 3, 4, 5, dtype=F64),), lambda x: x, _rtol=1e-10),
    _row(
        "erfinv",
        (np.array([0, 1e-9, -1e-3, 0.5, 1 - 1e-12], F64),),
        None,
        _check=lambda r, i: _near(r[0], i[0]),
        _gradient=False,
    ),
    _row("erfinv", (np.array([-1, 1, 2, np.nan, -0.0], np.float32),), lambda x: [-np.inf, np.inf, np.nan, np.nan, 0]),
    _row("ndtr", (normal(4, 5, dtype=F64),), lambda x: (1 + _ERF(x / math.sqrt(2))) / 2),
    _row(lambda p: pf.ndtr(pf.ndtri(p)), (_P,), lambda p: p),
    _row(
        "ndtri", (np.array([0, 1, 0.5, -1, 1e-30], F64),), None, _check=lambda r, i: _quantiles(r[0]), _gradient=False
    ),
    _row("xlog1py", (np.array([0, 0.5, 2.0]), np.array([-1, 0.25, 3.0])), None, _check=lambda r, i: _xlog(r[0])),
    _row("xlog1py", (_P, _P + 0.5), lambda x, y: x * np.log1p(y)),
    _row("entr", (_P,), lambda x: -x * np.log(x)),
    _row("entr", (np.array([0, -1, 1], F64),), lambda x: [0, -np.inf, 0], _gradient=False),
    _row("logaddexp2", (_X, _Y), np.logaddexp2),
    # finding, taking out, putting together
    _row(pf.append, (_X, _Y), lambda x, y: np.append(x, y)),
    _row(lambda x, y: pf.append(x, y, 1), (_X, _Y), lambda x, y: np.append(x, y, 1)),
    _row(pf.argwhere, (bools(3, 4),), np.argwhere),
    _row(pf.flatnonzero, (bools(3, 4),), np.flatnonzero),
    _row(lambda x: pf.delete(x, [1, -1], 1), (_X,), _deleted, _symbolic=False),
    _row(lambda x: pf.insert(x, 2, 7.0, 1), (_X,), lambda x: np.insert(x, 2, 7.0, 1), _symbolic=False),
    _row(lambda x: pf.insert(x, 20, [1.0, 2.0]), (_X,), lambda x: np.insert(x, 20, [1.0, 2.0]), _symbolic=False),
    _row(lambda x: pf.narrow(x, 1, 1, 3), (_X,), lambda x: x[:, 1:4], _symbolic=False),
    _row(pf.isin, (integers(0, 9, 4, 5), integers(0, 9, 3)), np.isin),
    _row(
        lambda x, v: pf.isin(x, v, invert=True), (integers(0, 9, 0, 5), integers(0, 9, 3)), lambda x, v: ~np.isin(x, v)
    ),
    _row(
        lambda a, b, x, y: pf.select([a, b], [x, y], -1.0),
        (bools(4, 5), bools(4, 5, seed=1), _X, _Y),
        lambda a, b, x, y: np.select([a, b], [x, y], -1.0),
    ),
    *(_row(lambda x, k=k: pf.diagflat(x, k), (_X[:2],), lambda x, k=k: np.diagflat(x, k)) for k in (0, 2, -1)),
    _row(pf.block_diag, (_X, _Y[:2, :3], _X[0]), _block),
    _row(lambda: pf.triu_indices(4, 1, 6), (), lambda: np.stack(np.triu_indices(4, 1, 6))),
    _row(lambda: pf.tril_indices(3, -1), (), lambda: np.stack(np.tril_indices(3, -1))),
    _row(lambda i: pf.unravel_index(i, (3, 4, 5)), (integers(0, 60, 7),), lambda i: np.unravel_index(i, (3, 4, 5))),
    _row(lambda n: pf.sequence_mask(n, 5), (np.array([0, 3, 5, 9]),), lambda n: np.arange(5) < n[:, None]),
    _row(pf.reverse_sequence, (normal(4, 5, 2, dtype=F64), np.array([0, 3, 5, 1])), _reversed),
    _row(
        lambda x, n: pf.reverse_sequence(x, n, 0, 2),
        (normal(5, 2, 4, dtype=F64), np.array([0, 3, 5, 1])),
        lambda x, n: np.moveaxis(_reversed(np.moveaxis(x, 2, 0), n), 0, 2),
    ),
    # segments and moments
    *(
        _row(
            lambda x, i, f=function: f(x, i, 6),
            (_ROWS, _IDS),
            _segments(reduce, nothing),
            _gradient=math.isfinite(nothing),
        )
        for function, reduce, nothing in (
            (pf.segment_sum, np.sum, 0),
            (pf.segment_mean, np.mean, 0),
            (pf.segment_max, np.max, -np.inf),
            (pf.segment_min, np.min, np.inf),
            (pf.segment_prod, np.prod, 1),
        )
    ),
    _row(lambda x, i: pf.segment_max(x, i, 3), (_ROWS, _IDS % 3), lambda x, i: _segments(np.max, 0)(x, i, 3)),
    _row(lambda x, i: pf.segment_min(x, i, 3), (_ROWS, _IDS % 3), lambda x, i: _segments(np.min, 0)(x, i, 3)),
    _row(lambda x, i: pf.segment_max(x, i, 6), (integers(0, 9, 7), _IDS), _segments(np.max, np.iinfo(np.int64).min)),
    _row(
        lambda t, p: pf.confusion_matrix(t, p, 5),
        (integers(0, 5, 30), integers(0, 5, 30, seed=1)),
        lambda t, p: np.array([[((t == i) & (p == j)).sum() for j in range(5)] for i in range(5)]),
    ),
    _row(lambda x: pf.aminmax(x, 1), (_X,), lambda x: (x.min(1), x.max(1))),
    _row(lambda x: pf.var_mean(x, 0), (_X,), lambda x: (x.var(0), x.mean(0))),
    _row(lambda x: pf.std_mean(x, 0, 1), (_X,), lambda x: (x.std(0, ddof=1), x.mean(0))),
    _row(lambda x: pf.nanargmax(x, 1), (_NANS,), lambda x: np.nanargmax(x, 1)),
    _row(lambda x: pf.nanargmin(x, 0), (_NANS,), lambda x: np.nanargmin(x, 0)),
    _row(lambda x: pf.nancumsum(x, 1), (_NANS,), lambda x: np.nancumsum(x, 1)),
    _row(lambda x: pf.nancumprod(x, 1), (_NANS,), lambda x: np.nancumprod(x, 1)),
    _row(pf.cov, (_X,), np.cov),
    _row(pf.cov, (_X, _Y), np.cov),
    _row(pf.cov, (_X[0],), np.cov),
    _row(lambda x: pf.cov(x, rowvar=False, ddof=0), (_X,), lambda x: np.cov(x, rowvar=False, ddof=0)),
    _row(pf.corrcoef, (_X,), np.corrcoef),
    _row(pf.trapezoid, (_X,), lambda y: ((y[:, 1:] + y[:, :-1]) / 2).sum(1)),
    _row(
        lambda y, x: pf.trapezoid(y, x, axis=0),
        (_X, np.array([0, 0.5, 2, 3.5])),
        lambda y, x: ((y[1:] + y[:-1]) / 2 * np.diff(x)[:, None]).sum(0),
    ),
    # losses and distances
    _row(pf.squared_difference, (_X, _Y[:1]), lambda x, y: (x - y) ** 2),
    _row(pf.soft_margin_loss, (_X, np.sign(_Y)), lambda x, t: np.log1p(np.exp(-t * x)).mean()),
    _row(pf.log_cosh_loss, (_X, _Y), lambda x, y: np.log(np.cosh(x - y)).mean()),
    *(_row(pf.multi_margin_loss, (_X, _CLASSES), _multi_margin, p=p) for p in (1.0, 2.0)),
    _row(pf.multilabel_margin_loss, (_X, _LABELS), _multilabel),
    _row(
        pf.multilabel_soft_margin_loss,
        (_X, _P),
        lambda x, t: (t * np.log1p(np.exp(-x)) + (1 - t) * np.log1p(np.exp(x))).mean(),
    ),
    _row(pf.sigmoid_focal_loss, (_X, _P), _focal),
    _row(pf.gaussian_nll_loss, (_X, _Y, _P), lambda x, t, v: ((np.log(v) + (x - t) ** 2 / v) / 2).mean()),
    _row(pf.pairwise_distance, (_X, _Y), lambda x, y: np.linalg.norm(x - y + 1e-6, axis=-1)),
    *(_row(pf.cdist, (_X, _Y[:3]), _distances, p=p) for p in (1.0, 2.0, 3.0)),
    _row(pf.cdist, (_X, _Y[:3]), _distances, p=np.inf, _gradient=False),
    _row(pf.cdist, (normal(2, 3, 4, dtype=F64), normal(2, 1, 4, dtype=F64)), _distances),
    # names
    _row(pf.clamp, (_X,), lambda x, **_: np.clip(x, -1, 1), min=-1.0, max=1.0),
    _row(lambda x, y: pf.cat([x, y], 1), (_X, _Y), lambda x, y: np.concatenate([x, y], 1)),
    _row(pf.reduce_mean, (_X,), lambda x, axis: x.mean(axis), axis=0),
    _row(lambda x: pf.lp_pool1d(x, (2,), stride=2), (normal(1, 2, 6, dtype=F64),), _pairs),
]


def _near(have: np.ndarray, x: np.ndarray) -> None:
    from scipy.special import erfinv

    np.testing.assert_allclose(have, erfinv(x), rtol=1e-14)


def _quantiles(have: np.ndarray) -> None:
    from scipy.special import ndtri

    np.testing.assert_allclose(have, ndtri([0, 1, 0.5, -1, 1e-30]), rtol=1e-13, atol=1e-17)


def _xlog(have: np.ndarray) -> None:
    np.testing.assert_allclose(have, [0, 0.5 * math.log(1.25), 2 * math.log(4)], rtol=1e-15)
