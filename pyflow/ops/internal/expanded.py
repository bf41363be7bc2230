"""The two first convolutions of an inverted residual block: the ``expand`` pass makes one op of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyflow import dtypes
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Node, Value
from pyflow.opdef import FLOAT, SIZE, Lowering, TensorType, define
from pyflow.ops.internal.packed import PANEL, from_panels
from pyflow.ops.layers.conv import DEFAULTS, GEOMETRY, convolve, geometry_ints
from pyflow.ops.layers.windows import PAIR, Padding, arranged, windows
from pyflow.ops.sizes import check_rank
from pyflow.plan import View


def _infer(
    x: Value,
    panels: Value,
    bias: Value,
    taps: Value,
    *,
    low: float,
    high: float,
    kernel: tuple[int, ...],
    channels: Size,
    stride: tuple[int, ...],
    padding: Padding,
    dilation: tuple[int, ...],
    groups: int,
    data_format: str,
) -> TensorType:
    check_rank(x, 4, "x")
    check_rank(panels, 4, "panels")
    check_rank(bias, 1, "bias")
    check_rank(taps, 4, "taps")
    if data_format != "NHWC" or groups != channels or groups % PANEL:
        raise InvalidArgumentError(f"expected NHWC and as many groups as channels, whole panels, got {channels}")
    out, _ = windows(x.dims[1:3], kernel, stride, padding, dilation)
    return TensorType(x.dtype, arranged(x.dims[0], out, channels, data_format))


def _ref(
    x: np.ndarray,
    panels: np.ndarray,
    bias: np.ndarray,
    taps: np.ndarray,
    *,
    low: float,
    high: float,
    kernel: tuple[int, ...],
    channels: int,
    data_format: str,
    **geometry: Any,
) -> np.ndarray:
    wide = np.matmul(x, from_panels(panels, channels)[0]) + bias
    wide = np.minimum(np.maximum(wide, x.dtype.type(low)), x.dtype.type(high))
    return convolve(wide, from_panels(taps, channels).reshape(*kernel, 1, channels), **geometry)


def _lower(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
    kernel = node.attrs["kernel"]
    ints = (*geometry_ints(inputs[0].dims[1:3], kernel, node.attrs), *kernel)
    return Lowering("expand_depthwise", inputs, outputs, ints, (node.attrs["low"], node.attrs["high"]))


expand_depthwise = define(
    "expand_depthwise",
    "x:T, panels:T, bias:T, taps:T",
    attrs={"low": FLOAT, "high": FLOAT, "kernel": PAIR, "channels": SIZE, **GEOMETRY},
    defaults=DEFAULTS,
    kinds={"T": frozenset({dtypes.float32})},
    epilogue=True,
    infer=_infer,
    ref=_ref,
    lower=_lower,
    doc="""A depthwise convolution with packed ``taps`` of a 1 x 1 convolution with packed weights.

    Between the two ``bias`` [channels] is added and the sum is cut to [``low``, ``high``]; what lies between is never
    in memory as a whole. Attributes are those of the depthwise convolution, in NHWC.
    """,
)
