"""Products with packed weights: the pack pass puts them where weights stay the same from run to run."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyflow import dims, views
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Node, Value
from pyflow.opdef import FLOATS, INT, SIZE, Lowering, TensorType, define
from pyflow.ops.layers.conv import DEFAULTS, GEOMETRY, convolve, geometry_ints, weight_sizes
from pyflow.ops.layers.pool import max_ref
from pyflow.ops.layers.windows import (
    DATA_FORMAT,
    FROM_LAST,
    PAIR,
    TO_LAST,
    WEIGHT_TO_LAST,
    Padding,
    arranged,
    channels_of,
    last,
    spatial,
    weight_last,
    windows,
)
from pyflow.ops.sizes import check_rank, differ
from pyflow.plan import View

PANEL = 16
"""Columns of a panel: the kernels' one packed format."""


def to_panels(matrix: np.ndarray) -> np.ndarray:
    """[..., K, N] -> [..., ceildiv(N, PANEL), K, PANEL], zero padded."""
    *batch, rows, columns = matrix.shape
    count = -(-columns // PANEL)
    wide = np.zeros((*batch, rows, count * PANEL), matrix.dtype)
    wide[..., :columns] = matrix
    return np.ascontiguousarray(np.moveaxis(wide.reshape(*batch, rows, count, PANEL), -2, -3))


def from_panels(panels: np.ndarray, columns: int) -> np.ndarray:
    *batch, count, rows, _ = panels.shape
    return np.moveaxis(panels, -3, -2).reshape(*batch, rows, count * PANEL)[..., :columns]


def _matmul_pack_infer(b: Value) -> TensorType:
    if b.ndim < 2:
        raise InvalidArgumentError(f"expected b of at least 2 axes, got {b.type}")
    *batch, rows, columns = b.dims
    return TensorType(b.dtype, (*batch, dims.ceildiv(columns, PANEL), rows, PANEL))


matmul_pack = define(
    "matmul_pack",
    "b:T",
    kinds={"T": FLOATS},
    infer=_matmul_pack_infer,
    ref=to_panels,
    doc="b [..., K, N] as the panels that ``matmul_packed`` takes: [..., ceildiv(N, 16), K, 16], zero padded.",
)


def _matmul_packed_infer(a: Value, panels: Value, *, columns: Size) -> TensorType:
    if a.ndim < 2 or panels.ndim < 3 or differ(a.dims[-1], panels.dims[-2]):
        raise InvalidArgumentError(f"a: {a.type} does not multiply panels: {panels.type}")
    batch = dims.broadcast_shapes(a.dims[:-2], panels.dims[:-3])
    return TensorType(a.dtype, (*batch, a.dims[-2], columns))


def _matmul_packed_lower(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
    batch = outputs[0].dims[:-2]
    a = views.broadcast_to(inputs[0], (*batch, *inputs[0].dims[-2:]))
    panels = views.broadcast_to(inputs[1], (*batch, *inputs[1].dims[-3:]))
    return Lowering("matmul_packed", (a, panels, *inputs[2:]), outputs)


matmul_packed = define(
    "matmul_packed",
    "a:T, panels:T",
    attrs={"columns": SIZE},
    kinds={"T": FLOATS},
    epilogue=True,
    infer=_matmul_packed_infer,
    ref=lambda a, panels, columns: np.matmul(a, from_panels(panels, columns)),
    lower=_matmul_packed_lower,
    doc="a [..., M, K] times packed b [..., K, columns].",
)


def _conv2d_pack_infer(w: Value, *, groups: int, data_format: str) -> TensorType:
    height, width, inner, outer = weight_sizes(w, data_format)
    rows = dims.product((height, width, inner))
    return TensorType(w.dtype, (groups, dims.ceildiv(dims.floordiv(outer, groups), PANEL), rows, PANEL))


def _conv2d_pack_ref(w: np.ndarray, *, groups: int, data_format: str) -> np.ndarray:
    in_last = w.transpose(WEIGHT_TO_LAST[data_format])
    outer = in_last.shape[3] // groups
    return to_panels(in_last.reshape(-1, groups, outer).transpose(1, 0, 2))


conv2d_pack = define(
    "conv2d_pack",
    "w:T",
    attrs={"groups": INT, "data_format": DATA_FORMAT},
    kinds={"T": FLOATS},
    infer=_conv2d_pack_infer,
    ref=_conv2d_pack_ref,
    lower=lambda node, inputs, outputs: Lowering(
        "conv2d_pack", (weight_last(inputs[0], node.attrs["data_format"]),), outputs, (node.attrs["groups"],)
    ),
    doc="Weights as the panels that ``conv2d_packed`` takes: [groups, ceildiv(O/groups, 16), KH*KW*C/groups, 16].",
)


def pooled(size: tuple[Size, ...], pool: int) -> tuple[Size, ...]:
    """How many whole windows of ``pool`` by ``pool`` there are."""
    if pool not in (1, 2):
        raise InvalidArgumentError(f"expected windows of 1 or 2 to keep the largest of, got {pool}")
    return size if pool == 1 else tuple(dims.floordiv(each, pool) for each in size)


def largest(y: np.ndarray, pool: int) -> np.ndarray:
    """The largest of each whole window of [N, H, W, C]."""
    window = (pool, pool)
    return max_ref(y, kernel=window, stride=window, padding="valid", dilation=(1, 1), data_format="NHWC")


def is_depthwise(node: Node) -> bool:
    """Has each group of a ``conv2d_packed`` one channel in and one out?"""
    attrs, x = node.attrs, node.inputs[0]
    return bool(attrs["groups"] == attrs["channels"] == channels_of(x, attrs["data_format"]) != 1)


def _conv2d_packed_infer(
    x: Value,
    panels: Value,
    *,
    kernel: tuple[int, ...],
    channels: Size,
    pool: int,
    stride: tuple[int, ...],
    padding: Padding,
    dilation: tuple[int, ...],
    groups: int,
    data_format: str,
) -> TensorType:
    check_rank(panels, 4, "panels")
    out, _ = windows(spatial(x, data_format), kernel, stride, padding, dilation)
    return TensorType(x.dtype, arranged(x.dims[0], pooled(out, pool), channels, data_format))


def _conv2d_packed_ref(
    x: np.ndarray,
    panels: np.ndarray,
    *,
    kernel: tuple[int, ...],
    channels: int,
    pool: int,
    data_format: str,
    **geometry: Any,
) -> np.ndarray:
    weights = from_panels(panels, channels // panels.shape[0]).transpose(1, 0, 2).reshape(*kernel, -1, channels)
    y = convolve(x.transpose(TO_LAST[data_format]), weights, **geometry)
    return largest(y, pool).transpose(FROM_LAST[data_format])


def pool_ints(node: Node) -> tuple[int, ...]:
    """What kernels take behind their own ints."""
    return () if node.attrs["pool"] == 1 else (node.attrs["pool"],)


def _conv2d_packed_lower(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
    data_format, kernel = node.attrs["data_format"], node.attrs["kernel"]
    x = last(inputs[0], data_format)
    more = [last(view, data_format) for view in inputs[2:]]
    ints = (*geometry_ints(x.dims[1:3], kernel, node.attrs), *kernel, *pool_ints(node))
    return Lowering("conv2d_packed", (x, inputs[1], *more), (last(outputs[0], data_format),), ints)


conv2d_packed = define(
    "conv2d_packed",
    "x:T, panels:T",
    attrs={"kernel": PAIR, "channels": SIZE, **GEOMETRY, "pool": INT},
    defaults={**DEFAULTS, "pool": 1},
    kinds={"T": FLOATS},
    epilogue=True,
    infer=_conv2d_packed_infer,
    ref=_conv2d_packed_ref,
    lower=_conv2d_packed_lower,
    doc="""conv2d with packed weights of height and width ``kernel`` and ``channels`` output channels.

    Those of a depthwise convolution, with one channel in and out of each group, are packed as those of one group.
    With a ``pool`` of 2 the result is the largest of each whole window of 2 by 2, which no depthwise one takes.
    """,
)
