"""Rearranging, repeating and joining: what NumPy offers beside reshape, transpose and concat."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.apply import convert
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import call
from pyflow.ops.arrays.joining import concat, split
from pyflow.ops.arrays.shape import broadcast_to, expand_dims, flip, reshape, squeeze, transpose
from pyflow.ops.common import axes_of, axis_of, normalise_axis, slice_along
from pyflow.ops.sizes import as_size, as_sizes

__all__ = [
    "array_split",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_arrays",
    "column_stack",
    "dsplit",
    "dstack",
    "flatten",
    "fliplr",
    "flipud",
    "hsplit",
    "hstack",
    "matrix_transpose",
    "moveaxis",
    "permute_dims",
    "ravel",
    "repeat",
    "roll",
    "rollaxis",
    "rot90",
    "swapaxes",
    "tile",
    "unsqueeze",
    "unstack",
    "vsplit",
    "vstack",
]

permute_dims = transpose
unsqueeze = expand_dims


def _wrong(op: str, what: str) -> InvalidArgumentError:
    return InvalidArgumentError(message(op, what, user_origin()))


def ravel(x: Any, *, name: str | None = None) -> Value:
    """The elements of ``x`` in row-major order: 1-d."""
    result: Value = reshape(x, (-1,), name=name)
    return result


def flatten(x: Any, axis: int = 1, *, name: str | None = None) -> Value:
    """A matrix: the axes before ``axis`` as one, and those from it on as another."""
    value = convert(x)
    if not -value.ndim <= axis <= value.ndim:
        raise _wrong("flatten", f"axis {axis} is out of range for {value.type}")
    at = axis % value.ndim if axis < 0 else axis
    result: Value = reshape(value, (dims.product(value.dims[:at]), dims.product(value.dims[at:])), name=name)
    return result


def moveaxis(
    x: Any, source: int | Sequence[int], destination: int | Sequence[int], *, name: str | None = None
) -> Value:
    """``x`` with the axes ``source`` at the places ``destination``; the others stay in order."""
    value = convert(x)
    froms = [source] if isinstance(source, int) else list(source)
    places = [destination] if isinstance(destination, int) else list(destination)
    if len(froms) != len(places):
        raise _wrong("moveaxis", f"expected as many sources as destinations, got {len(froms)} and {len(places)}")
    for axes in (froms, places):
        axes_of("moveaxis", axes, value)
    moved = [axis_of("moveaxis", axis, value) for axis in froms]
    order = [axis for axis in range(value.ndim) if axis not in moved]
    for place, axis in sorted(zip((axis_of("moveaxis", p, value) for p in places), moved, strict=True)):
        order.insert(place, axis)
    result: Value = transpose(value, order, name=name)
    return result


def rollaxis(x: Any, axis: int, start: int = 0, *, name: str | None = None) -> Value:
    """``x`` with ``axis`` moved back until it lies before ``start``."""
    value = convert(x)
    place = axis_of("rollaxis", axis, value)
    before = start + value.ndim if start < 0 else start
    return moveaxis(value, place, before - 1 if place < before else before, name=name)


def swapaxes(x: Any, axis1: int, axis2: int, *, name: str | None = None) -> Value:
    """``x`` with two axes exchanged."""
    value = convert(x)
    order = list(range(value.ndim))
    first, second = (axis_of("swapaxes", axis, value) for axis in (axis1, axis2))
    order[first], order[second] = second, first
    result: Value = transpose(value, order, name=name)
    return result


def matrix_transpose(x: Any, *, name: str | None = None) -> Value:
    """``x`` with its last two axes exchanged."""
    return swapaxes(x, -1, -2, name=name)


def fliplr(x: Any, *, name: str | None = None) -> Value:
    """``x`` reversed along axis 1."""
    result: Value = flip(x, 1, name=name)
    return result


def flipud(x: Any, *, name: str | None = None) -> Value:
    """``x`` reversed along axis 0."""
    result: Value = flip(x, 0, name=name)
    return result


def rot90(x: Any, k: int = 1, axes: Sequence[int] = (0, 1)) -> Value:
    """``x`` turned by ``k`` quarters in the plane of two axes, from the first towards the second."""
    value = convert(x)
    if len(axes) != 2:
        raise _wrong("rot90", f"expected two axes, got {list(axes)}")
    first, second = (axis_of("rot90", axis, value) for axis in axes)
    if first == second:
        raise _wrong("rot90", f"axes {list(axes)} are one axis of {value.type}")
    if k % 4 == 0:
        return value
    if k % 4 == 2:
        half: Value = flip(value, (first, second))
        return half
    return swapaxes(flip(value, second), first, second) if k % 4 == 1 else flip(swapaxes(value, first, second), second)


def roll(x: Any, shift: Any, axis: int | Sequence[int] | None = None, *, name: str | None = None) -> Value:
    """``x`` with its elements moved by ``shift`` places along ``axis``; those that leave come in at the other end.

    shift: an int or a Dim, or one per axis. axis: None: along the flattened ``x``.
    """
    value = convert(x)
    if axis is None:
        result: Value = reshape(roll(reshape(value, (-1,)), shift, 0), value.dims, name=name)
        return result
    axes = [axis] if isinstance(axis, int) else list(axis)
    shifts = [shift] * len(axes) if not isinstance(shift, (list, tuple)) else list(shift)
    if len(shifts) != len(axes):
        raise _wrong("roll", f"expected a shift per axis, got {len(shifts)} for {len(axes)} axes")
    for by, place in zip(shifts, axes, strict=True):
        along = axis_of("roll", place, value)
        size = value.dims[along]
        if size == 0:
            continue
        cut = dims.mod(dims.mul(as_size(by), -1), size if isinstance(size, int) else dims.maximum(size, 1))
        if cut != 0:
            value = concat([slice_along(value, along, cut, None), slice_along(value, along, None, cut)], along)
    return value


def tile(x: Any, repeats: Any, *, name: str | None = None) -> Value:
    """``x`` laid side by side ``repeats`` times along each axis.

    repeats: ints, Dims or an integer value, for the last axes; where there are more than ``x`` has axes, it gets
    leading ones.
    """
    value = convert(x)
    counts = as_sizes(repeats)
    lead = max(0, len(counts) - value.ndim)
    counts = (*(1,) * (value.ndim - len(counts)), *counts)
    sizes = (*(1,) * lead, *value.dims)
    apart = [size for pair in zip((1,) * len(sizes), sizes, strict=True) for size in pair]
    spread = [size for pair in zip(counts, sizes, strict=True) for size in pair]
    copies = broadcast_to(reshape(value, apart), spread)
    result: Value = reshape(copies, [dims.mul(a, b) for a, b in zip(counts, sizes, strict=True)], name=name)
    return result


def repeat(x: Any, repeats: Any, axis: int | None = None, *, name: str | None = None) -> Value:
    """``x`` with each slice along ``axis`` (None: each element of the flattened ``x``) ``repeats`` times in a row.

    repeats: an int or a Dim, or a 1-d integer value: one number per slice; then the size of the result is one that the
    run finds out, unless the numbers are known.
    """
    value = convert(x) if axis is not None else reshape(x, (-1,))
    along = normalise_axis(axis or 0, value.ndim, str(value.type))
    if isinstance(repeats, (int, dims.Dim, np.integer)):
        sizes = value.dims
        apart = broadcast_to(expand_dims(value, along + 1), (*sizes[: along + 1], repeats, *sizes[along + 1 :]))
        joined = (*sizes[:along], dims.mul(sizes[along], as_size(repeats)), *sizes[along + 1 :])
        result: Value = reshape(apart, joined, name=name)
        return result
    counts = convert(repeats, dtypes.int64)
    ends = call("cumsum", counts, 0)
    total = as_size(call("sum", counts))
    places = call("searchsorted", ends, call("iota", total), "right")
    result = call("gather", value, places, along, name=name)
    return result


def atleast_1d(x: Any) -> Value:
    """``x``, with an axis if it has none."""
    value = convert(x)
    return reshape(value, (1,)) if value.ndim == 0 else value


def atleast_2d(x: Any) -> Value:
    """``x``, with leading axes of size 1 up to two axes."""
    value = atleast_1d(x)
    return expand_dims(value, 0) if value.ndim == 1 else value


def atleast_3d(x: Any) -> Value:
    """``x`` with three axes at least: a row is ``[1, n, 1]``, a matrix ``[m, n, 1]``."""
    value = atleast_2d(x)
    return expand_dims(value, 2) if value.ndim == 2 else value


def vstack(values: Sequence[Any], *, name: str | None = None) -> Value:
    """``values``, of two axes at least, one below the other: joined along axis 0."""
    return concat([atleast_2d(value) for value in values], 0, name)


def hstack(values: Sequence[Any], *, name: str | None = None) -> Value:
    """``values`` side by side: joined along axis 1, rows along axis 0."""
    rows = [atleast_1d(value) for value in values]
    return concat(rows, 0 if all(row.ndim == 1 for row in rows) else 1, name)


def dstack(values: Sequence[Any], *, name: str | None = None) -> Value:
    """``values``, of three axes at least, one behind the other: joined along axis 2."""
    return concat([atleast_3d(value) for value in values], 2, name)


def column_stack(values: Sequence[Any], *, name: str | None = None) -> Value:
    """``values``, 1-d ones as columns, side by side."""
    columns = [atleast_1d(value) for value in values]
    return concat([expand_dims(column, 1) if column.ndim == 1 else column for column in columns], 1, name)


def unstack(x: Any, axis: int = 0) -> tuple[Value, ...]:
    """The slices of ``x`` along ``axis``, whose size is known, without that axis."""
    value = convert(x)
    along = axis_of("unstack", axis, value)
    size = value.dims[along]
    if not isinstance(size, int):
        raise _wrong("unstack", f"expected a known size along axis {along}, got {value.type}")
    return tuple(squeeze(part, along) for part in split(value, size, along)) if size else ()


def array_split(x: Any, sections: Any, axis: int = 0) -> tuple[Value, ...]:
    """``x`` cut along ``axis`` into parts.

    sections: how many, the first ones larger by 1 where they cannot be equal; or the indices where to cut, as in NumPy.
    """
    value = convert(x)
    along = axis_of("array_split", axis, value)
    size = value.dims[along]
    if isinstance(sections, int):
        if sections < 1:
            raise _wrong("array_split", f"expected a number of sections of at least 1, got {sections}")
        least, more = dims.floordiv(size, sections), dims.mod(size, sections)
        extra = [dims.maximum(dims.minimum(dims.add(more, -i), 1), 0) for i in range(sections)]
        parts: list[Size] = [dims.add(least, one) for one in extra]
    else:
        edges = itertools.pairwise([None, *sections, None])
        return tuple(slice_along(value, along, start, stop) for start, stop in edges)
    result: tuple[Value, ...] = split(value, parts, along)
    return result


def vsplit(x: Any, sections: Any) -> tuple[Value, ...]:
    """:func:`split` along axis 0."""
    result: tuple[Value, ...] = split(x, sections, 0)
    return result


def hsplit(x: Any, sections: Any) -> tuple[Value, ...]:
    """:func:`split` along axis 1, of a row along axis 0."""
    value = convert(x)
    result: tuple[Value, ...] = split(value, sections, 0 if value.ndim == 1 else 1)
    return result


def dsplit(x: Any, sections: Any) -> tuple[Value, ...]:
    """:func:`split` along axis 2."""
    result: tuple[Value, ...] = split(x, sections, 2)
    return result


def broadcast_arrays(*xs: Any) -> tuple[Value, ...]:
    """``xs`` repeated to the shape that they broadcast to."""
    values = [convert(x) for x in xs]
    try:
        shape = dims.broadcast_shapes(*(value.dims for value in values))
    except ValueError:
        shown = ", ".join(str(value.type) for value in values)
        raise _wrong("broadcast_arrays", f"shapes do not broadcast: {shown}") from None
    return tuple(broadcast_to(value, shape) for value in values)
