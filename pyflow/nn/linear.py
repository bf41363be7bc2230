"""Linear layers, and what only moves elements about."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import pyflow as pf
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.nn import init
from pyflow.nn.module import Module
from pyflow.nn.parameter import Parameter

__all__ = ["Bilinear", "Flatten", "Identity", "Linear", "Unflatten"]


def empty(*shape: int, dtype: Any = None) -> Any:
    """A parameter of zeros, to be initialised; float32 unless ``dtype`` says otherwise."""
    wanted = pf.dtypes.as_dtype(pf.float32 if dtype is None else dtype)
    return Parameter(np.zeros(shape, wanted.numpy))


def positive(module: Module, **numbers: int) -> None:
    """Raises InvalidArgumentError for sizes below 1, with their names."""
    for name, number in numbers.items():
        if not isinstance(number, (int, np.integer)) or number < 1:
            what = f"expected {name} to be an int of at least 1, got {number!r}"
            raise InvalidArgumentError(message(type(module).__name__, what, user_origin()))


class Linear(Module):
    """``x @ weight.T + bias``: x [..., in_features] to [..., out_features]; weight [out_features, in_features]."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, dtype: Any = None) -> None:
        positive(self, in_features=in_features, out_features=out_features)
        self.in_features = in_features
        self.out_features = out_features
        self.weight = empty(out_features, in_features, dtype=dtype)
        self.register_parameter("bias", empty(out_features, dtype=dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all anew: evenly within ``1 / sqrt(in_features)`` of 0."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features)
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Any) -> Any:
        return pf.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Bilinear(Module):
    """``x @ weight[k] @ y + bias[k]`` for every k: x [..., I], y [..., J] to [..., O]; weight [O, I, J]."""

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True, dtype: Any = None
    ) -> None:
        positive(self, in1_features=in1_features, in2_features=in2_features, out_features=out_features)
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        bound = 1 / math.sqrt(in1_features)
        self.weight = init.uniform_(empty(out_features, in1_features, in2_features, dtype=dtype), -bound, bound)
        self.register_parameter("bias", None)
        if bias:
            self.bias = init.uniform_(empty(out_features, dtype=dtype), -bound, bound)

    def forward(self, x: Any, y: Any) -> Any:
        result = pf.einsum("...i,oij,...j->...o", x, self.weight, y)
        return result if self.bias is None else result + self.bias

    def extra_repr(self) -> str:
        return f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}"


class Identity(Module):
    """Gives what it gets; takes any arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def forward(self, x: Any) -> Any:
        return x


class Flatten(Module):
    """The axes from ``start_dim`` to ``end_dim`` as one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Any) -> Any:
        ndim = len(x.shape)
        start, end = (axis + ndim if axis < 0 else axis for axis in (self.start_dim, self.end_dim))
        if not 0 <= start <= end < ndim:
            what = f"x: {x.type} has no axes from {self.start_dim} to {self.end_dim}"
            raise InvalidArgumentError(message("Flatten", what, user_origin()))
        size = math.prod(x.shape[start : end + 1])
        return pf.reshape(x, (*x.shape[:start], size, *x.shape[end + 1 :]))

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """The axis ``dim`` as several, of ``unflattened_size``, one of which may be -1."""

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, x: Any) -> Any:
        axis = self.dim + len(x.shape) if self.dim < 0 else self.dim
        return pf.reshape(x, (*x.shape[:axis], *self.unflattened_size, *x.shape[axis + 1 :]))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
