"""Random numbers of more distributions: functions of the uniform and the normal ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pyflow import dtypes
from pyflow.apply import convert
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import FLOATS, call, define
from pyflow.ops.arrays.indexing import gather
from pyflow.ops.arrays.shape import expand_dims
from pyflow.ops.arrays.sorting import argsort, top_k
from pyflow.ops.common import no_gradient
from pyflow.ops.randoms.draws import key_of, random_integers, random_uniform
from pyflow.ops.sizes import as_size

__all__ = [
    "bernoulli",
    "categorical",
    "multinomial",
    "randint",
    "random_exponential",
    "random_gamma",
    "random_gumbel",
    "random_permutation",
    "random_poisson",
    "shuffle",
    "truncated_normal",
]


def _fail(op: str, what: str) -> InvalidArgumentError:
    return InvalidArgumentError(message(op, what, user_origin()))


def randint(low: int, high: int, shape: Any, dtype: Any = dtypes.int64, seed: int | None = None) -> Value:
    """Integers from [low, high), all equally likely: :func:`pyflow.random_integers` as PyTorch orders its arguments."""
    return random_integers(shape, low, high, dtype, seed)


def truncated_normal(
    shape: Any,
    mean: float = 0.0,
    stddev: float = 1.0,
    low: float = -2.0,
    high: float = 2.0,
    dtype: Any = dtypes.float32,
    seed: int | None = None,
) -> Value:
    """Normally distributed numbers between ``mean + low * stddev`` and ``mean + high * stddev``, floating.

    shape: ints and Dims. seed: an int gives the same numbers in every run; None draws new ones.
    """
    if not low < high:
        raise _fail("truncated_normal", f"expected low < high, got {low} and {high}")
    ends = [math.erf(end / math.sqrt(2)) for end in (low, high)]
    drawn = random_uniform(shape, ends[0], ends[1], dtypes.float64, seed)
    numbers = call("clip", call("erfinv", drawn) * math.sqrt(2), low, high) * stddev + mean
    result: Value = call("cast", numbers, dtype)
    return result


def bernoulli(p: Any, dtype: Any = None, seed: int | None = None, *, name: str | None = None) -> Value:
    """1 with probability ``p`` (floating, any shape), else 0; of p's dtype, or of ``dtype``.

    seed: an int gives the same numbers in every run; None draws new ones. No gradient flows.
    """
    chance = convert(p)
    drawn = random_uniform(chance.dims, 0.0, 1.0, dtypes.float32, seed)
    one = call("less", drawn, call("stop_gradient", chance))
    result: Value = call("cast", one, chance.dtype if dtype is None else dtype, name=name)
    return result


def random_exponential(shape: Any, rate: float = 1.0, dtype: Any = dtypes.float32, seed: int | None = None) -> Value:
    """Exponentially distributed numbers of mean ``1 / rate``, floating. shape: ints and Dims; seed: as elsewhere."""
    if not rate > 0:
        raise _fail("random_exponential", f"expected rate > 0, got {rate}")
    drawn = random_uniform(shape, 0.0, 1.0, dtype, seed)
    result: Value = call("log1p", call("negative", drawn)) * (-1.0 / rate)
    return result


def random_gumbel(shape: Any, dtype: Any = dtypes.float32, seed: int | None = None) -> Value:
    """Numbers of the standard Gumbel distribution, floating. shape: ints and Dims; seed: as elsewhere."""
    tiny = float(np.finfo(dtypes.as_dtype(dtype).numpy).tiny)
    drawn = call("maximum", random_exponential(shape, 1.0, dtype, seed), tiny)
    result: Value = call("negative", call("log", drawn))
    return result


def categorical(
    logits: Any, count: Any = 1, dtype: Any = dtypes.int64, replacement: bool = True, seed: int | None = None
) -> Value:
    """Classes drawn with probability ``softmax(logits)``: [..., count].

    logits: floating [..., classes]. count: how many for each row. replacement: False draws different classes.
        seed: an int gives the same in every run; None draws new ones.
    """
    value = call("stop_gradient", convert(logits))
    if value.ndim < 1:
        raise _fail("categorical", f"expected logits of at least 1 axis, got {value.type}")
    many = as_size(count)
    if not replacement:
        noise = random_gumbel(value.dims, dtypes.float32, seed)
        _, drawn = top_k(value + call("cast", noise, value.dtype), many)
        return call("cast", drawn, dtype)  # type: ignore[no-any-return]
    noise = random_gumbel((*value.dims[:-1], many, value.dims[-1]), dtypes.float32, seed)
    scored = expand_dims(value, value.ndim - 1) + call("cast", noise, value.dtype)
    result: Value = call("cast", call("argmax", scored, -1), dtype)
    return result


def multinomial(
    probabilities: Any, count: Any = 1, replacement: bool = True, dtype: Any = dtypes.int64, seed: int | None = None
) -> Value:
    """``count`` classes per row of ``probabilities`` (floating [..., classes], not negative, need not sum to 1).

    replacement: False draws different classes. Returns [..., count]; seed: as for :func:`pyflow.categorical`.
    """
    return categorical(call("log", convert(probabilities)), count, dtype, replacement, seed)


def random_permutation(count: Any, seed: int | None = None) -> Value:
    """0, 1 ... ``count - 1`` (an int or a Dim) in random order: int64. seed: as elsewhere."""
    drawn = random_uniform((as_size(count),), 0.0, 1.0, dtypes.float64, seed)
    result: Value = argsort(drawn)
    return result


def shuffle(x: Any, axis: int = 0, seed: int | None = None) -> Value:
    """``x`` with the slices along ``axis`` in random order. seed: as elsewhere."""
    value = convert(x)
    result: Value = gather(value, random_permutation(value.dims[axis], seed), axis)
    return result


def _generator(key: np.ndarray) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=key.astype(np.uint64)))


def _sampled(name: str, draw: Any, what: str) -> Any:
    return define(
        name,
        "key:int64, x:T",
        kinds={"T": FLOATS},
        infer=lambda key, x: x.type,
        ref=lambda key, x: np.asarray(draw(_generator(key), x.astype(np.float64))).astype(x.dtype),
        host=True,
        vjp=no_gradient,
        doc=f"{what} of a key; see :func:`pyflow.{name}`.",
    )


_gamma = _sampled("random_gamma", lambda generator, x: generator.standard_gamma(x), "Gamma distributed numbers")
_poisson = _sampled("random_poisson", lambda generator, x: generator.poisson(x), "Poisson distributed numbers")


def random_gamma(alpha: Any, beta: float = 1.0, seed: int | None = None) -> Value:
    """Gamma distributed numbers of shape ``alpha`` (floating, any shape, above 0) and rate ``beta``.

    Drawn on the host. seed: an int gives the same numbers in every run; None draws new ones. No gradient flows.
    """
    if not beta > 0:
        raise _fail("random_gamma", f"expected beta > 0, got {beta}")
    result: Value = _gamma(key_of(seed), alpha) / beta
    return result


def random_poisson(rate: Any, seed: int | None = None) -> Value:
    """Poisson distributed numbers of mean ``rate`` (floating, any shape, not negative), of its dtype.

    Drawn on the host. seed: an int gives the same numbers in every run; None draws new ones. No gradient flows.
    """
    result: Value = _poisson(key_of(seed), rate)
    return result
