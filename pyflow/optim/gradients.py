"""Gradients between backward and step: taken away, and kept small."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from pyflow.eager import Tensor, no_grad
from pyflow.errors import FailedPreconditionError, InvalidArgumentError, message, user_origin
from pyflow.opdef import call


def clear(parameters: Iterable[Any], set_to_none: bool = True) -> None:
    """Takes the gradients of ``parameters`` away, or sets them to 0."""
    for parameter in parameters:
        if set_to_none:
            parameter.grad = None
        elif parameter.grad is not None:
            parameter.grad = call("zeros_like", parameter.grad)


def clip_by_global_norm(values: Sequence[Any], norm: float) -> tuple[list[Any], Any]:
    """Scales all ``values`` by one factor so that their joint 2-norm is at most ``norm``; also gives the norm.

    values: graph values or tensors, floating; None is left as it is.
    """
    present = [value for value in values if value is not None]
    if not present:
        raise InvalidArgumentError(message("clip_by_global_norm", "expected at least one value", user_origin()))
    found = _norm(present, 2.0)
    factor = call("divide", norm, call("maximum", found, norm))
    return [None if value is None else value * factor for value in values], found


def _norm(values: Sequence[Any], kind: float) -> Any:
    """The joint ``kind``-norm."""
    if math.isinf(kind):
        parts = [call("max", call("abs", value)) for value in values]
    elif kind == 2:
        parts = [call("sum", value * value) for value in values]
    else:
        parts = [call("sum", call("pow", call("abs", value), kind)) for value in values]
    total = parts[0]
    for part in parts[1:]:
        total = call("maximum", total, part) if math.isinf(kind) else total + part
    if kind == 2:
        return call("sqrt", total)
    return total if math.isinf(kind) else call("pow", total, 1 / kind)


@no_grad()
def clip_grad_norm_(parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False) -> Any:
    """Scales the gradients of ``parameters`` by one factor so that their joint norm is at most ``max_norm``.

    Gives the norm that they had; 0 if there are none. error_if_nonfinite: FailedPreconditionError if it is not finite.
    """
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    pairs = [(parameter, gradient) for parameter in given if (gradient := parameter.grad) is not None]
    if not pairs:
        return Tensor(0.0)
    found = _norm([gradient for _, gradient in pairs], float(norm_type))
    if error_if_nonfinite and isinstance(found, Tensor) and not math.isfinite(found.item()):
        what = f"the norm of the gradients is {found.item()}"
        raise FailedPreconditionError(message("clip_grad_norm_", what, user_origin(), "look for the first NaN or inf"))
    factor = call("divide", max_norm, call("maximum", found, max_norm))
    for parameter, gradient in pairs:
        parameter.grad = gradient * call("cast", factor, gradient.dtype)
    return found


@no_grad()
def clip_grad_value_(parameters: Any, clip_value: float) -> None:
    """Keeps every element of the gradients of ``parameters`` between ``-clip_value`` and ``clip_value``."""
    for parameter in [parameters] if isinstance(parameters, Tensor) else list(parameters):
        if parameter.grad is not None:
            parameter.grad = call("clip", parameter.grad, -clip_value, clip_value)
