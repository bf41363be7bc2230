"""Images in other sizes: upsampling, padding, shuffled pixels, windows as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyflow as pf
from pyflow.nn.module import Module

__all__ = [
    "ChannelShuffle",
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "Fold",
    "PixelShuffle",
    "PixelUnshuffle",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "Unfold",
    "Upsample",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class Upsample(Module):
    """x [N, C, *sizes] with other spatial sizes: of ``size``, or times ``scale_factor``.

    mode: "nearest", "linear", "bilinear", "bicubic" or "trilinear".
    """

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
    ) -> None:
        self.size = size
        self.scale_factor = scale_factor
        self.mode = mode
        self.align_corners = align_corners

    def forward(self, x: Any) -> Any:
        return pf.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners)

    def extra_repr(self) -> str:
        by = f"scale_factor={self.scale_factor}" if self.size is None else f"size={self.size}"
        return f"{by}, mode={self.mode!r}"


class PixelShuffle(Module):
    """[N, C * r**2, H, W] as [N, C, H * r, W * r]."""

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor = upscale_factor

    def forward(self, x: Any) -> Any:
        return pf.pixel_shuffle(x, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """[N, C, H * r, W * r] as [N, C * r**2, H, W]."""

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor = downscale_factor

    def forward(self, x: Any) -> Any:
        return pf.pixel_unshuffle(x, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """Channels of x [N, C, ...] in ``groups``, taken in turn."""

    def __init__(self, groups: int) -> None:
        self.groups = groups

    def forward(self, x: Any) -> Any:
        return pf.channel_shuffle(x, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class Unfold(Module):
    """The windows of x [N, C, H, W] as columns [N, C * product(kernel), windows]."""

    def __init__(self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> None:
        self.geometry = tuple(tuple(v) if isinstance(v, list) else v for v in (kernel_size, dilation, padding, stride))

    def forward(self, x: Any) -> Any:
        return pf.unfold(x, *self.geometry)


class Fold(Module):
    """Windows given as columns, added up where each stands: [N, C, *output_size]."""

    def __init__(
        self, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
    ) -> None:
        self.output_size = output_size
        self.geometry = tuple(tuple(v) if isinstance(v, list) else v for v in (kernel_size, dilation, padding, stride))

    def forward(self, x: Any) -> Any:
        return pf.fold(x, self.output_size, *self.geometry)


class _Pad(Module):
    """padding: an int, or (before, after) of the last axis, then of the one before ..."""

    count = 0
    mode = "constant"

    def __init__(self, padding: int | Sequence[int]) -> None:
        self.padding = (padding,) * (2 * self.count) if isinstance(padding, int) else tuple(padding)

    def _value(self) -> float:
        return 0.0

    def forward(self, x: Any) -> Any:
        pairs = [(self.padding[2 * i], self.padding[2 * i + 1]) for i in reversed(range(self.count))]
        given = [(0, 0)] * (len(x.shape) - self.count) + pairs
        return pf.pad(x, given, self._value(), self.mode)

    def extra_repr(self) -> str:
        return str(self.padding)


class ZeroPad1d(_Pad):
    """Zeros around x [..., L]. padding: an int, or (before, after)."""

    count = 1


class ZeroPad2d(_Pad):
    """Zeros around x [..., H, W]. padding: an int, or (left, right, top, bottom)."""

    count = 2


class ZeroPad3d(_Pad):
    """Zeros around x [..., D, H, W]. padding: an int, or six, those of the last axis first."""

    count = 3


class _ConstantPad(_Pad):
    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def _value(self) -> float:
        return self.value


class ConstantPad1d(_ConstantPad):
    """``value`` around x [..., L]."""

    count = 1


class ConstantPad2d(_ConstantPad):
    """``value`` around x [..., H, W]."""

    count = 2


class ConstantPad3d(_ConstantPad):
    """``value`` around x [..., D, H, W]."""

    count = 3


class ReflectionPad1d(_Pad):
    """Around x [..., L] its own elements, mirrored at the first and last."""

    count, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """As :class:`ReflectionPad1d`, around x [..., H, W]."""

    count, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """As :class:`ReflectionPad1d`, around x [..., D, H, W]."""

    count, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """Around x [..., L] its first and last element."""

    count, mode = 1, "edge"


class ReplicationPad2d(_Pad):
    """As :class:`ReplicationPad1d`, around x [..., H, W]."""

    count, mode = 2, "edge"


class ReplicationPad3d(_Pad):
    """As :class:`ReplicationPad1d`, around x [..., D, H, W]."""

    count, mode = 3, "edge"


class CircularPad1d(_Pad):
    """Around x [..., L] its own elements, from the other end."""

    count, mode = 1, "wrap"


class CircularPad2d(_Pad):
    """As :class:`CircularPad1d`, around x [..., H, W]."""

    count, mode = 2, "wrap"


class CircularPad3d(_Pad):
    """As :class:`CircularPad1d`, around x [..., D, H, W]."""

    count, mode = 3, "wrap"
