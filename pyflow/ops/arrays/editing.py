"""What NumPy offers to find, take out and put together: places, triangles' indices, blocks, sequences of lengths."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.apply import convert
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import call
from pyflow.ops.arrays.joining import concat
from pyflow.ops.arrays.shape import reshape, transpose
from pyflow.ops.common import axis_of, slice_along
from pyflow.ops.composite import as_number

__all__ = [
    "append",
    "argwhere",
    "block_diag",
    "delete",
    "diagflat",
    "flatnonzero",
    "insert",
    "isin",
    "narrow",
    "reverse_sequence",
    "select",
    "sequence_mask",
    "tril_indices",
    "triu_indices",
    "unravel_index",
]


def _wrong(op: str, what: str) -> InvalidArgumentError:
    return InvalidArgumentError(message(op, what, user_origin()))


def append(x: Any, values: Any, axis: int | None = None) -> Value:
    """``values`` behind ``x`` along ``axis``; None: both flattened."""
    if axis is None:
        return concat([reshape(convert(x), (-1,)), reshape(convert(values), (-1,))], 0)
    return concat([convert(x), convert(values)], axis)


def argwhere(x: Any) -> Value:
    """The indices of the elements that are not 0, a row each: int64[count, x.ndim]."""
    result: Value = transpose(call("nonzero", x))
    return result


def flatnonzero(x: Any) -> Value:
    """The places of the elements that are not 0 in the flattened ``x``: int64[count]."""
    return call("nonzero", reshape(convert(x), (-1,)))[0]  # type: ignore[no-any-return]


def _places(op: str, at: Any, size: Any, more: int) -> list[int]:
    """The ints ``at`` as places in an axis of a known size, or of ``more`` beyond it."""
    if not isinstance(size, int):
        raise _wrong(op, f"expected an axis of a known size, got {size}")
    made = []
    for entry in [at] if isinstance(at, (int, np.integer)) else at:
        if not -size <= entry < size + more:
            raise _wrong(op, f"index {entry} is out of range for an axis of size {size}")
        made.append(int(entry) + size if entry < 0 else int(entry))
    return made


def delete(x: Any, indices: int | Sequence[int], axis: int | None = None) -> Value:
    """``x`` without the slices at ``indices`` (ints) along ``axis``, whose size is known; None: flattened."""
    value = convert(x) if axis is not None else reshape(convert(x), (-1,))
    along = axis_of("delete", axis or 0, value)
    gone = set(_places("delete", indices, value.dims[along], 0))
    kept = [place for place in range(value.dims[along]) if place not in gone]  # type: ignore[arg-type]
    result: Value = call("gather", value, np.array(kept, np.int64), along)
    return result


def insert(x: Any, index: int, values: Any, axis: int | None = None) -> Value:
    """``x`` with ``values``, which broadcast to a slice of it, before the slice ``index`` along ``axis``.

    axis: one of a known size; None: ``x`` is flattened.
    """
    value = convert(x) if axis is not None else reshape(convert(x), (-1,))
    along = axis_of("insert", axis or 0, value)
    (place,) = _places("insert", index, value.dims[along], 1)
    added = convert(values, value.dtype)
    rest = (*value.dims[:along], *value.dims[along + 1 :])
    if axis is None and added.ndim:
        added = reshape(added, (-1,))
    else:
        spread = call("broadcast_to", added, rest)
        added = call("expand_dims", spread, along)
    return concat([slice_along(value, along, None, place), added, slice_along(value, along, place, None)], along)


def narrow(x: Any, axis: int, start: Any, length: Any) -> Value:
    """``length`` slices of ``x`` along ``axis`` from ``start`` on, ints or Dims."""
    value = convert(x)
    along = axis_of("narrow", axis, value)
    return slice_along(value, along, start, dims.add(start, length))


def isin(x: Any, values: Any, invert: bool = False) -> Value:
    """Whether each element of ``x`` is one of ``values``, of any shape: bool; ``invert``: whether it is not."""
    elements, known = convert(x), reshape(convert(values), (-1,))
    same = call("equal", call("expand_dims", elements, elements.ndim), known)
    found = call("any", same, -1)
    result: Value = call("logical_not", found) if invert else found
    return result


def select(conditions: Sequence[Any], choices: Sequence[Any], default: Any = 0) -> Value:
    """Of ``choices`` the element whose condition (bool) is the first that holds, else ``default``; all broadcast."""
    if not conditions or len(conditions) != len(choices):
        raise _wrong("select", f"expected a choice per condition, got {len(conditions)} and {len(choices)}")
    result = default
    for condition, choice in zip(reversed(conditions), reversed(choices), strict=True):
        result = call("where", condition, choice, result)
    made: Value = result
    return made


def diagflat(x: Any, offset: int = 0) -> Value:
    """A square matrix with the elements of ``x`` on diagonal ``offset`` and 0 elsewhere."""
    flat = reshape(convert(x), (-1,))
    size = dims.add(flat.dims[0], abs(offset))
    result: Value = call("diagonal_matrix", flat, offset=offset, rows=size, columns=size)
    return result


def block_diag(*blocks: Any) -> Value:
    """A matrix of ``blocks`` (matrices, rows or numbers) along its diagonal, and 0 elsewhere."""
    values = [convert(block) for block in blocks]
    if not values or any(value.ndim > 2 for value in values):
        raise _wrong("block_diag", f"expected matrices, got {', '.join(str(value.type) for value in values)}")
    values = [reshape(value, (1, -1)) if value.ndim < 2 else value for value in values]
    width = functools.reduce(dims.add, (value.dims[1] for value in values))
    rows, before = [], 0
    for value in values:
        after = dims.add(width, dims.mul(dims.add(before, value.dims[1]), -1))
        rows.append(call("pad", value, 0, (0, before), (0, after)))
        before = dims.add(before, value.dims[1])  # type: ignore[assignment]
    return concat(rows, 0)


def triu_indices(n: int, k: int = 0, m: int | None = None) -> Value:
    """The places on and above diagonal ``k`` of an ``n`` by ``m`` (default: n) matrix: int64[2, count]."""
    return convert(np.stack(np.triu_indices(n, k, m)).astype(np.int64))


def tril_indices(n: int, k: int = 0, m: int | None = None) -> Value:
    """The places on and below diagonal ``k`` of an ``n`` by ``m`` (default: n) matrix: int64[2, count]."""
    return convert(np.stack(np.tril_indices(n, k, m)).astype(np.int64))


def unravel_index(indices: Any, shape: Sequence[Any]) -> tuple[Value, ...]:
    """The coordinates in an array of ``shape`` (ints or Dims) of places in the flattened one: a value per axis."""
    left, made = convert(indices, dtypes.int64), []
    for size in reversed([as_number(entry) for entry in shape]):
        made.append(call("mod", left, size))
        left = call("floor_divide", left, size)
    return tuple(reversed(made))


def sequence_mask(lengths: Any, size: Any) -> Value:
    """True at the first ``lengths`` (integers, any shape) places of a new last axis of ``size``: bool."""
    counts = convert(lengths)
    result: Value = call(
        "less", call("cast", call("iota", size), counts.dtype), call("expand_dims", counts, counts.ndim)
    )
    return result


def reverse_sequence(x: Any, lengths: Any, axis: int = 1, batch_axis: int = 0) -> Value:
    """``x`` with the first ``lengths[b]`` slices along ``axis`` of each entry ``b`` of ``batch_axis`` back to front."""
    value = convert(x)
    along, batch = axis_of("reverse_sequence", axis, value), axis_of("reverse_sequence", batch_axis, value)
    if along == batch:
        raise _wrong("reverse_sequence", f"axis and batch_axis are one axis of {value.type}")
    counts = call("expand_dims", convert(lengths, dtypes.int64), 1)
    at = call("iota", value.dims[along])
    places = call("where", at < counts, counts - 1 - at, at)
    if batch > along:
        places = transpose(places)
    sizes = [value.dims[i] if i in (along, batch) else 1 for i in range(value.ndim)]
    result: Value = call("gather_elements", value, call("broadcast_to", reshape(places, sizes), value.dims), along)
    return result
