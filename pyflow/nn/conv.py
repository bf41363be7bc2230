"""Convolutions over one, two and three axes, and their transposes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyflow as pf
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.nn import init
from pyflow.nn.linear import empty, positive
from pyflow.nn.module import Module

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]

PAD_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def per_axis(value: Any, count: int) -> tuple[int, ...]:
    """One number per axis, of a number or of so many."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * count


def check_image(module: Module, x: Any, channels: int, count: int) -> bool:
    """Is ``x`` one image [C, *sizes] without an axis for the batch? InvalidArgumentError if it is no image at all."""
    ndim = len(x.shape)
    given = x.shape[-count - 1] if ndim > count else None
    if ndim not in (count + 1, count + 2) or (channels and isinstance(given, int) and given != channels):
        sizes = ", ".join("LHW"[-count:] if count > 1 else "L")
        wanted = f"x [N, {channels or 'C'}, {sizes}] or [{channels or 'C'}, {sizes}]"
        raise InvalidArgumentError(message(type(module).__name__, f"expected {wanted}, got {x.type}", user_origin()))
    return ndim == count + 1


class _Conv(Module):
    """What all convolutions share."""

    count = 0
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int],
        padding: Any,
        dilation: int | Sequence[int],
        groups: int,
        bias: bool,
        padding_mode: str,
        dtype: Any,
    ) -> None:
        positive(self, in_channels=in_channels, out_channels=out_channels, groups=groups)
        name = type(self).__name__
        if in_channels % groups or out_channels % groups:
            what = f"channels {in_channels} and {out_channels} do not divide into {groups} groups"
            raise InvalidArgumentError(message(name, what, user_origin()))
        if padding_mode not in PAD_MODES:
            what = f"expected padding_mode of {', '.join(PAD_MODES)}, got {padding_mode!r}"
            raise InvalidArgumentError(message(name, what, user_origin()))
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = per_axis(kernel_size, self.count)
        self.stride = per_axis(stride, self.count)
        self.padding = padding if isinstance(padding, str) else per_axis(padding, self.count)
        self.dilation = per_axis(dilation, self.count)
        self.groups = groups
        self.padding_mode = padding_mode
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = empty(first, second // groups, *self.kernel_size, dtype=dtype)
        self.register_parameter("bias", empty(out_channels, dtype=dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all anew: evenly within ``1 / sqrt(inputs of an element of the weight)`` of 0."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(math.prod(self.weight.shape[1:]))
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Any) -> Any:
        if check_image(self, x, self.in_channels, self.count):
            return pf.squeeze(self._convolved(pf.expand_dims(x, 0)), 0)
        return self._convolved(x)

    def _convolved(self, x: Any) -> Any:
        padding: Any = self.padding
        if self.padding_mode != "zeros" and padding != "valid":
            if padding == "same":
                totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
                pairs = [(total // 2, total - total // 2) for total in totals]
            else:
                pairs = [(size, size) for size in padding]
            x = pf.pad(x, [(0, 0), (0, 0), *pairs], mode=PAD_MODES[self.padding_mode])
            padding = "valid"
        convolve = (pf.conv1d, pf.conv2d, pf.conv3d)[self.count - 1]
        return convolve(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        shown = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding not in ((0,) * self.count, "valid"):
            shown += f", padding={self.padding!r}"
        if self.dilation != (1,) * self.count:
            shown += f", dilation={self.dilation}"
        if self.groups != 1:
            shown += f", groups={self.groups}"
        return shown + (", bias=False" if self.bias is None else "")


class _ConvOf(_Conv):
    """A convolution; its constructor."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: str | int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, dtype
        )


class Conv1d(_ConvOf):
    """Cross-correlation over one axis: x [N, in_channels, L] or [in_channels, L]; weight [out, in / groups, K].

    stride, padding, dilation, kernel_size: an int, or one per axis. padding: also "valid" (none) or "same".
    padding_mode: "zeros", "reflect", "replicate" or "circular".
    """

    count = 1


class Conv2d(_ConvOf):
    """As :class:`Conv1d`, over two axes: x [N, in_channels, H, W] or [in_channels, H, W]."""

    count = 2


class Conv3d(_ConvOf):
    """As :class:`Conv1d`, over three axes: x [N, in_channels, D, H, W] or [in_channels, D, H, W]."""

    count = 3


class _ConvTransposeOf(_Conv):
    """The transpose of a convolution."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Sequence[int] = 1,
        dtype: Any = None,
    ) -> None:
        self.output_padding = per_axis(output_padding, self.count)
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, "zeros", dtype
        )

    def _convolved(self, x: Any) -> Any:
        convolve = (pf.conv_transpose1d, pf.conv_transpose2d, pf.conv_transpose3d)[self.count - 1]
        return convolve(
            x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )

    def extra_repr(self) -> str:
        shown = super().extra_repr()
        return shown + (f", output_padding={self.output_padding}" if any(self.output_padding) else "")


class ConvTranspose1d(_ConvTransposeOf):
    """The transpose of :class:`Conv1d`: x [N, in_channels, L]; weight [in, out / groups, K]. A size becomes
    ``(size - 1) * stride - 2 * padding + dilation * (kernel_size - 1) + output_padding + 1``."""

    count = 1


class ConvTranspose2d(_ConvTransposeOf):
    """As :class:`ConvTranspose1d`, over two axes."""

    count = 2


class ConvTranspose3d(_ConvTransposeOf):
    """As :class:`ConvTranspose1d`, over three axes."""

    count = 3
