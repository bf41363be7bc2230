"""The normal distribution function and its inverse, and functions of entropy."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np

from pyflow import dtypes
from pyflow.graph import Node, Value
from pyflow.opdef import call
from pyflow.ops.common import composed, in_float64, sum_to

__all__ = ["entr", "erfinv", "logaddexp2", "ndtr", "ndtri", "xlog1py"]


def _inverse_erf(x: float) -> float:
    size = abs(x)
    if not size < 1:
        return math.copysign(math.inf, x) if size == 1 else math.nan
    if size < 0.01:
        z = math.pi * x * x
        series = 1 + z * (1 / 12 + z * (7 / 480 + z * 127 / 40320))
        return math.sqrt(math.pi) / 2 * x * series
    return math.copysign(NormalDist().inv_cdf((1 - size) / 2) / math.sqrt(2), x)


def _erfinv_expand(x: Value) -> Value:
    """Winitzki's approximation, then Halley's steps, by erf in the middle and by erfc beyond it."""
    wide = call("cast", x, dtypes.float64)
    size = call("abs", wide)
    logs = call("log1p", -(wide * wide))
    half = logs * 0.5 + 2 / (math.pi * 0.147)
    y = call("sqrt", call("sqrt", half * half - logs / 0.147) - half)
    for _ in range(3):
        apart = call("where", size < 0.5, call("erf", y) - size, (1 - size) - call("erfc", y))
        step = apart * call("exp", y * y) * (math.sqrt(math.pi) / 2)
        y = y - step / (1 + y * step)
    y = call("where", size < 1, y, call("where", size == 1, math.inf, math.nan))
    result: Value = call("cast", call("copysign", y, wide), x.dtype)
    return result


def _erfinv_vjp(node: Node, gradient: Value) -> tuple[Value]:
    return (gradient * (call("exp", call("square", node.outputs[0])) * (math.sqrt(math.pi) / 2)),)


erfinv = composed(
    "erfinv",
    "x",
    ref=in_float64(np.vectorize(_inverse_erf, otypes=[np.float64])),
    expand=_erfinv_expand,
    vjp=_erfinv_vjp,
    doc="What ``erf`` undoes; infinite at -1 and 1, NaN beyond them.",
)
ndtr = composed(
    "ndtr",
    "x",
    ref=in_float64(np.vectorize(lambda x: math.erfc(-x / math.sqrt(2)) / 2, otypes=[np.float64])),
    expand=lambda x: call("erfc", x * -math.sqrt(0.5)) * 0.5,
    doc="The distribution function of the standard normal distribution.",
)


def _ndtri_ref(p: float) -> float:
    if not 0 < p < 1:
        return {0.0: -math.inf, 1.0: math.inf}.get(p, math.nan)
    return NormalDist().inv_cdf(p)


def _ndtri_expand(p: Value) -> Value:
    """From the nearer end: C. Hastings' approximation (Abramowitz and Stegun 26.2.23), then Halley's steps."""
    wide = call("cast", p, dtypes.float64)
    low = call("minimum", wide, 1 - wide)
    t = call("sqrt", call("log", low) * -2.0)
    y = t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308)))
    for _ in range(3):
        apart = low - call("ndtr", -y)
        step = apart * call("exp", y * y * 0.5) * math.sqrt(2 * math.pi)
        finer = y - step / (1 + 0.5 * y * step)
        y = call("where", call("isfinite", step), finer, y)
    y = call("where", low == 0, math.inf, y)
    result: Value = call("cast", call("where", wide < 0.5, -y, y), p.dtype)
    return result


ndtri = composed(
    "ndtri",
    "p",
    ref=in_float64(np.vectorize(_ndtri_ref, otypes=[np.float64])),
    expand=_ndtri_expand,
    vjp=lambda node, gradient: (
        gradient * (call("exp", call("square", node.outputs[0]) * 0.5) * math.sqrt(2 * math.pi)),
    ),
    doc="The quantile function of the standard normal distribution: what ``ndtr`` undoes; NaN beyond 0 and 1.",
)


def _xlog1py_expand(x: Value, y: Value) -> Value:
    zero = call("logical_and", x == 0, call("logical_not", call("isnan", y)))
    result: Value = call("where", zero, 0, x * call("log1p", call("where", zero, 0, y)))
    return result


xlog1py = composed(
    "xlog1py",
    "x, y",
    ref=lambda x, y: np.where((x == 0) & ~np.isnan(y), x.dtype.type(0), x * np.log1p(y)),
    expand=_xlog1py_expand,
    doc="``x * log(1 + y)``, and 0 where ``x`` is 0.",
)


def _entr_ref(x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, -np.inf, np.where(x == 0, 0, -x * np.log(x))).astype(x.dtype)


entr = composed(
    "entr",
    "x",
    ref=_entr_ref,
    expand=lambda x: call("where", x < 0, -math.inf, -call("xlogy", x, x)),
    doc="``-x * log(x)``: 0 at 0, minus infinity below.",
)


def _logaddexp2_expand(x: Value, y: Value) -> Value:
    gap = call("where", x == y, 0, -call("abs", x - y))
    result: Value = call("maximum", x, y) + call("log1p", call("exp2", gap)) * (1 / math.log(2))
    return result


def _share(part: Value, node: Node, gradient: Value) -> Any:
    return sum_to(gradient * call("exp2", part - node.outputs[0]), part)


logaddexp2 = composed(
    "logaddexp2",
    "x, y",
    ref=np.logaddexp2,
    expand=_logaddexp2_expand,
    vjp=lambda node, gradient: tuple(_share(part, node, gradient) for part in node.inputs),
    doc="``log2(2**x + 2**y)`` without overflow.",
)
