"""Normalisation: by the statistics of batches, layers, groups and instances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

import pyflow as pf
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.nn.linear import empty, positive
from pyflow.nn.module import Module
from pyflow.nn.parameter import Parameter

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "LocalResponseNorm",
    "RMSNorm",
]


def _ones(*shape: int, dtype: Any) -> Any:
    return Parameter(np.ones(shape, pf.dtypes.as_dtype(pf.float32 if dtype is None else dtype).numpy))


class _Channels(Module):
    """A weight and bias, and running statistics, per channel."""

    ranks: tuple[int, ...] = ()
    may_lack = ("num_batches_tracked",)

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        dtype: Any,
    ) -> None:
        positive(self, num_features=num_features)
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.register_parameter("weight", _ones(num_features, dtype=dtype) if affine else None)
        self.register_parameter("bias", empty(num_features, dtype=dtype) if affine else None)
        start = (_ones(num_features, dtype=dtype), empty(num_features, dtype=dtype))
        one, zero = (each.detach() for each in start)
        self.register_buffer("running_mean", zero if track_running_stats else None)
        self.register_buffer("running_var", one if track_running_stats else None)
        self.register_buffer("num_batches_tracked", pf.tensor(0) if track_running_stats else None)

    def reset_running_stats(self) -> None:
        """Means 0, variances 1, no batch seen."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Weights 1, biases 0, and :meth:`reset_running_stats`."""
        self.reset_running_stats()
        if self.affine:
            with pf.no_grad():
                self.weight.fill_(1)
                self.bias.zero_()

    def _check(self, x: Any) -> None:
        ndim = len(x.shape)
        channels = x.shape[self._axis(ndim)] if ndim in self.ranks else None
        if ndim not in self.ranks or (isinstance(channels, int) and channels != self.num_features):
            ranks = " or ".join(map(str, self.ranks))
            what = (
                f"expected x of {ranks} axes, {self.num_features} channels along axis {self._axis(ndim)}; got {x.type}"
            )
            raise InvalidArgumentError(message(type(self).__name__, what, user_origin()))

    def _axis(self, ndim: int) -> int:
        return 1

    def _affine(self, x: Any) -> tuple[Any, Any]:
        if self.affine:
            return self.weight, self.bias
        kind = x.dtype.numpy
        return np.ones(self.num_features, kind), np.zeros(self.num_features, kind)

    def _keep(self, mean: Any, variance: Any) -> None:
        with pf.no_grad():
            self.running_mean.copy_(mean)
            self.running_var.copy_(variance)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_Channels):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype)

    def forward(self, x: Any) -> Any:
        self._check(x)
        weight, bias = self._affine(x)
        if not self.training and self.track_running_stats:
            return pf.batch_norm(x, weight, bias, self.running_mean, self.running_var, 1, self.eps)
        count = math.prod(size for axis, size in enumerate(x.shape) if axis != 1)
        if self.training and isinstance(count, int) and count == 1:
            what = f"expected more than one value per channel while training, got {x.type}"
            raise InvalidArgumentError(message(type(self).__name__, what, user_origin(), "use module.eval()"))
        if not self.track_running_stats:
            return pf.batch_norm_train(x, weight, bias, np.zeros_like(weight), np.zeros_like(weight), 0.0, self.eps)[0]
        self.num_batches_tracked.add_(1)
        if self.momentum is not None:
            kept: Any = 1 - self.momentum
        else:
            kept = 1 - 1.0 / pf.cast(self.num_batches_tracked, self.running_mean.dtype)
        running = (self.running_mean, self.running_var)
        y, mean, variance = pf.batch_norm_train(x, weight, bias, *running, kept, self.eps, 1, True)
        self._keep(mean, variance)
        return y


class BatchNorm1d(_BatchNorm):
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` per channel of x [N, C] or [N, C, L].

    While training by the batch's own statistics, and the running ones move: ``momentum`` of the new goes in, or with
    None they are the mean of all; the variance is kept divided by one less than the number. In ``eval`` by the running
    ones. S. Ioffe, C. Szegedy, 2015.
    """

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """As :class:`BatchNorm1d`, of x [N, C, H, W]."""

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """As :class:`BatchNorm1d`, of x [N, C, D, H, W]."""

    ranks = (5,)


class _InstanceNorm(_Channels):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype)

    def _axis(self, ndim: int) -> int:
        return 1 if ndim == max(self.ranks) else 0

    def forward(self, x: Any) -> Any:
        self._check(x)
        if len(x.shape) < max(self.ranks):
            return pf.squeeze(self._normalised(pf.expand_dims(x, 0)), 0)
        return self._normalised(x)

    def _normalised(self, x: Any) -> Any:
        weight, bias = self._affine(x)
        if not self.training and self.track_running_stats:
            return pf.batch_norm(x, weight, bias, self.running_mean, self.running_var, 1, self.eps)
        if self.track_running_stats:
            axes = tuple(range(2, len(x.shape)))
            still = pf.stop_gradient(x)
            share = self.momentum or 0.0
            mean = pf.mean(pf.mean(still, axes), 0)
            variance = pf.mean(pf.var(still, axes, ddof=1), 0)
            self._keep(
                self.running_mean * (1 - share) + mean * share, self.running_var * (1 - share) + variance * share
            )
        return pf.instance_norm(x, weight if self.affine else None, bias if self.affine else None, self.eps)


class InstanceNorm1d(_InstanceNorm):
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` over the axes after the channels, of x [N, C, L] or [C, L].

    D. Ulyanov, A. Vedaldi, V. Lempitsky, 2016.
    """

    ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """As :class:`InstanceNorm1d`, of x [N, C, H, W] or [C, H, W]."""

    ranks = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """As :class:`InstanceNorm1d`, of x [N, C, D, H, W] or [C, D, H, W]."""

    ranks = (4, 5)


class GroupNorm(Module):
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` over groups of channels of x [N, C, ...].

    Y. Wu, K. He, 2018.
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, dtype: Any = None
    ) -> None:
        positive(self, num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            what = f"{num_channels} channels do not divide into {num_groups} groups"
            raise InvalidArgumentError(message("GroupNorm", what, user_origin()))
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        self.register_parameter("weight", _ones(num_channels, dtype=dtype) if affine else None)
        self.register_parameter("bias", empty(num_channels, dtype=dtype) if affine else None)

    def forward(self, x: Any) -> Any:
        channels = x.shape[1] if len(x.shape) > 1 else 0
        if isinstance(channels, int) and channels != self.num_channels:
            what = f"expected x [N, {self.num_channels}, ...], got {x.type}"
            raise InvalidArgumentError(message("GroupNorm", what, user_origin()))
        return pf.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


class _LastAxes(Module):
    """Over the last axes, which have the shape of the weight."""

    def __init__(self, normalized_shape: int | Sequence[int], elementwise_affine: bool, dtype: Any) -> None:
        shape = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        self.normalized_shape = tuple(shape)
        self.elementwise_affine = elementwise_affine
        self.register_parameter("weight", _ones(*self.normalized_shape, dtype=dtype) if elementwise_affine else None)

    def _check(self, x: Any) -> None:
        count = len(self.normalized_shape)
        given = tuple(x.shape)[-count:]
        pairs = list(zip(given, self.normalized_shape, strict=False))
        if len(given) < count or any(isinstance(size, int) and size != wanted for size, wanted in pairs):
            shown = ", ".join(map(str, self.normalized_shape))
            what = f"expected x [..., {shown}], got {x.type}"
            raise InvalidArgumentError(message(type(self).__name__, what, user_origin()))


class LayerNorm(_LastAxes):
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` over the last axes, those of ``normalized_shape``.

    J. L. Ba, J. R. Kiros, G. E. Hinton, 2016.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__(normalized_shape, elementwise_affine, dtype)
        self.eps = eps
        self.register_parameter(
            "bias", empty(*self.normalized_shape, dtype=dtype) if elementwise_affine and bias else None
        )

    def forward(self, x: Any) -> Any:
        self._check(x)
        return pf.layer_norm(x, self.weight, self.bias, -len(self.normalized_shape), self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class RMSNorm(_LastAxes):
    """``x / sqrt(mean(x * x) + eps) * weight`` over the last axes, those of ``normalized_shape``.

    eps: by default that of x's dtype, as in PyTorch. B. Zhang, R. Sennrich, 2019.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        dtype: Any = None,
    ) -> None:
        super().__init__(normalized_shape, elementwise_affine, dtype)
        self.eps = eps

    def forward(self, x: Any) -> Any:
        self._check(x)
        eps = float(ml_dtypes.finfo(x.dtype.numpy).eps) if self.eps is None else self.eps
        return pf.rms_norm(x, self.weight, -len(self.normalized_shape), eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class LocalResponseNorm(Module):
    """``x / (k + alpha * m) ** beta`` with m the mean square of ``size`` neighbouring channels of x [N, C, ...]."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, x: Any) -> Any:
        return pf.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
