"""Pooling of regions of interest, and convolution whose places are moved by a value."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Value
from pyflow.opdef import FLOAT, FLOATS, INT, INTEGERS, INTS, call, choice
from pyflow.ops.arrays.indexing import iota
from pyflow.ops.arrays.shape import reshape, transpose
from pyflow.ops.composite import GIVEN, as_number, composite, index_of, optional, per_channel, present
from pyflow.ops.images.sampling import at_pixels, linear_at, pixels
from pyflow.ops.layers.sliding import ANY_PADDING, settled
from pyflow.ops.layers.windows import windows

__all__ = ["deform_conv2d", "roi_align", "roi_pool"]


def _roi_canonical(x: Value, boxes: Value, batch: Value, *, output_size: Any, **rest: Any) -> dict[str, Any]:
    if x.ndim != 4 or boxes.ndim != 2 or (boxes.dims[1] != 4 and isinstance(boxes.dims[1], int)) or batch.ndim != 1:
        what = f"expected x [N, C, H, W], boxes [R, 4] and batch [R]; got {x.type}, {boxes.type} and {batch.type}"
        raise InvalidArgumentError(what)
    size = output_size * 2 if len(output_size) == 1 else output_size
    if len(size) != 2 or min(size) < 1 or rest.get("sampling_ratio", 1) < 0:
        raise InvalidArgumentError(f"expected an output size of 2 ints >= 1 and a sampling ratio >= 0, got {size}")
    return {"output_size": size}


def _f(value: Any, dtype: Any) -> Any:
    return call("cast", value, dtype) if isinstance(value, Value) else value


def _align_expand(
    x: Value,
    boxes: Value,
    batch: Value,
    *,
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    offset: float,
    mode: str,
) -> Value:
    sizes = x.dims[2:]
    least = 0.0 if offset else 1.0
    scaled = call("stop_gradient", boxes) * spatial_scale - offset
    points, inside, counts = [], [], []
    room = sampling_ratio or None
    for i, axis in enumerate((1, 0)):
        low, span = scaled[:, axis], scaled[:, axis + 2] - scaled[:, axis]
        span = call("maximum", span, least) if least else span
        bins, size = output_size[i], sizes[i]
        width = span / bins
        if room is None:
            taps: Any = dims.add(dims.ceildiv(size, bins), 1)
            count = call("maximum", call("ceil", width), 0)
        else:
            taps, count = room, None
        per_bin = float(room) if room is not None else reshape(call("maximum", count, 1), (-1, 1, 1))
        step = _f(iota(taps), x.dtype)
        at = reshape(_f(iota(bins), x.dtype), (-1, 1)) + (step + 0.5) / per_bin
        at = reshape(low, (-1, 1, 1)) + at * reshape(width, (-1, 1, 1))
        last = _f(as_number(dims.add(size, -1)), x.dtype)
        valid = call("logical_and", at >= -1, at <= last + 1)
        if count is not None:
            used = reshape(step, (1, 1, -1)) < reshape(count, (-1, 1, 1))
            valid = call("logical_and", valid, used)
            inside.append((valid, call("broadcast_to", used, at.dims)))
        else:
            inside.append((valid, None))
        counts.append(None if count is None else _within(count, taps))
        points.append(call("clip", at, 0, last))
    return _sampled(x, batch, points, inside, counts, sampling_ratio, mode)


def _sampled(x: Value, batch: Value, points: Any, inside: Any, counts: Any, ratio: int, mode: str) -> Value:
    """Points [R, bins, taps] along each axis; [R, C, *bins]."""
    rows, plane = pixels(x), as_number(dims.product(x.dims[2:]))
    y = reshape(points[0], (*points[0].dims[:2], 1, points[0].dims[2], 1))
    across = points[1]
    z = reshape(across, (across.dims[0], 1, across.dims[1], 1, across.dims[2]))
    base = reshape(call("cast", batch, dtypes.int64), (-1, 1, 1, 1, 1)) * plane
    valid = call("logical_and", _spread(inside[0][0], 0), _spread(inside[1][0], 1))
    shape = valid.dims
    y, z = call("broadcast_to", y, shape), call("broadcast_to", z, shape)
    mask = call("expand_dims", valid, (5,))
    if mode == "avg":
        values = call("where", mask, linear_at(rows, base, (y, z), x.dims[2:], False), 0)
        total = call("sum", values, (3, 4))
        count = float(ratio * ratio) if ratio else _pairs(counts)
        result = total / count
    else:
        values = _largest_corner(rows, base, (y, z), x.dims[2:])
        values = call("where", mask, values, 0)
        if not ratio:
            used = call("logical_and", _spread(inside[0][1], 0), _spread(inside[1][1], 1))
            values = call("where", call("expand_dims", used, (5,)), values, float("-inf"))
        result = call("max", values, (3, 4))
        if not ratio:
            area = _pairs(counts, 0)
            result = call("where", area == 0, 0, call("where", area == area, result, area))
    return transpose(result, (0, 3, 1, 2))


def _pairs(counts: Any, least: int = 1) -> Value:
    both = counts[0] * counts[1]
    result: Value = reshape(call("maximum", both, least) if least else both, (-1, 1, 1, 1))
    return result


def _within(count: Value, taps: Any) -> Value:
    """``count``, and NaN where a bin has more points than were sampled."""
    result: Value = call("where", count <= _f(as_number(taps), count.dtype), count, float("nan"))
    return result


def _spread(value: Value, axis: int) -> Value:
    r, bins, taps = value.dims
    return reshape(value, (r, bins, 1, taps, 1) if axis == 0 else (r, 1, bins, 1, taps))


def _largest_corner(rows: Value, base: Value, points: Any, sizes: Any) -> Value:
    """The largest of the four weighted neighbours of each point, as ONNX RoiAlign takes it."""
    lows = [call("floor", point) for point in points]
    parts = [point - low for point, low in zip(points, lows, strict=True)]
    found: Any = None
    for i in (0, 1):
        for j in (0, 1):
            weight = (parts[0] if i else 1 - parts[0]) * (parts[1] if j else 1 - parts[1])
            places = [call("cast", lows[0], dtypes.int64) + i, call("cast", lows[1], dtypes.int64) + j]
            value = at_pixels(rows, base, places, sizes, False) * call("expand_dims", weight, (5,))
            found = value if found is None else call("maximum", found, value)
    result: Value = found
    return result


def _align_ref(
    x: np.ndarray,
    boxes: np.ndarray,
    batch: np.ndarray,
    *,
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    offset: float,
    mode: str,
) -> np.ndarray:
    h, w = x.shape[2:]
    result = np.zeros((len(boxes), x.shape[1], *output_size))
    for r, (box, n) in enumerate(zip(boxes.astype(np.float64), batch, strict=True)):
        x0, y0, x1, y1 = box * spatial_scale - offset
        height, width = (y1 - y0, x1 - x0) if offset else (max(y1 - y0, 1.0), max(x1 - x0, 1.0))
        steps = (height / output_size[0], width / output_size[1])
        taps = [sampling_ratio or max(int(np.ceil(step)), 0) for step in steps]
        for i, j in np.ndindex(*output_size):
            values = []
            for a, b in np.ndindex(*taps):
                y = y0 + i * steps[0] + (a + 0.5) * steps[0] / taps[0]
                z = x0 + j * steps[1] + (b + 0.5) * steps[1] / taps[1]
                corners = np.zeros((4, x.shape[1]))
                if -1 <= y <= h and -1 <= z <= w:
                    y, z = min(max(y, 0), h - 1), min(max(z, 0), w - 1)
                    for k, (p, q) in enumerate(np.ndindex(2, 2)):
                        at = (min(int(y) + p, h - 1), min(int(z) + q, w - 1))
                        weight = abs(1 - p - (y - int(y))) * abs(1 - q - (z - int(z)))
                        corners[k] = weight * x[index_of(n, slice(None), *at)]
                values.append(corners.sum(0) if mode == "avg" else corners.max(0))
            if values:
                result[r, :, i, j] = np.mean(values, 0) if mode == "avg" else np.max(values, 0)
    return result.astype(x.dtype)


_roi_align = composite(
    "roi_align",
    "x:T, boxes:T, batch:I",
    attrs={
        "output_size": INTS,
        "spatial_scale": FLOAT,
        "sampling_ratio": INT,
        "offset": FLOAT,
        "mode": choice("avg", "max"),
    },
    kinds={"T": FLOATS, "I": INTEGERS},
    canonical=_roi_canonical,
    expand=_align_expand,
    ref=_align_ref,
    onnx="RoiAlign",
    doc="Boxes of images, sampled; see :func:`pyflow.roi_align`.",
)


def roi_align(
    x: Any,
    boxes: Any,
    batch: Any,
    output_size: Any,
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    aligned: bool = True,
    mode: str = "avg",
    *,
    name: str | None = None,
) -> Value:
    """Boxes of ``x``, cut into bins, each of which is the mean (or maximum) of points sampled in it.

    x: floating [N, C, H, W]. boxes: [R, 4]: x0, y0, x1, y1, times ``spatial_scale`` in pixels. batch: [R], the image of
        each box. output_size: the bins, an int or (height, width). Returns [R, C, *output_size].
    sampling_ratio: points per bin and axis; 0: as many as the bin has pixels; a box that is more than an image
        large gives NaN then. aligned: coordinates are moved by half a pixel, and boxes may be smaller than a pixel.
    mode: "avg", or "max" of the weighted neighbours of the points, as ONNX defines it. No gradient flows
        through boxes.
    """
    offset = 0.5 if aligned else 0.0
    result: Value = _roi_align(x, boxes, batch, output_size, spatial_scale, sampling_ratio, offset, mode, name=name)
    return result


def _pool_bounds(boxes: Value, scale: float, axis: int, bins: int, size: Any) -> tuple[Value, Value]:
    """(first, last + 1) pixel of each bin, int64 [R, bins]."""
    scaled = call("stop_gradient", boxes) * scale
    first = call("floor", scaled[:, axis] + 0.5)
    span = call("maximum", call("floor", scaled[:, axis + 2] + 0.5) - first + 1, 1)
    width = reshape(span / bins, (-1, 1))
    at = call("cast", iota(bins), boxes.dtype)
    low = call("floor", at * width) + reshape(first, (-1, 1))
    high = call("ceil", (at + 1) * width) + reshape(first, (-1, 1))
    last = as_number(size)
    both = [call("clip", call("cast", end, dtypes.int64), 0, last) for end in (low, high)]
    return both[0], both[1]


def _pool_expand(x: Value, boxes: Value, batch: Value, *, output_size: tuple[int, int], spatial_scale: float) -> Value:
    images = call("gather", x, batch, 0)
    value = images
    for axis, (column, bins) in enumerate(zip((1, 0), output_size, strict=True), 2):
        low, high = _pool_bounds(boxes, spatial_scale, column, bins, x.dims[axis])
        at = iota(x.dims[axis])
        inside = call("logical_and", at >= call("expand_dims", low, (2,)), at < call("expand_dims", high, (2,)))
        r, size = inside.dims[0], inside.dims[2]
        if axis == 2:
            apart, mask = call("expand_dims", value, (2,)), reshape(inside, (r, 1, bins, size, 1))
        else:
            apart, mask = call("expand_dims", value, (3,)), reshape(inside, (r, 1, 1, bins, size))
        value = call("max", call("where", mask, apart, float("-inf")), (axis + 1,))
    result: Value = call("where", value == float("-inf"), 0, value)
    return result


def _pool_ref(
    x: np.ndarray, boxes: np.ndarray, batch: np.ndarray, *, output_size: tuple[int, int], spatial_scale: float
) -> np.ndarray:
    result = np.zeros((len(boxes), x.shape[1], *output_size), x.dtype)
    for r, (box, n) in enumerate(zip(boxes, batch, strict=True)):
        x0, y0, x1, y1 = np.floor(box * box.dtype.type(spatial_scale) + box.dtype.type(0.5)).astype(np.int64)
        steps = [
            box.dtype.type(max(y1 - y0 + 1, 1)) / output_size[0],
            box.dtype.type(max(x1 - x0 + 1, 1)) / output_size[1],
        ]
        for i, j in np.ndindex(*output_size):
            ends = [
                np.clip([np.floor(k * s) + start, np.ceil((k + 1) * s) + start], 0, size).astype(np.int64)
                for k, s, start, size in ((i, steps[0], y0, x.shape[2]), (j, steps[1], x0, x.shape[3]))
            ]
            part = x[n, :, ends[0][0] : ends[0][1], ends[1][0] : ends[1][1]]
            if part.size:
                result[r, :, i, j] = part.max((1, 2))
    return result


roi_pool = composite(
    "roi_pool",
    "x:T, boxes:T, batch:I",
    attrs={"output_size": INTS, "spatial_scale": FLOAT},
    defaults={"spatial_scale": 1.0},
    kinds={"T": FLOATS, "I": INTEGERS},
    canonical=_roi_canonical,
    expand=_pool_expand,
    ref=_pool_ref,
    onnx="MaxRoiPool",
    doc="""Boxes of ``x``, cut into bins, each of which is the maximum of its pixels; 0 where it has none.

    x: floating [N, C, H, W]. boxes: [R, 4]: x0, y0, x1, y1, times ``spatial_scale`` rounded to pixels, both ends
    inside. batch: [R], the image of each box. output_size: the bins, an int or (height, width). Returns
    [R, C, *output_size]. No gradient flows through boxes.
    """,
)


def _deform_canonical(
    x: Value, w: Value, offset: Value, *more: Value, stride: Any, padding: Any, dilation: Any, **rest: Any
) -> Any:
    if x.ndim != 4 or w.ndim != 4 or offset.ndim != 4:
        what = f"expected x [N, C, H, W], w [O, C/groups, KH, KW] and offset [N, 2*G*KH*KW, OH, OW]; got {x.type}"
        raise InvalidArgumentError(f"{what}, {w.type} and {offset.type}")
    return settled(2, padding, stride=stride, dilation=dilation)


def _deform_expand(
    x: Value,
    w: Value,
    offset: Value,
    *more: Value,
    given: tuple[str, ...],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    offset_groups: int,
) -> Value:
    (mask,) = optional(given, more, "mask")
    kernel = w.dims[2:]
    out, low = windows(x.dims[2:], kernel, stride, padding, dilation)
    n, parts = x.dims[0], offset_groups
    moved = reshape(offset, (n, parts, *kernel, 2, *out))
    points = []
    for i in range(2):
        shape: list[Any] = [1] * 6
        shape[2 + i], shape[4 + i] = kernel[i], 1
        taps = reshape(iota(kernel[i]) * dilation[i], shape)
        shape[2 + i], shape[4 + i] = 1, out[i]
        places = taps + reshape(iota(out[i]) * stride[i], shape) - as_number(low[i])
        points.append(moved[:, :, :, :, i] + call("cast", places, x.dtype))
    inner = dims.floordiv(x.dims[1], parts)
    split = reshape(x, (dims.mul(n, parts), inner, *x.dims[2:]))
    plane = as_number(dims.product(x.dims[2:]))
    base = reshape(iota(dims.mul(n, parts)) * plane, (n, parts, 1, 1, 1, 1))
    found = linear_at(pixels(split), base, points, x.dims[2:], True)
    if mask is not None:
        found = found * reshape(mask, (n, parts, *kernel, *out, 1))
    columns = transpose(found, (0, 4, 5, 1, 6, 2, 3))
    depth = dims.mul(w.dims[1], dims.product(kernel))
    places = dims.product(out)
    rows = transpose(reshape(columns, (n, places, groups, depth)), (0, 2, 1, 3))
    weights = transpose(reshape(w, (groups, dims.floordiv(w.dims[0], groups), depth)), (0, 2, 1))
    y = transpose(call("matmul", rows, weights), (0, 1, 3, 2))
    return reshape(y, (n, w.dims[0], *out))


def _deform_ref(
    x: np.ndarray,
    w: np.ndarray,
    offset: np.ndarray,
    *more: np.ndarray,
    given: tuple[str, ...],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    offset_groups: int,
) -> np.ndarray:
    (mask,) = optional(given, more, "mask")
    kernel, (h, v) = w.shape[2:], x.shape[2:]
    out, low = windows((h, v), kernel, stride, padding, dilation)
    moved = offset.reshape(x.shape[0], offset_groups, *kernel, 2, *out)
    factor = (
        np.ones((x.shape[0], offset_groups, *kernel, *out))
        if mask is None
        else mask.reshape(moved[:, :, :, :, 0].shape)
    )
    inner, share = x.shape[1] // offset_groups, x.shape[1] // groups
    result = np.zeros((x.shape[0], w.shape[0], *out))
    for n, c, a, b, i, j in np.ndindex(x.shape[0], x.shape[1], *kernel, *out):
        at = (n, c // inner, a, b)
        y = i * stride[0] - low[0] + a * dilation[0] + moved[index_of(*at, 0, i, j)]
        z = j * stride[1] - low[1] + b * dilation[1] + moved[index_of(*at, 1, i, j)]
        value = 0.0
        for p, q in (
            (np.floor(y), np.floor(z)),
            (np.floor(y), np.floor(z) + 1),
            (np.floor(y) + 1, np.floor(z)),
            (np.floor(y) + 1, np.floor(z) + 1),
        ):
            if 0 <= p < h and 0 <= q < v:
                value += (1 - abs(y - p)) * (1 - abs(z - q)) * x[n, c, int(p), int(q)]
        first, many = (c // share) * (w.shape[0] // groups), w.shape[0] // groups
        result[n, first : first + many, i, j] += (
            w[first : first + many, c % share, a, b] * value * factor[index_of(*at, i, j)]
        )
    return result.astype(x.dtype)


_deform_conv2d = composite(
    "deform_conv2d",
    "x:T, w:T, offset:T, *more:T",
    attrs={
        "given": GIVEN,
        "stride": INTS,
        "padding": ANY_PADDING,
        "dilation": INTS,
        "groups": INT,
        "offset_groups": INT,
    },
    canonical=_deform_canonical,
    expand=_deform_expand,
    ref=_deform_ref,
    onnx="DeformConv",
    doc="Convolution at places that are moved; see :func:`pyflow.deform_conv2d`.",
)


def deform_conv2d(
    x: Any,
    offset: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    mask: Any = None,
    groups: int = 1,
    offset_groups: int = 1,
    *,
    name: str | None = None,
) -> Value:
    """2-d convolution whose elements of x are taken, linearly between pixels, where ``offset`` moves them.

    x: floating [N, C, H, W]. w: [O, C/groups, KH, KW]. bias: [O] or None. offset: [N, 2*G*KH*KW, OH, OW], in pixels,
        down then right, of each place in the kernel for each of G = ``offset_groups`` groups of channels. mask:
        [N, G*KH*KW, OH, OW], a factor of each, or None. stride, padding, dilation: as for :func:`pyflow.conv`.
    J. Dai et al.: Deformable convolutional networks, 2017; X. Zhu et al.: v2, 2019.
    """
    given, more = present(mask=mask)
    y: Value = _deform_conv2d(
        x,
        w,
        offset,
        *more,
        given=given,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        offset_groups=offset_groups,
        name=name if bias is None else None,
    )
    return y if bias is None else call("add", y, per_channel(bias, 4), name=name)
