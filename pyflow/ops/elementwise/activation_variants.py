"""Activation functions composed of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pyflow import dims
from pyflow.apply import convert
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import FLOAT, FLOATS, INT, NUMERIC, call
from pyflow.ops.arrays.indexing import one_hot
from pyflow.ops.common import in_float64, normalise_axis
from pyflow.ops.composite import composite

__all__ = [
    "celu",
    "elu",
    "glu",
    "hardmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "logsigmoid",
    "mish",
    "prelu",
    "relu6",
    "selu",
    "shrink",
    "softmin",
    "softplus_beta",
    "softshrink",
    "softsign",
    "swiglu",
    "swish",
    "tanhshrink",
    "thresholded_relu",
]

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def _where(condition: Value, left: Any, right: Any) -> Value:
    result: Value = call("where", condition, left, right)
    return result


def _row(
    name: str, expand: Callable[..., Value], ref: Callable[..., Any], doc: str, onnx: str = "", **defaults: float
) -> Any:
    """A floating op of one input and numbers with defaults."""
    return composite(
        name,
        "x:T",
        attrs=dict.fromkeys(defaults, FLOAT),
        defaults=defaults,
        kinds=FLOATS,
        expand=expand,
        ref=in_float64(ref),
        onnx=onnx,
        doc=f"{doc}\n\nx: any shape, floating (integers are converted to float64); the result has its shape and dtype.",
    )


def _exp_below(x: Value) -> Value:
    """``exp(x) - 1`` where x is not positive, finite elsewhere."""
    result: Value = call("expm1", call("minimum", x, 0))
    return result


elu = _row(
    "elu",
    lambda x, alpha: _where(x > 0, x, alpha * _exp_below(x)),
    lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
    "``x`` where it is positive, else ``alpha * (exp(x) - 1)`` (Clevert et al. 2015).",
    "Elu",
    alpha=1.0,
)

selu = _row(
    "selu",
    lambda x, alpha, gamma: gamma * _where(x > 0, x, alpha * _exp_below(x)),
    lambda x, alpha, gamma: gamma * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
    "``gamma * elu(x, alpha)`` (Klambauer et al. 2017).",
    "Selu",
    alpha=SELU_ALPHA,
    gamma=SELU_SCALE,
)

celu = _row(
    "celu",
    lambda x, alpha: call("maximum", x, 0) + alpha * _exp_below(x / alpha),
    lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha)),
    "``max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))`` (Barron 2017).",
    "Celu",
    alpha=1.0,
)

hardsigmoid = _row(
    "hardsigmoid",
    lambda x, alpha, beta: call("clip", alpha * x + beta, 0, 1),
    lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1),
    "``alpha * x + beta``, kept between 0 and 1. PyTorch's has an alpha of 1/6.",
    "HardSigmoid",
    alpha=0.2,
    beta=0.5,
)

hardswish = _row(
    "hardswish",
    lambda x: x * call("clip", x / 6 + 0.5, 0, 1),
    lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "``x * clip(x / 6 + 1/2, 0, 1)`` (Howard et al. 2019).",
    "HardSwish",
)

mish = _row(
    "mish",
    lambda x: x * call("tanh", call("softplus", x)),
    lambda x: x * np.tanh(np.logaddexp(0, x)),
    "``x * tanh(softplus(x))`` (Misra 2019).",
    "Mish",
)

softsign = _row(
    "softsign",
    lambda x: x / (1 + call("abs", x)),
    lambda x: x / (1 + np.abs(x)),
    "``x / (1 + abs(x))``.",
    "Softsign",
)

softplus_beta = _row(
    "softplus_beta",
    lambda x, beta, threshold: _where(x * beta > threshold, x, call("softplus", x * beta) / beta),
    lambda x, beta, threshold: np.where(x * beta > threshold, x, np.logaddexp(0, x * beta) / beta),
    "``log(1 + exp(beta * x)) / beta``, and x itself where ``beta * x`` is above ``threshold``.",
    beta=1.0,
    threshold=20.0,
)

softshrink = _row(
    "softshrink",
    lambda x, limit: _where(x > limit, x - limit, _where(x < -limit, x + limit, x * 0)),
    lambda x, limit: np.where(x > limit, x - limit, np.where(x < -limit, x + limit, x * 0)),
    "``x`` moved towards 0 by ``limit``, 0 if that is beyond.",
    limit=0.5,
)

hardshrink = _row(
    "hardshrink",
    lambda x, limit: _where(call("logical_and", x >= -limit, x <= limit), 0, x),
    lambda x, limit: np.where((x >= -limit) & (x <= limit), 0, x),
    "``x``, and 0 where it is between ``-limit`` and ``limit``.",
    limit=0.5,
)

tanhshrink = _row("tanhshrink", lambda x: x - call("tanh", x), lambda x: x - np.tanh(x), "``x - tanh(x)``.")

thresholded_relu = _row(
    "thresholded_relu",
    lambda x, alpha: _where(x > alpha, x, 0),
    lambda x, alpha: np.where(x > alpha, x, 0),
    "``x`` where it is above ``alpha``, else 0.",
    "ThresholdedRelu",
    alpha=1.0,
)

leaky_relu = _row(
    "leaky_relu",
    lambda x, alpha: _where(x < 0, alpha * x, x),
    lambda x, alpha: np.where(x < 0, alpha * x, x),
    "``x`` where it is not negative, else ``alpha * x``.",
    "LeakyRelu",
    alpha=0.01,
)

hardtanh = _row(
    "hardtanh",
    lambda x, low, high: call("clip", x, low, high),
    lambda x, low, high: np.clip(x, low, high),
    "``x`` kept between ``low`` and ``high``.",
    low=-1.0,
    high=1.0,
)

relu6 = _row("relu6", lambda x: call("clip", x, 0, 6), lambda x: np.clip(x, 0, 6), "``min(max(x, 0), 6)``.")

logsigmoid = _row(
    "logsigmoid",
    lambda x: call("negative", call("softplus", call("negative", x))),
    lambda x: -np.logaddexp(0, -x),
    "``log(sigmoid(x))``; does not overflow.",
)

swish = _row(
    "swish",
    lambda x, alpha: x * call("sigmoid", alpha * x),
    lambda x, alpha: x / (1 + np.exp(-alpha * x)),
    "``x * sigmoid(alpha * x)``; :func:`pyflow.silu` for an alpha of 1.",
    "Swish",
    alpha=1.0,
)

shrink = composite(
    "shrink",
    "x:T",
    attrs={"limit": FLOAT, "bias": FLOAT},
    defaults={"limit": 0.5, "bias": 0.0},
    kinds=NUMERIC,
    expand=lambda x, limit, bias: call("cast", _where(x < -limit, x + bias, _where(x > limit, x - bias, 0.0)), x.dtype),
    ref=lambda x, limit, bias: np.where(x < -limit, x + bias, np.where(x > limit, x - bias, 0)).astype(x.dtype),
    onnx="Shrink",
    doc="""``x + bias`` below ``-limit``, ``x - bias`` above ``limit``, else 0.

    x: any shape, numeric; the result has its shape and dtype (integers are rounded towards 0).
    """,
)

prelu = composite(
    "prelu",
    "x:T, slope:T",
    kinds=NUMERIC,
    expand=lambda x, slope: _where(x < 0, slope * x, x),
    ref=lambda x, slope: np.where(x < 0, slope * x, x),
    onnx="PRelu",
    doc="""``x`` where it is not negative, else ``slope * x``.

    x: any shape, numeric; slope broadcasts to it (for one number per channel of [N, C, ...] give it trailing axes of
    size 1). K. He et al., 2015.
    """,
)


def _hardmax_expand(x: Value, axis: int) -> Value:
    result: Value = one_hot(call("argmax", x, axis), x.dims[axis], x.dtype, axis)
    return result


def _hardmax_ref(x: np.ndarray, axis: int) -> np.ndarray:
    result = np.zeros_like(x)
    np.put_along_axis(result, np.argmax(x, axis, keepdims=True), 1, axis)
    return result


hardmax = composite(
    "hardmax",
    "x:T",
    attrs={"axis": INT},
    defaults={"axis": -1},
    canonical=lambda x, axis: {"axis": normalise_axis(axis, x.ndim, f"x: {x.type}")},
    expand=_hardmax_expand,
    ref=_hardmax_ref,
    onnx="Hardmax",
    doc="1 at the first maximum along ``axis``, 0 elsewhere. x: any shape, floating; the result has its dtype.",
)


def softmin(x: Any, axis: int = -1, *, name: str | None = None) -> Value:
    """``softmax(-x)`` along ``axis``. x: any shape, floating."""
    result: Value = call("softmax", call("negative", x), axis, name=name)
    return result


def _halves(x: Any, axis: int, op: str) -> tuple[Value, Value]:
    value = convert(x)
    axis = normalise_axis(axis, value.ndim, f"x: {value.type}")
    size = value.dims[axis]
    if isinstance(size, int) and size % 2:
        what = f"expected an even size of axis {axis}, got {value.type}"
        raise InvalidArgumentError(message(op, what, user_origin()))
    half = dims.floordiv(size, 2)
    left, right = call("split", value, (half, half), axis)
    return left, right


def glu(x: Any, axis: int = -1, *, name: str | None = None) -> Value:
    """The first half of ``x`` along ``axis`` times the sigmoid of the second (Dauphin et al. 2016)."""
    left, right = _halves(x, axis, "glu")
    result: Value = call("multiply", left, call("sigmoid", right), name=name)
    return result


def swiglu(x: Any, axis: int = -1, *, name: str | None = None) -> Value:
    """``silu`` of the first half of ``x`` along ``axis`` times the second (Shazeer 2020)."""
    left, right = _halves(x, axis, "swiglu")
    result: Value = call("multiply", call("silu", left), right, name=name)
    return result
