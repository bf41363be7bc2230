"""Pooling over one, two and three axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyflow as pf
from pyflow.nn.conv import check_image, per_axis
from pyflow.nn.module import Module

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
]


class _Pool(Module):
    count = 0

    def _pooled(self, x: Any, pool: Callable[[Any], Any]) -> Any:
        if not check_image(self, x, 0, self.count):
            return pool(x)
        made = pool(pf.expand_dims(x, 0))
        return tuple(pf.squeeze(each, 0) for each in made) if isinstance(made, tuple) else pf.squeeze(made, 0)


class _Windows(_Pool):
    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
    ) -> None:
        self.kernel_size = per_axis(kernel_size, self.count)
        self.stride = self.kernel_size if stride is None else per_axis(stride, self.count)
        self.padding = per_axis(padding, self.count)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _MaxPool(_Windows):
    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.dilation = per_axis(dilation, self.count)
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, x: Any) -> Any:
        pool = pf.max_pool_with_indices if self.return_indices else pf.max_pool
        rest = (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        return self._pooled(x, lambda x: pool(x, *rest))


class MaxPool1d(_MaxPool):
    """The maximum of each window of x [N, C, L] or [C, L]. stride: by default the kernel size.

    return_indices: gives (maxima, where in its plane each stands), as ``MaxUnpool`` takes them.
    """

    count = 1


class MaxPool2d(_MaxPool):
    """As :class:`MaxPool1d`, of x [N, C, H, W]."""

    count = 2


class MaxPool3d(_MaxPool):
    """As :class:`MaxPool1d`, of x [N, C, D, H, W]."""

    count = 3


class _AvgPool(_Windows):
    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, x: Any) -> Any:
        rest = (self.kernel_size, self.stride, self.padding, 1, self.ceil_mode)
        return self._pooled(x, lambda x: pf.avg_pool(x, *rest, count_include_pad=self.count_include_pad))


class AvgPool1d(_AvgPool):
    """The mean of each window of x [N, C, L] or [C, L]; with ``count_include_pad`` padding counts as zeros."""

    count = 1


class AvgPool2d(_AvgPool):
    """As :class:`AvgPool1d`, of x [N, C, H, W]."""

    count = 2


class AvgPool3d(_AvgPool):
    """As :class:`AvgPool1d`, of x [N, C, D, H, W]."""

    count = 3


class _LPPool(_Windows):
    def __init__(
        self,
        norm_type: float,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride)
        self.norm_type = float(norm_type)
        self.ceil_mode = ceil_mode

    def forward(self, x: Any) -> Any:
        return self._pooled(
            x, lambda x: pf.lp_pool(x, self.kernel_size, self.norm_type, self.stride, ceil_mode=self.ceil_mode)
        )


class LPPool1d(_LPPool):
    """The ``norm_type``-norm of each window of x [N, C, L] or [C, L]."""

    count = 1


class LPPool2d(_LPPool):
    """As :class:`LPPool1d`, of x [N, C, H, W]."""

    count = 2


class LPPool3d(_LPPool):
    """As :class:`LPPool1d`, of x [N, C, D, H, W]."""

    count = 3


class _Adaptive(_Pool):
    def __init__(self, output_size: int | Sequence[int | None] | None) -> None:
        self.output_size = per_axis(output_size, self.count)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class _AdaptiveAvgPool(_Adaptive):
    def forward(self, x: Any) -> Any:
        return self._pooled(x, lambda x: pf.adaptive_avg_pool(x, self.output_size))


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Means of as many windows as ``output_size`` says, of x [N, C, L] or [C, L]; None keeps an axis."""

    count = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """As :class:`AdaptiveAvgPool1d`, of x [N, C, H, W]."""

    count = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """As :class:`AdaptiveAvgPool1d`, of x [N, C, D, H, W]."""

    count = 3


class _AdaptiveMaxPool(_Adaptive):
    def forward(self, x: Any) -> Any:
        return self._pooled(x, lambda x: pf.adaptive_max_pool(x, self.output_size))


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Maxima of as many windows as ``output_size`` says, of x [N, C, L] or [C, L]; None keeps an axis."""

    count = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """As :class:`AdaptiveMaxPool1d`, of x [N, C, H, W]."""

    count = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """As :class:`AdaptiveMaxPool1d`, of x [N, C, D, H, W]."""

    count = 3


class _MaxUnpool(_Windows):
    def forward(self, x: Any, indices: Any, output_size: Sequence[int] | None = None) -> Any:
        sizes = x.shape[-self.count :]
        windows = zip(sizes, self.kernel_size, self.stride, self.padding, strict=True)
        natural = [(size - 1) * stride - 2 * pad + kernel for size, kernel, stride, pad in windows]
        wanted = natural if output_size is None else list(output_size)[-self.count :]
        if check_image(self, x, 0, self.count):
            return pf.squeeze(pf.max_unpool(pf.expand_dims(x, 0), pf.expand_dims(indices, 0), wanted), 0)
        return pf.max_unpool(x, indices, wanted)


class MaxUnpool1d(_MaxUnpool):
    """What :class:`MaxPool1d` with ``return_indices`` gave, put back where it was, and zeros.

    output_size: where several sizes give what was pooled: the one that was.
    """

    count = 1


class MaxUnpool2d(_MaxUnpool):
    """As :class:`MaxUnpool1d`, of x [N, C, H, W]."""

    count = 2


class MaxUnpool3d(_MaxUnpool):
    """As :class:`MaxUnpool1d`, of x [N, C, D, H, W]."""

    count = 3
