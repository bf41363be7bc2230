"""Ops that move elements: reshape, slice, join, pad, index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import pyflow as pf
from pyflow import dims
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError, UnimplementedError
from pyflow.graph import Value, get_default_graph
from pyflow.onnx.node import OnnxNode, present
from pyflow.onnx.table import onnx_op
from pyflow.opdef import call
from pyflow.ops.common import normalise_axis
from pyflow.ops.sizes import MOST_SIZES


@onnx_op("Reshape", since=5)
def reshape(node: OnnxNode, x: Value, shape: Value) -> Value:
    """0 stands for x's own size there, unless ``allowzero``."""
    keep = not node.get("allowzero", 0)
    count = length_of(shape)
    content = node.content(shape)
    if content is not None:
        if keep and any(size == 0 and i >= x.ndim for i, size in enumerate(content)):
            raise InvalidArgumentError(f"{list(content)} copies an axis that {x.type} does not have")
        return pf.reshape(x, [x.dims[i] if keep and size == 0 else size for i, size in enumerate(content)])
    wanted = pf.cast(shape, pf.int64)
    if keep:
        own = [x.dims[i] if i < x.ndim else 0 for i in range(count)]
        wanted = pf.where(pf.equal(wanted, 0), pf.stack([size_value(size) for size in own]), wanted)
    open_ = pf.equal(wanted, -1)
    rest = pf.prod(pf.where(open_, 1, wanted))
    left = pf.floor_divide(pf.size(x), pf.maximum(rest, 1))
    return pf.reshape(x, node.sizes(pf.where(open_, left, wanted)))


def size_value(size: Size) -> Value:
    """A size as a 0-d int64 value."""
    return pf.constant(np.int64(size)) if isinstance(size, int) else call("sizes", (size,), scalar=True)


@onnx_op("Flatten")
def flatten(node: OnnxNode, x: Value) -> Value:
    axis = node["axis"]
    if not -x.ndim <= axis <= x.ndim:
        raise InvalidArgumentError(f"axis {axis} is out of range for {x.type}")
    axis += x.ndim * (axis < 0)
    return pf.reshape(x, [dims.product(x.dims[:axis]), dims.product(x.dims[axis:])])


@onnx_op("Transpose")
def transpose(node: OnnxNode, x: Value) -> Value:
    return pf.transpose(x, node.get("perm"))


@onnx_op("Squeeze")
def squeeze_1(node: OnnxNode, x: Value) -> Value:
    return _squeezed(x, node.get("axes"))


@onnx_op("Squeeze", since=13)
def squeeze(node: OnnxNode, x: Value, axes: Value | None = None) -> Value:
    if axes is None or node.content(axes) is not None:
        return _squeezed(x, node.ints(axes, "the input 'axes'"))
    count = length_of(axes)
    kept = pf.reshape(pf.nonzero(pf.logical_not(named(axes, x.ndim))), [x.ndim - count])
    return pf.reshape(x, node.sizes(pf.gather(pf.shape(x), kept)))


def length_of(value: Value) -> int:
    """How many entries a 1-d value has, which must be known and not beyond what sizes or axes may be."""
    if value.ndim != 1 or not isinstance(value.dims[0], int):
        raise UnimplementedError(f"expected a 1-d value of known length, got {value.type}")
    if value.dims[0] > MOST_SIZES:
        raise InvalidArgumentError(f"expected at most {MOST_SIZES} entries, got {value.type}")
    return value.dims[0]


def named(axes: Value, ndim: int) -> Value:
    """bool[ndim]: whether the axis is among ``axes``, which a run tells."""
    order = pf.expand_dims(pf.arange(ndim), 1)
    return pf.any(pf.equal(order, pf.mod(pf.cast(axes, pf.int64), ndim)), 1)


def placed(values: Value, axes: Value, ndim: int, default: Value) -> Value:
    """int64[ndim]: the entry of ``values`` for each of ``axes``, which a run tells, and ``default`` elsewhere."""
    hits = pf.equal(pf.expand_dims(pf.arange(ndim), 1), pf.mod(pf.cast(axes, pf.int64), ndim))
    found = pf.sum(pf.where(hits, pf.cast(values, pf.int64), 0), 1)
    return pf.where(pf.any(hits, 1), found, default)


def _squeezed(x: Value, axes: Sequence[int] | None) -> Value:
    if axes is not None:
        return pf.squeeze(x, axes)
    ones = [axis for axis, size in enumerate(x.dims) if size == 1]
    open_ = [size for size in x.dims if not isinstance(size, int)]
    if not open_:
        return pf.squeeze(x, ones)
    differ = pf.all(pf.stack([pf.not_equal(size_value(size), 1) for size in open_]))
    what = f"squeeze without axes of {x.type}: a size that was not known is 1, and would be taken away"
    with get_default_graph().control_dependencies([pf.Assert(differ, what)]):
        return pf.squeeze(x, ones)


@onnx_op("Unsqueeze")
def unsqueeze_1(node: OnnxNode, x: Value) -> Value:
    return pf.expand_dims(x, node["axes"])


@onnx_op("Unsqueeze", since=13)
def unsqueeze(node: OnnxNode, x: Value, axes: Value) -> Value:
    if node.content(axes) is not None:
        return pf.expand_dims(x, node.ints(axes, "the input 'axes'"))
    ndim = x.ndim + length_of(axes)
    new = named(axes, ndim)
    order = pf.arange(ndim)
    earlier = pf.less(pf.expand_dims(order, 0), pf.expand_dims(order, 1))
    place = pf.sum(pf.cast(pf.logical_and(earlier, pf.logical_not(new)), pf.int64), 1)
    own = pf.gather(pf.concat([pf.shape(x), [1]]), pf.minimum(place, x.ndim))
    return pf.reshape(x, node.sizes(pf.where(new, 1, own)))


@onnx_op("Concat", since=4)
def concat(node: OnnxNode, *values: Value) -> Value:
    return pf.concat(present(values), node["axis"])


@onnx_op("Split")
def split_1(node: OnnxNode, x: Value) -> tuple[Value, ...]:
    return _split(node, x, node.get("split"))


@onnx_op("Split", since=13)
def split(node: OnnxNode, x: Value, sizes: Value | None = None) -> tuple[Value, ...]:
    return _split(node, x, None if sizes is None else node.sizes(sizes))


def _split(node: OnnxNode, x: Value, sizes: Sequence[Size] | None) -> tuple[Value, ...]:
    axis = normalise_axis(node["axis"], x.ndim)
    count = node.get("num_outputs") or len(node.outputs)
    if count != len(node.outputs):
        raise InvalidArgumentError(f"num_outputs is {count}, and the node has {len(node.outputs)} outputs")
    if sizes is None:
        part = dims.ceildiv(x.dims[axis], count)
        last = dims.add(x.dims[axis], dims.mul(part, 1 - count))
        sizes = [*[part] * (count - 1), last]
    if len(sizes) != len(node.outputs):
        raise InvalidArgumentError(f"{len(sizes)} sizes for {len(node.outputs)} outputs")
    return pf.split(x, list(sizes), axis)


@onnx_op("Slice")
def slice_1(node: OnnxNode, x: Value) -> Value:
    starts, ends = node["starts"], node["ends"]
    return _slice(node, x, starts, ends, node.get("axes") or list(range(len(starts))), [1] * len(starts))


@onnx_op("Slice", since=10)
def slice_(
    node: OnnxNode, x: Value, starts: Value, ends: Value, axes: Value | None = None, steps: Value | None = None
) -> Value:
    known = (axes is None or node.content(axes) is not None) and (steps is None or node.content(steps) is not None)
    if not known:
        return _slice_at_run_time(node, x, starts, ends, axes, steps)
    first, last = _entries(node, starts), _entries(node, ends)
    over = node.ints(axes, "the input 'axes'")
    by = node.ints(steps, "the input 'steps'")
    return _slice(node, x, first, last, list(range(len(first))) if over is None else over, by or [1] * len(first))


def _slice_at_run_time(
    node: OnnxNode, x: Value, starts: Value, ends: Value, axes: Value | None, steps: Value | None
) -> Value:
    """Along axes or with steps that a run tells: every axis is gathered."""
    count = length_of(starts)
    over = pf.arange(count) if axes is None else axes
    sizes = pf.shape(x)
    step = placed(pf.broadcast_to(1, [count]) if steps is None else steps, over, x.ndim, pf.constant(1))
    backwards = pf.less(step, 0)
    last = pf.subtract(sizes, 1)
    low, high = pf.where(backwards, -1, 0), pf.where(backwards, last, sizes)

    def bounds(values: Value, default: Value) -> Value:
        given = placed(values, over, x.ndim, default)
        counted = pf.where(pf.less(given, 0), pf.add(given, sizes), given)
        return pf.maximum(pf.minimum(counted, high), low)

    first, end = bounds(starts, pf.constant(0)), bounds(ends, sizes)
    reach = pf.where(backwards, pf.subtract(first, end), pf.subtract(end, first))
    size = pf.abs(pf.where(pf.equal(step, 0), 1, step))
    counts = node.sizes(pf.maximum(pf.floor_divide(pf.add(reach, pf.subtract(size, 1)), size), 0))
    for axis in range(x.ndim):
        x = pf.gather(x, pf.add(first[axis], pf.multiply(pf.arange(counts[axis]), step[axis])), axis)
    return x


def _entries(node: OnnxNode, value: Value) -> list[Any]:
    """The elements of a 1-d value: sizes where they are known, else 0-d values."""
    content = node.content(value)
    if content is not None:
        return list(content)
    return [pf.cast(value[i], pf.int64) for i in range(length_of(value))]


def _slice(
    node: OnnxNode, x: Value, starts: Sequence[Any], ends: Sequence[Any], axes: Sequence[int], steps: Sequence[int]
) -> Value:
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise InvalidArgumentError(
            f"starts, ends, axes and steps have {len(starts)}, {len(ends)}, {len(axes)} and {len(steps)} entries"
        )
    settled = [normalise_axis(axis, x.ndim) for axis in axes]
    if len({*settled}) < len(settled):
        raise InvalidArgumentError(f"axes {list(axes)} name an axis twice")
    key = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, settled, steps, strict=True):
        if step == 0:
            raise InvalidArgumentError("a step is 0")
        size = x.dims[axis]
        key[axis] = slice(_bound(node, start, size, step, True), _bound(node, end, size, step, False), step)
    return x[tuple(key)]


def _bound(node: OnnxNode, bound: Any, size: Size, step: int, first: bool) -> Any:
    """A start or end as Python's slices take it: counted from the front, or None where all is taken."""
    if isinstance(bound, int):
        if not first and step < 0 and isinstance(size, int) and bound < -size:
            return None
        return None if abs(bound) >= 2**31 - 1 and (bound > 0) == ((step > 0) != first) else bound
    if isinstance(bound, dims.Dim):
        low = dims.bounds(bound)[0]
        if (low is not None and low >= 0) or dims.add(bound, dims.mul(size, -1)) == -1:
            return bound
        below = dims.minimum(dims.maximum(dims.mul(bound, -1), 0), 1)
        return dims.add(bound, dims.mul(size, below))
    if step < 0:
        raise UnimplementedError("a slice backwards with bounds that only a run can tell")
    length = size_value(size)
    counted = pf.where(pf.less(bound, 0), pf.add(bound, length), bound)
    (settled,) = node.sizes(pf.reshape(pf.clip(counted, 0, length), [1]))
    return settled


@onnx_op("Expand")
def expand(node: OnnxNode, x: Value, shape: Value) -> Value:
    """Broadcasts both ways: a 1 in ``shape`` keeps x's size."""
    wanted = node.sizes(shape)
    own = (1,) * (len(wanted) - x.ndim) + x.dims
    wanted = (1,) * (len(own) - len(wanted)) + tuple(wanted)
    try:
        shared = dims.broadcast_shapes(own, wanted)
    except ValueError:
        raise InvalidArgumentError(f"{x.type} does not expand to [{','.join(map(str, wanted))}]") from None
    return pf.broadcast_to(x, shared)


@onnx_op("Tile", since=6)
def tile(node: OnnxNode, x: Value, repeats: Value) -> Value:
    counts = node.sizes(repeats)
    if len(counts) != x.ndim:
        raise InvalidArgumentError(f"{len(counts)} repeats for {x.type}")
    return pf.tile(x, counts)


@onnx_op("Pad", since=2)
def pad_2(node: OnnxNode, x: Value) -> Value:
    return _pad(node, x, node["pads"], node["value"], range(x.ndim))


@onnx_op("Pad", since=11)
def pad(node: OnnxNode, x: Value, pads: Value, value: Value | None = None, axes: Value | None = None) -> Value:
    number = 0 if value is None else pf.reshape(value, [])
    if axes is not None and node.content(axes) is None:
        half = length_of(axes)
        sides = (pads[:half], pads[half:])
        pads = pf.concat([placed(side, axes, x.ndim, pf.constant(0)) for side in sides])
        axes = None
    over = node.ints(axes, "the input 'axes'")
    axes_of = range(x.ndim) if over is None else [normalise_axis(axis, x.ndim) for axis in over]
    return _pad(node, x, node.sizes(pads, -(2**31)), number, axes_of)


def _pad(node: OnnxNode, x: Value, pads: Sequence[Size], value: Any, axes: Sequence[int]) -> Value:
    if len(pads) != 2 * len(axes):
        raise InvalidArgumentError(f"expected {2 * len(axes)} pads, got {len(pads)}")
    pairs: list[tuple[Size, Size]] = [(0, 0)] * x.ndim
    for place, axis in enumerate(axes):
        pairs[axis] = (pads[place], pads[place + len(axes)])
    mode = node["mode"]
    if mode == "constant":
        return pf.pad(x, pairs, value)
    for axis, (before, after) in enumerate(pairs):
        if (before, after) != (0, 0):
            x = _pad_axis(x, axis, before, after, mode)
    return x


def _pad_axis(x: Value, axis: int, before: Size, after: Size, mode: str) -> Value:
    """One axis, with elements of x itself."""
    size = x.dims[axis]
    at = pf.subtract(pf.arange(dims.add(size, dims.add(before, after))), size_value(before))
    length = size_value(size)
    if mode == "edge":
        place = pf.clip(at, 0, pf.subtract(length, 1))
    elif mode == "wrap":
        place = pf.mod(at, pf.maximum(length, 1))
    elif mode == "reflect":
        period = pf.maximum(pf.multiply(pf.subtract(length, 1), 2), 1)
        place = pf.mod(at, period)
        place = pf.minimum(place, pf.subtract(period, place))
        place = pf.where(pf.equal(length, 1), 0, place)
    else:
        raise InvalidArgumentError(f"expected the mode constant, reflect, edge or wrap, got {mode!r}")
    return pf.gather(x, place, axis)


@onnx_op("Trilu")
def trilu(node: OnnxNode, x: Value, k: Value | None = None) -> Value:
    if x.ndim < 2:
        raise InvalidArgumentError(f"expected at least 2 axes, got {x.type}")
    diagonal = 0 if k is None else pf.reshape(pf.cast(k, pf.int64), [])
    rows, columns = pf.arange(x.dims[-2]), pf.arange(x.dims[-1])
    distance = pf.subtract(pf.expand_dims(columns, 0), pf.expand_dims(rows, 1))
    keep = pf.greater_equal(distance, diagonal) if node["upper"] else pf.less_equal(distance, diagonal)
    return pf.where(keep, x, pf.constant(np.zeros((), x.dtype.numpy)))


@onnx_op("DepthToSpace")
def depth_to_space(node: OnnxNode, x: Value) -> Value:
    n, c, h, w = _image(x)
    block = node["blocksize"]
    depth = dims.floordiv(c, block * block)
    if node.get("mode", "DCR") == "DCR":
        apart = pf.transpose(pf.reshape(x, [n, block, block, depth, h, w]), [0, 3, 4, 1, 5, 2])
    else:
        apart = pf.transpose(pf.reshape(x, [n, depth, block, block, h, w]), [0, 1, 4, 2, 5, 3])
    return pf.reshape(apart, [n, depth, dims.mul(h, block), dims.mul(w, block)])


@onnx_op("SpaceToDepth", since=1)
def space_to_depth(node: OnnxNode, x: Value) -> Value:
    n, c, h, w = _image(x)
    block = node["blocksize"]
    high, wide = dims.floordiv(h, block), dims.floordiv(w, block)
    apart = pf.reshape(x, [n, c, high, block, wide, block])
    order = [0, 3, 5, 1, 2, 4] if node.get("mode", "DCR") == "DCR" else [0, 1, 3, 5, 2, 4]
    return pf.reshape(pf.transpose(apart, order), [n, dims.mul(c, block * block), high, wide])


def _image(x: Value) -> tuple[Size, ...]:
    if x.ndim != 4:
        raise InvalidArgumentError(f"expected 4 axes, got {x.type}")
    return x.dims
