"""Convolution by minimal filtering: 3 x 3 windows of stride 1, tile by tile, with transformed weights.

Winograd 1980; Lavin and Gray 2016, arXiv:1509.09308. csrc/backends/cpu/winograd.h says which points are used.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from pyflow import dims, dtypes
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Node, Value
from pyflow.opdef import INT, SIZE, Lowering, TensorType, define
from pyflow.ops.internal.packed import PANEL, from_panels, largest, pool_ints, pooled, to_panels
from pyflow.ops.layers.conv import weight_sizes
from pyflow.ops.layers.windows import (
    DATA_FORMAT,
    FROM_LAST,
    PADDING,
    TO_LAST,
    WEIGHT_TO_LAST,
    Padding,
    arranged,
    last,
    spatial,
    weight_last,
    windows,
)
from pyflow.ops.sizes import check_rank
from pyflow.plan import View

POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, 0.75, -0.75, 1.5, -1.5)}
"""Where polynomials are evaluated, by the size of a tile; infinity comes last."""
KERNEL = (3, 3)
ONES = (1, 1)


@cache
def transforms(tile: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(of results [tile, tile+2], of weights [tile+2, 3], of the source [tile+2, tile+2]) along one axis."""
    points = np.array(POINTS[tile])
    others = [np.delete(points, i) for i in range(len(points))]
    scale = np.array([np.prod(point - rest) for point, rest in zip(points, others, strict=True)])
    powers = np.vander(points, max(tile, 3), increasing=True)
    highest = np.eye(1, tile, tile - 1), np.eye(1, 3, 2)
    results = np.vstack([powers[:, :tile], highest[0]])
    weights = np.vstack([powers[:, :3] / scale[:, None], highest[1]])
    source = np.zeros((tile + 2, tile + 2))
    for row, roots in enumerate([*others, points]):
        polynomial = np.poly(roots)[::-1]
        source[row, : len(polynomial)] = polynomial
    return results.T, weights, source


def check_tile(tile: int) -> None:
    if tile not in POINTS:
        raise InvalidArgumentError(f"expected tiles of {' or '.join(map(str, POINTS))}, got {tile}")


def _pack_infer(w: Value, *, tile: int, data_format: str) -> TensorType:
    check_tile(tile)
    height, width, inner, outer = weight_sizes(w, data_format)
    if (height, width) != KERNEL:
        raise InvalidArgumentError(f"expected a kernel of 3 by 3, got {height} by {width}")
    return TensorType(w.dtype, ((tile + 2) ** 2, dims.ceildiv(outer, PANEL), inner, PANEL))


def _pack_ref(w: np.ndarray, *, tile: int, data_format: str) -> np.ndarray:
    _, weights, _ = transforms(tile)
    in_last = w.transpose(WEIGHT_TO_LAST[data_format]).astype(np.float64)
    made = np.einsum("iy,jx,yxco->ijco", weights, weights, in_last)
    return to_panels(made.reshape(-1, *made.shape[2:]).astype(w.dtype))


winograd_pack = define(
    "winograd_pack",
    "w:T",
    attrs={"tile": INT, "data_format": DATA_FORMAT},
    kinds={"T": frozenset({dtypes.float32})},
    infer=_pack_infer,
    ref=_pack_ref,
    lower=lambda node, inputs, outputs: Lowering(
        "winograd_pack", (weight_last(inputs[0], node.attrs["data_format"]),), outputs, (node.attrs["tile"],)
    ),
    doc="3 x 3 weights as ``conv2d_winograd`` takes them: [(tile+2)², ceildiv(O, 16), C, 16], zero padded.",
)


def _winograd_infer(
    x: Value, panels: Value, *, tile: int, channels: Size, padding: Padding, data_format: str, pool: int
) -> TensorType:
    check_tile(tile)
    check_rank(panels, 4, "panels")
    out, _ = windows(spatial(x, data_format), KERNEL, ONES, padding, ONES)
    return TensorType(x.dtype, arranged(x.dims[0], pooled(out, pool), channels, data_format))


def _winograd_ref(
    x: np.ndarray, panels: np.ndarray, *, tile: int, channels: int, padding: Padding, data_format: str, pool: int
) -> np.ndarray:
    x = x.transpose(TO_LAST[data_format])
    results, _, source = (matrix.astype(x.dtype) for matrix in transforms(tile))
    (height, width), before = windows(x.shape[1:3], KERNEL, ONES, padding, ONES)
    down, across = -(-height // tile), -(-width // tile)
    wide = np.zeros((x.shape[0], down * tile + 2, across * tile + 2, x.shape[3]), x.dtype)
    rows, columns = (min(n, room - low) for n, room, low in zip(x.shape[1:3], wide.shape[1:3], before, strict=True))
    wide[:, before[0] : before[0] + rows, before[1] : before[1] + columns] = x[:, :rows, :columns]
    tiles = np.lib.stride_tricks.sliding_window_view(wide, (tile + 2, tile + 2), (1, 2))[:, ::tile, ::tile]
    made = np.einsum("iy,jx,nabcyx->ijnabc", source, source, tiles, optimize=True)
    weights = from_panels(panels, channels).reshape(tile + 2, tile + 2, -1, channels)
    products = np.einsum("ijnabc,ijco->ijnabo", made, weights, optimize=True)
    y = np.einsum("yi,xj,ijnabo->naybxo", results, results, products, optimize=True)
    y = y.reshape(x.shape[0], down * tile, across * tile, channels)[:, :height, :width]
    return np.ascontiguousarray(largest(y, pool)).transpose(FROM_LAST[data_format])


def _winograd_lower(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
    data_format = node.attrs["data_format"]
    x = last(inputs[0], data_format)
    more = [last(view, data_format) for view in inputs[2:]]
    _, before = windows(x.dims[1:3], KERNEL, ONES, node.attrs["padding"], ONES)
    ints = (*before, node.attrs["tile"], *pool_ints(node))
    return Lowering("conv2d_winograd", (x, inputs[1], *more), (last(outputs[0], data_format),), ints)


conv2d_winograd = define(
    "conv2d_winograd",
    "x:T, panels:T",
    attrs={"tile": INT, "channels": SIZE, "padding": PADDING, "data_format": DATA_FORMAT, "pool": INT},
    defaults={"pool": 1},
    kinds={"T": frozenset({dtypes.float32})},
    epilogue=True,
    infer=_winograd_infer,
    ref=_winograd_ref,
    lower=_winograd_lower,
    doc="""conv2d of stride 1 by a 3 x 3 kernel with ``channels`` output channels and weights from ``winograd_pack``.

    With a ``pool`` of 2 the result is the largest of each whole window of 2 by 2.
    """,
)
