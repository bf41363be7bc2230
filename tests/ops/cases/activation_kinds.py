"""Rows of activation functions composed of others."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyflow as pf
from cases.case import FLOATS, Case, distinct, integers, normal, referred

F64 = np.float64


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _elu(x: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    return np.where(x > 0, x, alpha * (np.exp(x) - 1))


FUNCTIONS: list[tuple[Any, dict[str, float], Any]] = [
    ("elu", {"alpha": 0.7}, _elu),
    ("selu", {}, lambda x: 1.0507009873554805 * _elu(x, 1.6732632423543772)),
    ("celu", {"alpha": 2.0}, lambda x, alpha: np.where(x > 0, x, alpha * (np.exp(x / alpha) - 1))),
    ("hardsigmoid", {}, lambda x: np.minimum(np.maximum(0.2 * x + 0.5, 0), 1)),
    ("hardswish", {}, lambda x: x * np.minimum(np.maximum(x + 3, 0), 6) / 6),
    ("mish", {}, lambda x: x * np.tanh(np.log(1 + np.exp(x)))),
    ("softsign", {}, lambda x: x / (1 + np.abs(x))),
    (
        "softplus_beta",
        {"beta": 2.0, "threshold": 1.0},
        lambda x, **_: np.where(2 * x > 1, x, np.log1p(np.exp(2 * x)) / 2),
    ),
    ("softshrink", {}, lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0)),
    ("hardshrink", {}, lambda x: np.where(np.abs(x) > 0.5, x, 0)),
    ("tanhshrink", {}, lambda x: x - np.tanh(x)),
    ("thresholded_relu", {"alpha": 0.3}, lambda x, alpha: np.where(x > alpha, x, 0)),
    ("leaky_relu", {"alpha": 0.2}, lambda x, alpha: np.maximum(x, alpha * x)),
    ("hardtanh", {}, lambda x: np.minimum(np.maximum(x, -1), 1)),
    ("relu6", {}, lambda x: np.minimum(np.maximum(x, 0), 6)),
    ("logsigmoid", {}, lambda x: np.log(_sigmoid(x))),
    ("swish", {"alpha": 1.5}, lambda x, alpha: x * _sigmoid(alpha * x)),
    ("shrink", {"limit": 0.4, "bias": 0.1}, lambda x, **_: np.where(np.abs(x) > 0.4, x - 0.1 * np.sign(x), 0)),
    (pf.softmin, {}, lambda x: np.exp(-x) / np.exp(-x).sum(-1, keepdims=True)),
    (pf.glu, {}, lambda x: x[..., :3] * _sigmoid(x[..., 3:])),
    (pf.swiglu, {}, lambda x: x[..., :3] * _sigmoid(x[..., :3]) * x[..., 3:]),
]

CASES = [
    *(
        Case(
            op,
            (normal(5, 6, dtype=d),),
            attrs,
            expected,
            rtol=1e-5 if d == np.float32 else 1e-11,
            atol=1e-6,
            symbolic=isinstance(op, str),
        )
        for op, attrs, expected in FUNCTIONS
        for d in FLOATS
    ),
    *(
        Case(op, (np.array([-np.inf, np.inf, -0.0, 100.0, -100.0]),), {}, label="ends", gradient=False)
        for op in ("elu", "selu", "celu", "mish", "softsign", "softplus_beta", "logsigmoid")
    ),
    referred("prelu", normal(2, 3, 4, dtype=F64), normal(3, 1, dtype=F64)),
    referred("prelu", integers(-9, 9, 2, 3, dtype=np.int32), integers(-9, 9, 3, dtype=np.int32)),
    referred("shrink", integers(-9, 9, 2, 3, dtype=np.int32), limit=3.0, bias=1.5),
    *(referred("hardmax", distinct(3, 4, 5, dtype=F64), axis=axis) for axis in (-1, 1)),
    Case("hardmax", (np.array([[1.0, 3.0, 3.0]]),), {}, lambda x: [[0, 1, 0]], gradient=False, label="ties"),
]
