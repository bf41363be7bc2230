"""Normalisation by the statistics of groups, of single channels, of neighbours, and by norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow.apply import convert
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import FLOAT, INT, INTS, call
from pyflow.ops.arrays.shape import reshape
from pyflow.ops.common import in_float64, ndim_of, normalise_axes, normalise_axis
from pyflow.ops.composite import composite, per_channel
from pyflow.ops.layers.sliding import framed, sliding_windows

__all__ = [
    "group_norm",
    "instance_norm",
    "l2_normalize",
    "layer_norm_with_stats",
    "local_response_norm",
    "lp_normalize",
    "mean_variance_normalization",
    "normalize_moments",
    "rms_norm",
]


def _moments_expand(x: Value, *, axes: Sequence[int], epsilon: float) -> tuple[Value, Value, Value]:
    mean = call("mean", x, tuple(axes), True)
    centred = x - mean
    inverse = call("rsqrt", call("mean", call("square", centred), tuple(axes), True) + epsilon)
    return centred * inverse, mean, inverse


def _moments_ref(x: np.ndarray, *, axes: Sequence[int], epsilon: float) -> tuple[np.ndarray, ...]:
    wide = x.astype(np.float64)
    mean = wide.mean(tuple(axes), keepdims=True)
    deviation = np.sqrt(wide.var(tuple(axes), keepdims=True) + epsilon)
    made = ((wide - mean) / deviation, mean, 1 / deviation)
    return tuple(array.astype(x.dtype) for array in made)


normalize_moments = composite(
    "normalize_moments",
    "x:T",
    attrs={"axes": INTS, "epsilon": FLOAT},
    defaults={"epsilon": 1e-5},
    canonical=lambda x, axes, epsilon: {"axes": normalise_axes(axes, x.ndim, f"x: {x.type}")},
    expand=_moments_expand,
    ref=_moments_ref,
    multiple=True,
    doc="""``((x - mean) / sqrt(variance + epsilon), mean, 1 / sqrt(variance + epsilon))`` over ``axes``.

    x: floating, any shape; mean and the last keep ``axes`` with size 1.
    """,
)


def _scaled(y: Value, scale: Any, bias: Any, name: str | None) -> Value:
    if scale is not None:
        y = call("multiply", y, scale, name=name if bias is None else None)
    if bias is not None:
        y = call("add", y, bias, name=name)
    return y


def layer_norm_with_stats(
    x: Any, scale: Any = None, bias: Any = None, axis: int = -1, epsilon: float = 1e-5
) -> tuple[Value, Value, Value]:
    """``(layer_norm(x), mean, 1 / sqrt(variance + epsilon))``, over the axes of ``x`` from ``axis`` on.

    x: floating, any shape; scale, bias: None, or what broadcasts to the shape of x. The statistics keep the axes that
    they are taken over, with size 1.
    """
    ndim = ndim_of(x)
    first = normalise_axis(axis, ndim)
    y, mean, inverse = normalize_moments(x, tuple(range(first, ndim)), epsilon)
    return _scaled(y, scale, bias, None), mean, inverse


def _group_expand(x: Value, *, groups: int, epsilon: float) -> Value:
    apart = reshape(x, (x.dims[0], groups, -1))
    y, _, _ = _moments_expand(apart, axes=(2,), epsilon=epsilon)
    return reshape(y, x.dims)


def _group_ref(x: np.ndarray, *, groups: int, epsilon: float) -> np.ndarray:
    result = np.empty_like(x)
    share = x.shape[1] // groups
    for n, g in np.ndindex(x.shape[0], groups):
        part = x[n, g * share : (g + 1) * share]
        result[n, g * share : (g + 1) * share] = (part - part.mean()) / np.sqrt(part.var() + epsilon)
    return result


def _group_canonical(x: Value, *, groups: int, epsilon: float) -> dict[str, Any]:
    channels = x.dims[1] if x.ndim > 1 else 0
    if x.ndim < 2 or groups < 1 or (isinstance(channels, int) and channels % groups):
        raise InvalidArgumentError(f"expected x [N, C, ...] with channels in {groups} groups, got {x.type}")
    return {}


_group_norm = composite(
    "group_norm",
    "x:T",
    attrs={"groups": INT, "epsilon": FLOAT},
    canonical=_group_canonical,
    expand=_group_expand,
    ref=in_float64(_group_ref),
    onnx="GroupNormalization",
    doc="Each group of channels with mean 0 and variance 1; see :func:`pyflow.group_norm`.",
)


def group_norm(
    x: Any, groups: int, scale: Any = None, bias: Any = None, epsilon: float = 1e-5, *, name: str | None = None
) -> Value:
    """``(x - mean) / sqrt(variance + epsilon) * scale + bias`` over each of ``groups`` groups of channels.

    x: floating [N, C, *sizes]. scale, bias: [C] or None. Y. Wu, K. He: Group normalization, 2018.
    """
    value = convert(x)
    y: Value = _group_norm(value, groups, epsilon)
    return _by_channel(y, scale, bias, name)


def _by_channel(y: Value, scale: Any, bias: Any, name: str | None) -> Value:
    factor, shift = (None if entry is None else per_channel(convert(entry), y.ndim) for entry in (scale, bias))
    return _scaled(y, factor, shift, name)


def instance_norm(
    x: Any, scale: Any = None, bias: Any = None, epsilon: float = 1e-5, *, name: str | None = None
) -> Value:
    """``(x - mean) / sqrt(variance + epsilon) * scale + bias`` over the spatial axes of each channel.

    x: floating [N, C, *sizes]. scale, bias: [C] or None. D. Ulyanov, A. Vedaldi, V. Lempitsky, 2016.
    """
    value = convert(x)
    if value.ndim < 3:
        what = f"expected x of at least 3 axes, got {value.type}"
        raise InvalidArgumentError(message("instance_norm", what, user_origin()))
    y, _, _ = normalize_moments(value, tuple(range(2, value.ndim)), epsilon)
    return _by_channel(y, scale, bias, name)


def _rms_expand(x: Value, *, axes: Sequence[int], epsilon: float) -> Value:
    return x * call("rsqrt", call("mean", call("square", x), tuple(axes), True) + epsilon)


_rms_norm = composite(
    "rms_norm",
    "x:T",
    attrs={"axes": INTS, "epsilon": FLOAT},
    canonical=lambda x, axes, epsilon: {"axes": normalise_axes(axes, x.ndim, f"x: {x.type}")},
    expand=_rms_expand,
    ref=in_float64(lambda x, axes, epsilon: x / np.sqrt((x**2).mean(tuple(axes), keepdims=True) + epsilon)),
    onnx="RMSNormalization",
    doc="``x / sqrt(mean(x * x) + epsilon)``; see :func:`pyflow.rms_norm`.",
)


def rms_norm(x: Any, scale: Any = None, axis: int = -1, epsilon: float = 1e-5, *, name: str | None = None) -> Value:
    """``x / sqrt(mean(x * x) + epsilon) * scale``, over the axes of ``x`` from ``axis`` on.

    x: floating, any shape. scale: None, or what broadcasts to the shape of x. B. Zhang, R. Sennrich, 2019.
    """
    ndim = ndim_of(x)
    y: Value = _rms_norm(x, tuple(range(normalise_axis(axis, ndim), ndim)), epsilon)
    return _scaled(y, scale, None, name)


def _norm_of(x: Value, p: float, axes: tuple[int, ...]) -> Value:
    if p == 1:
        result: Value = call("sum", call("abs", x), axes, True)
    elif p == 2:
        result = call("sqrt", call("sum", call("square", x), axes, True))
    else:
        result = call("pow", call("sum", call("pow", call("abs", x), p), axes, True), 1 / p)
    return result


def _lp_expand(x: Value, *, p: float, axes: tuple[int, ...], epsilon: float) -> Value:
    norm = _norm_of(x, p, axes)
    if epsilon:
        result: Value = x / call("maximum", norm, epsilon)
    else:
        result = call("where", norm == 0, 0, x / call("where", norm == 0, 1, norm))
    return result


def _lp_ref(x: np.ndarray, *, p: float, axes: tuple[int, ...], epsilon: float) -> np.ndarray:
    norm = (np.abs(x) ** p).sum(axes, keepdims=True) ** (1 / p)
    safe = np.maximum(norm, epsilon) if epsilon else np.where(norm == 0, 1, norm)
    return np.asarray(x / safe)


lp_normalize = composite(
    "lp_normalize",
    "x:T",
    attrs={"p": FLOAT, "axes": INTS, "epsilon": FLOAT},
    defaults={"p": 2.0, "axes": (-1,), "epsilon": 0.0},
    canonical=lambda x, p, axes, epsilon: {"axes": normalise_axes(axes, x.ndim, f"x: {x.type}")},
    expand=_lp_expand,
    ref=in_float64(_lp_ref),
    onnx="LpNormalization",
    doc="""``x`` over its p-norm along ``axes``; 0 where the norm is 0, or over ``epsilon`` where that is larger.

    x: floating, any shape; the result has its shape and dtype.
    """,
)


def l2_normalize(x: Any, axis: Any = -1, epsilon: float = 1e-12, *, name: str | None = None) -> Value:
    """``x / max(norm, epsilon)`` with the Euclidean norm over ``axis`` (an int or several). x: floating, any shape."""
    result: Value = lp_normalize(x, 2.0, axis, epsilon, name=name)
    return result


def _local_expand(x: Value, *, size: int, alpha: float, beta: float, k: float) -> Value:
    squares = framed(call("square", x), (1,), ((size - 1) // 2,), (size // 2,), 0)
    total = call("sum", sliding_windows(squares, 1, (size,)), (x.ndim,))
    result: Value = x / call("pow", total * (alpha / size) + k, beta)
    return result


def _local_ref(x: np.ndarray, *, size: int, alpha: float, beta: float, k: float) -> np.ndarray:
    result = np.empty_like(x)
    for c in range(x.shape[1]):
        near = x[:, max(0, c - (size - 1) // 2) : c + size // 2 + 1]
        result[:, c] = x[:, c] / (k + alpha / size * (near**2).sum(1)) ** beta
    return result


def _local_canonical(x: Value, *, size: int, **rest: float) -> dict[str, Any]:
    if x.ndim < 3 or size < 1:
        raise InvalidArgumentError(f"expected x [N, C, *sizes] and a size of at least 1, got {x.type} and {size}")
    return {}


local_response_norm = composite(
    "local_response_norm",
    "x:T",
    attrs={"size": INT, "alpha": FLOAT, "beta": FLOAT, "k": FLOAT},
    defaults={"alpha": 1e-4, "beta": 0.75, "k": 1.0},
    canonical=_local_canonical,
    expand=_local_expand,
    ref=in_float64(_local_ref),
    onnx="LRN",
    doc="""``x / (k + alpha / size * s) ** beta`` with s the sum of the squares of ``size`` neighbouring channels.

    x: floating [N, C, *sizes]; with an even size the odd neighbour comes after. A. Krizhevsky et al., 2012.
    """,
)


def mean_variance_normalization(
    x: Any, axes: Sequence[int] = (0, 2, 3), epsilon: float = 1e-9, *, name: str | None = None
) -> Value:
    """``(x - mean) / (sqrt(variance) + epsilon)`` over ``axes``. x: floating, any shape."""
    value = convert(x)
    settled = normalise_axes(axes, value.ndim, f"x: {value.type}")
    centred = value - call("mean", value, settled, True)
    deviation = call("sqrt", call("mean", call("square", centred), settled, True))
    result: Value = call("divide", centred, deviation + epsilon, name=name)
    return result
