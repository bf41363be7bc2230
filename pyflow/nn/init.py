"""Initial values, written in place; every function gives the tensor it was given.

Numbers come from the process's generator, which ``pf.eager.seed(number)`` starts anew, or with ``seed=`` from a
generator of their own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import pyflow as pf
from pyflow.errors import InvalidArgumentError, message, user_origin

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}


def _refuse(op: str, what: str) -> InvalidArgumentError:
    return InvalidArgumentError(message(op, what, user_origin()))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By what weights before ``nonlinearity`` are multiplied; param: the slope of ``"leaky_relu"``, 0.01."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity.startswith("conv"):
        return 1.0
    if nonlinearity not in _GAINS:
        raise _refuse("calculate_gain", f"expected one of {', '.join([*_GAINS, 'leaky_relu'])}, got {nonlinearity!r}")
    return _GAINS[nonlinearity]


def _fans(op: str, tensor: Any) -> tuple[int, int]:
    """(inputs, outputs) of each unit that weights [outputs, inputs, *kernel] belong to."""
    if tensor.ndim < 2:
        raise _refuse(op, f"expected weights of at least 2 axes, got {tensor.type}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _filled(tensor: Any, values: Any) -> Any:
    with pf.no_grad():
        return tensor.copy_(values)


def zeros_(tensor: Any) -> Any:
    """0 everywhere."""
    return _filled(tensor, 0)


def ones_(tensor: Any) -> Any:
    """1 everywhere."""
    return _filled(tensor, 1)


def constant_(tensor: Any, value: float) -> Any:
    """``value`` everywhere."""
    return _filled(tensor, value)


def uniform_(tensor: Any, a: float = 0.0, b: float = 1.0, seed: int | None = None) -> Any:
    """Evenly from ``a`` to ``b``."""
    return _filled(tensor, pf.eager.run(pf.random_uniform, tensor.shape, a, b, tensor.dtype, seed=seed))


def normal_(tensor: Any, mean: float = 0.0, std: float = 1.0, seed: int | None = None) -> Any:
    """From the normal distribution."""
    return _filled(tensor, pf.eager.run(pf.random_normal, tensor.shape, mean, std, tensor.dtype, seed=seed))


def trunc_normal_(
    tensor: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, seed: int | None = None
) -> Any:
    """From the normal distribution between the values ``a`` and ``b``."""
    if not (std > 0 and a < b):
        raise _refuse("trunc_normal_", f"expected std > 0 and a < b, got {std}, {a}, {b}")
    low, high = (a - mean) / std, (b - mean) / std
    drawn = pf.eager.run(pf.truncated_normal, tensor.shape, mean, std, low, high, tensor.dtype, seed=seed)
    return _filled(tensor, drawn)


def xavier_uniform_(tensor: Any, gain: float = 1.0, seed: int | None = None) -> Any:
    """Evenly within ``gain * sqrt(6 / (inputs + outputs))`` of 0. X. Glorot, Y. Bengio, 2010."""
    bound = gain * math.sqrt(6 / max(sum(_fans("xavier_uniform_", tensor)), 1))
    return uniform_(tensor, -bound, bound, seed)


def xavier_normal_(tensor: Any, gain: float = 1.0, seed: int | None = None) -> Any:
    """Normal with deviation ``gain * sqrt(2 / (inputs + outputs))``. X. Glorot, Y. Bengio, 2010."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / max(sum(_fans("xavier_normal_", tensor)), 1)), seed)


def _kaiming_deviation(op: str, tensor: Any, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise _refuse(op, f"expected mode 'fan_in' or 'fan_out', got {mode!r}")
    fan = _fans(op, tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def kaiming_uniform_(
    tensor: Any, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", seed: int | None = None
) -> Any:
    """Evenly, with deviation ``gain / sqrt(fan)``; a: the slope of a leaky ReLU. K. He et al., 2015."""
    bound = math.sqrt(3) * _kaiming_deviation("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, seed)


def kaiming_normal_(
    tensor: Any, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", seed: int | None = None
) -> Any:
    """Normal with deviation ``gain / sqrt(fan)``; a: the slope of a leaky ReLU. K. He et al., 2015."""
    return normal_(tensor, 0.0, _kaiming_deviation("kaiming_normal_", tensor, a, mode, nonlinearity), seed)


def orthogonal_(tensor: Any, gain: float = 1.0, seed: int | None = None) -> Any:
    """``gain`` times a matrix of orthonormal rows or columns, whichever are fewer. A. Saxe et al., 2013."""
    if tensor.ndim < 2:
        raise _refuse("orthogonal_", f"expected at least 2 axes, got {tensor.type}")
    rows = tensor.shape[0]
    columns = math.prod(tensor.shape[1:])
    shape = (max(rows, columns), min(rows, columns))
    drawn = pf.eager.run(pf.random_normal, shape, dtype=pf.float64, seed=seed).numpy()
    q, r = np.linalg.qr(drawn)
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    matrix = q if rows >= columns else q.T
    return _filled(tensor, (gain * matrix).reshape(tensor.shape).astype(tensor.dtype.numpy))


def eye_(tensor: Any) -> Any:
    """The identity matrix."""
    if tensor.ndim != 2:
        raise _refuse("eye_", f"expected 2 axes, got {tensor.type}")
    return _filled(tensor, np.eye(*tensor.shape, dtype=tensor.dtype.numpy))


def dirac_(tensor: Any, groups: int = 1) -> Any:
    """Weights [outputs, inputs, *kernel] of a convolution that passes its input on, in each of ``groups``."""
    if tensor.ndim < 3 or tensor.shape[0] % groups:
        raise _refuse("dirac_", f"expected at least 3 axes, outputs in {groups} groups, got {tensor.type}")
    values = np.zeros(tensor.shape, tensor.dtype.numpy)
    share = tensor.shape[0] // groups
    for out in range(groups):
        for place in range(min(share, tensor.shape[1])):
            at = (out * share + place, place, *(size // 2 for size in tensor.shape[2:]))
            values[at] = 1
    return _filled(tensor, values)
