"""Arithmetic on views: what reshape, transpose, slice and broadcast do to dims, strides and offset."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from pyflow import dims
from pyflow.dims import Size
from pyflow.dtypes import DType
from pyflow.plan import View


def contiguous_strides(shape: Sequence[Size]) -> tuple[Size, ...]:
    """Row-major strides, in elements."""
    shape = tuple(shape)
    return _strides_of_numbers(shape) if dims.are_numbers(shape) else _strides(shape)


def _strides(shape: tuple[Size, ...]) -> tuple[Size, ...]:
    strides: list[Size] = []
    step: Size = 1
    for size in reversed(shape):
        strides.append(step)
        step = step * size if type(size) is int and type(step) is int else dims.mul(step, size)
    return tuple(reversed(strides))


_strides_of_numbers = lru_cache(4096)(_strides)
"""The passes ask for the same shapes again and again; sizes of one name may differ in their ranges."""


def _window(view: View, shape: tuple[Size, ...], strides: tuple[Size, ...]) -> View:
    return View(view.buffer, view.dtype, shape, strides, view.offset)


def contiguous(buffer: int, dtype: DType, shape: Sequence[Size]) -> View:
    return View(buffer, dtype.memory, tuple(shape), contiguous_strides(shape))


def is_contiguous(view: View) -> bool:
    """Row-major for certain (strides of axes of size 1 do not matter)."""
    wanted = contiguous_strides(view.dims)
    if view.strides == wanted:
        return True
    return all(have == want or size == 1 for have, want, size in zip(view.strides, wanted, view.dims, strict=True))


def relabel(view: View, shape: Sequence[Size]) -> View:
    """The same view; ``shape`` says its sizes in other words."""
    return _window(view, tuple(shape), contiguous_strides(shape) if is_contiguous(view) else view.strides)


def permute(view: View, axes: Sequence[int]) -> View:
    """Axis i of the result is axis ``axes[i]`` of ``view``."""
    return _window(view, tuple([view.dims[a] for a in axes]), tuple([view.strides[a] for a in axes]))


def reshape(view: View, shape: Sequence[Size]) -> View | None:
    """The same elements in another shape; None if that takes a copy (or is not certain to need none)."""
    shape = tuple(shape)
    if is_contiguous(view):
        return _window(view, shape, contiguous_strides(shape))
    kept = [i for i, size in enumerate(view.dims) if size != 1]
    wanted = [i for i, size in enumerate(shape) if size != 1]
    if [view.dims[i] for i in kept] == [shape[i] for i in wanted]:
        strides: list[Size] = [0] * len(shape)
        for old, new in zip(kept, wanted, strict=True):
            strides[new] = view.strides[old]
        return _window(view, shape, tuple(strides))
    found = _regrouped([(view.dims[i], view.strides[i]) for i in kept], [shape[i] for i in wanted])
    if found is None:
        return None
    strides = [0] * len(shape)
    for new, stride in zip(wanted, found, strict=True):
        strides[new] = stride
    return _window(view, shape, tuple(strides))


def _regrouped(axes: Sequence[tuple[Size, Size]], shape: Sequence[Size]) -> list[Size] | None:
    """Strides with which ``axes`` (size and stride, sizes of 1 left out) show ``shape``: groups of neighbours that lie
    behind one another are joined and cut anew. None if some do not, or sizes are not known well enough."""
    strides: list[Size] = []
    old = new = 0
    while old < len(axes) and new < len(shape):
        size, stride = axes[old]
        if size == shape[new]:
            strides.append(stride)
            old, new = old + 1, new + 1
            continue
        sizes = [shape[new]]
        old, new = old + 1, new + 1
        joined, wanted = size, sizes[0]
        while joined != wanted:
            if not isinstance(joined, int) or not isinstance(wanted, int) or not joined or not wanted:
                return None
            if joined < wanted:
                if old == len(axes) or axes[old][1] * axes[old][0] != stride:  # type: ignore[operator]
                    return None
                stride, joined = axes[old][1], joined * axes[old][0]  # type: ignore[operator]
                old += 1
            elif new == len(shape):
                return None
            else:
                sizes.append(shape[new])
                wanted *= shape[new]  # type: ignore[operator]
                new += 1
        inner: list[Size] = []
        for size in reversed(sizes):
            inner.append(stride)
            stride = dims.mul(stride, size)
        strides += reversed(inner)
    return strides if old == len(axes) and new == len(shape) else None


def broadcast_to(view: View, shape: Sequence[Size]) -> View:
    """``view`` with the dims ``shape``: axes of size 1, and those that turn out to be, get stride 0."""
    lead = len(shape) - len(view.dims)
    strides: list[Size] = [0] * lead
    for have, want, stride in zip(view.dims, shape[lead:], view.strides, strict=True):
        strides.append(stride if have == want else dims.unless_one(have, stride))
    return _window(view, tuple(shape), tuple(strides))


def slice_axis(view: View, axis: int, start: Size, size: Size, step: int = 1) -> View:
    """``size`` elements of ``axis`` from ``start`` on, ``step`` apart."""
    stride = view.strides[axis]
    return view._replace(
        dims=(*view.dims[:axis], size, *view.dims[axis + 1 :]),
        strides=(*view.strides[:axis], dims.mul(stride, step), *view.strides[axis + 1 :]),
        offset=dims.add(view.offset, dims.mul(stride, start)),
    )


def insert_axis(view: View, axis: int) -> View:
    """An axis of size 1 before ``axis``."""
    return view._replace(
        dims=(*view.dims[:axis], 1, *view.dims[axis:]), strides=(*view.strides[:axis], 0, *view.strides[axis:])
    )


def remove_axis(view: View, axis: int) -> View:
    return view._replace(
        dims=view.dims[:axis] + view.dims[axis + 1 :], strides=view.strides[:axis] + view.strides[axis + 1 :]
    )


def diagonal(view: View, axis1: int, axis2: int, offset: int) -> View:
    """The elements whose place along ``axis2`` is ``offset`` more than along ``axis1``, as a new last axis."""
    low, high = dims.minimum(max(-offset, 0), view.dims[axis1]), dims.minimum(max(offset, 0), view.dims[axis2])
    rows, columns = dims.add(view.dims[axis1], dims.mul(low, -1)), dims.add(view.dims[axis2], dims.mul(high, -1))
    begin = dims.add(dims.mul(low, view.strides[axis1]), dims.mul(high, view.strides[axis2]))
    others = [axis for axis in range(len(view.dims)) if axis not in (axis1, axis2)]
    return View(
        view.buffer,
        view.dtype,
        (*(view.dims[axis] for axis in others), dims.minimum(rows, columns)),
        (*(view.strides[axis] for axis in others), dims.add(view.strides[axis1], view.strides[axis2])),
        dims.add(view.offset, begin),
    )
