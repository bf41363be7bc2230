"""Losses of classes, probabilities, distances and margins."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyflow import dims
from pyflow.apply import convert
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import call
from pyflow.ops.arrays.indexing import one_hot
from pyflow.ops.arrays.shape import expand_dims, reshape
from pyflow.ops.common import normalise_axis
from pyflow.ops.composite import as_number
from pyflow.ops.layers.loss import reduced
from pyflow.ops.sizes import differ, of_sizes

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cosine_embedding_loss",
    "cosine_similarity",
    "hinge_embedding_loss",
    "hinge_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "margin_ranking_loss",
    "mse_loss",
    "nll_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
    "softmax_cross_entropy",
    "triplet_margin_loss",
]


def _fail(op: str, what: str, hint: str = "") -> InvalidArgumentError:
    return InvalidArgumentError(message(op, what, user_origin(), hint))


def l1_loss(prediction: Any, target: Any, reduction: str = "mean") -> Value:
    """``abs(prediction - target)``, floating; both broadcast together. reduction: "mean", "sum" or "none"."""
    return reduced(call("abs", call("subtract", prediction, target)), reduction, "l1_loss")


def mse_loss(prediction: Any, target: Any, reduction: str = "mean") -> Value:
    """``(prediction - target)**2``, floating; both broadcast together. reduction: "mean", "sum" or "none"."""
    return reduced(call("square", call("subtract", prediction, target)), reduction, "mse_loss")


def huber_loss(prediction: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Value:
    """``d**2 / 2`` for a difference d of at most ``delta``, ``delta * (d - delta / 2)`` beyond.

    prediction, target: floating, broadcast together. reduction: "mean", "sum" or "none".
    """
    distance = call("abs", call("subtract", prediction, target))
    losses = call("where", distance <= delta, distance * distance * 0.5, (distance - 0.5 * delta) * delta)
    return reduced(losses, reduction, "huber_loss")


def smooth_l1_loss(prediction: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Value:
    """``d**2 / (2 * beta)`` for a difference d below ``beta``, ``d - beta / 2`` beyond; ``beta=0`` is :func:`l1_loss`.

    prediction, target: floating, broadcast together. reduction: "mean", "sum" or "none".
    """
    distance = call("abs", call("subtract", prediction, target))
    if beta:
        distance = call("where", distance < beta, distance * distance * (0.5 / beta), distance - 0.5 * beta)
    return reduced(distance, reduction, "smooth_l1_loss")


def _weighted(losses: Value, weight: Any) -> Value:
    return losses if weight is None else call("multiply", losses, weight)


def binary_cross_entropy(prediction: Any, target: Any, weight: Any = None, reduction: str = "mean") -> Value:
    """``-(t * log(p) + (1 - t) * log(1 - p))``; logarithms are kept above -100, as in PyTorch.

    prediction, target: floating, of one shape, from 0 to 1. weight: broadcasts to them, or None.
    reduction: "mean", "sum" or "none".
    """
    p, t = convert(prediction), convert(target)
    t = of_sizes(t, p.dims, "binary_cross_entropy", "target")
    logs = [call("maximum", call("log", entry), -100.0) for entry in (p, 1 - p)]
    losses = call("negative", t * logs[0] + (1 - t) * logs[1])
    return reduced(_weighted(losses, weight), reduction, "binary_cross_entropy")


def binary_cross_entropy_with_logits(
    logits: Any, target: Any, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
) -> Value:
    """:func:`pyflow.binary_cross_entropy` of ``sigmoid(logits)``; does not overflow.

    logits, target: floating, of one shape. weight, and pos_weight of positive targets: broadcast to them, or None.
    reduction: "mean", "sum" or "none".
    """
    x, t = convert(logits), convert(target)
    t = of_sizes(t, x.dims, "binary_cross_entropy_with_logits", "target")
    right = call("softplus", call("negative", x))
    if pos_weight is not None:
        right = call("multiply", right, (convert(pos_weight) - 1) * t + 1)
    losses = (1 - t) * x + right
    return reduced(_weighted(losses, weight), reduction, "binary_cross_entropy_with_logits")


def _by_class(op: str, logs: Value, target: Value, axis: int, ignore_index: int | None) -> tuple[Value, Value]:
    """(which class each row has, whether it counts): bool, the first with the axis of classes."""
    if target.ndim != logs.ndim - 1 or not target.dtype.is_integer:
        raise _fail(op, f"expected {logs.ndim - 1} axes of integers for {logs.type}, got {target.type}")
    target = of_sizes(target, [size for at, size in enumerate(logs.dims) if at != axis], op, "target")
    chosen = one_hot(target, logs.dims[axis], "bool", axis)
    counted = call("not_equal", target, -1 if ignore_index is None else ignore_index)
    if ignore_index is not None:
        chosen = call("logical_and", chosen, expand_dims(counted, axis))
    return chosen, counted


def _per_class(weight: Any, logs: Value, axis: int, op: str) -> Value | None:
    if weight is None:
        return None
    value = convert(weight, logs.dtype)
    if value.ndim != 1 or differ(value.dims[0], logs.dims[axis]):
        raise _fail(op, f"expected a weight per class of {logs.type} along axis {axis}, got {value.type}")
    return reshape(value, (-1, *(1,) * (logs.ndim - axis - 1)))


def _averaged(losses: Value, shares: Value, reduction: str, op: str) -> Value:
    """``losses`` reduced; their mean is over the sum of ``shares``."""
    if reduction != "mean":
        return reduced(losses, reduction, op)
    result: Value = call("sum", losses) / call("sum", shares)
    return result


def nll_loss(
    log_probabilities: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int | None = -100,
    reduction: str = "mean",
    axis: int = 1,
) -> Value:
    """``-weight[target] * log_probabilities[target]``: the negative log-likelihood of the right classes.

    log_probabilities: floating, with classes along ``axis`` (1, or 0 where there is one axis only). target: integers,
    of that shape without axis; rows of ``ignore_index`` do not count. weight: [classes] or None.
    reduction: "sum", "none", or "mean": over the sum of the weights that count.
    """
    logs = convert(log_probabilities)
    settled = normalise_axis(axis if logs.ndim > 1 else 0, logs.ndim, f"log_probabilities: {logs.type}")
    chosen, _ = _by_class("nll_loss", logs, convert(target), settled, ignore_index)
    factor = _per_class(weight, logs, settled, "nll_loss")
    weighted = call("negative", logs) if factor is None else call("negative", logs) * factor
    losses = call("sum", call("where", chosen, weighted, 0), settled)
    ones = call("constant", np.ones((), logs.dtype.numpy)) if factor is None else factor
    shares = call("sum", call("where", chosen, ones, 0), settled)
    return _averaged(losses, shares, reduction, "nll_loss")


def softmax_cross_entropy(
    logits: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    axis: int = 1,
) -> Value:
    """How far ``softmax(logits)`` is from ``target``, as torch.nn.functional.cross_entropy.

    logits: floating, with classes along ``axis`` (1, or 0 where there is one axis only). target: integers, of that
    shape without axis (rows of ``ignore_index`` do not count), or floating, of that shape: probabilities.
    weight: [classes] or None. label_smoothing: the share that is spread over all classes.
    reduction: "sum", "none", or "mean": over the sum of the weights that count, for probabilities over the rows.
    """
    op, value, wanted = "softmax_cross_entropy", convert(logits), convert(target)
    settled = normalise_axis(axis if value.ndim > 1 else 0, value.ndim, f"logits: {value.type}")
    logs = call("log_softmax", value, settled)
    factor = _per_class(weight, logs, settled, op)
    costs = call("negative", logs) if factor is None else call("negative", logs) * factor
    classes = as_number(value.dims[settled])
    spread = (
        label_smoothing / classes if isinstance(classes, int) else label_smoothing / call("cast", classes, logs.dtype)
    )
    if not wanted.dtype.is_integer:
        if wanted.ndim != value.ndim:
            raise _fail(op, f"expected probabilities of the shape of logits: {value.type}, got {wanted.type}")
        wanted = of_sizes(wanted, value.dims, op, "target")
        soft = wanted * (1 - label_smoothing) + spread if label_smoothing else wanted
        losses = call("sum", costs * soft, settled)
        return reduced(losses, reduction, op)
    chosen, counted = _by_class(op, logs, wanted, settled, ignore_index)
    losses = call("sum", call("where", chosen, costs, 0), settled)
    ones = call("constant", np.ones((), logs.dtype.numpy)) if factor is None else factor
    shares = call("sum", call("where", chosen, ones, 0), settled)
    if label_smoothing:
        everywhere = call("where", counted, call("sum", costs, settled), 0)
        losses = losses * (1 - label_smoothing) + everywhere * spread
    return _averaged(losses, shares, reduction, op)


def kl_div(log_prediction: Any, target: Any, reduction: str = "mean", log_target: bool = False) -> Value:
    """``target * (log(target) - log_prediction)``, 0 where target is 0; with ``log_target`` of ``exp(target)``.

    log_prediction, target: floating, broadcast together. reduction: "mean" (over all elements), "batchmean" (over the
    first axis), "sum" or "none".
    """
    logs, t = convert(log_prediction), convert(target)
    if log_target:
        losses = call("exp", t) * (t - logs)
    else:
        some = t > 0
        losses = call("where", some, t * (call("log", call("where", some, t, 1)) - logs), 0)
    if reduction == "batchmean":
        count = as_number(losses.dims[0])
        total = call("sum", losses)
        return total / (float(count) if isinstance(count, int) else call("cast", count, losses.dtype))
    return reduced(losses, reduction, "kl_div")


def hinge_loss(prediction: Any, target: Any, reduction: str = "mean") -> Value:
    """``max(0, 1 - target * prediction)`` for targets of -1 and 1. reduction: "mean", "sum" or "none"."""
    losses = call("maximum", 1 - call("multiply", prediction, target), 0)
    return reduced(losses, reduction, "hinge_loss")


def hinge_embedding_loss(x: Any, target: Any, margin: float = 1.0, reduction: str = "mean") -> Value:
    """``x`` for targets of 1, ``max(0, margin - x)`` for targets of -1. reduction: "mean", "sum" or "none"."""
    value = convert(x)
    losses = call("where", call("equal", target, 1), value, call("maximum", margin - value, 0))
    return reduced(losses, reduction, "hinge_embedding_loss")


def margin_ranking_loss(x: Any, y: Any, target: Any, margin: float = 0.0, reduction: str = "mean") -> Value:
    """``max(0, margin - target * (x - y))``: x should be above y for targets of 1, below for -1. All broadcast
    together. reduction: "mean", "sum" or "none"."""
    losses = call("maximum", margin - call("multiply", target, call("subtract", x, y)), 0)
    return reduced(losses, reduction, "margin_ranking_loss")


def poisson_nll_loss(
    x: Any, target: Any, log_input: bool = True, epsilon: float = 1e-8, reduction: str = "mean"
) -> Value:
    """``exp(x) - target * x``, or without ``log_input`` ``x - target * log(x + epsilon)``. reduction: "mean", "sum" or
    "none"."""
    value = convert(x)
    grown = call("exp", value) - call("multiply", target, value)
    losses = grown if log_input else value - call("multiply", target, call("log", value + epsilon))
    return reduced(losses, reduction, "poisson_nll_loss")


def cosine_similarity(x: Any, y: Any, axis: int = 1, epsilon: float = 1e-8) -> Value:
    """The cosine of the angle between ``x`` and ``y`` along ``axis``; norms are at least ``epsilon``.

    x, y: floating, broadcast together; the result has the other axes.
    """
    left, right = convert(x), convert(y)
    whole = dims.broadcast_shapes(left.dims, right.dims)
    left, right = (value if value.dims == whole else call("broadcast_to", value, whole) for value in (left, right))
    norms = [
        call("maximum", call("sqrt", call("sum", call("square", value), axis)), epsilon) for value in (left, right)
    ]
    result: Value = call("sum", left * right, axis) / (norms[0] * norms[1])
    return result


def cosine_embedding_loss(x: Any, y: Any, target: Any, margin: float = 0.0, reduction: str = "mean") -> Value:
    """``1 - cos(x, y)`` for targets of 1, ``max(0, cos(x, y) - margin)`` for targets of -1.

    x, y: floating [N, D] or [D]; target: [N] or 0-d. reduction: "mean", "sum" or "none".
    """
    cosine = cosine_similarity(x, y, -1)
    losses = call("where", call("equal", target, 1), 1 - cosine, call("maximum", cosine - margin, 0))
    return reduced(losses, reduction, "cosine_embedding_loss")


def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float = 1.0,
    p: float = 2.0,
    epsilon: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Value:
    """``max(0, d(anchor, positive) - d(anchor, negative) + margin)`` with the p-norm of the difference plus epsilon.

    All floating [..., D]. swap: the smaller of the distances from the negative. reduction: "mean", "sum" or "none".
    """

    def distance(x: Any, y: Any) -> Value:
        apart = call("abs", call("subtract", x, y) + epsilon)
        if p == 2:
            result: Value = call("sqrt", call("sum", call("square", apart), -1))
        else:
            result = call("pow", call("sum", call("pow", apart, p), -1), 1 / p)
        return result

    far = distance(anchor, negative)
    if swap:
        far = call("minimum", far, distance(positive, negative))
    losses = call("maximum", distance(anchor, positive) - far + margin, 0)
    return reduced(losses, reduction, "triplet_margin_loss")
