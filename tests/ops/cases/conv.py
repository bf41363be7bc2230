"""Rows of convolutions and pools."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from cases.case import FLOATS, NUMERIC, Case, distinct, normal
from pyflow.opdef import call
from pyflow.ops.internal.expanded import expand_depthwise, expand_depthwise_project
from pyflow.ops.internal.packed import conv2d_pack, conv2d_packed, matmul_pack, matmul_packed
from pyflow.ops.internal.winograd import conv2d_winograd, winograd_pack
from pyflow.ops.layers.conv import conv2d

F64 = np.float64


def _window(x: np.ndarray, kernel: Any, i: int, j: int, stride: Any, dilation: Any) -> np.ndarray:
    """[N, C, KH, KW] of one output place."""
    top, left = i * stride[0], j * stride[1]
    return x[
        :, :, top : top + kernel[0] * dilation[0] : dilation[0], left : left + kernel[1] * dilation[1] : dilation[1]
    ]


def _amid(
    x: np.ndarray, kernel: Any, stride: Any, padding: Any, dilation: Any, fill: float
) -> tuple[np.ndarray, list[int]]:
    """``x`` [N, C, H, W] with its padding, and the number of outputs."""
    pads, counts = [], []
    for axis in range(2):
        size, span = x.shape[2 + axis], (kernel[axis] - 1) * dilation[axis] + 1
        if padding == "same":
            count = -(-size // stride[axis])
            total = max((count - 1) * stride[axis] + span - size, 0)
            pads.append((total // 2, total - total // 2))
        else:
            pads.append((0, 0) if padding == "valid" else padding[axis])
        counts.append((size + sum(pads[-1]) - span) // stride[axis] + 1)
    return np.pad(x, ((0, 0), (0, 0), *pads), constant_values=fill), counts


def _convolution(x: np.ndarray, w: np.ndarray, stride: Any, padding: Any, dilation: Any, groups: int) -> np.ndarray:
    wide, counts = _amid(x, w.shape[2:], stride, padding, dilation, 0)
    y = np.zeros((x.shape[0], w.shape[0], *counts))
    inner, outer = w.shape[1], w.shape[0] // groups
    for i, j in itertools.product(*map(range, counts)):
        window = _window(wide, w.shape[2:], i, j, stride, dilation)
        for o in range(w.shape[0]):
            group = o // outer
            y[:, o, i, j] = (window[:, group * inner : (group + 1) * inner] * w[o]).sum((1, 2, 3))
    return y


def _conv(
    x: tuple[int, ...],
    w: tuple[int, ...],
    stride: Any = (1, 1),
    padding: Any = "valid",
    dilation: Any = (1, 1),
    groups: int = 1,
    data_format: str = "NCHW",
    dtype: Any = F64,
) -> Case:
    """Shapes in NCHW and OIHW; the row transposes them to its format."""
    image, weights = normal(*x, dtype=dtype), normal(*w, dtype=dtype)
    attrs = dict(stride=stride, padding=padding, dilation=dilation, groups=groups, data_format=data_format)
    last = data_format == "NHWC"
    if last:
        image, weights = image.transpose(0, 2, 3, 1).copy(), weights.transpose(2, 3, 1, 0).copy()

    def expected(a: np.ndarray, b: np.ndarray, **_: Any) -> np.ndarray:
        if not last:
            return _convolution(a, b, stride, padding, dilation, groups)
        y = _convolution(a.transpose(0, 3, 1, 2), b.transpose(3, 2, 0, 1), stride, padding, dilation, groups)
        return y.transpose(0, 2, 3, 1)

    near = (1e-4, 1e-5) if dtype == np.float32 else (1e-9, 1e-10)
    return Case("conv2d", (image, weights), attrs, expected, rtol=near[0], atol=near[1])


def _adjoint(function: Any, shape: tuple[int, ...], flow: np.ndarray) -> np.ndarray:
    """The gradient of the linear ``function`` at any point: how each element of its argument bears on ``flow``."""
    basis = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    return np.array([(function(unit) * flow).sum() for unit in basis]).reshape(shape)


_ONE = ((1, 1), (1, 1))


def _input_grad_expected(dy: np.ndarray, w: np.ndarray) -> np.ndarray:
    return _adjoint(lambda x: _convolution(x, w, (2, 2), _ONE, (1, 1), 1), (2, 2, 6, 5), dy)


def _filter_grad_expected(x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    return _adjoint(lambda w: _convolution(x, w, (2, 2), _ONE, (1, 1), 1), (4, 2, 3, 3), dy)


def _pooled(kernel: Any, stride: Any, padding: Any, largest: bool, include: bool = False, last: bool = False) -> Any:
    def expected(x: np.ndarray, **_: Any) -> np.ndarray:
        x = x.transpose(0, 3, 1, 2) if last else x
        wide, counts = _amid(x.astype(F64), kernel, stride, padding, (1, 1), -np.inf if largest else 0)
        inside, _ = _amid(np.ones(x.shape), kernel, stride, padding, (1, 1), 0)
        y = np.zeros((*x.shape[:2], *counts))
        for i, j in itertools.product(*map(range, counts)):
            window = _window(wide, kernel, i, j, stride, (1, 1))
            number = window[0, 0].size if include else _window(inside, kernel, i, j, stride, (1, 1)).sum((2, 3))
            y[:, :, i, j] = window.max((2, 3)) if largest else window.sum((2, 3)) / number
        return y.transpose(0, 2, 3, 1) if last else y

    return expected


def _pool(
    op: str, kernel: Any, stride: Any, padding: Any, data_format: str = "NCHW", dtype: Any = F64, **more: Any
) -> Case:
    x = distinct(2, 3, 7, 6, dtype=dtype)
    last = data_format == "NHWC"
    expected = _pooled(kernel, stride, padding, op == "max_pool2d", more.get("count_include_pad", False), last)
    attrs = dict(kernel=kernel, stride=stride, padding=padding, data_format=data_format, **more)
    tolerance = 1e-5 if dtype == np.float32 else None
    return Case(op, (x.transpose(0, 2, 3, 1).copy() if last else x,), attrs, expected, rtol=tolerance, atol=1e-6)


def _second(x: Any, w: Any) -> Any:
    """A gradient of conv2d as an op of its own: its vjp gives second derivatives."""
    return call("conv2d_input_grad", x, w, (6, 5), stride=2, padding=1, data_format="NCHW")


def _filter(x: Any, dy: Any) -> Any:
    return call("conv2d_filter_grad", x, dy, (3, 3), stride=2, padding=1, data_format="NCHW")


def _packed_conv(x: Any, w: Any) -> Any:
    panels = conv2d_pack(w, 2, "NCHW")
    return conv2d_packed(x, panels, (3, 3), 6, padding=1, groups=2)


def _pooled_conv(x: Any, w: Any) -> Any:
    return conv2d_packed(x, conv2d_pack(w, 1, "NCHW"), (3, 3), 6, padding=1, pool=2)


def _largest(y: np.ndarray) -> np.ndarray:
    """The largest of each whole window of 2 by 2 in [N, C, H, W]."""
    height, width = y.shape[2] // 2 * 2, y.shape[3] // 2 * 2
    y = y[:, :, :height, :width]
    return np.maximum(
        np.maximum(y[:, :, ::2, ::2], y[:, :, ::2, 1::2]), np.maximum(y[:, :, 1::2, ::2], y[:, :, 1::2, 1::2])
    )


def _expanded(x: Any, w: Any, bias: Any, taps: Any) -> Any:
    panels, packed = conv2d_pack(w[None, None], 1, "NHWC"), conv2d_pack(taps.reshape((3, 3, 1, 16)), 1, "NHWC")
    first = {"expand_kernel": (1, 1), "expand_stride": 1, "expand_padding": "valid", "expand_dilation": 1}
    attrs = {"stride": (2, 1), "padding": 1, "groups": 16, "data_format": "NHWC"}
    return expand_depthwise(x, panels, bias, packed, **first, low=-0.5, high=1.0, kernel=(3, 3), channels=16, **attrs)


def _projected(x: Any, w: Any, bias: Any, taps: Any, projection: Any) -> Any:
    panels = conv2d_pack(w, 1, "NHWC")
    packed = conv2d_pack(taps.reshape((3, 3, 1, 16)), 1, "NHWC"), conv2d_pack(projection[None, None], 1, "NHWC")
    attrs = {"expand_kernel": (3, 2), "expand_stride": (2, 1), "expand_padding": "same", "expand_dilation": (1, 2)}
    attrs |= {"low": -0.5, "high": 1.0, "next_low": -1.0, "next_high": 0.25, "kernel": (3, 3), "channels": 16}
    attrs |= {"stride": (1, 2), "padding": 1, "groups": 16, "data_format": "NHWC", "outputs": 5}
    return expand_depthwise_project(x, panels, bias, packed[0], bias, packed[1], **attrs)


def _projected_expected(x: np.ndarray, w: np.ndarray, b: np.ndarray, taps: np.ndarray, projection: np.ndarray) -> Any:
    wide = _convolution(x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1), (2, 1), "same", (1, 2), 1)
    wide = np.clip(wide + b[:, None, None], -0.5, 1.0)
    taps = taps.reshape(3, 3, 1, 16).transpose(3, 2, 0, 1)
    y = _convolution(wide, taps, (1, 2), ((1, 1), (1, 1)), (1, 1), 16)
    return np.clip(y + b[:, None, None], -1.0, 0.25).transpose(0, 2, 3, 1) @ projection


CASES = [
    _conv((2, 3, 6, 5), (4, 3, 3, 3)),
    *(
        _conv((2, 4, 7, 6), (6, 4, 3, 2), (2, 1), "same", data_format=f, dtype=d)
        for f in ("NCHW", "NHWC")
        for d in FLOATS
    ),
    _conv((1, 4, 8, 8), (6, 2, 3, 3), (1, 1), ((1, 1), (0, 2)), (2, 2), 2),
    _conv((2, 4, 5, 5), (4, 1, 3, 3), (1, 1), "same", groups=4, data_format="NHWC"),
    _conv((2, 3, 4, 4), (5, 3, 1, 1)),
    _conv((1, 2, 6, 6), (3, 2, 2, 2), (3, 3), "same"),
    Case(
        lambda x, w, b: conv2d(x, w, b, padding="same"),
        (normal(2, 3, 4, 4, dtype=F64), normal(5, 3, 3, 3, dtype=F64), normal(5, dtype=F64)),
        label="conv2d with bias",
        expected=lambda x, w, b, **_: _convolution(x, w, (1, 1), "same", (1, 1), 1) + b[:, None, None],
        rtol=1e-9,
        atol=1e-9,
    ),
    Case(
        _second,
        (normal(2, 4, 3, 3, dtype=F64), normal(4, 2, 3, 3, dtype=F64)),
        label="conv2d_input_grad",
        expected=_input_grad_expected,
        rtol=1e-9,
        atol=1e-10,
        symbolic=False,
    ),
    Case(
        _filter,
        (normal(2, 2, 6, 5, dtype=F64), normal(2, 4, 3, 3, dtype=F64)),
        label="conv2d_filter_grad",
        expected=_filter_grad_expected,
        rtol=1e-9,
        atol=1e-10,
        symbolic=False,
    ),
    Case(
        _packed_conv,
        (normal(2, 4, 5, 5), normal(6, 2, 3, 3)),
        label="conv2d_packed",
        symbolic=False,
        expected=lambda x, w, **_: _convolution(x, w, (1, 1), ((1, 1), (1, 1)), (1, 1), 2),
        rtol=1e-4,
        atol=1e-5,
    ),
    Case(
        _pooled_conv,
        (normal(2, 4, 5, 8), normal(6, 4, 3, 3)),
        label="conv2d_packed, the largest of windows",
        symbolic=False,
        expected=lambda x, w, **_: _largest(_convolution(x, w, (1, 1), ((1, 1), (1, 1)), (1, 1), 1)),
        rtol=1e-4,
        atol=1e-5,
    ),
    Case(
        _expanded,
        (normal(2, 5, 6, 3), normal(3, 16), normal(16), normal(9, 16)),
        label="expand_depthwise",
        symbolic=False,
        expected=lambda x, w, b, taps, **_: _convolution(
            np.clip(x @ w + b, -0.5, 1.0).transpose(0, 3, 1, 2),
            taps.reshape(3, 3, 1, 16).transpose(3, 2, 0, 1),
            (2, 1),
            ((1, 1), (1, 1)),
            (1, 1),
            16,
        ).transpose(0, 2, 3, 1),
        rtol=1e-4,
        atol=1e-5,
    ),
    Case(
        _projected,
        (normal(2, 9, 7, 3), normal(3, 2, 3, 16), normal(16), normal(9, 16), normal(16, 5)),
        label="expand_depthwise_project",
        symbolic=False,
        expected=lambda *arrays, **_: _projected_expected(*arrays),
        rtol=1e-4,
        atol=1e-5,
    ),
    Case(
        lambda x, w: conv2d_winograd(x, winograd_pack(w, 4, "NCHW"), 4, 7, 1, "NCHW", 2),
        (normal(2, 4, 5, 9), normal(7, 4, 3, 3)),
        label="conv2d_winograd, the largest of windows",
        symbolic=False,
        expected=lambda x, w, **_: _largest(_convolution(x, w, (1, 1), ((1, 1), (1, 1)), (1, 1), 1)),
        rtol=1e-3,
        atol=1e-3,
    ),
    *(
        Case(
            lambda x, w, tile=tile: conv2d_winograd(x, winograd_pack(w, tile, "NCHW"), tile, 7, 1, "NCHW"),
            (normal(2, 4, 5, 9), normal(7, 4, 3, 3)),
            label=f"conv2d_winograd, tiles of {tile}",
            symbolic=False,
            expected=lambda x, w, **_: _convolution(x, w, (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
            rtol=1e-4,
            atol=1e-5,
        )
        for tile in (2, 4)
    ),
    Case(
        lambda a, b: matmul_packed(a, matmul_pack(b), 40),
        (normal(3, 5), normal(5, 40)),
        label="matmul_packed",
        symbolic=False,
        expected=lambda a, b, **_: a @ b,
        rtol=1e-4,
        atol=1e-5,
    ),
    *(_pool("max_pool2d", (2, 2), (2, 2), "valid", dtype=d) for d in NUMERIC),
    _pool("max_pool2d", (3, 2), (2, 1), "same"),
    _pool("max_pool2d", (3, 3), (1, 2), ((1, 1), (0, 1)), "NHWC"),
    *(_pool("avg_pool2d", (2, 3), (2, 2), "valid", dtype=d) for d in FLOATS),
    _pool("avg_pool2d", (3, 3), (2, 2), "same"),
    _pool("avg_pool2d", (3, 3), (2, 1), ((1, 1), (1, 1)), "NHWC", count_include_pad=True),
]
