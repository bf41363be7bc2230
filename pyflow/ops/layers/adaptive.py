"""Pools whose windows follow from the size of the result, and the inverse of max pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dims
from pyflow.apply import convert
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import BOOLEAN, FLOATS, NUMERIC, SIZES, call
from pyflow.ops.arrays.indexing import gather, iota, scatter_add
from pyflow.ops.arrays.shape import reshape
from pyflow.ops.composite import as_number, composite, index_of, of_rank
from pyflow.ops.sizes import SHAPE, as_size

__all__ = [
    "adaptive_avg_pool",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "max_unpool",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
]


def _canonical(x: Value, *, size: Sequence[Size]) -> dict[str, Any]:
    if x.ndim < 3 or len(size) != x.ndim - 2:
        raise InvalidArgumentError(f"expected an output size per spatial axis of x: {x.type}, got {tuple(size)}")
    return {}


def _bins(size: Size, count: Size) -> tuple[Any, Any]:
    """(first, last + 1) element of each of ``count`` bins over ``size`` elements: int64[count]."""
    at, whole, parts = iota(count), as_number(size), as_number(count)
    return (at * whole) // parts, -(-((at + 1) * whole) // parts)


def _expand(largest: bool) -> Any:
    def expand(x: Value, *, size: Sequence[Size]) -> Value:
        for axis, count in enumerate(size, 2):
            have = x.dims[axis]
            if have == count:
                continue
            if isinstance(have, int) and isinstance(count, int) and count and have % count == 0:
                apart = reshape(x, (*x.dims[:axis], count, have // count, *x.dims[axis + 1 :]))
                x = call("max" if largest else "mean", apart, (axis + 1,))
                continue
            start, stop = _bins(have, count)
            room = dims.add(dims.ceildiv(have, count), 1)
            at = reshape(start, (-1, 1)) + iota(room)
            end = reshape(stop, (-1, 1))
            picked = gather(x, call("minimum", at, end - 1), axis)
            if largest:
                x = call("max", picked, (axis + 1,))
                continue
            tail = (1,) * (x.ndim - axis - 1)
            inside = reshape(at < end, (count, room, *tail))
            total = call("sum", call("where", inside, picked, 0), (axis + 1,))
            x = total / call("cast", reshape(stop - start, (count, *tail)), x.dtype)
        return x

    return expand


def _ref(reduce: Any) -> Any:
    def ref(x: np.ndarray, *, size: Sequence[int]) -> np.ndarray:
        result = np.zeros((*x.shape[:2], *size), x.dtype)
        for place in np.ndindex(*size):
            inside = tuple(
                slice(i * n // count, -(-(i + 1) * n // count))
                for i, n, count in zip(place, x.shape[2:], size, strict=True)
            )
            every = (slice(None), slice(None))
            result[index_of(*every, *place)] = reduce(x[index_of(*every, *inside)], tuple(range(2, x.ndim)))
        return result

    return ref


def _adaptive(name: str, largest: bool, kinds: Any, what: str) -> Any:
    function = composite(
        name,
        "x:T",
        attrs={"size": SIZES},
        kinds=kinds,
        canonical=_canonical,
        expand=_expand(largest),
        ref=_ref(np.max if largest else np.mean),
        doc=f"The {what} of each of ``size`` bins; see :func:`pyflow.{name}`.",
    )

    def pool(x: Any, output_size: Any, *, name: str | None = None) -> Value:
        value = convert(x)
        wanted = output_size if isinstance(output_size, (list, tuple)) else [output_size] * (value.ndim - 2)
        if len(wanted) != value.ndim - 2:
            what = f"expected an output size per spatial axis of x: {value.type}, got {output_size}"
            raise InvalidArgumentError(message(pool.__name__, what, user_origin()))
        size = [n if entry is None else as_size(entry) for n, entry in zip(value.dims[2:], wanted, strict=True)]
        result: Value = function(value, size, name=name)
        return result

    pool.__name__ = pool.__qualname__ = name
    pool.__doc__ = f"""The {what} of each of ``output_size`` bins, PyTorch's: bin i has the elements from
    ``floor(i * size / count)`` to ``ceil((i + 1) * size / count)``.

    x: [N, C, *sizes]. output_size: an int, or one per spatial axis; None keeps that axis. Returns
    [N, C, *output_size], of x's dtype.
    """
    return pool


adaptive_avg_pool = _adaptive("adaptive_avg_pool", False, FLOATS, "mean")
adaptive_max_pool = _adaptive("adaptive_max_pool", True, NUMERIC, "maximum")
adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = (
    of_rank(adaptive_avg_pool, f"adaptive_avg_pool{count}d", count) for count in (1, 2, 3)
)
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = (
    of_rank(adaptive_max_pool, f"adaptive_max_pool{count}d", count) for count in (1, 2, 3)
)


def _unpool_canonical(x: Value, indices: Value, *, size: Sequence[Size], whole: bool) -> dict[str, Any]:
    if x.ndim < 3 or len(size) != x.ndim - 2 or indices.ndim != x.ndim:
        what = f"expected indices of the rank of x: {x.type} and {x.ndim - 2} sizes"
        raise InvalidArgumentError(f"{what}, got {indices.type} and {tuple(size)}")
    return {}


def _unpool_expand(x: Value, indices: Value, *, size: Sequence[Size], whole: bool) -> Value:
    planes, plane = dims.product(x.dims[:2]), dims.product(size)
    flat = reshape(indices, (planes, -1))
    if not whole:
        flat = flat + reshape(iota(planes), (-1, 1)) * as_number(plane)
    flat = reshape(flat, (-1,))
    ones = call("broadcast_to", call("constant", 1, x.dtype), (dims.product(x.dims),))
    total, count = (scatter_add(flat, values, dims.mul(planes, plane), 0) for values in (reshape(x, (-1,)), ones))
    return reshape(total / call("maximum", count, 1), (*x.dims[:2], *size))


def _unpool_ref(x: np.ndarray, indices: np.ndarray, *, size: Sequence[int], whole: bool) -> np.ndarray:
    result = np.zeros((*x.shape[:2], int(np.prod(size))), x.dtype)
    plane = result.shape[2]
    for place in np.ndindex(*x.shape):
        at = int(indices[place])
        where = divmod(at, plane) if whole else (place[0] * x.shape[1] + place[1], at)
        result.reshape(-1, plane)[where] = x[place]
    return result.reshape(*x.shape[:2], *size)


_max_unpool = composite(
    "max_unpool",
    "x:T, indices:int64",
    attrs={"size": SIZES, "whole": BOOLEAN},
    defaults={"whole": False},
    canonical=_unpool_canonical,
    expand=_unpool_expand,
    ref=_unpool_ref,
    onnx="MaxUnpool",
    doc="Elements put back where max pooling found them; see :func:`pyflow.max_unpool`.",
)


def max_unpool(x: Any, indices: Any, output_size: Any, whole: bool = False, *, name: str | None = None) -> Value:
    """Zeros of ``output_size`` with the elements of ``x`` where ``indices`` say: max pooling undone.

    x: floating [N, C, *sizes]. indices: int64 of x's shape, as :func:`pyflow.max_pool_with_indices` gives them
    (``whole`` as there); an element named by several windows should be the same in each. Returns
    [N, C, *output_size]; a run raises OutOfRangeError for an index outside.
    """
    result: Value = _max_unpool(x, indices, SHAPE.normalise(output_size), whole, name=name)
    return result


max_unpool1d, max_unpool2d, max_unpool3d = (of_rank(max_unpool, f"max_unpool{count}d", count) for count in (1, 2, 3))
