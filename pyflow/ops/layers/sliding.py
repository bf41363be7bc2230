"""Windows over any axes as a view, and their sum back; what n-dimensional convolutions and pools are composed of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyflow import dims
from pyflow.dims import Size
from pyflow.errors import DTypeError, InvalidArgumentError, message, user_origin
from pyflow.graph import Node, Value
from pyflow.opdef import EVERY, INTS, SIZES, Attr, TensorType, call, define
from pyflow.ops.arrays.indexing import iota
from pyflow.ops.arrays.shape import inverse_permutation, reshape, transpose
from pyflow.ops.common import ndim_of, normalise_axis
from pyflow.ops.composite import composite, index_of
from pyflow.ops.layers.windows import Padding, check_geometry, padding_of, span_of, windows
from pyflow.ops.sizes import SHAPE, Check, at_most_check, differ
from pyflow.plan import View

__all__ = ["fold", "sliding_windows", "unfold"]

ANY_PADDING = Attr(
    "padding",
    lambda value: value if isinstance(value, str) else tuple(value) if isinstance(value, (list, tuple)) else (value,),
    lambda value: ((), ()),
)
"""Padding of any number of axes; the op's ``canonical`` gives it the form that :func:`padding_of` makes."""


def repeated(value: Sequence[Any], count: int, what: str) -> tuple[Any, ...]:
    """One entry per axis; a single one stands for all. Raises InvalidArgumentError for another number."""
    entries = tuple(value) * count if len(value) == 1 else tuple(value)
    if len(entries) != count:
        raise InvalidArgumentError(f"expected 1 or {count} ints for {what}, got {entries}")
    return entries


def settled(count: int, padding: Any, **given: Sequence[Any]) -> dict[str, Any]:
    """Attributes of windows over ``count`` axes, one entry per axis."""
    result: dict[str, Any] = {name: repeated(value, count, name) for name, value in given.items()}
    check_geometry(count, **{name: result[name] for name in ("stride", "dilation") if name in result})
    entries = padding[0] if isinstance(padding, tuple) and len(padding) == 1 else padding
    try:
        result["padding"] = padding_of(entries, count)
    except TypeError as error:
        raise DTypeError(f"attribute padding: {error}") from None
    return result


def _reach(count: Size, stride: int, kernel: Size, dilation: int) -> Size:
    """How many elements ``count`` windows reach over."""
    return dims.add(dims.mul(dims.add(count, -1), stride), span_of(kernel, dilation))


def _canonical(
    x: Value, *, axes: tuple[int, ...], kernel: Any, stride: Any, dilation: Any, counts: Any
) -> Mapping[str, Any]:
    axes = tuple(normalise_axis(axis, x.ndim, f"x: {x.type}") for axis in axes)
    if len(set(axes)) != len(axes) or len(kernel) != len(axes):
        raise InvalidArgumentError(f"expected different axes and a kernel size for each, got {axes} and {kernel}")
    stride, dilation = (repeated(value, len(axes), "stride and dilation") for value in (stride, dilation))
    check_geometry(len(axes), stride=stride, dilation=dilation)
    if counts is None:
        counts, _ = windows([x.dims[axis] for axis in axes], kernel, stride, "valid", dilation)
    return {"axes": axes, "stride": stride, "dilation": dilation, "counts": counts}


def _infer(x: Value, *, axes: Any, kernel: Any, stride: Any, dilation: Any, counts: Any) -> TensorType:
    sizes = list(x.dims)
    for axis, k, s, d, count in zip(axes, kernel, stride, dilation, counts, strict=True):
        reach = _reach(count, s, k, d)
        if differ(dims.maximum(reach, x.dims[axis]), x.dims[axis]):
            raise InvalidArgumentError(f"{count} windows of {k} do not fit axis {axis} of x: {x.type}")
        sizes[axis] = count
    return TensorType(x.dtype, (*sizes, *kernel))


def _checks(node: Node) -> list[Check]:
    x, attrs = node.inputs[0], node.attrs
    rows = zip(attrs["axes"], attrs["kernel"], attrs["stride"], attrs["dilation"], attrs["counts"], strict=True)
    what = f"sliding_windows of {x.type}"
    return [
        check
        for axis, k, s, d, count in rows
        for check in at_most_check(_reach(count, s, k, d), x.dims[axis], f"{what}: axis {axis} is too small")
    ]


def _ref(x: np.ndarray, *, axes: Any, kernel: Any, stride: Any, dilation: Any, counts: Any) -> np.ndarray:
    result = x
    for axis, k, s, d, count in zip(axes, kernel, stride, dilation, counts, strict=True):
        index = np.arange(count)[:, None] * s + np.arange(k) * d
        result = np.moveaxis(np.take(result, index, axis), axis + 1, -1)
    return np.ascontiguousarray(result)


def _view(node: Node, inputs: tuple[View, ...]) -> tuple[View, ...]:
    x, attrs = inputs[0], node.attrs
    strides = list(x.strides)
    for axis, stride in zip(attrs["axes"], attrs["stride"], strict=True):
        strides[axis] = dims.mul(x.strides[axis], stride)
    strides += [dims.mul(x.strides[axis], d) for axis, d in zip(attrs["axes"], attrs["dilation"], strict=True)]
    return (View(x.buffer, x.dtype, node.types[0].dims, tuple(strides), x.offset),)


def overlap_add(
    x: Value, axes: Sequence[int], sizes: Sequence[Size], stride: Sequence[int], dilation: Sequence[int]
) -> Value:
    """The sum of windows, laid out as ``sliding_windows`` gives them, where each stands among zeros of ``sizes``."""
    for i in reversed(range(len(axes))):
        axis, last = axes[i], x.ndim - 1
        order = [a for a in range(last) if a <= axis] + [last] + [a for a in range(last) if a > axis]
        starts = reshape(iota(x.dims[axis]) * stride[i], (-1, 1))
        indices = starts + iota(x.dims[last]) * dilation[i]
        x = call("scatter_add", indices, transpose(x, order), sizes[i], axis)
    return x


def _vjp(node: Node, gradient: Value) -> tuple[Value]:
    x, attrs = node.inputs[0], node.attrs
    sizes = [x.dims[axis] for axis in attrs["axes"]]
    return (overlap_add(gradient, attrs["axes"], sizes, attrs["stride"], attrs["dilation"]),)


sliding_windows = define(
    "sliding_windows",
    "x:T",
    attrs={"axes": INTS, "kernel": SIZES, "stride": INTS, "dilation": INTS, "counts": SIZES.optional()},
    defaults={"stride": (1,), "dilation": (1,), "counts": None},
    kinds={"T": EVERY},
    canonical=_canonical,
    infer=_infer,
    checks=_checks,
    ref=_ref,
    view=_view,
    vjp=_vjp,
    doc="""The windows of ``kernel`` elements, ``dilation`` apart, that start every ``stride`` elements along ``axes``.

    x: any shape. Each of ``axes`` becomes the number of windows along it (``counts``; default: all that fit), and the
    places inside a window are new last axes of the sizes ``kernel``. Costs no step: elements are not copied.
    Raises InvalidArgumentError if a window does not fit.
    """,
)


def framed(x: Value, axes: Sequence[int], low: Sequence[Size], high: Sequence[Size], value: Any) -> Value:
    """``x`` with ``value`` before and after along ``axes``; itself where nothing is added."""
    if all(size == 0 for size in (*low, *high)):
        return x
    before: list[Size] = [0] * x.ndim
    after: list[Size] = [0] * x.ndim
    for axis, first, last in zip(axes, low, high, strict=True):
        before[axis], after[axis] = first, last
    fill = call("constant", np.asarray(value).astype(x.dtype.numpy))
    result: Value = call("pad", x, fill, before, after)
    return result


def padded_windows(
    x: Value,
    axes: Sequence[int],
    kernel: Sequence[Size],
    *,
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
    ceil: bool = False,
    fill: Any = 0,
) -> tuple[Value, tuple[Size, ...], tuple[Size, ...]]:
    """(windows of ``x`` amid ``fill``, their numbers, what stands before the first element)."""
    sizes = [x.dims[axis] for axis in axes]
    counts, low = windows(sizes, kernel, stride, padding, dilation, ceil)
    high = [
        dims.maximum(dims.add(_reach(count, s, k, d), dims.mul(dims.add(size, first), -1)), 0)
        for count, s, k, d, size, first in zip(counts, stride, kernel, dilation, sizes, low, strict=True)
    ]
    wide = framed(x, axes, low, high, fill)
    return sliding_windows(wide, tuple(axes), kernel, stride, dilation, counts), counts, low


def _columns_canonical(x: Value, *, kernel: Any, stride: Any, padding: Any, dilation: Any, **rest: Any) -> Any:
    size = rest.get("size")
    if x.ndim < 3:
        raise InvalidArgumentError(f"expected x of at least 3 axes, got {x.type}")
    count = len(size) if size is not None else x.ndim - 2
    return settled(count, padding, kernel=kernel, stride=stride, dilation=dilation)


def _unfold_expand(x: Value, *, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Value:
    count = x.ndim - 2
    axes = tuple(range(2, x.ndim))
    wins, counts, _ = padded_windows(x, axes, kernel, stride=stride, padding=padding, dilation=dilation)
    order = (0, 1, *range(2 + count, 2 + 2 * count), *axes)
    rows = dims.mul(x.dims[1], dims.product(kernel))
    return reshape(transpose(wins, order), (x.dims[0], rows, dims.product(counts)))


def _unfold_ref(x: np.ndarray, *, kernel: Any, stride: Any, padding: Any, dilation: Any) -> np.ndarray:
    counts, low = windows(x.shape[2:], kernel, stride, padding, dilation)
    result = np.zeros((*x.shape[:2], *kernel, *counts), x.dtype)
    for place in np.ndindex(*kernel):
        for out in np.ndindex(*counts):
            at = [o * s + p * d - b for o, s, p, d, b in zip(out, stride, place, dilation, low, strict=True)]
            if all(0 <= i < n for i, n in zip(at, x.shape[2:], strict=True)):
                result[index_of(slice(None), slice(None), *place, *out)] = x[index_of(slice(None), slice(None), *at)]
    return result.reshape(x.shape[0], -1, dims.product(counts))


_COLUMNS = {"kernel": INTS, "dilation": INTS, "padding": ANY_PADDING, "stride": INTS}
_COLUMNS_DEFAULTS = {"dilation": (1,), "padding": (0,), "stride": (1,)}

unfold = composite(
    "unfold",
    "x:T",
    attrs=_COLUMNS,
    defaults=_COLUMNS_DEFAULTS,
    kinds=EVERY,
    canonical=_columns_canonical,
    expand=_unfold_expand,
    ref=_unfold_ref,
    doc="""The windows of ``x`` as columns (im2col).

    x: [N, C, *sizes]. kernel, dilation, stride: ints, one or one per spatial axis. padding: as for :func:`pyflow.conv`.
    Returns [N, C * product(kernel), number of windows], as torch.nn.functional.unfold.
    """,
)


def _fold_expand(x: Value, *, size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> Value:
    count = len(size)
    counts, low = windows(size, kernel, stride, padding, dilation)
    channels = dims.floordiv(x.dims[1], dims.product(kernel))
    apart = reshape(x, (x.dims[0], channels, *kernel, *counts))
    order = (0, 1, *range(2 + count, 2 + 2 * count), *range(2, 2 + count))
    axes = tuple(range(2, 2 + count))
    room = [
        dims.maximum(_reach(c, s, k, d), dims.add(first, n))
        for c, s, k, d, first, n in zip(counts, stride, kernel, dilation, low, size, strict=True)
    ]
    whole = overlap_add(transpose(apart, order), axes, room, stride, dilation)
    return cropped(whole, axes, low, size)


def cropped(x: Value, axes: Sequence[int], starts: Sequence[Size], sizes: Sequence[Size]) -> Value:
    """``sizes`` elements from ``starts`` on, along ``axes``."""
    first: list[Size] = [0] * x.ndim
    kept = list(x.dims)
    for axis, start, size in zip(axes, starts, sizes, strict=True):
        first[axis], kept[axis] = start, size
    if tuple(kept) == x.dims and all(start == 0 for start in starts):
        return x
    result: Value = call("slice", x, first, kept, (1,) * x.ndim)
    return result


def _fold_ref(x: np.ndarray, *, size: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> np.ndarray:
    counts, low = windows(size, kernel, stride, padding, dilation)
    apart = x.reshape(x.shape[0], -1, *kernel, *counts)
    result = np.zeros((*apart.shape[:2], *size), x.dtype)
    for place in np.ndindex(*kernel):
        for out in np.ndindex(*counts):
            at = [o * s + p * d - b for o, s, p, d, b in zip(out, stride, place, dilation, low, strict=True)]
            if all(0 <= i < n for i, n in zip(at, size, strict=True)):
                result[index_of(slice(None), slice(None), *at)] += apart[
                    index_of(slice(None), slice(None), *place, *out)
                ]
    return result


_fold = composite(
    "fold",
    "x:T",
    attrs={"size": SHAPE, **_COLUMNS},
    defaults=_COLUMNS_DEFAULTS,
    canonical=_columns_canonical,
    expand=_fold_expand,
    ref=_fold_ref,
    onnx="Col2Im",
    doc="The sum of windows given as columns; see :func:`pyflow.fold`.",
)


def fold(
    x: Any,
    output_size: Any,
    kernel: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
    *,
    name: str | None = None,
) -> Value:
    """Windows given as columns, added up where each stands (col2im): what :func:`pyflow.unfold` takes apart.

    x: floating [N, C * product(kernel), windows]. output_size: the spatial sizes of the result [N, C, *output_size].
    kernel, dilation, stride: ints, one or one per spatial axis. padding: as for :func:`pyflow.conv`; what fell there
    is left out. Raises InvalidArgumentError if the numbers of windows differ.
    """
    if ndim_of(x) != 3:
        raise InvalidArgumentError(message("fold", f"expected x of 3 axes, got {ndim_of(x)}", user_origin()))
    result: Value = _fold(x, output_size, kernel, dilation, padding, stride, name=name)
    return result


def channels_first(x: Value) -> Value:
    """[N, *sizes, C] as [N, C, *sizes]."""
    return transpose(x, (0, x.ndim - 1, *range(1, x.ndim - 1)))


def channels_last(x: Value) -> Value:
    """[N, C, *sizes] as [N, *sizes, C]."""
    return transpose(x, inverse_permutation((0, x.ndim - 1, *range(1, x.ndim - 1))))
