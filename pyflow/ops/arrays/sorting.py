"""Order: sorting, the largest, the distinct, and places in sorted rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.apply import convert
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Node, Value
from pyflow.opdef import ANY, BOOLEAN, INT, SIZE, Lowering, TensorType, call, choice, define
from pyflow.ops.arrays.creation import linspace
from pyflow.ops.arrays.indexing import arange
from pyflow.ops.common import axis_of, no_gradient, normalise_axis
from pyflow.ops.sizes import Check, as_size, at_most_check, differ
from pyflow.plan import View

__all__ = [
    "argpartition",
    "argsort",
    "bincount",
    "digitize",
    "histogram",
    "partition",
    "searchsorted",
    "sort",
    "top_k",
    "unique",
]


def _canonical(x: Value, *, count: Size | None, axis: int, descending: bool) -> Mapping[str, Any]:
    place = normalise_axis(axis, x.ndim, f"x: {x.type}")
    return {"axis": place, "count": x.dims[place] if count is None else count}


def _infer(x: Value, *, count: Size, axis: int, descending: bool) -> tuple[TensorType, TensorType]:
    size = x.dims[axis]
    if differ(dims.maximum(count, size), size) or differ(dims.maximum(count, 0), count):
        raise InvalidArgumentError(f"{count} elements are wanted along axis {axis} of x: {x.type}, which has {size}")
    sizes = (*x.dims[:axis], count, *x.dims[axis + 1 :])
    return TensorType(x.dtype, sizes), TensorType(dtypes.int64, sizes)


def _checks(node: Node) -> list[Check]:
    x, axis, count = node.inputs[0], node.attrs["axis"], node.attrs["count"]
    what = f"elements wanted along axis {axis} of {x.type}, and how many there are"
    return [] if count == x.dims[axis] else at_most_check(count, x.dims[axis], what)


def _ref(x: np.ndarray, *, count: int, axis: int, descending: bool) -> tuple[np.ndarray, np.ndarray]:
    if descending:
        backwards = np.flip(x, axis)
        order = x.shape[axis] - 1 - np.flip(np.argsort(backwards, axis=axis, kind="stable"), axis)
    else:
        order = np.argsort(x, axis=axis, kind="stable")
    order = np.take(order, np.arange(count), axis=axis).astype(np.int64)
    return np.take_along_axis(x, order, axis), order


def _lower(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
    return Lowering("sort", inputs, outputs, (node.attrs["axis"], int(node.attrs["descending"])))


def _vjp(node: Node, gradient: Value | None, _: Value | None) -> tuple[Value | None]:
    if gradient is None:
        return (None,)
    zeros = call("broadcast_to", call("constant", np.zeros((), gradient.dtype.numpy)), node.inputs[0].dims)
    return (call("scatter_elements", zeros, node.outputs[1], gradient, node.attrs["axis"], "add"),)


sorted_with_indices = define(
    "sorted_with_indices",
    "x:T",
    attrs={"count": SIZE.optional(), "axis": INT, "descending": BOOLEAN},
    defaults={"count": None, "axis": -1, "descending": False},
    kinds={"T": ANY},
    canonical=_canonical,
    infer=_infer,
    checks=_checks,
    ref=_ref,
    lower=_lower,
    vjp=_vjp,
    multiple=True,
    onnx="TopK",
    doc="The first ``count`` elements along ``axis`` in order, and their indices; stable, NaN is largest.",
)


def sort(x: Any, axis: int = -1, descending: bool = False, *, name: str | None = None) -> Value:
    """``x`` with the elements along ``axis`` in rising (``descending``: falling) order; NaN counts as largest.

    x: numeric or bool. The sort is stable. Raises InvalidArgumentError if ``axis`` is out of range.
    """
    result: Value = sorted_with_indices(x, axis=axis, descending=descending, name=name)[0]
    return result


def argsort(x: Any, axis: int = -1, descending: bool = False, *, name: str | None = None) -> Value:
    """The indices (int64) that put the elements along ``axis`` in order, as :func:`sort` does."""
    result: Value = sorted_with_indices(x, axis=axis, descending=descending, name=name)[1]
    return result


def top_k(
    x: Any, k: Any, axis: int = -1, largest: bool = True, sorted: bool = True, *, name: str | None = None
) -> tuple[Value, Value]:
    """The ``k`` largest (or smallest) elements along ``axis`` and their indices (int64), the first of equals first.

    k: an int, a Dim, or an integer value. sorted: their order matters; they are in order either way. NaN counts as
    largest. Raises InvalidArgumentError if the axis is out of range or has fewer than ``k`` elements.
    """
    values, indices = sorted_with_indices(x, count=as_size(k), axis=axis, descending=largest, name=name)
    return values, indices


def partition(x: Any, kth: int, axis: int = -1) -> Value:
    """``x`` with the element that sorting puts at ``kth`` there, none larger before and none smaller behind it."""
    return sort(x, axis)


def argpartition(x: Any, kth: int, axis: int = -1) -> Value:
    """The indices that :func:`partition` picks."""
    return argsort(x, axis)


def _search_infer(ordered: Value, values: Value, *, side: str) -> TensorType:
    if ordered.ndim != 1:
        raise InvalidArgumentError(f"expected a sorted row of 1 axis, got {ordered.type}")
    return TensorType(dtypes.int64, values.dims)


searchsorted = define(
    "searchsorted",
    "ordered:T, values:T",
    attrs={"side": choice("left", "right")},
    defaults={"side": "left"},
    kinds={"T": ANY},
    infer=_search_infer,
    ref=lambda ordered, values, side: np.asarray(np.searchsorted(ordered, values, side), np.int64),
    vjp=no_gradient,
    doc="""Where each of ``values`` would stand in the 1-d ``ordered``: before (``side="right"``: behind) its equals.

    ordered: rising, NaN last; values: any shape, of its dtype. The result is int64.""",
)


def digitize(x: Any, bins: Any, right: bool = False) -> Value:
    """The bin of each element of ``x``: how many of the rising 1-d ``bins`` are not above it (``right``: below it)."""
    result: Value = searchsorted(bins, x, "left" if right else "right")
    return result


def _previous(x: Value) -> Value:
    """Each element's neighbour before it; the first one's is itself."""
    result: Value = call("gather", x, call("maximum", arange(x.dims[0]) - 1, 0))
    return result


def _begins(ordered: Value) -> Value:
    """True where an element of a sorted row is not equal to the one before it; all NaNs are equal."""
    before = _previous(ordered)
    new = ordered != before
    if ordered.dtype.is_floating:
        new = call("logical_and", new, call("logical_not", call("isnan", before)))
    result: Value = call("logical_or", new, arange(ordered.dims[0]) == 0)
    return result


def _unique_slices(x: Value, axis: int, sorted: bool) -> tuple[Value, ...]:
    """Slices along ``axis`` that differ, their first places, which of them each is, how often each occurs."""
    count = x.dims[axis]
    others = [i for i in range(x.ndim) if i != axis]
    rows = call("reshape", call("transpose", x, [axis, *others]), [count, dims.product([x.dims[i] for i in others])])
    left, right = call("expand_dims", rows, 1), call("expand_dims", rows, 0)
    differing, rising = left != right, left < right
    if x.dtype.is_floating:
        lost, other = call("isnan", left), call("isnan", right)
        differing = call("logical_and", differing, call("logical_not", call("logical_and", lost, other)))
        rising = call("logical_or", rising, call("logical_and", other, call("logical_not", lost)))
    same = call("logical_not", call("any", differing, 2))
    first = call("concat", same, call("broadcast_to", True, (count, 1)), axis=1)
    first = call("argmax", call("cast", first, dtypes.int32), 1)
    places = arange(count)
    leads = call("equal", first, places)
    if sorted:
        ended = call("concat", differing, call("broadcast_to", True, (count, count, 1)), axis=2)
        less = call("concat", rising, call("broadcast_to", False, (count, count, 1)), axis=2)
        at = call("expand_dims", call("argmax", call("cast", ended, dtypes.int32), 2), 2)
        before = call("squeeze", call("gather_elements", less, at, 2), 2)
        before = call("logical_and", before, call("expand_dims", leads, 1))
    else:
        before = call("logical_and", call("expand_dims", places, 1) < first, call("expand_dims", leads, 1))
    inverse = call("sum", call("cast", before, dtypes.int64), 0)
    found = call("nonzero", leads)[0]
    firsts = call("gather", found, argsort(call("gather", inverse, found)))
    counts = call("gather", call("sum", call("cast", same, dtypes.int64), 1), firsts)
    return call("gather", x, firsts, axis), firsts, inverse, counts


def unique(
    x: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    sorted: bool = True,
    axis: int | None = None,
) -> Any:
    """The distinct elements of ``x``, in rising order or, not ``sorted``, in the order of their first places.

    x: any shape, read in row-major order; all NaNs are one. return_index: also the place of each in the flattened
    ``x``. return_inverse: also, for each element of ``x``, which of the result it is. return_counts: also how often
    each occurs. All of them are int64. How many there are is a size that the run finds out.
    axis: not elements, but the slices along it, of which each is compared with each.
    """
    value = convert(x)
    if axis is not None:
        slices = _unique_slices(value, axis_of("unique", axis, value), sorted)
        wanted = (True, return_index, return_inverse, return_counts)
        kept = tuple(made for made, keep in zip(slices, wanted, strict=True) if keep)
        return kept if len(kept) > 1 else kept[0]
    flat = call("reshape", value, (-1,))
    ordered, order = sorted_with_indices(flat)
    begins = _begins(ordered)
    starts = call("nonzero", begins)[0]
    firsts = call("gather", order, starts)
    ranks = call("cumsum", call("cast", begins, dtypes.int64), 0) - 1
    inverse = call("scatter_elements", order, order, ranks, 0)
    total = convert(flat.dims[0]) if isinstance(flat.dims[0], int) else call("size", flat)
    ends = call("concat", starts[1:], call("reshape", total, (1,))[: starts.dims[0]])
    counts = ends - starts
    if not sorted:
        firsts, by_place = sorted_with_indices(firsts)
        counts = call("gather", counts, by_place)
        moved = call("scatter_elements", by_place, by_place, arange(by_place.dims[0]), 0)
        inverse = call("gather", moved, inverse)
    values = call("gather", flat, firsts)
    results = [values]
    results += [firsts] * return_index
    results += [call("reshape", inverse, value.dims)] * return_inverse
    results += [counts] * return_counts
    return tuple(results) if len(results) > 1 else values


def bincount(x: Any, weights: Any = None, minlength: Any = 0) -> Value:
    """How often each whole number from 0 to the largest of ``x`` occurs: int64; or the sum of the weights there.

    x: 1-d, integers, not negative. weights: of its shape. minlength: the least size of the result, which is otherwise a
    size that the run finds out. A run raises OutOfRangeError for a negative number.
    """
    places = convert(x)
    size = call("maximum", call("max_or_lowest", call("cast", places, dtypes.int64)) + 1, minlength)
    summands = convert(weights) if weights is not None else call("broadcast_to", convert(1), places.dims)
    zeros = call("broadcast_to", call("constant", np.zeros((), summands.dtype.numpy)), as_size(size))
    checked = call("where", places < 0, np.iinfo(np.int64).max, call("cast", places, dtypes.int64))
    result: Value = call("scatter_elements", zeros, checked, summands, 0, "add")
    return result


def histogram(
    x: Any, bins: Any = 10, range: tuple[float, float] | None = None, weights: Any = None
) -> tuple[Value, Value]:
    """How many elements of ``x`` lie in each bin, and the edges of the bins.

    bins: how many of equal width, from the smallest to the largest of ``x``, or in ``range``; or rising
    1-d edges. The last bin holds its upper edge too. weights: what an element counts, of the shape of ``x``; default
    1 (int64).
    """
    value = call("reshape", x, (-1,))
    value = value if value.dtype.is_floating else call("cast", value, dtypes.float64)
    if isinstance(bins, int):
        low, high = (
            (call("min", value), call("max", value)) if range is None else (convert(end, value.dtype) for end in range)
        )
        flat = low == high
        low, high = call("where", flat, low - 0.5, low), call("where", flat, high + 0.5, high)
        edges = linspace(low, high, bins + 1, dtype=value.dtype)
    else:
        edges = convert(bins, value.dtype)
    count = dims.add(edges.dims[0], -1)
    if isinstance(count, int) and count < 1:
        raise InvalidArgumentError(message("histogram", f"expected at least 2 edges, got {edges.type}", user_origin()))
    place = searchsorted(edges, value, "right") - 1
    last = call("sizes", (count,), scalar=True)
    place = call("where", value == edges[-1], last - 1, place)
    inside = call("logical_and", place >= 0, place < last)
    summands = call("reshape", weights, (-1,)) if weights is not None else call("broadcast_to", convert(1), value.dims)
    summands = call("where", inside, summands, call("cast", 0, summands.dtype))
    zeros = call("broadcast_to", call("constant", np.zeros((), summands.dtype.numpy)), (count,))
    counts: Value = call("scatter_elements", zeros, call("where", inside, place, 0), summands, 0, "add")
    return counts, edges
