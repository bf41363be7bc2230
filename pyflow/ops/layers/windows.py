"""Windows over spatial axes: what convolutions and pools share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from pyflow import dims, views
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Value
from pyflow.opdef import INTS, Attr, choice
from pyflow.ops.sizes import as_size, check_rank, differ
from pyflow.plan import View

Padding = Any
"""``"valid"``, ``"same"``, ``"same_lower"`` or (before, after) of each axis in turn."""

DATA_FORMAT = choice("NCHW", "NHWC")
TO_LAST = {"NCHW": (0, 2, 3, 1), "NHWC": (0, 1, 2, 3)}
"""Which axis of the format is batch, height, width and channel."""
FROM_LAST = {"NCHW": (0, 3, 1, 2), "NHWC": (0, 1, 2, 3)}
WEIGHT_TO_LAST = {"NCHW": (2, 3, 1, 0), "NHWC": (0, 1, 2, 3)}
"""Which axis of the format's weights (OIHW or HWIO) is height, width, input and output channel."""
WEIGHT_FROM_LAST = {"NCHW": (3, 2, 0, 1), "NHWC": (0, 1, 2, 3)}


def _pair(value: Any) -> tuple[int, ...]:
    entries = INTS.normalise(value)
    return entries * 2 if len(entries) == 1 else entries


def padding_of(value: Any, count: int) -> Padding:
    """Padding as users write it, for ``count`` axes: "valid", "same", "same_lower", or (before, after) of each."""
    if isinstance(value, str):
        if value.lower() not in ("valid", "same", "same_lower"):
            raise TypeError(f"expected 'valid', 'same', 'same_lower', an int or pairs of sizes, got {value!r}")
        return value.lower()
    entries = list(value) if isinstance(value, (list, tuple)) else [value]
    flat = [as_size(e) for entry in entries for e in (entry if isinstance(entry, (list, tuple)) else (entry,))]
    if len(flat) == 1:
        return (flat[0],) * (2 * count)
    if len(flat) == count:
        return tuple(size for size in flat for _ in range(2))
    if len(flat) != 2 * count:
        raise TypeError(f"expected a (before, after) pair for each of {count} axes, got {value!r}")
    return tuple(flat)


PAIR = Attr("ints", _pair, INTS.encode)
"""(height, width); one int stands for both."""
PADDING = Attr("padding", lambda value: padding_of(value, 2), lambda value: ((), ()))


def spatial(x: Value, data_format: str) -> tuple[Size, Size]:
    """Height and width."""
    check_rank(x, 4, f"x in {data_format}")
    return (x.dims[2], x.dims[3]) if data_format == "NCHW" else (x.dims[1], x.dims[2])


def channels_of(x: Value, data_format: str) -> Size:
    return x.dims[1 if data_format == "NCHW" else 3]


def arranged(batch: Size, spatial_sizes: Sequence[Size], channels: Size, data_format: str) -> tuple[Size, ...]:
    """The dims of an image batch in its format."""
    if data_format == "NCHW":
        return (batch, channels, *spatial_sizes)
    return (batch, *spatial_sizes, channels)


def check_geometry(count: int, **given: Sequence[Size]) -> None:
    """Each of ``given`` has a number >= 1 for each of ``count`` spatial axes."""
    for name, entries in given.items():
        if len(entries) != count or any(isinstance(entry, int) and entry < 1 for entry in entries):
            raise InvalidArgumentError(f"expected {count} ints >= 1 for {name}, got {tuple(entries)}")


def windows(
    size: Sequence[Size],
    kernel: Sequence[Size],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int] | None = None,
    ceil: bool = False,
) -> tuple[tuple[Size, ...], tuple[Size, ...]]:
    """(outputs, padding before) along each axis, of windows of ``kernel`` over ``size``.

    "same" gives ``ceil(size / stride)`` outputs and puts the odd element of padding last, "same_lower" first. With
    ``ceil`` a window that the end cuts off counts too, if it starts inside of the size or the padding before.
    """
    dilation = (1,) * len(size) if dilation is None else dilation
    given = (tuple(size), tuple(kernel), tuple(stride), padding, tuple(dilation), ceil)
    known = dims.are_numbers((*size, *kernel, *(padding if isinstance(padding, tuple) else ())))
    return _windows_of_numbers(*given) if known else _windows(*given)


def _windows(
    size: Sequence[Size],
    kernel: Sequence[Size],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
    ceil: bool,
) -> tuple[tuple[Size, ...], tuple[Size, ...]]:
    count = len(size)
    if len(kernel) != count:
        raise InvalidArgumentError(f"expected a kernel of {count} sizes, got {tuple(kernel)}")
    check_geometry(count, stride=stride, dilation=dilation)
    outputs: list[Size] = []
    before: list[Size] = []
    for i in range(count):
        span = span_of(kernel[i], dilation[i])
        if isinstance(padding, str) and padding != "valid":
            out = dims.ceildiv(size[i], stride[i])
            reach = dims.add(dims.mul(dims.add(out, -1), stride[i]), span)
            around = dims.maximum(dims.add(reach, dims.mul(size[i], -1)), 0)
            outputs.append(out)
            before.append(dims.floordiv(around, 2) if padding == "same" else dims.ceildiv(around, 2))
            continue
        low, high = (0, 0) if padding == "valid" else padding[2 * i : 2 * i + 2]
        room = dims.add(dims.add(size[i], dims.add(low, high)), dims.mul(span, -1))
        if differ(dims.maximum(room, 0), room):
            raise InvalidArgumentError(
                f"a window of {span} does not fit a size of {size[i]} with padding ({low}, {high})"
            )
        if ceil:
            starts = dims.ceildiv(dims.add(size[i], low), stride[i])
            outputs.append(dims.minimum(dims.add(dims.ceildiv(room, stride[i]), 1), starts))
        else:
            outputs.append(dims.add(dims.floordiv(room, stride[i]), 1))
        before.append(low)
    return tuple(outputs), tuple(before)


_windows_of_numbers = lru_cache(1024)(_windows)
"""The passes ask for the same layers again and again."""


def span_of(kernel: Size, dilation: int) -> Size:
    """How many elements a window reaches over."""
    return dims.add(dims.mul(dims.add(kernel, -1), dilation), 1)


def last(view: View, data_format: str) -> View:
    """An image batch as [N, H, W, C]."""
    return views.permute(view, TO_LAST[data_format])


def weight_last(view: View, data_format: str) -> View:
    """Weights as [KH, KW, C/groups, O]."""
    return views.permute(view, WEIGHT_TO_LAST[data_format])


def over_windows(
    out: Sequence[Any],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    visit: Callable[..., None],
) -> None:
    """Calls ``visit(i, j, rows, columns)`` for each place in the kernel: slices of the padded image that it meets
    for ``out`` (height, width) outputs."""
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            top, left = i * dilation[0], j * dilation[1]
            rows = slice(top, top + (out[0] - 1) * stride[0] + 1, stride[0])
            columns = slice(left, left + (out[1] - 1) * stride[1] + 1, stride[1])
            visit(i, j, rows, columns)
