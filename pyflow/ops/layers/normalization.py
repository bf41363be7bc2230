"""Normalisation: by the statistics of a layer, or of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyflow import dims
from pyflow.apply import convert
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Node, Value
from pyflow.opdef import FLOAT, FLOATS, INT, TensorType, call, define
from pyflow.ops.arrays.shape import reshape
from pyflow.ops.common import axis_of, in_float64, ndim_of, normalise_axis, sum_to
from pyflow.ops.composite import as_number
from pyflow.ops.sizes import Check, differ, equal_check, text_of

__all__ = ["batch_norm", "batch_norm_train", "layer_norm"]


def _layer_norm_infer(x: Value, scale: Value, bias: Value, *, axis: int, epsilon: float) -> TensorType:
    for name, value in (("scale", scale), ("bias", bias)):
        wanted = x.dims[axis:]
        if value.ndim != len(wanted) or any(differ(have, want) for have, want in zip(value.dims, wanted, strict=True)):
            raise InvalidArgumentError(
                f"expected {name} of shape {text_of(wanted)}, that of x: {x.type} from axis {axis} on; got {value.type}"
            )
    return x.type


def _layer_norm_checks(node: Node) -> list[Check]:
    x, *rest = node.inputs
    return [
        check
        for value in rest
        for have, want in zip(value.dims, x.dims[node.attrs["axis"] :], strict=True)
        for check in equal_check(have, want, f"layer_norm of {x.type} with {value.type}: sizes")
    ]


def _normalised(x: Value, axis: int, epsilon: float) -> tuple[Value, Value]:
    """(``x`` with mean 0 and variance 1 over the axes from ``axis`` on, 1 / its standard deviation)."""
    axes = tuple(range(axis, x.ndim))
    centred = x - call("mean", x, axes, True)
    inverse = call("rsqrt", call("mean", call("square", centred), axes, True) + epsilon)
    return centred * inverse, inverse


def _layer_norm_expand(x: Value, scale: Value, bias: Value, *, axis: int, epsilon: float) -> Value:
    return _normalised(x, axis, epsilon)[0] * scale + bias


def _layer_norm_ref(x: np.ndarray, scale: np.ndarray, bias: np.ndarray, *, axis: int, epsilon: float) -> np.ndarray:
    axes = tuple(range(axis, x.ndim))
    centred = x - x.mean(axes, keepdims=True)
    result: np.ndarray = centred / np.sqrt((centred**2).mean(axes, keepdims=True) + epsilon) * scale + bias
    return result


def _layer_norm_vjp(node: Node, gradient: Value) -> tuple[Value, ...]:
    x, scale, bias = node.inputs
    axis = node.attrs["axis"]
    axes = tuple(range(axis, x.ndim))
    normalised, inverse = _normalised(x, axis, node.attrs["epsilon"])
    flow = gradient * scale
    along = normalised * call("mean", flow * normalised, axes, True)
    to_x = inverse * (flow - call("mean", flow, axes, True) - along)
    return to_x, sum_to(gradient * normalised, scale), sum_to(gradient, bias)


_layer_norm = define(
    "layer_norm",
    "x:T, scale:T, bias:T",
    attrs={"axis": INT, "epsilon": FLOAT},
    defaults={"axis": -1, "epsilon": 1e-5},
    kinds={"T": FLOATS},
    canonical=lambda x, scale, bias, axis, epsilon: {"axis": normalise_axis(axis, x.ndim, f"x: {x.type}")},
    infer=_layer_norm_infer,
    checks=_layer_norm_checks,
    ref=in_float64(_layer_norm_ref),
    expand=_layer_norm_expand,
    vjp=_layer_norm_vjp,
    rounds=True,
    epilogue=True,
    onnx="LayerNormalization",
    doc="``(x - mean) / sqrt(variance + epsilon) * scale + bias`` over the last axes; see :func:`pyflow.layer_norm`.",
)


def layer_norm(
    x: Any, scale: Any = None, bias: Any = None, axis: int = -1, epsilon: float = 1e-5, *, name: str | None = None
) -> Value:
    """``(x - mean) / sqrt(variance + epsilon) * scale + bias``, over the axes of ``x`` from ``axis`` on.

    x: floating, any shape; scale, bias: the shape of x from ``axis`` on, or None. Returns the shape and dtype of x.
    Raises InvalidArgumentError for other shapes. J. L. Ba, J. R. Kiros, G. E. Hinton: Layer normalization, 2016.
    """
    value = convert(x)
    if scale is None or bias is None:
        shape = value.dims[axis_of("layer_norm", axis, value) :]
        scale, bias = (
            call("broadcast_to", call("constant", number, value.dtype), shape) if given is None else given
            for given, number in ((scale, 1), (bias, 0))
        )
    result: Value = _layer_norm(value, scale, bias, axis, epsilon, name=name)
    return result


def _along(value: Value, ndim: int, axis: int) -> Value:
    """A value per channel, as it broadcasts to ``ndim`` axes."""
    shape: tuple[Size, ...] = (-1, *(1,) * (ndim - axis - 1))
    result: Value = reshape(value, shape)
    return result


def _batch_norm_infer(
    x: Value, scale: Value, bias: Value, mean: Value, variance: Value, *, axis: int, epsilon: float
) -> TensorType:
    for name, value in (("scale", scale), ("bias", bias), ("mean", mean), ("variance", variance)):
        if value.ndim != 1 or differ(value.dims[0], x.dims[axis]):
            raise InvalidArgumentError(
                f"expected {name} of shape [{x.dims[axis]}], the size of axis {axis} of x: {x.type}; got {value.type}"
            )
    return x.type


def _batch_norm_checks(node: Node) -> list[Check]:
    x, *rest = node.inputs
    size = x.dims[node.attrs["axis"]]
    what = f"batch_norm of {x.type} along axis {node.attrs['axis']}"
    return [check for v in rest for check in equal_check(v.dims[0], size, f"{what} with {v.type}: sizes")]


def _batch_norm_expand(
    x: Value, scale: Value, bias: Value, mean: Value, variance: Value, *, axis: int, epsilon: float
) -> Value:
    factor = scale * call("rsqrt", variance + epsilon)
    return (x - _along(mean, x.ndim, axis)) * _along(factor, x.ndim, axis) + _along(bias, x.ndim, axis)


def _batch_norm_ref(
    x: np.ndarray,
    scale: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    *,
    axis: int,
    epsilon: float,
) -> np.ndarray:
    shape = (-1, *(1,) * (x.ndim - axis - 1))
    factor = scale / np.sqrt(variance + epsilon)
    result: np.ndarray = (x - mean.reshape(shape)) * factor.reshape(shape) + bias.reshape(shape)
    return result


def _batch_norm_vjp(node: Node, gradient: Value) -> tuple[Value, ...]:
    x, scale, _, mean, variance = node.inputs
    axis = node.attrs["axis"]
    axes = tuple(i for i in range(x.ndim) if i != axis)
    inverse = call("rsqrt", variance + node.attrs["epsilon"])
    total = call("sum", gradient, axes)
    weighted = call("sum", gradient * (x - _along(mean, x.ndim, axis)), axes)
    factor = scale * inverse
    return (
        gradient * _along(factor, x.ndim, axis),
        weighted * inverse,
        total,
        call("negative", total * factor),
        weighted * factor * call("square", inverse) * -0.5,
    )


batch_norm = define(
    "batch_norm",
    "x:T, scale:T, bias:T, mean:T, variance:T",
    attrs={"axis": INT, "epsilon": FLOAT},
    defaults={"axis": 1, "epsilon": 1e-5},
    kinds={"T": FLOATS},
    canonical=lambda x, *rest, axis, epsilon: {"axis": normalise_axis(axis, x.ndim, f"x: {x.type}")},
    infer=_batch_norm_infer,
    checks=_batch_norm_checks,
    ref=in_float64(_batch_norm_ref),
    expand=_batch_norm_expand,
    vjp=_batch_norm_vjp,
    rounds=True,
    onnx="BatchNormalization",
    doc="""``(x - mean) / sqrt(variance + epsilon) * scale + bias``, one number of each per channel: for inference.

    x: floating, any shape; the others: [size of x's ``axis``]. Returns the shape and dtype of x. Raises
    InvalidArgumentError for other shapes. While training use :func:`pyflow.batch_norm_train`.
    """,
)


def batch_norm_train(
    x: Any,
    scale: Any,
    bias: Any,
    running_mean: Any,
    running_variance: Any,
    momentum: float = 0.9,
    epsilon: float = 1e-5,
    axis: int = 1,
    unbiased: bool = False,
) -> tuple[Value, Value, Value]:
    """Batch normalisation by the batch's own statistics, and the running ones moved towards them.

    x: floating, any shape with a channel axis; the others: [channels]. Returns ``(y, mean, variance)``: y as
    ``batch_norm`` gives it with the batch's mean and variance (over all other axes, divided by their number);
    mean and variance: ``momentum * running + (1 - momentum) * batch``, to be assigned to the running ones;
    ``unbiased``: with the batch's variance divided by one less, as PyTorch keeps it. momentum: may be a value. The
    gradient flows through the batch's statistics. S. Ioffe, C. Szegedy: Batch normalization, 2015.
    """
    ndim = ndim_of(x)
    channel = normalise_axis(axis, ndim, "x")
    axes = tuple(i for i in range(ndim) if i != channel)
    mean = call("mean", x, axes)
    variance = call("mean", call("square", call("subtract", x, _along(mean, ndim, channel))), axes)
    y = batch_norm(x, scale, bias, mean, variance, axis=channel, epsilon=epsilon)
    kept = variance
    if unbiased:
        count = dims.product([size for i, size in enumerate(convert(x).dims) if i != channel])
        number = call("cast", as_number(count), variance.dtype)
        kept = variance * (number / (number - 1))

    def moved(running: Any, batch: Value) -> Value:
        return call("multiply", running, momentum) + call("stop_gradient", batch) * (1 - momentum)

    return y, moved(running_mean, mean), moved(running_variance, kept)
