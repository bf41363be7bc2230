"""Losses of margins, of several labels and of distributions, and the distances of points."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pyflow.apply import convert
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import call
from pyflow.ops.arrays.indexing import one_hot
from pyflow.ops.arrays.shape import expand_dims
from pyflow.ops.composite import as_number
from pyflow.ops.layers.loss import reduced
from pyflow.ops.layers.losses import binary_cross_entropy_with_logits
from pyflow.ops.reductions.statistics import norm
from pyflow.ops.sizes import of_sizes

__all__ = [
    "cdist",
    "gaussian_nll_loss",
    "log_cosh_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "pairwise_distance",
    "sigmoid_focal_loss",
    "soft_margin_loss",
    "squared_difference",
]


def _refuse(op: str, what: str) -> InvalidArgumentError:
    return InvalidArgumentError(message(op, what, user_origin()))


def _times(x: Value, size: Any) -> Any:
    """A size as what ``x`` can be divided by."""
    number = as_number(size)
    return float(number) if isinstance(number, int) else call("cast", number, x.dtype)


def squared_difference(x: Any, y: Any) -> Value:
    """``(x - y)**2``; both broadcast together."""
    result: Value = call("square", call("subtract", x, y))
    return result


def soft_margin_loss(x: Any, target: Any, reduction: str = "mean") -> Value:
    """``log(1 + exp(-target * x))`` for targets of -1 and 1. reduction: "mean", "sum" or "none"."""
    return reduced(call("softplus", call("negative", call("multiply", target, x))), reduction, "soft_margin_loss")


def log_cosh_loss(prediction: Any, target: Any, reduction: str = "mean") -> Value:
    """``log(cosh(prediction - target))``, which does not overflow. reduction: "mean", "sum" or "none"."""
    apart = call("abs", call("subtract", prediction, target))
    return reduced(apart + call("softplus", apart * -2.0) - math.log(2), reduction, "log_cosh_loss")


def multi_margin_loss(
    x: Any, target: Any, p: float = 1, margin: float = 1.0, weight: Any = None, reduction: str = "mean"
) -> Value:
    """``sum(max(0, margin - x[target] + x[i])**p) / classes`` over the classes i other than the target.

    x: floating [N, classes]. target: integers [N]. weight: [classes], of the target's class, or None.
    reduction: "mean", "sum" or "none".
    """
    value, wanted = convert(x), convert(target)
    if value.ndim != 2 or wanted.ndim != 1 or not wanted.dtype.is_integer:
        raise _refuse("multi_margin_loss", f"expected x [N, classes] and integers [N], got {value.type}, {wanted.type}")
    chosen = one_hot(wanted, value.dims[1], "bool", 1)
    right = call("sum", call("where", chosen, value, 0), 1, True)
    short = call("maximum", value - right + margin, 0)
    costs = call("where", chosen, 0, short if p == 1 else call("pow", short, p))
    if weight is not None:
        costs = costs * call("sum", call("where", chosen, convert(weight, value.dtype), 0), 1, True)
    return reduced(call("sum", costs, 1) / _times(value, value.dims[1]), reduction, "multi_margin_loss")


def multilabel_margin_loss(x: Any, target: Any, reduction: str = "mean") -> Value:
    """``sum(max(0, 1 - x[j] + x[i])) / classes`` over the labels j of a row and the classes i that are none of them.

    x: floating [N, classes]. target: integers [N, classes]: the labels of each row, the first -1 ends them.
    reduction: "mean", "sum" or "none".
    """
    value, wanted = convert(x), convert(target)
    if value.ndim != 2 or wanted.ndim != 2 or not wanted.dtype.is_integer:
        what = f"expected x and integers [N, classes], got {value.type} and {wanted.type}"
        raise _refuse("multilabel_margin_loss", what)
    wanted = of_sizes(wanted, value.dims, "multilabel_margin_loss", "target")
    ended = call("cumsum", call("cast", wanted < 0, "int64"), 1) > 0
    labels = one_hot(call("where", ended, -1, wanted), value.dims[1], "bool", 2)
    is_label = call("any", labels, 1)
    apart = call("maximum", 1 - expand_dims(value, 2) + expand_dims(value, 1), 0)
    counted = call("logical_and", expand_dims(is_label, 2), expand_dims(call("logical_not", is_label), 1))
    costs = call("sum", call("where", counted, apart, 0), (1, 2))
    return reduced(costs / _times(value, value.dims[1]), reduction, "multilabel_margin_loss")


def multilabel_soft_margin_loss(x: Any, target: Any, weight: Any = None, reduction: str = "mean") -> Value:
    """The mean over the classes, the last axis, of the binary cross entropy of ``sigmoid(x)``.

    x, target: floating, of one shape. weight: [classes] or None. reduction: "mean", "sum" or "none".
    """
    costs = binary_cross_entropy_with_logits(x, target, weight, "none")
    return reduced(call("mean", costs, -1), reduction, "multilabel_soft_margin_loss")


def sigmoid_focal_loss(
    logits: Any, target: Any, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "mean"
) -> Value:
    """Binary cross entropy, times ``(1 - p)**gamma`` for the chance p of the right answer (Lin et al. 2017).

    logits, target: floating, of one shape. alpha: the weight of targets of 1, ``1 - alpha`` that of 0; negative: none.
    reduction: "mean", "sum" or "none".
    """
    value, wanted = convert(logits), convert(target)
    chance = call("sigmoid", value)
    right = chance * wanted + (1 - chance) * (1 - wanted)
    costs = binary_cross_entropy_with_logits(value, wanted, None, "none") * call("pow", 1 - right, gamma)
    if alpha >= 0:
        costs = costs * (alpha * wanted + (1 - alpha) * (1 - wanted))
    return reduced(costs, reduction, "sigmoid_focal_loss")


def gaussian_nll_loss(
    x: Any, target: Any, variance: Any, full: bool = False, epsilon: float = 1e-6, reduction: str = "mean"
) -> Value:
    """``(log(v) + (x - target)**2 / v) / 2`` with v the variance, at least ``epsilon``, through which no gradient of
    that limit flows; ``full`` adds ``log(2 * pi) / 2``. All broadcast together. reduction: "mean", "sum" or "none"."""
    given = convert(variance)
    limited = given + call("stop_gradient", call("maximum", given, epsilon) - given)
    costs = (call("log", limited) + squared_difference(x, target) / limited) * 0.5
    if full:
        costs = costs + 0.5 * math.log(2 * math.pi)
    return reduced(costs, reduction, "gaussian_nll_loss")


def pairwise_distance(x: Any, y: Any, p: float = 2.0, epsilon: float = 1e-6, keepdims: bool = False) -> Value:
    """The p-norm of ``x - y + epsilon`` along the last axis; x, y: floating, broadcast together."""
    result: Value = norm(call("subtract", x, y) + epsilon, p, -1, keepdims)
    return result


def cdist(x: Any, y: Any, p: float = 2.0) -> Value:
    """The p-norm distances of all rows of ``x`` [..., n, d] from all of ``y`` [..., m, d]: [..., n, m], floating.

    The gradient where two rows are equal is 0.
    """
    left, right = convert(x), convert(y)
    if left.ndim < 2 or right.ndim < 2:
        raise _refuse("cdist", f"expected x [..., n, d] and y [..., m, d], got {left.type} and {right.type}")
    apart = call("abs", expand_dims(left, -2) - expand_dims(right, -3))
    if p == 1 or p == np.inf:
        result: Value = call("sum" if p == 1 else "max", apart, -1)
        return result
    total = call("sum", call("square", apart) if p == 2 else call("pow", apart, p), -1)
    equal = call("equal", total, 0)
    root = call("where", equal, 1, total)
    result = call("where", equal, 0, call("sqrt", root) if p == 2 else call("pow", root, 1 / p))
    return result
