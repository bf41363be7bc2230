"""Activations."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyflow as pf
from pyflow.nn.module import Module
from pyflow.nn.parameter import Parameter

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
]


class _Activation(Module):
    """inplace: taken for the sake of programs that pass it; the result is always a new one."""

    def __init__(self, inplace: bool = False) -> None:
        pass


class ReLU(_Activation):
    """``max(x, 0)``."""

    def forward(self, x: Any) -> Any:
        return pf.relu(x)


class ReLU6(_Activation):
    """``min(max(x, 0), 6)``."""

    def forward(self, x: Any) -> Any:
        return pf.relu6(x)


class SELU(_Activation):
    """``scale * (max(x, 0) + min(0, alpha * (exp(x) - 1)))`` with the numbers of Klambauer et al., 2017."""

    def forward(self, x: Any) -> Any:
        return pf.selu(x)


class SiLU(_Activation):
    """``x * sigmoid(x)``."""

    def forward(self, x: Any) -> Any:
        return pf.silu(x)


class Mish(_Activation):
    """``x * tanh(softplus(x))``. D. Misra, 2019."""

    def forward(self, x: Any) -> Any:
        return pf.mish(x)


class Hardswish(_Activation):
    """``x * clip(x / 6 + 1/2, 0, 1)``. A. Howard et al., 2019."""

    def forward(self, x: Any) -> Any:
        return pf.hardswish(x)


class Hardsigmoid(_Activation):
    """``clip(x / 6 + 1/2, 0, 1)``."""

    def forward(self, x: Any) -> Any:
        return pf.hardsigmoid(x, 1 / 6, 0.5)


class Sigmoid(Module):
    """``1 / (1 + exp(-x))``."""

    def forward(self, x: Any) -> Any:
        return pf.sigmoid(x)


class LogSigmoid(Module):
    """``log(sigmoid(x))``."""

    def forward(self, x: Any) -> Any:
        return pf.logsigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Any) -> Any:
        return pf.tanh(x)


class Tanhshrink(Module):
    """``x - tanh(x)``."""

    def forward(self, x: Any) -> Any:
        return pf.tanhshrink(x)


class Softsign(Module):
    """``x / (1 + abs(x))``."""

    def forward(self, x: Any) -> Any:
        return pf.softsign(x)


class GELU(Module):
    """``x`` times the normal distribution function of ``x``; approximate: "none" or "tanh". Hendrycks, Gimpel, 2016."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        return pf.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class _Alpha(Module):
    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self.alpha = float(alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class ELU(_Alpha):
    """``x`` where positive, else ``alpha * (exp(x) - 1)``."""

    def forward(self, x: Any) -> Any:
        return pf.elu(x, self.alpha)


class CELU(_Alpha):
    """``max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))``. J. Barron, 2017."""

    def forward(self, x: Any) -> Any:
        return pf.celu(x, self.alpha)


class LeakyReLU(Module):
    """``x`` where not negative, else ``negative_slope * x``."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        self.negative_slope = float(negative_slope)

    def forward(self, x: Any) -> Any:
        return pf.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class PReLU(Module):
    """``x`` where not negative, else ``weight * x``: one weight, or one per channel of [N, C, ...]. He et al. 2015."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, dtype: Any = None) -> None:
        self.num_parameters = num_parameters
        kind = pf.dtypes.as_dtype(pf.float32 if dtype is None else dtype).numpy
        self.weight = Parameter(np.full(num_parameters, init, kind))

    def forward(self, x: Any) -> Any:
        many = self.num_parameters > 1 and len(x.shape) > 1
        return pf.prelu(x, pf.reshape(self.weight, (-1, *(1,) * (len(x.shape) - 2))) if many else self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class Softplus(Module):
    """``log(1 + exp(beta * x)) / beta``, and x itself where ``beta * x`` is above ``threshold``."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = float(beta)
        self.threshold = float(threshold)

    def forward(self, x: Any) -> Any:
        return pf.softplus_beta(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Hardtanh(Module):
    """``x``, kept between ``min_val`` and ``max_val``."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        self.min_val = float(min_val)
        self.max_val = float(max_val)

    def forward(self, x: Any) -> Any:
        return pf.hardtanh(x, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


class _Limit(Module):
    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = float(lambd)

    def extra_repr(self) -> str:
        return f"lambd={self.lambd}"


class Hardshrink(_Limit):
    """``x`` where its magnitude is above ``lambd``, else 0."""

    def forward(self, x: Any) -> Any:
        return pf.hardshrink(x, self.lambd)


class Softshrink(_Limit):
    """``x`` moved by ``lambd`` towards 0, which it does not pass."""

    def forward(self, x: Any) -> Any:
        return pf.softshrink(x, self.lambd)


class Threshold(Module):
    """``x`` where it is above ``threshold``, else ``value``."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        self.threshold = float(threshold)
        self.value = float(value)

    def forward(self, x: Any) -> Any:
        return pf.where(x > self.threshold, x, self.value)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, value={self.value}"


class _Along(Module):
    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_Along):
    """``exp(x) / sum(exp(x))`` along ``dim``."""

    def forward(self, x: Any) -> Any:
        return pf.softmax(x, self.dim)


class LogSoftmax(_Along):
    """``log(softmax(x))`` along ``dim``."""

    def forward(self, x: Any) -> Any:
        return pf.log_softmax(x, self.dim)


class Softmin(_Along):
    """``softmax(-x)`` along ``dim``."""

    def forward(self, x: Any) -> Any:
        return pf.softmin(x, self.dim)


class GLU(_Along):
    """The first half of ``x`` along ``dim`` times the sigmoid of the second."""

    def forward(self, x: Any) -> Any:
        return pf.glu(x, self.dim)


class Softmax2d(Module):
    """:class:`Softmax` over the channels of x [N, C, H, W] or [C, H, W]."""

    def forward(self, x: Any) -> Any:
        return pf.softmax(x, -3)
