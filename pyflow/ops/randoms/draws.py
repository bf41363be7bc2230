"""Random numbers: a pure function of a key. Without a seed the key is drawn from the graph's generator."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pyflow import dtypes
from pyflow.apply import convert
from pyflow.dims import Size
from pyflow.dtypes import DType
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import DTYPE, FLOAT, FLOATS, INT, INTEGERS, Lowering, TensorType, call, define
from pyflow.ops.common import no_gradient
from pyflow.ops.randoms import philox
from pyflow.ops.sizes import SHAPE
from pyflow.ops.state import draw_key

__all__ = ["dropout", "random_integers", "random_normal", "random_uniform"]

_SEED = """seed: an int gives the same numbers in every run; None draws new ones from the graph's generator (seeded by
        ``pf.set_random_seed``), in program order, only in runs that use them."""


def _check_key(key: Value) -> None:
    if key.dims != (2,):
        raise InvalidArgumentError(f"expected a key int64[2], got {key.type}")


def _float_infer(key: Value, *, dtype: DType, shape: tuple[Size, ...]) -> TensorType:
    _check_key(key)
    if dtype not in FLOATS:
        raise InvalidArgumentError(f"expected dtype float32 or float64, got {dtype}")
    return TensorType(dtype, shape)


def key_of(seed: int | None) -> Any:
    """The key of a seed; without one it is drawn from the graph's generator."""
    if seed is None:
        return draw_key()
    if not hasattr(seed, "__index__") or not -(2**63) <= int(seed) < 2**63:
        raise InvalidArgumentError(message("random", f"expected an int64 as seed, got {seed!r}", user_origin()))
    return convert(np.array([seed, 0], np.int64))


def _uniform_infer(key: Value, *, low: float, high: float, **rest: Any) -> TensorType:
    if not (low <= high and math.isfinite(high - low)):
        raise InvalidArgumentError(f"expected finite low <= high, got {low} and {high}")
    return _float_infer(key, **rest)


def _normal_infer(key: Value, *, mean: float, stddev: float, **rest: Any) -> TensorType:
    if not stddev >= 0:
        raise InvalidArgumentError(f"expected stddev >= 0, got {stddev}")
    return _float_infer(key, **rest)


_uniform = define(
    "random_uniform",
    "key:int64",
    attrs={"shape": SHAPE, "low": FLOAT, "high": FLOAT, "dtype": DTYPE},
    infer=_uniform_infer,
    ref=lambda key, shape, low, high, dtype: philox.uniform(key, shape, dtype.numpy, low, high),
    lower=lambda node, inputs, outputs: Lowering(
        "random_uniform", inputs, outputs, (), (node.attrs["low"], node.attrs["high"])
    ),
    vjp=no_gradient,
    doc="Uniform numbers of a key; see :func:`pyflow.random_uniform`.",
)

_normal = define(
    "random_normal",
    "key:int64",
    attrs={"shape": SHAPE, "mean": FLOAT, "stddev": FLOAT, "dtype": DTYPE},
    infer=_normal_infer,
    ref=lambda key, shape, mean, stddev, dtype: philox.normal(key, shape, dtype.numpy, mean, stddev),
    lower=lambda node, inputs, outputs: Lowering(
        "random_normal", inputs, outputs, (), (node.attrs["mean"], node.attrs["stddev"])
    ),
    vjp=no_gradient,
    doc="Normally distributed numbers of a key; see :func:`pyflow.random_normal`.",
)


def _integers_infer(key: Value, *, shape: tuple[Size, ...], low: int, high: int, dtype: DType) -> TensorType:
    _check_key(key)
    if dtype not in INTEGERS:
        raise InvalidArgumentError(f"expected dtype int32 or int64, got {dtype}")
    limits = np.iinfo(dtype.numpy)
    if not limits.min <= low < high <= limits.max:
        raise InvalidArgumentError(f"expected a range that is not empty and fits {dtype}, got [{low}, {high})")
    return TensorType(dtype, shape)


_integers = define(
    "random_integers",
    "key:int64",
    attrs={"shape": SHAPE, "low": INT, "high": INT, "dtype": DTYPE},
    infer=_integers_infer,
    ref=lambda key, shape, low, high, dtype: philox.integers(key, shape, dtype.numpy, low, high),
    lower=lambda node, inputs, outputs: Lowering(
        "random_integers", inputs, outputs, (node.attrs["low"], node.attrs["high"])
    ),
    vjp=no_gradient,
    doc="Integers of a key; see :func:`pyflow.random_integers`.",
)


def random_uniform(
    shape: Any,
    low: float = 0.0,
    high: float = 1.0,
    dtype: Any = dtypes.float32,
    seed: int | None = None,
    name: str | None = None,
) -> Value:
    result: Value = _uniform(key_of(seed), shape, low, high, dtype, name=name)
    return result


random_uniform.__doc__ = f"""Numbers from [low, high), all equally likely; float32 or float64.

    shape: ints and Dims. {_SEED}
    """


def random_normal(
    shape: Any,
    mean: float = 0.0,
    stddev: float = 1.0,
    dtype: Any = dtypes.float32,
    seed: int | None = None,
    name: str | None = None,
) -> Value:
    result: Value = _normal(key_of(seed), shape, mean, stddev, dtype, name=name)
    return result


random_normal.__doc__ = f"""Normally distributed numbers; float32 or float64.

    shape: ints and Dims. {_SEED}
    """


def random_integers(
    shape: Any,
    low: int,
    high: int,
    dtype: Any = dtypes.int64,
    seed: int | None = None,
    name: str | None = None,
) -> Value:
    result: Value = _integers(key_of(seed), shape, low, high, dtype, name=name)
    return result


random_integers.__doc__ = f"""Integers from [low, high), all equally likely; int32 or int64.

    shape: ints and Dims. {_SEED} Raises InvalidArgumentError for an empty range, or one that dtype does not hold.
    """


def dropout(x: Any, rate: float, training: bool = True, seed: int | None = None, name: str | None = None) -> Value:
    operand = x if hasattr(x, "shape") and not hasattr(x, "__pyflow_value__") else convert(x)
    if not 0 <= rate < 1:
        raise InvalidArgumentError(message("dropout", f"expected 0 <= rate < 1, got {rate}", user_origin()))
    if not dtypes.as_dtype(operand.dtype).is_floating:
        raise InvalidArgumentError(message("dropout", f"expected a floating x, got {operand.dtype}", user_origin()))
    if not training or rate == 0:
        return call("identity", operand, name=name)  # type: ignore[no-any-return]
    kept = call("greater_equal", random_uniform(operand.shape, seed=seed), rate)
    result: Value = call("where", kept, call("multiply", operand, 1 / (1 - rate)), 0, name=name)
    return result


dropout.__doc__ = f"""``x`` with each element 0 with probability ``rate``, the others times ``1 / (1 - rate)``.

    x: floating, any shape. training: False gives x itself. {_SEED}
    """
