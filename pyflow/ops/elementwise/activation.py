"""Activation functions of neural networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pyflow.errors import DTypeError, message, user_origin
from pyflow.graph import Node, Value
from pyflow.opdef import FLOATS, FUNCTIONS, INT, NUMERIC, Facts, call, define
from pyflow.ops.common import elementwise, in_float64, normalise_axis, quiet

__all__ = ["gelu", "log_softmax", "relu", "sigmoid", "silu", "softmax", "softplus"]

_INNER = math.sqrt(2 / math.pi)
_CUBIC = 0.044715


def _row(
    name: str, derivative: Callable[[Value, Value], Value], ref: Callable[..., Any], doc: str, onnx: str = ""
) -> Any:
    """A float op of one input; ``derivative(x, y)`` is that of its result y by its input x."""

    def vjp(node: Node, gradient: Value) -> tuple[Value]:
        return (gradient * derivative(node.inputs[0], node.outputs[0]),)

    return elementwise(name, "x", scalar=name, ref=in_float64(ref), vjp=vjp, dtypes=FLOATS, onnx=onnx, doc=doc)


def _logistic(x: np.ndarray) -> np.ndarray:
    small = np.exp(-np.abs(x))
    result: np.ndarray = np.where(x >= 0, 1, small) / (1 + small)
    return result


def _vanishing(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """``x * function(x)`` for a function that vanishes at minus infinity faster than x grows."""

    def product(x: np.ndarray) -> np.ndarray:
        result: np.ndarray = np.where(np.isneginf(x), -0.0, x * function(x))
        return result

    return product


def _normal_cdf(x: np.ndarray) -> np.ndarray:
    result: np.ndarray = 0.5 * np.vectorize(math.erfc, otypes=[np.float64])(-x * math.sqrt(0.5))
    return result


sigmoid = _row("sigmoid", lambda x, y: y * (1 - y), _logistic, "``1 / (1 + exp(-x))``.", "Sigmoid")

softplus = _row(
    "softplus",
    lambda x, y: call("sigmoid", x),
    lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "``log(1 + exp(x))``; does not overflow.",
    "Softplus",
)


def _silu_derivative(x: Value, y: Value) -> Value:
    gate = call("sigmoid", x)
    result: Value = gate * (1 + x * (1 - gate))
    return result


silu = _row(
    "silu",
    _silu_derivative,
    _vanishing(_logistic),
    "``x * sigmoid(x)``, also called swish (Elfwing et al. 2017, arXiv:1702.03118).",
)

relu = elementwise(
    "relu",
    "x",
    scalar="relu",
    ref=lambda x: np.maximum(x, x.dtype.type(0)),
    vjp=lambda node, gradient: (call("where", node.outputs[0] > 0, gradient, 0),),
    facts=Facts(idempotent=NUMERIC),
    onnx="Relu",
    doc="``maximum(x, 0)``; its gradient at 0 is 0.",
)


def _gelu_derivative(x: Value, y: Value) -> Value:
    cdf = 0.5 * (1 + call("erf", x * math.sqrt(0.5)))
    density = call("exp", -0.5 * (x * x)) * (1 / math.sqrt(2 * math.pi))
    result: Value = cdf + x * density
    return result


def _gelu_tanh_derivative(x: Value, y: Value) -> Value:
    squared = x * x
    bend = call("tanh", _INNER * (x * (1 + _CUBIC * squared)))
    slope = _INNER * (1 + (3 * _CUBIC) * squared)
    result: Value = 0.5 * (1 + bend) + 0.5 * x * (1 - bend * bend) * slope
    return result


_gelu = _row(
    "gelu", _gelu_derivative, _vanishing(_normal_cdf), "``x`` times the normal distribution function of ``x``.", "Gelu"
)

_gelu_tanh = _row(
    "gelu_tanh",
    _gelu_tanh_derivative,
    _vanishing(lambda x: _logistic(2 * _INNER * (x + _CUBIC * x**3))),
    "``0.5 * x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 * x**3)))``.",
)


def gelu(x: Any, approximate: str = "none", *, name: str | None = None) -> Value:
    """``x`` times the normal distribution function of ``x`` (Hendrycks and Gimpel 2016, arXiv:1606.08415).

    x: any shape, floating (integers are converted to float64); the result has its shape and dtype.
    approximate: ``"none"``: ``0.5 * x * (1 + erf(x / sqrt(2)))``; ``"tanh"``: ``0.5 * x * (1 + tanh(sqrt(2/pi) *
    (x + 0.044715 * x**3)))``. Raises DTypeError for another one.
    """
    if approximate not in ("none", "tanh"):
        raise DTypeError(
            message("gelu", f"attribute approximate: expected 'none' or 'tanh', got {approximate!r}", user_origin())
        )
    result: Value = (_gelu if approximate == "none" else _gelu_tanh)(x, name=name)
    return result


FUNCTIONS["gelu"] = gelu


def _softmax_canonical(x: Value, axis: int) -> Mapping[str, Any]:
    return {"axis": normalise_axis(axis, x.ndim, f"x: {x.type}")}


def _shifted(x: np.ndarray, axis: int) -> np.ndarray:
    result: np.ndarray = x - np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    return result


def _softmax_ref(x: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(_shifted(x, axis))
    result: np.ndarray = powers / np.sum(powers, axis=axis, keepdims=True)
    return result


def _log_softmax_ref(x: np.ndarray, axis: int) -> np.ndarray:
    shifted = _shifted(x, axis)
    result: np.ndarray = shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))
    return result


def _softmax_vjp(node: Node, gradient: Value) -> tuple[Value]:
    weighted = gradient * node.outputs[0]
    return (weighted - node.outputs[0] * call("sum", weighted, (node.attrs["axis"],), True),)


def _log_softmax_vjp(node: Node, gradient: Value) -> tuple[Value]:
    total = call("sum", gradient, (node.attrs["axis"],), True)
    return (gradient - call("exp", node.outputs[0]) * total,)


def _along_axis(name: str, ref: Any, expand: Any, vjp: Any, onnx: str, doc: str) -> Any:
    return define(
        name,
        "x:T",
        attrs={"axis": INT},
        defaults={"axis": -1},
        kinds={"T": FLOATS},
        canonical=_softmax_canonical,
        infer=lambda x, axis: x.type,
        ref=quiet(ref),
        expand=expand,
        vjp=vjp,
        rounds=True,
        onnx=onnx,
        doc=doc
        + """

    x: any shape of at least one axis, floating (integers are converted to float64); the result has its shape and
    dtype. The largest element is subtracted first, so nothing overflows; a slice with NaN or +inf, or of -inf only, is
    NaN. Raises InvalidArgumentError if ``axis`` is out of range.""",
    )


def _softmax_expand(x: Value, axis: int) -> Value:
    powers = call("exp", x - call("max", x, (axis,), True))
    result: Value = powers / call("sum", powers, (axis,), True)
    return result


def _log_softmax_expand(x: Value, axis: int) -> Value:
    shifted = x - call("max", x, (axis,), True)
    result: Value = shifted - call("log", call("sum", call("exp", shifted), (axis,), True))
    return result


softmax = _along_axis(
    "softmax", _softmax_ref, _softmax_expand, _softmax_vjp, "Softmax", "``exp(x) / sum(exp(x))`` along ``axis``."
)

log_softmax = _along_axis(
    "log_softmax",
    _log_softmax_ref,
    _log_softmax_expand,
    _log_softmax_vjp,
    "LogSoftmax",
    "``x - log(sum(exp(x)))`` along ``axis``: the logarithm of :func:`softmax`, precise where that is near 0.",
)
