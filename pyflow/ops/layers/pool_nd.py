"""Pooling over any number of spatial axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pyflow import dims
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Node, Value
from pyflow.opdef import BOOLEAN, FLOAT, FLOATS, INTS, NUMERIC, call
from pyflow.ops.arrays.indexing import iota, scatter_add
from pyflow.ops.arrays.shape import expand_dims, reshape, squeeze
from pyflow.ops.common import ndim_of
from pyflow.ops.composite import as_number, composite, index_of, of_rank
from pyflow.ops.layers.conv_nd import FORMAT, is_last
from pyflow.ops.layers.pool import avg_pool2d, max_pool2d
from pyflow.ops.layers.sliding import ANY_PADDING, channels_first, channels_last, padded_windows, settled
from pyflow.ops.layers.windows import Padding, windows

__all__ = [
    "avg_pool",
    "avg_pool1d",
    "avg_pool3d",
    "global_avg_pool",
    "global_lp_pool",
    "global_max_pool",
    "lp_pool",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool",
    "max_pool1d",
    "max_pool3d",
    "max_pool_with_indices",
]

_WINDOWS = {
    "kernel": INTS,
    "stride": INTS.optional(),
    "padding": ANY_PADDING,
    "dilation": INTS,
    "ceil_mode": BOOLEAN,
    "data_format": FORMAT,
}
_DEFAULTS = {"stride": None, "padding": (0,), "dilation": (1,), "ceil_mode": False, "data_format": "NC*"}
_DOC = """

    x: [N, C, *sizes], or with a channels-last ``data_format`` ("NWC", "NHWC", "NDHWC", "N*C") [N, *sizes, C]; the
        result likewise, of x's dtype. kernel, stride, dilation: an int, or one per spatial axis; stride is by default
        the kernel. padding: as for :func:`pyflow.conv`.
    ceil_mode: a window that the end cuts off counts too, if it does not start in the padding after.
    """


def _canonical(x: Value, *, kernel: Any, stride: Any, padding: Any, dilation: Any, **rest: Any) -> Mapping[str, Any]:
    if x.ndim < 3:
        raise InvalidArgumentError(f"expected x of at least 3 axes, got {x.type}")
    stride = kernel if stride is None else stride
    made = settled(x.ndim - 2, padding, kernel=kernel, stride=stride, dilation=dilation)
    if "data_format" in rest:
        made["data_format"] = "N*C" if is_last(rest["data_format"]) else "NC*"
    return made


def lowest(dtype: Any) -> Any:
    """What no element is below."""
    return -np.inf if dtype.is_floating else np.iinfo(dtype.numpy).min


def _first(function: Any) -> Any:
    """``function`` of [N, C, *sizes], for any data_format."""

    def expand(x: Value, *, data_format: str, **attrs: Any) -> Value:
        if data_format == "N*C":
            return channels_last(function(channels_first(x), **attrs))
        result: Value = function(x, **attrs)
        return result

    return expand


def _geometry(attrs: Mapping[str, Any]) -> tuple[Any, Any, Any, Any, Any]:
    return attrs["kernel"], attrs["stride"], attrs["padding"], attrs["dilation"], attrs["ceil_mode"]


def _places(sizes: Sequence[int], attrs: Mapping[str, Any]) -> Iterator[tuple[tuple[int, ...], list[np.ndarray]]]:
    """(output index, the indices inside along each axis) of every window."""
    out, low = windows(sizes, *_geometry(attrs))
    for place in np.ndindex(*out):
        yield (
            place,
            [
                (at := o * s - b + np.arange(k) * d)[(at >= 0) & (at < n)]
                for o, s, b, k, d, n in zip(
                    place, attrs["stride"], low, attrs["kernel"], attrs["dilation"], sizes, strict=True
                )
            ],
        )


def _pooled(x: np.ndarray, attrs: Mapping[str, Any], reduce: Any) -> np.ndarray:
    last = attrs.get("data_format") == "N*C"
    x = np.moveaxis(x, -1, 1) if last else x
    sizes = x.shape[2:]
    out, _ = windows(sizes, *_geometry(attrs))
    result = np.zeros((*x.shape[:2], *out), x.dtype)
    for place, inside in _places(sizes, attrs):
        window = x[index_of(slice(None), slice(None), *np.ix_(*inside))]
        result[index_of(slice(None), slice(None), *place)] = reduce(window.reshape(*x.shape[:2], -1), place)
    return np.moveaxis(result, 1, -1) if last else result


def _as_rows(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """The geometry of one spatial axis as that of two, of which the first has size 1."""
    result = {name: (1, *attrs[name]) for name in ("kernel", "stride", "dilation")}
    padding = attrs["padding"]
    return {**result, "padding": padding if isinstance(padding, str) else (0, 0, *padding)}


def _max_expand(x: Value, *, ceil_mode: bool, **attrs: Any) -> Value:
    if x.ndim == 3 and not ceil_mode:
        return squeeze(max_pool2d(expand_dims(x, 2), **_as_rows(attrs)), 2)
    if x.ndim == 4 and not ceil_mode:
        return max_pool2d(x, **attrs)
    kernel = attrs.pop("kernel")
    axes = tuple(range(2, x.ndim))
    wins, _, _ = padded_windows(x, axes, kernel, ceil=ceil_mode, fill=lowest(x.dtype), **attrs)
    result: Value = call("max", wins, tuple(range(x.ndim, wins.ndim)))
    return result


def _max_ref(x: np.ndarray, **attrs: Any) -> np.ndarray:
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    return _pooled(x, attrs, lambda window, place: window.max(-1, initial=least))


def _scattered(gradient: Value, indices: Value, like: Value) -> Value:
    """``gradient`` added up at the places that ``indices`` name in each plane of ``like``."""
    plane = dims.product(like.dims[2:])
    planes = dims.product(like.dims[:2])
    flat = reshape(indices, (planes, -1)) + reshape(iota(planes), (-1, 1)) * call("sizes", (plane,), scalar=True)
    total = scatter_add(reshape(flat, (-1,)), reshape(gradient, (-1,)), dims.product(like.dims), 0)
    return reshape(total, like.dims)


def _max_vjp(node: Node, gradient: Value) -> tuple[Value]:
    x, attrs = node.inputs[0], dict(node.attrs)
    last = attrs.pop("data_format") == "N*C"
    first = channels_first(x) if last else x
    _, indices = _with_indices(first, **attrs)
    found = _scattered(channels_first(gradient) if last else gradient, indices, first)
    return (channels_last(found) if last else found,)


max_pool = composite(
    "max_pool",
    "x:T",
    attrs=_WINDOWS,
    defaults=_DEFAULTS,
    kinds=NUMERIC,
    canonical=_canonical,
    expand=_first(_max_expand),
    ref=_max_ref,
    vjp=_max_vjp,
    onnx="MaxPool",
    doc=f"The maximum of each window; padding is never it, NaN wins.{_DOC}",
)


def _indices_expand(
    x: Value,
    *,
    kernel: Any,
    stride: Any,
    padding: Padding,
    dilation: Any,
    ceil_mode: bool,
    column_major: bool,
    whole: bool,
) -> tuple[Value, Value]:
    count = x.ndim - 2
    axes = tuple(range(2, x.ndim))
    attrs = {"stride": stride, "padding": padding, "dilation": dilation}
    wins, counts, low = padded_windows(x, axes, kernel, ceil=ceil_mode, fill=lowest(x.dtype), **attrs)
    ends = tuple(range(x.ndim, wins.ndim))
    best = call("max", wins, ends, True)
    hits = call("logical_or", wins == best, wins != wins)
    for i in range(count):
        starts = reshape(iota(counts[i]) * stride[i], (-1, 1)) + iota(kernel[i]) * dilation[i] - as_number(low[i])
        inside = call("logical_and", starts >= 0, starts < as_number(x.dims[axes[i]]))
        hits = call("logical_and", hits, reshape(inside, _lying(counts[i], kernel[i], i, count)))
    flat = reshape(hits, (*x.dims[:2], *counts, dims.product(kernel)))
    chosen = call("argmax", flat, -1)
    order = range(count) if column_major else reversed(range(count))
    places = _in_kernel(chosen, kernel)
    index: Any = None
    step: Size = 1
    for i in order:
        along = reshape(iota(counts[i]) * stride[i], (-1, *(1,) * (count - 1 - i))) - as_number(low[i])
        at = call("clip", places[i] * dilation[i] + along, 0, as_number(dims.add(x.dims[axes[i]], -1)))
        index = at if index is None else index + at * as_number(step)
        step = dims.mul(step, x.dims[axes[i]])
    if whole:
        planes = reshape(iota(dims.product(x.dims[:2])) * as_number(step), (*x.dims[:2], *(1,) * count))
        index = index + planes
    return squeeze(best, ends), index


def _lying(out: Size, kernel: Size, i: int, count: int) -> tuple[Size, ...]:
    shape: list[Size] = [1] * (2 * count)
    shape[i], shape[count + i] = out, kernel
    return tuple(shape)


def _in_kernel(chosen: Value, kernel: Sequence[int]) -> list[Value]:
    """The place along each axis of the kernel of an index into the whole of it."""
    places = []
    for size in reversed(kernel):
        places.append(call("mod", chosen, size))
        chosen = call("floor_divide", chosen, size)
    return places[::-1]


def _indices_ref(x: np.ndarray, *, column_major: bool, whole: bool, **attrs: Any) -> tuple[np.ndarray, np.ndarray]:
    best = _max_ref(x, **attrs)
    index = np.zeros(best.shape, np.int64)
    sizes = x.shape[2:]
    for place, inside in _places(sizes, attrs):
        shape = [len(entries) for entries in inside]
        window = x[index_of(slice(None), slice(None), *np.ix_(*inside))].reshape(*x.shape[:2], -1)
        first = np.unravel_index(np.argmax(window, -1), shape)
        at = [entries[found] for entries, found in zip(inside, first, strict=True)]
        index[index_of(slice(None), slice(None), *place)] = np.ravel_multi_index(
            at, sizes, order="F" if column_major else "C"
        )
    if whole:
        planes = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *(1,) * len(sizes))
        index += planes * int(np.prod(sizes))
    return best, index


def _indices_vjp(node: Node, gradient: Value | None, _: Any) -> tuple[Value | None]:
    if gradient is None:
        return (None,)
    indices = node.outputs[1]
    if node.attrs["column_major"] or node.attrs["whole"]:
        attrs = {**node.attrs, "column_major": False, "whole": False}
        indices = _with_indices(node.inputs[0], **attrs)[1]
    return (_scattered(gradient, indices, node.inputs[0]),)


_INDEXED = {name: attr for name, attr in _WINDOWS.items() if name != "data_format"}

max_pool_with_indices = _with_indices = composite(
    "max_pool_with_indices",
    "x:T",
    attrs={**_INDEXED, "column_major": BOOLEAN, "whole": BOOLEAN},
    defaults={
        **{name: value for name, value in _DEFAULTS.items() if name != "data_format"},
        "column_major": False,
        "whole": False,
    },
    kinds=NUMERIC,
    canonical=_canonical,
    expand=_indices_expand,
    ref=_indices_ref,
    vjp=_indices_vjp,
    multiple=True,
    onnx="MaxPool",
    doc=f"""The maximum of each window, and where it stands: ``(y, indices)``.

    indices: int64, of the first maximum in its plane [*sizes], counted in row-major order (``column_major``: the first
    axis fastest), or with ``whole`` in all of x. Otherwise as :func:`pyflow.max_pool` of [N, C, *sizes].{_DOC[5:-5]}
    """,
)


def _counts(
    sizes: Sequence[Size], counts: Sequence[Size], low: Sequence[Size], include: bool, attrs: Mapping[str, Any]
) -> Any:
    """How many elements each window counts: a number, or int64 that broadcasts over [N, C, *outputs]."""
    padding, result = attrs["padding"], None
    for i, size in enumerate(sizes):
        k, s, d = attrs["kernel"][i], attrs["stride"][i], attrs["dilation"][i]
        at = reshape(iota(counts[i]) * s, (-1, 1)) + iota(k) * d - as_number(low[i])
        high = 0 if isinstance(padding, str) else padding[2 * i + 1]
        if include and isinstance(padding, str):
            inside = call("broadcast_to", call("constant", True), (counts[i], k))
        elif include:
            inside = at < as_number(dims.add(size, high))
        else:
            inside = call("logical_and", at >= 0, at < as_number(size))
        along = reshape(call("sum", call("cast", inside, "int64"), (1,)), (-1, *(1,) * (len(sizes) - 1 - i)))
        result = along if result is None else result * along
    return result


def _mean_expand(x: Value, *, ceil_mode: bool, count_include_pad: bool, **attrs: Any) -> Value:
    plain = not ceil_mode and all(entry == 1 for entry in attrs["dilation"])
    if plain and x.ndim in (3, 4):
        rows = attrs if x.ndim == 4 else _as_rows(attrs)
        rows = {name: value for name, value in rows.items() if name != "dilation"}
        image = x if x.ndim == 4 else expand_dims(x, 2)
        y = avg_pool2d(image, count_include_pad=count_include_pad, **rows)
        return y if x.ndim == 4 else squeeze(y, 2)
    axes = tuple(range(2, x.ndim))
    geometry = {name: attrs[name] for name in ("stride", "padding", "dilation")}
    wins, counts, low = padded_windows(x, axes, attrs["kernel"], ceil=ceil_mode, **geometry)
    total = call("sum", wins, tuple(range(x.ndim, wins.ndim)))
    result: Value = total / call("cast", _counts(x.dims[2:], counts, low, count_include_pad, attrs), x.dtype)
    return result


def _mean_ref(x: np.ndarray, *, count_include_pad: bool, **attrs: Any) -> np.ndarray:
    sizes = x.shape[1:-1] if attrs["data_format"] == "N*C" else x.shape[2:]
    padding = attrs["padding"]
    _, low = windows(sizes, attrs["kernel"], attrs["stride"], padding, attrs["dilation"], attrs["ceil_mode"])
    high = [0 if isinstance(padding, str) else padding[2 * i + 1] for i in range(len(sizes))]

    def mean(window: np.ndarray, place: tuple[int, ...]) -> np.ndarray:
        if not count_include_pad:
            return window.sum(-1) / window.shape[-1]
        count = 1
        for i, n in enumerate(sizes):
            at = place[i] * attrs["stride"][i] - low[i] + np.arange(attrs["kernel"][i]) * attrs["dilation"][i]
            count *= len(at) if isinstance(padding, str) else int((at < n + high[i]).sum())
        return np.asarray(window.sum(-1) / count)

    return _pooled(x, attrs, mean)


avg_pool = composite(
    "avg_pool",
    "x:T",
    attrs={**_WINDOWS, "count_include_pad": BOOLEAN},
    defaults={**_DEFAULTS, "count_include_pad": False},
    kinds=FLOATS,
    canonical=_canonical,
    expand=_first(_mean_expand),
    ref=_mean_ref,
    onnx="AveragePool",
    doc=f"""The mean of each window. Padding counts as zeros with ``count_include_pad``, else not at all; what a window
    of ``ceil_mode`` has beyond the padding never counts.{_DOC}""",
)


def _norm(x: Value, axes: Sequence[int], p: float, keepdims: bool = False) -> Value:
    """``sum(abs(x) ** p) ** (1 / p)``."""
    if p == 1:
        result: Value = call("sum", call("abs", x), tuple(axes), keepdims)
    elif p == 2:
        result = call("sqrt", call("sum", call("square", x), tuple(axes), keepdims))
    else:
        result = call("pow", call("sum", call("pow", call("abs", x), p), tuple(axes), keepdims), 1 / p)
    return result


def _lp_canonical(x: Value, *, p: float, **attrs: Any) -> Mapping[str, Any]:
    if not p > 0:
        raise InvalidArgumentError(f"expected a norm of p > 0, got {p}")
    return _canonical(x, **attrs)


def _lp_expand(x: Value, *, p: float, ceil_mode: bool, **attrs: Any) -> Value:
    kernel = attrs.pop("kernel")
    wins, _, _ = padded_windows(x, tuple(range(2, x.ndim)), kernel, ceil=ceil_mode, **attrs)
    return _norm(wins, range(x.ndim, wins.ndim), p)


lp_pool = composite(
    "lp_pool",
    "x:T",
    attrs={"kernel": INTS, "p": FLOAT, **{name: attr for name, attr in _WINDOWS.items() if name != "kernel"}},
    defaults={**_DEFAULTS, "p": 2.0},
    kinds=FLOATS,
    canonical=_lp_canonical,
    expand=_first(_lp_expand),
    ref=lambda x, p, **attrs: _pooled(x, attrs, lambda window, place: (np.abs(window) ** p).sum(-1) ** (1 / p)),
    onnx="LpPool",
    doc=f"The p-norm of each window, ``sum(abs(x) ** p) ** (1 / p)``.{_DOC}",
)


def _spatial_axes(x: Any, op: str) -> tuple[int, ...]:
    if ndim_of(x) < 3:
        raise InvalidArgumentError(message(op, f"expected x of at least 3 axes, got {ndim_of(x)}", user_origin()))
    return tuple(range(2, ndim_of(x)))


def global_avg_pool(x: Any) -> Value:
    """The mean over all spatial axes of ``x`` [N, C, *sizes], floating, which get size 1."""
    result: Value = call("mean", x, _spatial_axes(x, "global_avg_pool"), True)
    return result


def global_max_pool(x: Any) -> Value:
    """The maximum over all spatial axes of ``x`` [N, C, *sizes], numeric, which get size 1."""
    result: Value = call("max", x, _spatial_axes(x, "global_max_pool"), True)
    return result


def global_lp_pool(x: Any, p: float = 2.0) -> Value:
    """The p-norm over all spatial axes of ``x`` [N, C, *sizes], floating, which get size 1."""
    axes = _spatial_axes(x, "global_lp_pool")
    if not p > 0:
        raise InvalidArgumentError(message("global_lp_pool", f"expected a norm of p > 0, got {p}", user_origin()))
    return _norm(x, axes, p, True)


max_pool1d = of_rank(max_pool, "max_pool1d", 1)
max_pool3d = of_rank(max_pool, "max_pool3d", 3)
avg_pool1d = of_rank(avg_pool, "avg_pool1d", 1)
avg_pool3d = of_rank(avg_pool, "avg_pool3d", 3)
lp_pool1d, lp_pool2d, lp_pool3d = (of_rank(lp_pool, f"lp_pool{count}d", count) for count in (1, 2, 3))
