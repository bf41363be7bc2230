"""Convolutions of an inverted residual block as one op: the ``expand`` pass makes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pyflow import dtypes
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Node, Value
from pyflow.opdef import FLOAT, SIZE, Lowering, TensorType, define
from pyflow.ops.internal.packed import PANEL, from_panels
from pyflow.ops.layers.conv import DEFAULTS, GEOMETRY, convolve, geometry_ints
from pyflow.ops.layers.windows import PADDING, PAIR, arranged, windows
from pyflow.ops.sizes import check_rank
from pyflow.plan import View

EXPANSION = {
    "expand_kernel": PAIR,
    "expand_stride": PAIR,
    "expand_padding": PADDING,
    "expand_dilation": PAIR,
    "low": FLOAT,
    "high": FLOAT,
}
DEPTHWISE = {"kernel": PAIR, "channels": SIZE, **GEOMETRY}


def _expansion(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """The geometry of the first convolution."""
    return {name: attrs[f"expand_{name}"] for name in ("stride", "padding", "dilation")}


def _expanded(x: Any, attrs: Mapping[str, Any]) -> tuple[Size, ...]:
    """Height and width of what the first convolution gives."""
    return windows(x.dims[1:3], attrs["expand_kernel"], **_expansion(attrs))[0]


def _infer(x: Value, panels: Value, bias: Value, taps: Value, **attrs: Any) -> TensorType:
    check_rank(x, 4, "x")
    check_rank(panels, 4, "panels")
    check_rank(bias, 1, "bias")
    check_rank(taps, 4, "taps")
    channels = attrs["channels"]
    if attrs["data_format"] != "NHWC" or attrs["groups"] != channels or channels % PANEL:
        raise InvalidArgumentError(f"expected NHWC and as many groups as channels, whole panels, got {channels}")
    out, _ = windows(_expanded(x, attrs), attrs["kernel"], attrs["stride"], attrs["padding"], attrs["dilation"])
    return TensorType(x.dtype, arranged(x.dims[0], out, channels, "NHWC"))


def _infer_projected(
    x: Value,
    panels: Value,
    bias: Value,
    taps: Value,
    next_bias: Value,
    projection: Value,
    *,
    outputs: Size,
    **attrs: Any,
) -> TensorType:
    check_rank(next_bias, 1, "next_bias")
    check_rank(projection, 4, "projection")
    *sizes, _ = _infer(x, panels, bias, taps, **attrs).dims
    return TensorType(x.dtype, (*sizes, outputs))


def _cut(x: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.minimum(np.maximum(x, x.dtype.type(low)), x.dtype.type(high))


def _ref(x: np.ndarray, panels: np.ndarray, bias: np.ndarray, taps: np.ndarray, **attrs: Any) -> np.ndarray:
    channels = attrs["channels"]
    weights = from_panels(panels, channels)[0].reshape(*attrs["expand_kernel"], x.shape[3], channels)
    wide = _cut(convolve(x, weights, groups=1, **_expansion(attrs)) + bias, attrs["low"], attrs["high"])
    geometry = {name: attrs[name] for name in GEOMETRY if name != "data_format"}
    return convolve(wide, from_panels(taps, channels).reshape(*attrs["kernel"], 1, channels), **geometry)


def _ref_projected(
    x: np.ndarray,
    panels: np.ndarray,
    bias: np.ndarray,
    taps: np.ndarray,
    next_bias: np.ndarray,
    projection: np.ndarray,
    *,
    outputs: int,
    next_low: float,
    next_high: float,
    **attrs: Any,
) -> np.ndarray:
    wide = _cut(_ref(x, panels, bias, taps, **attrs) + next_bias, next_low, next_high)
    return np.matmul(wide, from_panels(projection, outputs)[0])


def _lower(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
    attrs, size = node.attrs, inputs[0].dims[1:3]
    kernel, first = attrs["kernel"], {**_expansion(attrs), "groups": 1}
    between = _expanded(inputs[0], attrs)
    *expansion, _ = geometry_ints(size, attrs["expand_kernel"], first)
    ints = (*geometry_ints(between, kernel, attrs), *kernel, *expansion, *attrs["expand_kernel"], *between)
    bounds = tuple(attrs[name] for name in ("low", "high", "next_low", "next_high") if name in attrs)
    return Lowering(node.op.name, inputs, outputs, ints, bounds)


expand_depthwise = define(
    "expand_depthwise",
    "x:T, panels:T, bias:T, taps:T",
    attrs={**EXPANSION, **DEPTHWISE},
    defaults=DEFAULTS,
    kinds={"T": frozenset({dtypes.float32})},
    epilogue=True,
    infer=_infer,
    ref=_ref,
    lower=_lower,
    doc="""A depthwise convolution with packed ``taps`` of a convolution with packed weights, all in NHWC.

    Between the two ``bias`` [channels] is added and the sum is cut to [``low``, ``high``]; what lies between is never
    in memory as a whole. Attributes of the first convolution are named ``expand_``; the others are the second's.
    """,
)

expand_depthwise_project = define(
    "expand_depthwise_project",
    "x:T, panels:T, bias:T, taps:T, next_bias:T, projection:T",
    attrs={**EXPANSION, **DEPTHWISE, "next_low": FLOAT, "next_high": FLOAT, "outputs": SIZE},
    defaults=DEFAULTS,
    kinds={"T": frozenset({dtypes.float32})},
    epilogue=True,
    infer=_infer_projected,
    ref=_ref_projected,
    lower=_lower,
    doc="""A 1 x 1 convolution to ``outputs`` channels, with packed weights, of what ``expand_depthwise`` gives.

    Between the two ``next_bias`` [channels] is added and the sum is cut to [``next_low``, ``next_high``].
    """,
)
