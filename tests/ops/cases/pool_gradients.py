"""The gradients of pools as ops of their own, window by window."""

from __future__ import annotations

from typing import Any

import numpy as np

from cases.case import FLOATS, Case, distinct, normal

KERNEL, STRIDE = (3, 2), (2, 2)
SETTINGS = {"kernel": KERNEL, "stride": STRIDE, "padding": "valid", "data_format": "NHWC"}


def _each_window(dy: np.ndarray) -> Any:
    for i, j in np.ndindex(*dy.shape[1:3]):
        rows = slice(i * STRIDE[0], i * STRIDE[0] + KERNEL[0])
        columns = slice(j * STRIDE[1], j * STRIDE[1] + KERNEL[1])
        yield dy[:, i, j], rows, columns


def max_pool_gradient(x: np.ndarray, dy: np.ndarray, **attrs: Any) -> np.ndarray:
    dx = np.zeros_like(x)
    for flow, rows, columns in _each_window(dy):
        for n, c in np.ndindex(x.shape[0], x.shape[3]):
            window = x[n, rows, columns, c]
            best = np.unravel_index(np.argmax(window), window.shape)
            dx[n, rows, columns, c][best] += flow[n, c]
    return dx


def avg_pool_gradient(dy: np.ndarray, size: Any, **attrs: Any) -> np.ndarray:
    dx = np.zeros((dy.shape[0], *size, dy.shape[3]))
    for flow, rows, columns in _each_window(dy):
        dx[:, rows, columns] += flow[:, None, None] / (KERNEL[0] * KERNEL[1])
    return dx


CASES = [
    *[
        Case(
            "max_pool2d_grad",
            (distinct(2, 7, 5, 3, dtype=dtype), normal(2, 3, 2, 3, dtype=dtype)),
            SETTINGS,
            max_pool_gradient,
            gradient=False,
            rtol=1e-6,
        )
        for dtype in FLOATS
    ],
    *[
        Case(
            "avg_pool2d_grad",
            (normal(2, 3, 2, 3, dtype=dtype),),
            {"size": (7, 5), **SETTINGS},
            avg_pool_gradient,
            rtol=1e-6,
            atol=1e-7,
            symbolic=False,
        )
        for dtype in FLOATS
    ],
]
