"""Exponentials and logarithms to other bases, roots, and the special functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pyflow.graph import Node, Value
from pyflow.opdef import FLOATS, call
from pyflow.ops.common import composed, elementwise, in_float64, sum_to
from pyflow.ops.elementwise import complex_rules
from pyflow.ops.elementwise.complex_rules import conjugate

__all__ = ["cbrt", "digamma", "erfc", "exp2", "lgamma", "log2", "log10", "logaddexp", "logit", "xlogy"]


def _function(name: str, ref: Any, derivative: Any, doc: str, in_complex: Any = None) -> Any:
    """One row; ``derivative(x, y)`` is that of its result y by its input x, None for one that is not defined here."""

    def vjp(node: Node, gradient: Value) -> tuple[Value]:
        return (gradient * conjugate(derivative(node.inputs[0], node.outputs[0])),)

    return elementwise(name, "x", scalar=name, ref=ref, vjp=vjp, dtypes=FLOATS, in_complex=in_complex, doc=doc)


exp2 = _function("exp2", np.exp2, lambda x, y: y * math.log(2), "``2 ** x``.", complex_rules.exp2)
log2 = _function(
    "log2",
    np.log2,
    lambda x, y: 1 / (x * math.log(2)),
    "The logarithm to base 2; -inf at 0, of a real number NaN below.",
    complex_rules.log_to(2),
)
log10 = _function(
    "log10",
    np.log10,
    lambda x, y: 1 / (x * math.log(10)),
    "The logarithm to base 10; -inf at 0, of a real number NaN below.",
    complex_rules.log_to(10),
)
cbrt = _function("cbrt", np.cbrt, lambda x, y: 1 / (3 * y * y), "The cube root, with the sign of ``x``.")
erfc = _function(
    "erfc",
    in_float64(np.vectorize(math.erfc, otypes=[np.float64])),
    lambda x, y: (-2 / math.sqrt(math.pi)) * call("exp", -(x * x)),
    "``1 - erf(x)``, precise where ``erf(x)`` is near 1 (DLMF 7.2.2).",
)


def _lgamma_ref(x: float) -> float:
    return math.inf if x <= 0 and math.isfinite(x) and x == math.floor(x) else math.lgamma(x)


def _raised(x: np.ndarray, term: Any, to: float) -> tuple[np.ndarray, np.ndarray]:
    """``x`` plus whole numbers until it is at least ``to``, and the sum of ``term`` on the way."""
    total = np.zeros_like(x)
    for _ in range(math.ceil(to)):
        low = x < to
        total = np.where(low, total + term(x), total)
        x = np.where(low, x + 1, x)
    return x, total


def _digamma_ref(x: np.ndarray) -> np.ndarray:
    left = x < 0
    high, total = _raised(np.where(left, 1 - x, x), lambda t: 1 / t, 16.0)
    z = 1 / (high * high)
    series = z * (1 / 12 - z * (1 / 120 - z * (1 / 252 - z * (1 / 240 - z / 132))))
    right = np.log(high) - 0.5 / high - series - total
    turned = np.where(left, right - np.pi / np.tan(np.pi * (x - np.floor(x))), right)
    turned = np.where(left & (x == np.floor(x)), np.nan, turned)
    return np.where(x == 0, np.copysign(np.inf, -x), turned)


def _trigamma_ref(x: np.ndarray) -> np.ndarray:
    left = x <= 0
    high, total = _raised(np.where(left, 1 - x, x), lambda t: 1 / (t * t), 20.0)
    z = 1 / (high * high)
    series = z * (1 / 6 - z * (1 / 30 - z * (1 / 42 - z * (1 / 30 - z * 5 / 66))))
    right = total + 1 / high + z / 2 + series / high
    turned = np.where(left, (np.pi / np.sin(np.pi * (x - np.floor(x)))) ** 2 - right, right)
    return np.where(left & (x == np.floor(x)), np.inf, turned)


lgamma = _function(
    "lgamma",
    in_float64(np.vectorize(_lgamma_ref, otypes=[np.float64])),
    lambda x, y: call("digamma", x),
    "The natural logarithm of the magnitude of the gamma function (DLMF 5.2.1); inf at 0, -1, -2 ...",
)
digamma = _function(
    "digamma",
    in_float64(_digamma_ref),
    lambda x, y: call("trigamma", x),
    "The derivative of ``lgamma`` (DLMF 5.2.2); NaN at -1, -2 ...",
)
trigamma = elementwise(
    "trigamma",
    "x",
    scalar="trigamma",
    ref=in_float64(_trigamma_ref),
    vjp=None,  # type: ignore[arg-type]
    dtypes=FLOATS,
    doc="The derivative of ``digamma``; inf at 0, -1, -2 ... It has no gradient of its own.",
)


def _logaddexp_expand(x: Value, y: Value) -> Value:
    gap = call("where", x == y, 0, -call("abs", x - y))
    result: Value = call("maximum", x, y) + call("log1p", call("exp", gap))
    return result


def _logaddexp_vjp(node: Node, gradient: Value) -> tuple[Value, Value]:
    x, y = node.inputs
    return (
        sum_to(gradient * call("exp", x - node.outputs[0]), x),
        sum_to(gradient * call("exp", y - node.outputs[0]), y),
    )


logaddexp = composed(
    "logaddexp",
    "x, y",
    ref=np.logaddexp,
    expand=_logaddexp_expand,
    vjp=_logaddexp_vjp,
    doc="``log(exp(x) + exp(y))`` without overflow.",
)

logit = composed(
    "logit",
    "x",
    ref=lambda x: np.log(x) - np.log1p(-x),
    expand=lambda x: call("log", x) - call("log1p", -x),
    doc="``log(x / (1 - x))``: what ``sigmoid`` undoes; NaN beyond 0 and 1.",
)


def _xlogy_expand(x: Value, y: Value) -> Value:
    zero = call("logical_and", x == 0, call("logical_not", call("isnan", y)))
    result: Value = call("where", zero, 0, x * call("log", call("where", zero, 1, y)))
    return result


def _xlogy_vjp(node: Node, gradient: Value) -> tuple[Value, Value]:
    x, y = node.inputs
    return sum_to(gradient * call("log", y), x), sum_to(gradient * (x / y), y)


xlogy = composed(
    "xlogy",
    "x, y",
    ref=lambda x, y: np.where((x == 0) & ~np.isnan(y), x.dtype.type(0), x * np.log(y)),
    expand=_xlogy_expand,
    vjp=_xlogy_vjp,
    doc="``x * log(y)``, and 0 where ``x`` is 0.",
)
