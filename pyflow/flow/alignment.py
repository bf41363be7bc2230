"""Connectionist temporal classification: a sum over alignments, as a scan over time."""

from __future__ import annotations

from typing import Any

from pyflow import dims, dtypes
from pyflow.apply import convert
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.flow.loops import scan
from pyflow.graph import Value
from pyflow.opdef import call
from pyflow.ops.composite import as_number

__all__ = ["ctc_loss"]

NEVER = -1e30
"""The logarithm of what cannot be; finite, so that gradients are."""


def _added(*logs: Value) -> Value:
    """The logarithm of the sum of exponentials, element by element."""
    largest = logs[0]
    for entry in logs[1:]:
        largest = call("maximum", largest, entry)
    total: Any = None
    for entry in logs:
        power = call("exp", entry - largest)
        total = power if total is None else total + power
    result: Value = largest + call("log", total)
    return result


def _shifted(alpha: Value, by: int) -> Value:
    """The columns of ``alpha`` moved to the right."""
    width = alpha.dims[1]
    fill = call("constant", NEVER, alpha.dtype)
    wide = call("pad", alpha, fill, (0, by), (0, 0))
    return wide[:, :width]


def ctc_loss(
    log_probabilities: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Value:
    """The negative logarithm of the probability of ``targets`` over all alignments (Graves et al. 2006).

    log_probabilities: floating [T, N, C], of softmax. targets: integers [N, S], not ``blank``. input_lengths,
    target_lengths: integers [N], how many rows and labels of each count. reduction: "none", "sum", or "mean": of losses
    over target lengths, as in PyTorch. zero_infinity: targets that no alignment fits give 0 instead of infinity.
    """
    logs, labels = convert(log_probabilities), call("cast", convert(targets), dtypes.int64)
    steps, many = (call("cast", convert(lengths), dtypes.int64) for lengths in (input_lengths, target_lengths))
    if (
        logs.ndim != 3
        or labels.ndim != 2
        or steps.ndim != 1
        or many.ndim != 1
        or reduction not in ("none", "sum", "mean")
    ):
        what = f"expected [T, N, C], [N, S], [N], [N] and a reduction, got {logs.type}, {labels.type} and {reduction!r}"
        raise InvalidArgumentError(message("ctc_loss", what, user_origin()))
    rows, batch, classes = logs.dims
    width = dims.add(dims.mul(labels.dims[1], 2), 1)
    spaced = call("pad", call("expand_dims", labels, 2), call("constant", blank), (0, 0, 1), (0, 0, 0))
    path = call("pad", call("reshape", spaced, (batch, -1)), call("constant", blank), (0, 0), (0, 1))
    place = call("reshape", call("iota", batch), (-1, 1)) * as_number(classes) + path
    emitted = call("gather", call("reshape", logs, (rows, -1)), place, 1)
    column = call("iota", width)
    before = call("pad", path, call("constant", blank), (0, 2), (0, 0))[:, :width]
    jumps = call("logical_and", path != blank, call("logical_and", path != before, column >= 2))
    start = call("where", column == 0, call("constant", 0.0, logs.dtype), NEVER)
    alpha = call("broadcast_to", start, (batch, width))

    def turn(carry: Any, row: Any) -> Any:
        emission, at = row
        stay, step = carry, call("where", call("logical_and", at == 0, column > 1), NEVER, _shifted(carry, 1))
        jump = call("where", call("logical_and", jumps, at > 0), _shifted(carry, 2), NEVER)
        moved = call("maximum", _added(stay, step, jump) + emission, NEVER)
        after = call("where", call("expand_dims", at < steps, (1,)), moved, carry)
        return after, at

    last, _ = scan(turn, alpha, (emitted, call("iota", rows)))
    end = call("expand_dims", many * 2, (1,))
    final = call("logical_or", column == end, call("logical_and", column == end - 1, end > 0))
    losses = call("negative", call("logsumexp", call("where", final, last, NEVER), (1,)))
    impossible = losses > -NEVER / 2
    losses = call("where", impossible, 0.0 if zero_infinity else float("inf"), losses)
    if reduction == "mean":
        losses = losses / call("cast", call("maximum", many, 1), losses.dtype)
    result: Value = losses if reduction == "none" else call(reduction, losses)
    return result
