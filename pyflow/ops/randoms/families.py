"""Random numbers of distributions that are functions of others, and what layers draw."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pyflow import dtypes
from pyflow.apply import convert
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import call
from pyflow.ops.randoms.distributions import random_exponential, random_gamma, random_gumbel
from pyflow.ops.randoms.draws import random_normal, random_uniform

__all__ = [
    "alpha_dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "gumbel_softmax",
    "rand",
    "randn",
    "random_beta",
    "random_binomial",
    "random_cauchy",
    "random_dirichlet",
    "random_laplace",
    "random_log_normal",
    "random_student_t",
    "random_weibull",
]


def _fail(op: str, what: str) -> InvalidArgumentError:
    return InvalidArgumentError(message(op, what, user_origin()))


def _next(seed: int | None) -> int | None:
    """Another seed for a second draw of one call."""
    return None if seed is None else (seed + 0x9E3779B97F4A7C15 + 2**63) % 2**64 - 2**63


def rand(*shape: Any, dtype: Any = dtypes.float32, seed: int | None = None) -> Value:
    """Numbers from [0, 1), all equally likely: :func:`pyflow.random_uniform` as NumPy and PyTorch take a shape."""
    return random_uniform(_shape(shape), dtype=dtype, seed=seed)


def randn(*shape: Any, dtype: Any = dtypes.float32, seed: int | None = None) -> Value:
    """Standard normal numbers: :func:`pyflow.random_normal` as NumPy and PyTorch take a shape."""
    return random_normal(_shape(shape), dtype=dtype, seed=seed)


def _shape(given: tuple[Any, ...]) -> Any:
    return given[0] if len(given) == 1 and isinstance(given[0], (tuple, list)) else given


def random_log_normal(
    shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = dtypes.float32, seed: int | None = None
) -> Value:
    """Numbers whose logarithm is normally distributed. shape: ints and Dims; seed: as elsewhere."""
    result: Value = call("exp", random_normal(shape, mean, stddev, dtype, seed))
    return result


def random_laplace(
    shape: Any, loc: float = 0.0, scale: float = 1.0, dtype: Any = dtypes.float32, seed: int | None = None
) -> Value:
    """Laplace distributed numbers: exponential to both sides of ``loc``. shape: ints and Dims; seed: as elsewhere."""
    apart = random_exponential(shape, 1.0, dtype, seed) - random_exponential(shape, 1.0, dtype, _next(seed))
    result: Value = apart * scale + loc
    return result


def random_cauchy(
    shape: Any, loc: float = 0.0, scale: float = 1.0, dtype: Any = dtypes.float32, seed: int | None = None
) -> Value:
    """Cauchy distributed numbers. shape: ints and Dims; seed: as elsewhere."""
    result: Value = call("tan", random_uniform(shape, -math.pi / 2, math.pi / 2, dtype, seed)) * scale + loc
    return result


def random_weibull(
    shape: Any, concentration: float, scale: float = 1.0, dtype: Any = dtypes.float32, seed: int | None = None
) -> Value:
    """Weibull distributed numbers. shape: ints and Dims; seed: as elsewhere."""
    if not concentration > 0:
        raise _fail("random_weibull", f"expected a concentration > 0, got {concentration}")
    result: Value = call("pow", random_exponential(shape, 1.0, dtype, seed), 1 / concentration) * scale
    return result


def random_beta(a: Any, b: Any, seed: int | None = None) -> Value:
    """Beta distributed numbers; a, b: floating, above 0, broadcast together. Drawn on the host; seed: as elsewhere."""
    left, right = (call("add", x, call("multiply", y, 0)) for x, y in ((a, b), (b, a)))
    first, second = random_gamma(left, 1.0, seed), random_gamma(right, 1.0, _next(seed))
    result: Value = first / (first + second)
    return result


def random_dirichlet(concentration: Any, seed: int | None = None) -> Value:
    """Dirichlet distributed rows: ``concentration`` (floating [..., n], above 0) gives numbers whose sum is 1."""
    parts = random_gamma(concentration, 1.0, seed)
    result: Value = parts / call("sum", parts, -1, True)
    return result


def random_student_t(df: Any, seed: int | None = None) -> Value:
    """Numbers of Student's t distribution; df: degrees of freedom, floating, any shape, above 0."""
    freedom = convert(df)
    normal = call("cast", random_normal(freedom.dims, seed=seed), freedom.dtype)
    chi = random_gamma(freedom * 0.5, 1.0, _next(seed)) * 2.0
    result: Value = normal / call("sqrt", chi / freedom)
    return result


def random_binomial(count: int, p: Any, seed: int | None = None) -> Value:
    """How many of ``count`` tries succeed with probability ``p`` (floating, any shape), of its dtype.

    Every try is drawn: memory and time grow with ``count``. seed: as elsewhere. No gradient flows.
    """
    if count < 0:
        raise _fail("random_binomial", f"expected a count >= 0, got {count}")
    chance = call("stop_gradient", convert(p))
    drawn = random_uniform((*chance.dims, count), 0.0, 1.0, dtypes.float32, seed)
    won = call("less", drawn, call("expand_dims", chance, chance.ndim))
    result: Value = call("cast", call("sum", call("cast", won, dtypes.int64), -1), chance.dtype)
    return result


def gumbel_softmax(
    logits: Any, temperature: float = 1.0, hard: bool = False, axis: int = -1, seed: int | None = None
) -> Value:
    """A sample of the classes along ``axis`` that gradients flow through (Jang et al. 2016).

    logits: floating. hard: 1 at the class that was drawn, 0 elsewhere, with the gradient of the soft sample.
    """
    value = convert(logits)
    noise = call("cast", random_gumbel(value.dims, dtypes.float32, seed), value.dtype)
    soft: Value = call("softmax", (value + noise) / temperature, axis)
    return call("stop_gradient", call("hardmax", soft, axis) - soft) + soft if hard else soft


def _whole_channels(count: int) -> Any:
    name = f"dropout{count}d"

    def drop(x: Any, rate: float = 0.5, training: bool = True, seed: int | None = None) -> Value:
        value = convert(x)
        if value.ndim != count + 2 or not 0 <= rate < 1:
            raise _fail(name, f"expected x of {count + 2} axes and 0 <= rate < 1, got {value.type} and {rate}")
        if not training or rate == 0:
            return value
        drawn = random_uniform((*value.dims[:2], *(1,) * count), seed=seed)
        result: Value = call("where", call("greater_equal", drawn, rate), value * (1 / (1 - rate)), 0)
        return result

    drop.__name__ = drop.__qualname__ = name
    drop.__doc__ = f"""``x`` [N, C, *sizes], of {count} spatial axes, with whole channels 0 with probability ``rate``.

    The others are times ``1 / (1 - rate)``. training: False gives x itself; seed: as for :func:`pyflow.dropout`.
    """
    return drop


dropout1d, dropout2d, dropout3d = map(_whole_channels, (1, 2, 3))


def alpha_dropout(x: Any, rate: float = 0.5, training: bool = True, seed: int | None = None) -> Value:
    """Dropout that keeps mean 0 and variance 1 behind :func:`selu` (Klambauer et al. 2017); x: floating."""
    value = convert(x)
    if not 0 <= rate < 1:
        raise _fail("alpha_dropout", f"expected 0 <= rate < 1, got {rate}")
    if not training or rate == 0:
        return value
    low = -1.7580993408473766
    a = 1 / np.sqrt((1 - rate) * (1 + rate * low**2))
    kept = call("greater_equal", random_uniform(value.dims, seed=seed), rate)
    result: Value = call("where", kept, value, low) * float(a) - float(a * rate * low)
    return result
