"""Activation functions."""

from __future__ import annotations

import math

import numpy as np

from cases.case import FLOATS, NUMERIC, Case, normal, uniform
from cases.math import erf, unary

erfc = np.vectorize(math.erfc, otypes=[np.float64])


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    powers = np.exp(x - x.max(axis=axis, keepdims=True)) if x.size else x
    return powers / powers.sum(axis=axis, keepdims=True)


def log_softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True)) if x.size else x


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


PRECISION = {np.float32: {"rtol": 1e-5, "atol": 2e-6}, np.float64: {"rtol": 1e-12, "atol": 1e-14}}

CASES = [
    *unary("sigmoid", lambda x: 1 / (1 + np.exp(-x))),
    *unary("softplus", lambda x: np.logaddexp(0, x)),
    *unary("silu", lambda x: x / (1 + np.exp(-x)), special=False),
    *unary("relu", lambda x: np.maximum(x, 0), dtypes=NUMERIC),
    *unary("gelu", lambda x: x * 0.5 * (1 + erf(x / math.sqrt(2))), special=False, atol=1e-7),
    Case("relu", (np.array([0.0]),), {}, lambda x: [0.0], gradient=False, label="at_zero"),
    *[
        Case(
            "gelu",
            (normal(4, 33, dtype=dtype),),
            {"approximate": "tanh"},
            lambda x, approximate: gelu_tanh(x),
            atol=1e-7,
        )
        for dtype in FLOATS
    ],
    *[
        Case(
            op,
            (np.array([-np.inf, np.inf, np.nan, 0.0, -0.0], dtype),),
            attrs,
            lambda x, **_: [0, np.inf, np.nan, 0, 0],
            label="special",
        )
        for dtype in FLOATS
        for op, attrs in [("gelu", {}), ("gelu", {"approximate": "tanh"}), ("silu", {})]
    ],
    *[
        Case(
            op, (uniform(-90, 90, 67, dtype=dtype),), {}, function, gradient=False, label="range", rtol=2e-5, atol=1e-37
        )
        for dtype in FLOATS
        for op, function in {
            "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
            "silu": lambda x: x / (1 + np.exp(-x)),
            "softplus": lambda x: np.logaddexp(0, x),
        }.items()
    ],
    *[
        Case(
            "gelu",
            (uniform(-4, 9, 67, dtype=dtype),),
            {},
            lambda x: 0.5 * x * erfc(-x * math.sqrt(0.5)),
            rtol=1e-5,
            gradient=False,
        )
        for dtype in FLOATS
    ],
    *[
        Case(
            op,
            (normal(*shape, dtype=dtype, scale=3),),
            {"axis": axis},
            function,
            **PRECISION[dtype],
        )
        for op, function in {"softmax": softmax, "log_softmax": log_softmax}.items()
        for dtype in FLOATS
        for shape, axis in [
            ((7,), -1),
            ((3, 5), 0),
            ((2, 3, 17), 1),
            ((4, 1), 1),
            ((0, 4), -1),
            ((4, 0), -1),
            ((2, 131), -1),
        ]
    ],
    *[
        Case(
            "softmax",
            (np.array([[1e4, -1e4, 1e4], [-np.inf, 0, 0]], dtype),),
            {},
            lambda x: [[0.5, 0, 0.5], [0, 0.5, 0.5]],
        )
        for dtype in FLOATS
    ],
    Case(
        "softmax",
        (np.array([[np.nan, 0], [-np.inf, -np.inf], [np.inf, 0]]),),
        {},
        lambda x: np.full((3, 2), np.nan),
        label="nan",
    ),
    Case("log_softmax", (np.array([[1e4, -1e4]]),), {}, lambda x: [[0, -2e4]], label="large", gradient=False),
]
