"""Channels to space and back, and cropping or padding about the centre."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dims
from pyflow.apply import convert
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import EVERY, INT, call, choice
from pyflow.ops.arrays.shape import reshape, transpose
from pyflow.ops.common import normalise_axis
from pyflow.ops.composite import composite
from pyflow.ops.layers.sliding import cropped, framed
from pyflow.ops.sizes import SHAPE

__all__ = [
    "center_crop_pad",
    "channel_shuffle",
    "depth_to_space",
    "pixel_shuffle",
    "pixel_unshuffle",
    "space_to_depth",
]


def _check(x: Value, block: int, channels: int = 1, sizes: int = 1) -> dict[str, Any]:
    """``x`` is [N, C, H, W], and its channels and sizes divide by these."""
    if x.ndim != 4 or block < 1:
        raise InvalidArgumentError(f"expected x [N, C, H, W] and a block size of at least 1, got {x.type} and {block}")
    for axis, part in ((1, channels), (2, sizes), (3, sizes)):
        size = x.dims[axis]
        if isinstance(size, int) and size % part:
            raise InvalidArgumentError(f"axis {axis} of x: {x.type} is no multiple of {part}")
    return {}


def _depth_to_space(x: Value, *, block_size: int, mode: str) -> Value:
    n, c, h, w = x.dims
    b, inner = block_size, dims.floordiv(c, block_size * block_size)
    if mode == "DCR":
        apart = transpose(reshape(x, (n, b, b, inner, h, w)), (0, 3, 4, 1, 5, 2))
    else:
        apart = transpose(reshape(x, (n, inner, b, b, h, w)), (0, 1, 4, 2, 5, 3))
    return reshape(apart, (n, inner, dims.mul(h, b), dims.mul(w, b)))


def _depth_to_space_ref(x: np.ndarray, *, block_size: int, mode: str) -> np.ndarray:
    n, c, h, w = x.shape
    inner = c // block_size**2
    result = np.zeros((n, inner, h * block_size, w * block_size), x.dtype)
    for i, j in np.ndindex(block_size, block_size):
        first = i * block_size + j
        taken = x[:, first * inner : (first + 1) * inner] if mode == "DCR" else x[:, first :: block_size**2]
        result[:, :, i::block_size, j::block_size] = taken
    return result


depth_to_space = composite(
    "depth_to_space",
    "x:T",
    attrs={"block_size": INT, "mode": choice("DCR", "CRD")},
    defaults={"mode": "DCR"},
    kinds=EVERY,
    canonical=lambda x, block_size, mode: _check(x, block_size, channels=block_size**2),
    expand=_depth_to_space,
    ref=_depth_to_space_ref,
    onnx="DepthToSpace",
    doc="""Blocks of ``block_size`` by ``block_size`` pixels from channels: [N, C, H, W] to [N, C/b**2, H*b, W*b].

    mode: the channels are laid out "DCR" (row, column, channel) or "CRD" (channel, row, column).
    """,
)


def _space_to_depth(x: Value, *, block_size: int, mode: str) -> Value:
    n, c, h, w = x.dims
    b = block_size
    h, w = dims.floordiv(h, b), dims.floordiv(w, b)
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    apart = transpose(reshape(x, (n, c, h, b, w, b)), order)
    return reshape(apart, (n, dims.mul(c, b * b), h, w))


def _space_to_depth_ref(x: np.ndarray, *, block_size: int, mode: str) -> np.ndarray:
    parts = [x[:, :, i::block_size, j::block_size] for i, j in np.ndindex(block_size, block_size)]
    axis = 1 if mode == "DCR" else 2
    whole = np.stack(parts, axis)
    return whole.reshape(x.shape[0], -1, *whole.shape[-2:])


space_to_depth = composite(
    "space_to_depth",
    "x:T",
    attrs={"block_size": INT, "mode": choice("DCR", "CRD")},
    defaults={"mode": "DCR"},
    kinds=EVERY,
    canonical=lambda x, block_size, mode: _check(x, block_size, sizes=block_size),
    expand=_space_to_depth,
    ref=_space_to_depth_ref,
    onnx="SpaceToDepth",
    doc="""Blocks of ``block_size`` by ``block_size`` pixels as channels: :func:`pyflow.depth_to_space` undone.

    x: [N, C, H, W]; returns [N, C*b**2, H/b, W/b].
    """,
)


def pixel_shuffle(x: Any, upscale_factor: int, *, name: str | None = None) -> Value:
    """[N, C*r**2, H, W] as [N, C, H*r, W*r] (W. Shi et al. 2016): ``depth_to_space`` in mode "CRD"."""
    result: Value = depth_to_space(x, upscale_factor, "CRD", name=name)
    return result


def pixel_unshuffle(x: Any, downscale_factor: int, *, name: str | None = None) -> Value:
    """[N, C, H*r, W*r] as [N, C*r**2, H, W]: :func:`pyflow.pixel_shuffle` undone."""
    result: Value = space_to_depth(x, downscale_factor, "CRD", name=name)
    return result


def channel_shuffle(x: Any, groups: int) -> Value:
    """``x`` [N, C, ...] with its channels, seen as ``groups`` rows, taken column by column."""
    value = convert(x)
    if value.ndim < 2 or groups < 1 or (isinstance(value.dims[1], int) and value.dims[1] % groups):
        what = f"expected x [N, C, ...] with channels in {groups} groups, got {value.type}"
        raise InvalidArgumentError(message("channel_shuffle", what, user_origin()))
    inner = dims.floordiv(value.dims[1], groups)
    apart = reshape(value, (value.dims[0], groups, inner, *value.dims[2:]))
    mixed = transpose(apart, (0, 2, 1, *range(3, value.ndim + 1)))
    result: Value = reshape(mixed, value.dims)
    return result


def center_crop_pad(x: Any, shape: Any, axes: Sequence[int] | None = None) -> Value:
    """``x`` cropped, or padded with zeros, about its centre to ``shape`` along ``axes`` (default: all).

    shape: ints, Dims, or an integer value, one per axis. An odd element is left out, or added, at the end.
    """
    value = convert(x)
    chosen = [normalise_axis(axis, value.ndim) for axis in (range(value.ndim) if axes is None else axes)]
    wanted: tuple[Size, ...] = SHAPE.normalise(shape)
    if len(wanted) != len(chosen):
        what = f"expected {len(chosen)} sizes for axes {tuple(chosen)} of {value.type}, got {len(wanted)}"
        raise InvalidArgumentError(message("center_crop_pad", what, user_origin()))
    starts, low, high = [], [], []
    for axis, size in zip(chosen, wanted, strict=True):
        spare = dims.add(value.dims[axis], dims.mul(size, -1))
        cut, room = dims.maximum(spare, 0), dims.maximum(dims.mul(spare, -1), 0)
        starts.append(dims.floordiv(cut, 2))
        low.append(dims.floordiv(room, 2))
        high.append(dims.ceildiv(room, 2))
    kept = [dims.minimum(value.dims[axis], size) for axis, size in zip(chosen, wanted, strict=True)]
    smaller = cropped(value, chosen, starts, kept)
    framed_value = framed(smaller, chosen, low, high, 0)
    if framed_value.dims == value.dims and framed_value is value:
        return call("identity", value)  # type: ignore[no-any-return]
    return framed_value
