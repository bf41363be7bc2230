"""Losses."""

from __future__ import annotations

from typing import Any

from pyflow import dtypes
from pyflow.apply import convert
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import call
from pyflow.ops.arrays.indexing import one_hot
from pyflow.ops.common import ndim_of, normalise_axis
from pyflow.ops.sizes import of_sizes, text_of

__all__ = ["cross_entropy", "mse"]


def reduced(losses: Value, reduction: str, op: str) -> Value:
    """``losses`` as they are, their mean or their sum."""
    if reduction not in ("mean", "sum", "none"):
        what = f"expected reduction 'mean', 'sum' or 'none', got {reduction!r}"
        raise InvalidArgumentError(message(op, what, user_origin()))
    result: Value = losses if reduction == "none" else call(reduction, losses)
    return result


def cross_entropy(logits: Any, labels: Any, axis: int = -1, reduction: str = "mean") -> Value:
    """How far ``softmax(logits)`` along ``axis`` is from ``labels``: ``-sum(labels * log_softmax(logits))``.

    logits: floating, any shape. labels: integers, of that shape without ``axis``: the class of each row (one outside
    ``[0, classes)`` is no class: its loss is 0, and it still counts in the mean); or floating, of that shape:
    probabilities. reduction: "mean" or "sum" over all rows, or "none": a loss per row. Returns the dtype of logits.
    Raises InvalidArgumentError for other shapes. The gradient by labels flows only through probabilities.
    """
    ndim = ndim_of(logits)
    settled = normalise_axis(axis, ndim, "logits")
    target = labels if hasattr(labels, "dtype") else convert(labels)
    kind = dtypes.as_dtype(target.dtype)
    expected = ndim - 1 if kind.is_integer else ndim
    if ndim_of(target) != expected or not (kind.is_integer or kind.is_floating):
        what = f"labels are {kind}{text_of(target.shape)} for logits of {ndim} axes"
        hint = f"expected {ndim - 1} axes of integers (classes) or {ndim} axes of floats (probabilities)"
        raise InvalidArgumentError(message("cross_entropy", what, user_origin(), hint))
    logs = call("log_softmax", logits, axis=settled)
    sizes = [size for at, size in enumerate(logs.shape) if at != settled or not kind.is_integer]
    target = of_sizes(target, sizes, "cross_entropy", "labels")
    if kind.is_integer:
        chosen = one_hot(target, logs.shape[settled], dtypes.bool_, settled)
        losses = call("where", chosen, call("negative", logs), 0)
    else:
        losses = call("negative", call("multiply", logs, target))
    return reduced(call("sum", losses, settled), reduction, "cross_entropy")


def mse(prediction: Any, target: Any, reduction: str = "mean") -> Value:
    """``(prediction - target)**2``, floating; both broadcast together. reduction: "mean", "sum" or "none"."""
    return reduced(call("square", call("subtract", prediction, target)), reduction, "mse")
