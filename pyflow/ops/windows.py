"""Windows over two spatial axes: what convolutions and pools share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pyflow import dims, views
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Value
from pyflow.opdef import INTS, Attr, choice
from pyflow.ops.sizes import as_size, check_rank, differ
from pyflow.plan import View

Padding = Any
"""``"valid"``, ``"same"`` or (top, bottom, left, right)."""

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


def _padding(value: Any) -> Any:
    if isinstance(value, str):
        if value.lower() not in ("valid", "same"):
            raise TypeError(f"expected 'valid', 'same', an int or pairs of sizes, got {value!r}")
        return value.lower()
    entries = list(value) if isinstance(value, (list, tuple)) else [value]
    flat = [as_size(e) for entry in entries for e in (entry if isinstance(entry, (list, tuple)) else (entry,))]
    if len(flat) == 1:
        return (flat[0],) * 4
    if len(flat) == 2:
        return (flat[0], flat[0], flat[1], flat[1])
    if len(flat) != 4:
        raise TypeError(f"expected ((top, bottom), (left, right)), got {value!r}")
    return tuple(flat)


PAIR = Attr("ints", _pair, INTS.encode)
"""(height, width); one int stands for both."""
PADDING = Attr("padding", _padding, lambda value: ((), ()))


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


def windows(
    size: Sequence[Size],
    kernel: Sequence[Size],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int] = (1, 1),
) -> tuple[tuple[Size, Size], tuple[Size, Size]]:
    """((out height, out width), (pad top, pad left)) of windows of ``kernel`` over ``size``.

    "same" gives ``ceil(size / stride)`` outputs and puts the odd element of padding below and right.
    """
    if any(len(pair) != 2 for pair in (kernel, stride, dilation)) or min(*stride, *dilation) < 1:
        raise InvalidArgumentError(f"expected pairs of ints >= 1, got stride {stride}, dilation {dilation}")
    outputs: list[Size] = []
    before: list[Size] = []
    for i in range(2):
        span = dims.add(dims.mul(dims.add(kernel[i], -1), dilation[i]), 1)
        if padding == "same":
            out = dims.ceildiv(size[i], stride[i])
            reach = dims.add(dims.mul(dims.add(out, -1), stride[i]), span)
            outputs.append(out)
            before.append(dims.floordiv(dims.maximum(dims.add(reach, dims.mul(size[i], -1)), 0), 2))
            continue
        low, high = (0, 0) if padding == "valid" else padding[2 * i : 2 * i + 2]
        room = dims.add(dims.add(size[i], dims.add(low, high)), dims.mul(span, -1))
        if differ(dims.maximum(room, 0), room):
            raise InvalidArgumentError(
                f"a window of {span} does not fit a size of {size[i]} with padding ({low}, {high})"
            )
        outputs.append(dims.add(dims.floordiv(room, stride[i]), 1))
        before.append(low)
    return (outputs[0], outputs[1]), (before[0], before[1])


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
