"""Convolution over any number of spatial axes, and its transpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dims
from pyflow.apply import convert
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import FLOATS, INT, INTS, NUMERIC, SIZES, call, choice
from pyflow.ops.arrays.shape import expand_dims, reshape, squeeze, transpose
from pyflow.ops.composite import composite, index_of, of_rank, per_channel
from pyflow.ops.layers.conv import check_groups, conv2d, conv2d_input_grad
from pyflow.ops.layers.sliding import (
    ANY_PADDING,
    channels_first,
    channels_last,
    cropped,
    framed,
    overlap_add,
    padded_windows,
    repeated,
    settled,
)
from pyflow.ops.layers.windows import Padding, padding_of, span_of, windows
from pyflow.ops.sizes import SHAPE, differ, equal_check

__all__ = ["conv", "conv1d", "conv3d", "conv_transpose", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]

FORMAT = choice("NC", "NC*", "NCW", "NCL", "NCHW", "NCDHW", "N*C", "NWC", "NLC", "NHWC", "NDHWC")


def is_last(data_format: str) -> bool:
    """Channels are the last axis."""
    return data_format.endswith("C") and data_format != "NC"


def _canonical(x: Value, w: Value, *, stride: Any, padding: Any, dilation: Any, data_format: str, **rest: Any) -> Any:
    if x.ndim < 3 or x.ndim != w.ndim:
        raise InvalidArgumentError(f"expected x and w of one rank, at least 3, got x: {x.type} and w: {w.type}")
    made = settled(x.ndim - 2, padding, stride=stride, dilation=dilation)
    return {**made, "data_format": "N*C" if is_last(data_format) else "NC*"}


def _by_matmul(x: Value, w: Value, *, stride: Any, padding: Padding, dilation: Any, groups: int) -> Value:
    """x [N, C, *sizes], w [O, C/groups, *kernel]."""
    count = x.ndim - 2
    batch, channels, outer, inner, kernel = x.dims[0], x.dims[1], w.dims[0], w.dims[1], w.dims[2:]
    check_groups(groups, channels, inner, outer)
    axes = tuple(range(2, x.ndim))
    wins, out, _ = padded_windows(x, axes, kernel, stride=stride, padding=padding, dilation=dilation)
    depth, places = dims.mul(inner, dims.product(kernel)), dims.product(out)
    apart = reshape(wins, (batch, groups, inner, *out, *kernel))
    order = (0, 1, *range(3, 3 + count), 2, *range(3 + count, 3 + 2 * count))
    rows = reshape(transpose(apart, order), (batch, groups, places, depth))
    weights = transpose(reshape(w, (groups, dims.floordiv(outer, groups), depth)), (0, 2, 1))
    y = transpose(call("matmul", rows, weights), (0, 1, 3, 2))
    return reshape(y, (batch, outer, *out))


def _expand(x: Value, w: Value, *, data_format: str, **attrs: Any) -> Value:
    if data_format == "N*C":
        count = x.ndim - 2
        weights = transpose(w, (count + 1, count, *range(count)))
        return channels_last(_expand(channels_first(x), weights, data_format="NC*", **attrs))
    if not x.dtype.is_floating or x.ndim > 4:
        return _by_matmul(x, w, **attrs)
    if x.ndim == 4:
        return conv2d(x, w, **attrs)
    rows: dict[str, Any] = {name: (1, *attrs[name]) for name in ("stride", "dilation")}
    padding = attrs["padding"] if isinstance(attrs["padding"], str) else (0, 0, *attrs["padding"])
    wide = conv2d(expand_dims(x, 2), expand_dims(w, 2), padding=padding, groups=attrs["groups"], **rows)
    return squeeze(wide, 2)


def _ref(
    x: np.ndarray, w: np.ndarray, *, stride: Any, padding: Padding, dilation: Any, groups: int, data_format: str
) -> np.ndarray:
    if data_format == "NC*":
        x, w = np.moveaxis(x, 1, -1), np.moveaxis(w, (0, 1), (-1, -2))
    sizes, kernel = x.shape[1:-1], w.shape[:-2]
    out, low = windows(sizes, kernel, stride, padding, dilation)
    high: list[Any] = [
        max((o - 1) * s + span_of(k, d) - b - n, 0)
        for o, s, k, d, b, n in zip(out, stride, kernel, dilation, low, sizes, strict=True)
    ]
    room: Any = [(0, 0), *zip(low, high, strict=True), (0, 0)]
    wide = np.pad(x, room)
    wide = wide.reshape(*wide.shape[:-1], groups, -1)
    result = np.zeros((x.shape[0], *out, groups, w.shape[-1] // groups), x.dtype)
    for place in np.ndindex(*kernel):
        at = [slice(p * d, p * d + (o - 1) * s + 1, s) for p, d, o, s in zip(place, dilation, out, stride, strict=True)]
        weights = w[place].reshape(-1, groups, w.shape[-1] // groups)
        result += np.einsum("n...gc,cgo->n...go", wide[index_of(slice(None), *at)], weights).astype(x.dtype)
    y = result.reshape(x.shape[0], *out, -1)
    return np.moveaxis(y, -1, 1) if data_format == "NC*" else y


_conv = composite(
    "conv",
    "x:T, w:T",
    attrs={"stride": INTS, "padding": ANY_PADDING, "dilation": INTS, "groups": INT, "data_format": FORMAT},
    defaults={"stride": (1,), "padding": ("valid",), "dilation": (1,), "groups": 1, "data_format": "NC*"},
    kinds=NUMERIC,
    canonical=_canonical,
    expand=_expand,
    ref=_ref,
    onnx="Conv",
    doc="Convolution without bias; see :func:`pyflow.conv`.",
)


def _with_bias(y: Value, bias: Any, axis: int, name: str | None) -> Value:
    if bias is None:
        return y if name is None else call("identity", y, name=name)
    result: Value = call("add", y, per_channel(bias, y.ndim, axis), name=name)
    return result


def conv(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = "valid",
    dilation: Any = 1,
    groups: int = 1,
    data_format: str = "NC*",
    *,
    name: str | None = None,
) -> Value:
    """Convolution (cross-correlation) over one or more spatial axes.

    x: numeric [N, C, *sizes] with w [O, C/groups, *kernel], or with a channels-last ``data_format`` ("NWC", "NHWC",
        "NDHWC", "N*C") [N, *sizes, C] with w [*kernel, C/groups, O]. bias: [O] or None.
    stride, dilation: an int, or one per spatial axis.
    padding: "valid" (none), "same" (ceil(size / stride) outputs, the odd element last), "same_lower" (first), an int,
        one int per axis, or a (before, after) pair per axis.
    Raises InvalidArgumentError for ranks, channels or groups that do not fit, and a kernel larger than its input.
    """
    attrs = dict(stride=stride, padding=padding, dilation=dilation, groups=groups, data_format=data_format)
    return _with_bias(_conv(x, w, **attrs), bias, -1 if is_last(data_format) else 1, name)


conv1d = of_rank(conv, "conv1d", 1)
conv3d = of_rank(conv, "conv3d", 3)


def _transpose_canonical(x: Value, w: Value, *, size: Any, stride: Any, before: Any, dilation: Any, groups: int) -> Any:
    count = x.ndim - 2
    if count < 1 or x.ndim != w.ndim:
        raise InvalidArgumentError(f"expected x and w of one rank, at least 3, got x: {x.type} and w: {w.type}")
    if differ(x.dims[1], w.dims[0]) or groups < 1 or (isinstance(w.dims[0], int) and w.dims[0] % groups):
        raise InvalidArgumentError(f"x: {x.type} has not the channels of w: {w.type} in {groups} groups")
    return {"size": repeated(size, count, "size"), "before": repeated(before, count, "before")}


def _transpose_expand(x: Value, w: Value, *, size: Any, stride: Any, before: Any, dilation: Any, groups: int) -> Value:
    count, kernel = x.ndim - 2, w.dims[2:]
    plain = all(isinstance(low, int) and low >= 0 for low in before)
    whole = [
        dims.add(dims.mul(dims.add(n, -1), s), span_of(k, d))
        for n, s, k, d in zip(x.dims[2:], stride, kernel, dilation, strict=True)
    ]
    if count == 1 and plain:
        rows = {"stride": (1, *stride), "before": (0, *before), "dilation": (1, *dilation), "size": (1, *size)}
        return squeeze(_transpose_expand(expand_dims(x, 2), expand_dims(w, 2), groups=groups, **rows), 2)
    if count == 2 and plain:
        after = [
            dims.maximum(dims.add(n, dims.mul(dims.add(out, low), -1)), 0)
            for n, out, low in zip(whole, size, before, strict=True)
        ]
        padding = tuple(entry for pair in zip(before, after, strict=True) for entry in pair)
        result: Value = conv2d_input_grad(x, w, size, stride, padding, dilation, groups)
        return result
    batch, places, inner = x.dims[0], dims.product(x.dims[2:]), dims.floordiv(x.dims[1], groups)
    columns = dims.mul(w.dims[1], dims.product(kernel))
    rows_of = transpose(reshape(x, (batch, groups, inner, places)), (0, 1, 3, 2))
    flat = call("matmul", rows_of, reshape(w, (groups, inner, columns)))
    apart = reshape(flat, (batch, groups, *x.dims[2:], w.dims[1], *kernel))
    order = (0, 1, 2 + count, *range(2, 2 + count), *range(3 + count, 3 + 2 * count))
    wins = reshape(transpose(apart, order), (batch, dims.mul(groups, w.dims[1]), *x.dims[2:], *kernel))
    axes = tuple(range(2, 2 + count))
    full = overlap_add(wins, axes, whole, stride, dilation)
    low = [dims.maximum(dims.mul(b, -1), 0) for b in before]
    ends = [dims.add(n, dims.mul(dims.add(out, b), -1)) for n, out, b in zip(whole, size, before, strict=True)]
    wide = framed(full, axes, low, [dims.maximum(dims.mul(end, -1), 0) for end in ends], 0)
    return cropped(wide, axes, [dims.maximum(b, 0) for b in before], size)


def _transpose_ref(
    x: np.ndarray, w: np.ndarray, *, size: Any, stride: Any, before: Any, dilation: Any, groups: int
) -> np.ndarray:
    result = np.zeros((x.shape[0], groups, w.shape[1], *size), x.dtype)
    grouped = x.reshape(x.shape[0], groups, -1, *x.shape[2:])
    weights = w.reshape(groups, -1, *w.shape[1:])
    for place in np.ndindex(*w.shape[2:]):
        for at in np.ndindex(*x.shape[2:]):
            to = [i * s + p * d - b for i, s, p, d, b in zip(at, stride, place, dilation, before, strict=True)]
            if all(0 <= i < n for i, n in zip(to, size, strict=True)):
                every = (slice(None),) * 3
                part = np.einsum("ngc,gco->ngo", grouped[index_of(*every, *at)], weights[index_of(*every, *place)])
                result[index_of(*every, *to)] += part
    return result.reshape(x.shape[0], -1, *size)


_conv_transpose = composite(
    "conv_transpose",
    "x:T, w:T",
    attrs={"size": SIZES, "stride": INTS, "before": SIZES, "dilation": INTS, "groups": INT},
    kinds=FLOATS,
    canonical=_transpose_canonical,
    checks=lambda node: equal_check(
        node.inputs[0].dims[1],
        node.inputs[1].dims[0],
        f"x: {node.inputs[0].type} and w: {node.inputs[1].type}: channels",
    ),
    expand=_transpose_expand,
    ref=_transpose_ref,
    onnx="ConvTranspose",
    doc="``size`` elements, from ``before`` on, of a convolution's transpose; see :func:`pyflow.conv_transpose`.",
)


def conv_transpose(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    output_shape: Any = None,
    *,
    name: str | None = None,
) -> Value:
    """The transpose (gradient by the input) of a convolution over one or more spatial axes.

    x: floating [N, C, *sizes]. w: [C, O/groups, *kernel]. bias: [O] or None. stride, dilation, output_padding: an int
        or one per spatial axis.
    padding: as for :func:`pyflow.conv`: what is cut off; "same" and "same_lower" give sizes times stride.
    output_shape: the spatial sizes of the result, which then settle how much is cut off (the odd element first, with
        "same" last). Otherwise a size is ``(size-1)*stride + (kernel-1)*dilation + 1 + output_padding - padding``.
    """
    value, weights = (convert(entry) for entry in (x, w))
    count = value.ndim - 2
    if count < 1 or weights.ndim != value.ndim:
        what = f"expected x and w of one rank, at least 3, got x: {value.type} and w: {weights.type}"
        raise InvalidArgumentError(message("conv_transpose", what, user_origin()))
    try:
        steps, gaps, extra = (
            repeated(INTS.normalise(entry), count, what)
            for entry, what in ((stride, "stride"), (dilation, "dilation"), (output_padding, "output_padding"))
        )
        pads = padding_of(padding, count)
        wanted = None if output_shape is None else SHAPE.normalise(output_shape)
    except (TypeError, InvalidArgumentError) as error:
        raise InvalidArgumentError(message("conv_transpose", str(error), user_origin())) from None
    if wanted is not None and len(wanted) != count:
        what = f"expected an output_shape of {count} sizes, got {wanted}"
        raise InvalidArgumentError(message("conv_transpose", what, user_origin()))
    size, before = _placed(value.dims[2:], weights.dims[2:], steps, gaps, extra, pads, wanted)
    y = _conv_transpose(value, weights, size, steps, before, gaps, groups)
    return _with_bias(y, bias, 1, name)


def _placed(
    sizes: Sequence[Size],
    kernel: Sequence[Size],
    stride: Sequence[int],
    dilation: Sequence[int],
    extra: Sequence[int],
    padding: Padding,
    wanted: Sequence[Size] | None,
) -> tuple[list[Size], list[Size]]:
    """(sizes of the result, where it begins in the whole)."""
    result: list[Size] = []
    before: list[Size] = []
    for i, n in enumerate(sizes):
        whole = dims.add(dims.add(dims.mul(dims.add(n, -1), stride[i]), span_of(kernel[i], dilation[i])), extra[i])
        explicit = not isinstance(padding, str) or padding == "valid"
        if explicit and wanted is None:
            low, high = (0, 0) if isinstance(padding, str) else padding[2 * i : 2 * i + 2]
            result.append(dims.add(whole, dims.mul(dims.add(low, high), -1)))
            before.append(low)
            continue
        out = dims.mul(n, stride[i]) if wanted is None else wanted[i]
        total = dims.add(whole, dims.mul(out, -1))
        half = dims.floordiv(total, 2)
        result.append(out)
        before.append(half if padding == "same" else dims.add(total, dims.mul(half, -1)))
    return result, before


conv_transpose1d = of_rank(conv_transpose, "conv_transpose1d", 1)
conv_transpose2d = of_rank(conv_transpose, "conv_transpose2d", 2)
conv_transpose3d = of_rank(conv_transpose, "conv_transpose3d", 3)
