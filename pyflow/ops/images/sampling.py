"""Sampling of images at coordinates that are values: grids, regions of interest, deformable convolution."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Value
from pyflow.opdef import BOOLEAN, FLOATS, call, choice
from pyflow.ops.arrays.indexing import gather, iota
from pyflow.ops.arrays.shape import reshape, transpose
from pyflow.ops.composite import as_number, composite, index_of
from pyflow.ops.sizes import SHAPE

__all__ = ["affine_grid", "grid_sample"]

CUBIC = -0.75


def pixels(x: Value) -> Value:
    """[N, C, *sizes] as rows of channels, [N * product(sizes), C]."""
    moved = transpose(x, (0, *range(2, x.ndim), 1))
    return reshape(moved, (dims.mul(x.dims[0], dims.product(x.dims[2:])), x.dims[1]))


def at_pixels(rows: Value, base: Value, places: Sequence[Value], sizes: Sequence[Size], zero_outside: bool) -> Value:
    """The pixels at whole-numbered ``places`` (int64, one value per axis) of the images that begin at row ``base``;
    those outside are clamped to the border, or zeros."""
    index: Any = 0
    inside: Any = None
    for place, size in zip(places, sizes, strict=True):
        last = as_number(size) - 1
        index = index * as_number(size) + call("clip", place, 0, last)
        if zero_outside:
            here = call("logical_and", place >= 0, place <= last)
            inside = here if inside is None else call("logical_and", inside, here)
    found = gather(rows, index + base, 0)
    if zero_outside:
        found = call("where", call("expand_dims", inside, (found.ndim - 1,)), found, 0)
    return found


def linear_at(rows: Value, base: Value, points: Sequence[Value], sizes: Sequence[Size], zero_outside: bool) -> Value:
    """Pixels between whole numbers, linear in each axis: ``points`` floating, one value per axis. [..., C]."""
    floors = [call("floor", point) for point in points]
    parts = [point - low for point, low in zip(points, floors, strict=True)]
    lows = [call("cast", low, dtypes.int64) for low in floors]
    total: Any = None
    for corner in itertools.product((0, 1), repeat=len(points)):
        weight: Any = None
        for side, part in zip(corner, parts, strict=True):
            factor = part if side else 1 - part
            weight = factor if weight is None else weight * factor
        places = [low + side for low, side in zip(lows, corner, strict=True)]
        found = at_pixels(rows, base, places, sizes, zero_outside)
        term = found * call("cast", call("expand_dims", weight, (found.ndim - 1,)), rows.dtype)
        total = term if total is None else total + term
    result: Value = total
    return result


def _cubic_weights(part: Value) -> list[Value]:
    """Weights of the elements at -1, 0, 1 and 2 for a point ``part`` after element 0."""

    def near(t: Value) -> Value:
        return ((CUBIC + 2) * t - (CUBIC + 3)) * t * t + 1

    def far(t: Value) -> Value:
        return ((CUBIC * t - 5 * CUBIC) * t + 8 * CUBIC) * t - 4 * CUBIC

    return [far(part + 1), near(part), near(1 - part), far(2 - part)]


def _reflected(x: Value, size: Size, align_corners: bool) -> Value:
    """``x`` mirrored at the borders until it lies inside."""
    low = 0.0 if align_corners else -0.5
    span = call("cast", as_number(size) - (1 if align_corners else 0), x.dtype) if not isinstance(size, int) else None
    width: Any = float(size - (1 if align_corners else 0)) if isinstance(size, int) else span
    if isinstance(width, float) and width <= 0:
        return x * 0
    offset = call("abs", x - low)
    turns = call("floor", offset / width)
    rest = offset - turns * width
    odd = call("mod", turns, 2) == 1
    result: Value = call("where", odd, width - rest, rest) + low
    return result


def _unnormalised(grid: Value, size: Size, align_corners: bool) -> Value:
    count = float(size) if isinstance(size, int) else call("cast", as_number(size), grid.dtype)
    result: Value = (grid + 1) * ((count - 1) * 0.5) if align_corners else ((grid + 1) * count - 1) * 0.5
    return result


def _settled(point: Value, size: Size, padding_mode: str, align_corners: bool) -> Value:
    """A point (or a whole-numbered place) after the padding's rule."""
    last = float(size - 1) if isinstance(size, int) else call("cast", as_number(size) - 1, point.dtype)
    if padding_mode == "reflection":
        point = _reflected(point, size, align_corners)
    if padding_mode != "zeros":
        point = call("clip", point, 0, last)
    return point


def _grid_expand(x: Value, grid: Value, *, mode: str, padding_mode: str, align_corners: bool) -> Value:
    count = x.ndim - 2
    sizes, zeros = x.dims[2:], padding_mode == "zeros"
    rows = pixels(x)
    plane = as_number(dims.product(sizes))
    base = reshape(iota(x.dims[0]) * plane, (x.dims[0], *(1,) * count))
    raw = [_unnormalised(grid[..., count - 1 - i], size, align_corners) for i, size in enumerate(sizes)]
    if mode == "bicubic":
        y = _cubic_at(rows, base, raw, sizes, padding_mode, align_corners)
    else:
        points = [_settled(point, size, padding_mode, align_corners) for point, size in zip(raw, sizes, strict=True)]
        if mode == "nearest":
            places = [call("cast", call("round", point), dtypes.int64) for point in points]
            y = at_pixels(rows, base, places, sizes, zeros)
        else:
            y = linear_at(rows, base, points, sizes, zeros)
    return transpose(y, (0, y.ndim - 1, *range(1, y.ndim - 1)))


def _cubic_at(
    rows: Value, base: Value, points: Sequence[Value], sizes: Sequence[Size], padding_mode: str, align_corners: bool
) -> Value:
    floors = [call("floor", point) for point in points]
    weights = [_cubic_weights(point - low) for point, low in zip(points, floors, strict=True)]
    total: Any = None
    for corner in itertools.product(range(4), repeat=len(points)):
        weight: Any = None
        places = []
        for i, tap in enumerate(corner):
            weight = weights[i][tap] if weight is None else weight * weights[i][tap]
            place = _settled(floors[i] + (tap - 1), sizes[i], padding_mode, align_corners)
            places.append(call("cast", place, dtypes.int64))
        found = at_pixels(rows, base, places, sizes, padding_mode == "zeros")
        term = found * call("expand_dims", weight, (found.ndim - 1,))
        total = term if total is None else total + term
    result: Value = total
    return result


def _grid_ref(x: np.ndarray, grid: np.ndarray, *, mode: str, padding_mode: str, align_corners: bool) -> np.ndarray:
    sizes = x.shape[2:]

    def settle(at: float, n: int) -> float:
        if padding_mode == "reflection":
            low, high = (0, n - 1) if align_corners else (-0.5, n - 0.5)
            while high > low and not low <= at <= high:
                at = 2 * low - at if at < low else 2 * high - at
            at = at if high > low else 0
        return at if padding_mode == "zeros" else min(max(at, 0), n - 1)

    def pixel(n: int, place: Sequence[float]) -> np.ndarray:
        at = [int(settle(p, size)) for p, size in zip(place, sizes, strict=True)]
        if any(not 0 <= p < size for p, size in zip(at, sizes, strict=True)):
            return np.zeros(x.shape[1])
        return np.asarray(x[index_of(n, slice(None), *at)], np.float64)

    def weight(distance: float) -> float:
        d = abs(distance)
        if mode == "bilinear":
            return max(1 - d, 0)
        near = (CUBIC + 2) * d**3 - (CUBIC + 3) * d**2 + 1
        return near if d <= 1 else CUBIC * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0

    result = np.zeros((x.shape[0], x.shape[1], *grid.shape[1:-1]))
    for place in np.ndindex(*grid.shape[:-1]):
        raw = [
            (float(g) + 1) * (n - 1) / 2 if align_corners else ((float(g) + 1) * n - 1) / 2
            for g, n in zip(grid[place][::-1], sizes, strict=True)
        ]
        if mode != "bicubic":
            raw = [settle(at, n) for at, n in zip(raw, sizes, strict=True)]
        if mode == "nearest":
            value = pixel(place[0], [float(np.rint(at)) for at in raw])
        else:
            taps = range(-1, 3) if mode == "bicubic" else range(2)
            value = np.zeros(x.shape[1])
            for corner in itertools.product(taps, repeat=len(raw)):
                at = [np.floor(p) + tap for p, tap in zip(raw, corner, strict=True)]
                factor = np.prod([weight(a - p) for a, p in zip(at, raw, strict=True)])
                value = value + (factor * pixel(place[0], at) if factor else 0)
        result[index_of(place[0], slice(None), *place[1:])] = value
    return result.astype(x.dtype)


def _grid_canonical(x: Value, grid: Value, *, mode: str, **rest: Any) -> dict[str, Any]:
    if x.ndim < 3 or grid.ndim != x.ndim or (grid.dims[-1] not in (x.ndim - 2,) and isinstance(grid.dims[-1], int)):
        raise InvalidArgumentError(
            f"expected a grid [N, ..., {x.ndim - 2}] of the rank of x: {x.type}, got {grid.type}"
        )
    if any(size == 0 for size in x.dims[2:]):
        raise InvalidArgumentError(f"x: {x.type} has no pixels")
    return {"mode": {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)}


grid_sample = composite(
    "grid_sample",
    "x:T, grid:T",
    attrs={
        "mode": choice("bilinear", "nearest", "bicubic", "linear", "cubic"),
        "padding_mode": choice("zeros", "border", "reflection"),
        "align_corners": BOOLEAN,
    },
    defaults={"mode": "bilinear", "padding_mode": "zeros", "align_corners": False},
    kinds=FLOATS,
    canonical=_grid_canonical,
    expand=_grid_expand,
    ref=_grid_ref,
    onnx="GridSample",
    doc="""``x`` sampled at the points of ``grid``.

    x: floating [N, C, *sizes]. grid: [N, *outputs, spatial rank]: coordinates from -1 to 1, the last spatial axis of x
        first; -1 and 1 are the centres of the border pixels with ``align_corners``, else their outer edges.
    mode: "bilinear" (linear in every axis), "nearest" (halves to even) or "bicubic". padding_mode: what stands outside:
        "zeros", the "border", or the image in "reflection". Returns [N, C, *outputs].
    """,
)


def _affine_canonical(theta: Value, *, size: Sequence[Size], align_corners: bool) -> dict[str, Any]:
    count = len(size) - 2
    if (
        count < 1
        or theta.ndim != 3
        or any(
            isinstance(have, int) and have != want
            for have, want in zip(theta.dims[1:], (count, count + 1), strict=True)
        )
    ):
        raise InvalidArgumentError(
            f"expected theta [N, {count}, {count + 1}] for a size of {len(size)}, got {theta.type}"
        )
    return {}


def _steps(size: Size, dtype: Any, align_corners: bool) -> Value:
    at = call("cast", iota(size), dtype)
    count = float(size) if isinstance(size, int) else call("cast", as_number(size), dtype)
    if not align_corners:
        result: Value = (2 * at + 1) / count - 1
        return result
    if isinstance(size, int):
        return at * (2 / (size - 1)) - 1 if size > 1 else at * 0 - 1
    result = at * (2 / call("maximum", count - 1, 1)) - 1
    return result


def _affine_expand(theta: Value, *, size: Sequence[Size], align_corners: bool) -> Value:
    outputs, count = tuple(size[2:]), len(size) - 2
    columns = []
    for axis in reversed(range(count)):
        along = reshape(_steps(outputs[axis], theta.dtype, align_corners), (-1, *(1,) * (count - 1 - axis)))
        columns.append(call("broadcast_to", along, outputs))
    columns.append(call("broadcast_to", call("constant", 1.0, theta.dtype), outputs))
    points = reshape(call("stack", *columns, axis=count), (dims.product(outputs), count + 1))
    grid = call("matmul", points, transpose(theta, (0, 2, 1)))
    return reshape(grid, (theta.dims[0], *outputs, count))


def _affine_ref(theta: np.ndarray, *, size: Sequence[int], align_corners: bool) -> np.ndarray:
    axes = [np.linspace(-1, 1, n) if align_corners else (2 * np.arange(n) + 1) / n - 1 for n in size[2:]]
    points = np.stack([*reversed(np.meshgrid(*axes, indexing="ij")), np.ones(size[2:])], -1)
    return np.einsum("...j,nij->n...i", points, theta).astype(theta.dtype)


affine_grid = composite(
    "affine_grid",
    "theta:T",
    attrs={"size": SHAPE, "align_corners": BOOLEAN},
    defaults={"align_corners": False},
    kinds=FLOATS,
    canonical=_affine_canonical,
    expand=_affine_expand,
    ref=_affine_ref,
    onnx="AffineGrid",
    doc="""The grid that ``grid_sample`` takes for an affine map of each image.

    theta: floating [N, d, d + 1] for d spatial axes. size: that of the sampled result, (N, C, *outputs). Returns
    [N, *outputs, d]. align_corners: as for :func:`pyflow.grid_sample`.
    """,
)
