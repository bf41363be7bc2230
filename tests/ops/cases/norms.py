"""Rows of normalisations by groups, channels, neighbours and norms."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyflow as pf
from cases.case import FLOATS, Case, normal, referred

F64 = np.float64


def _instance(x: np.ndarray, scale: np.ndarray, bias: np.ndarray, **_: Any) -> np.ndarray:
    normalised = (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + 1e-5)
    return normalised * scale[:, None, None] + bias[:, None, None]


def _rms(x: np.ndarray, scale: np.ndarray, **_: Any) -> np.ndarray:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * scale


def _mvn(x: np.ndarray, **_: Any) -> np.ndarray:
    return (x - x.mean((0, 2, 3), keepdims=True)) / (x.std((0, 2, 3), keepdims=True) + 1e-9)


_X = normal(2, 6, 4, 5, dtype=F64)
_NEAR = {np.float32: {"rtol": 2e-5, "atol": 2e-6}, F64: {"rtol": 1e-11, "atol": 1e-12}}

CASES = [
    *(
        Case(
            pf.instance_norm,
            (normal(2, 3, 4, 5, dtype=d), normal(3, dtype=d), normal(3, dtype=d, seed=1)),
            {},
            _instance,
            **_NEAR[d],
        )
        for d in FLOATS
    ),
    *(Case(pf.rms_norm, (normal(4, 7, dtype=d), normal(7, dtype=d)), {}, _rms, **_NEAR[d]) for d in FLOATS),
    Case(pf.mean_variance_normalization, (_X,), {}, _mvn, **_NEAR[F64]),
    referred(pf.rms_norm, _X, axis=2),
    referred("normalize_moments", _X, axes=(1, 3)),
    referred(pf.layer_norm_with_stats, _X, normal(4, 5, dtype=F64), normal(4, 5, dtype=F64), axis=2),
    referred(pf.group_norm, _X, groups=3, scale=normal(6), bias=normal(6, seed=1)),
    referred(pf.group_norm, normal(2, 4, dtype=F64), groups=2),
    *(referred("lp_normalize", _X, p=p, axes=1) for p in (1.0, 2.0, 3.0)),
    referred(pf.l2_normalize, _X, axis=(1, 2)),
    Case("lp_normalize", (np.zeros((2, 3)),), {}, lambda x: x, gradient=False, label="zero"),
    *(referred("local_response_norm", _X, size=size, alpha=0.1) for size in (3, 4)),
]
