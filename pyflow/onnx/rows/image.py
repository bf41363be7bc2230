"""Images: resampling, boxes in them, files of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import pyflow as pf
from pyflow import dims
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Value
from pyflow.onnx.node import OnnxNode
from pyflow.onnx.rows.shapes import length_of, size_value
from pyflow.onnx.table import onnx_op
from pyflow.ops.common import normalise_axis


@onnx_op("Upsample", since=7)
def upsample_7(node: OnnxNode, x: Value) -> Value:
    return _upsampled(node, x, node["scales"])


@onnx_op("Upsample", since=9)
def upsample(node: OnnxNode, x: Value, scales: Value) -> Value:
    return _upsampled(node, x, _numbers(node, scales))


@onnx_op("Resize", since=10)
def resize_10(node: OnnxNode, x: Value, scales: Value) -> Value:
    return _upsampled(node, x, _numbers(node, scales))


def _numbers(node: OnnxNode, value: Value) -> Any:
    """The numbers in ``value`` where they are known, else the value."""
    array = node.known(value)
    return value if array is None else array.astype(np.float64).tolist()


def _upsampled(node: OnnxNode, x: Value, scales: Any) -> Value:
    return pf.resize(
        x,
        scales=scales,
        mode=node["mode"],
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


@onnx_op("Resize", since=11)
def resize(
    node: OnnxNode, x: Value, roi: Value | None = None, scales: Value | None = None, sizes: Value | None = None
) -> Value:
    axes = node.get("axes")
    over = list(range(x.ndim)) if axes is None else [normalise_axis(axis, x.ndim) for axis in axes]
    mode = node["coordinate_transformation_mode"]
    box = None if roi is None or mode != "tf_crop_and_resize" else _numbers(node, roi)
    given: dict[str, Any] = {}
    if scales is not None and scales.dims != (0,):
        given["scales"] = _numbers(node, scales)
    elif sizes is not None:
        given["sizes"] = node.sizes(sizes)
    else:
        raise InvalidArgumentError("expected one of the inputs 'scales' and 'sizes'")
    return pf.resize(
        x,
        mode=node["mode"],
        axes=over,
        coordinate_transformation_mode=mode,
        nearest_mode=node["nearest_mode"],
        cubic_coeff_a=node["cubic_coeff_a"],
        exclude_outside=bool(node["exclude_outside"]),
        antialias=bool(node.get("antialias", 0)),
        extrapolation_value=node["extrapolation_value"],
        roi=box,
        keep_aspect_ratio_policy=node.get("keep_aspect_ratio_policy", "stretch"),
        **given,
    )


_MODES = {"linear": "bilinear", "cubic": "bicubic"}


@onnx_op("GridSample")
def grid_sample(node: OnnxNode, x: Value, grid: Value) -> Value:
    mode = _MODES.get(node["mode"], node["mode"])
    return pf.grid_sample(x, grid, mode, node["padding_mode"], bool(node["align_corners"]))


@onnx_op("AffineGrid")
def affine_grid(node: OnnxNode, theta: Value, size: Value) -> Value:
    return pf.affine_grid(theta, node.sizes(size), bool(node["align_corners"]))


@onnx_op("Col2Im", since=18)
def col2im(node: OnnxNode, x: Value, image: Value, block: Value) -> Value:
    count = length_of(block)
    pads = node.get("pads") or [0] * (2 * count)
    steps, gaps = (node.get(name) or [1] * count for name in ("strides", "dilations"))
    known = node.content(block)
    if known is not None:
        padding = [size for i in range(count) for size in (pads[i], pads[i + count])]
        return pf.fold(x, node.sizes(image), list(known), gaps, padding, steps)
    return _scattered_blocks(x, node.sizes(image), node.sizes(block), pads, steps, gaps)


def _scattered_blocks(
    x: Value,
    image: Sequence[Size],
    block: Sequence[Size],
    pads: Sequence[int],
    steps: Sequence[int],
    gaps: Sequence[int],
) -> Value:
    """Blocks whose size a run tells, added up where they stand."""
    count = len(block)
    place, inside = pf.constant(0), pf.constant(True)
    columns: list[Size] = []
    for i in range(count):
        room = dims.add(image[i], pads[i] + pads[i + count] - 1)
        reach = dims.mul(dims.add(block[i], -1), gaps[i])
        columns.append(dims.add(dims.floordiv(dims.add(room, dims.mul(reach, -1)), steps[i]), 1))
        at = pf.expand_dims(pf.multiply(pf.arange(block[i]), gaps[i]), 1)
        at = pf.subtract(pf.add(at, pf.multiply(pf.arange(columns[i]), steps[i])), pads[i])
        size = size_value(image[i])
        shape: list[Size] = [1] * (2 * count)
        shape[i], shape[count + i] = at.dims
        fits = pf.logical_and(pf.greater_equal(at, 0), pf.less(at, size))
        place = pf.add(pf.multiply(place, size), pf.reshape(at, shape))
        inside = pf.logical_and(inside, pf.reshape(fits, shape))
    total = dims.product(image)
    index = pf.reshape(pf.where(inside, place, size_value(total)), [-1])
    channels = dims.floordiv(x.dims[1], dims.product(block))
    spread = pf.reshape(x, [dims.mul(x.dims[0], channels), index.dims[0]])
    zeros = pf.broadcast_to(pf.constant(np.zeros((), x.dtype.numpy)), [dims.add(total, 1), spread.dims[0]])
    moved = pf.scatter_nd(zeros, pf.expand_dims(index, 1), pf.transpose(spread), reduction="add")
    return pf.reshape(pf.transpose(moved[:total]), [x.dims[0], channels, *image])


@onnx_op("RoiAlign")
def roi_align(node: OnnxNode, x: Value, boxes: Value, batch: Value) -> Value:
    """Before version 16 coordinates are not moved by half a pixel."""
    mode = node.get("coordinate_transformation_mode", "output_half_pixel")
    if mode not in ("half_pixel", "output_half_pixel"):
        raise InvalidArgumentError(f"unknown coordinate_transformation_mode {mode!r}")
    return pf.roi_align(
        x,
        boxes,
        batch,
        (node["output_height"], node["output_width"]),
        node["spatial_scale"],
        node["sampling_ratio"],
        aligned=mode == "half_pixel",
        mode=node["mode"],
    )


@onnx_op("MaxRoiPool")
def max_roi_pool(node: OnnxNode, x: Value, boxes: Value) -> Value:
    """The first number of a box is its image."""
    shape = node["pooled_shape"]
    return pf.roi_pool(x, boxes[:, 1:], pf.cast(boxes[:, 0], pf.int64), shape, node["spatial_scale"])


@onnx_op("NonMaxSuppression")
def non_max_suppression(
    node: OnnxNode,
    boxes: Value,
    scores: Value,
    most: Value | None = None,
    overlap: Value | None = None,
    least: Value | None = None,
) -> Value:
    count, limit, threshold = (None if value is None else pf.reshape(value, []) for value in (most, overlap, least))
    return pf.non_max_suppression(
        boxes,
        scores,
        0 if count is None else count,
        0.0 if limit is None else limit,
        threshold,
        center_point_box=bool(node["center_point_box"]),
    )


@onnx_op("ImageDecoder")
def image_decoder(node: OnnxNode, data: Value) -> Value:
    return pf.decode_image(data, pixel_format=node["pixel_format"])


@onnx_op("CenterCropPad")
def center_crop_pad(node: OnnxNode, x: Value, shape: Value) -> Value:
    axes = node.get("axes")
    over = list(range(x.ndim)) if axes is None else [normalise_axis(axis, x.ndim) for axis in axes]
    wanted_sizes = node.sizes(shape)
    if len({*over}) < len(over) or len(wanted_sizes) != len(over):
        raise InvalidArgumentError(f"{len(wanted_sizes)} sizes for the axes {over}")
    pairs: list[Any] = [(0, 0)] * x.ndim
    for axis, wanted in zip(over, wanted_sizes, strict=True):
        missing = dims.add(wanted, dims.mul(x.dims[axis], -1))
        crop = dims.floordiv(dims.maximum(dims.mul(missing, -1), 0), 2)
        before = dims.add(dims.floordiv(dims.maximum(missing, 0), 2), dims.mul(crop, -1))
        pairs[axis] = (before, dims.add(missing, dims.mul(before, -1)))
    return pf.pad(x, pairs)
