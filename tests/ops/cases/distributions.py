"""Rows of random distributions: their statistics, and that a seed gives the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import pyflow as pf
from cases.case import Case, normal

COUNT = 20_000


def _twice(function: Callable[..., Any]) -> Callable[..., Any]:
    """The numbers of one seed, and again."""
    return lambda *values: (function(*values, seed=1), function(*values, seed=1))


def _moments(mean: float, deviation: float) -> Any:
    def check(results: list[np.ndarray], inputs: Any) -> None:
        first, again = (result.astype(np.float64) for result in results)
        np.testing.assert_array_equal(first, again)
        assert first.size == COUNT
        assert abs(first.mean() - mean) < 5 * deviation / COUNT**0.5
        assert abs(first.std() - deviation) < 0.05 * deviation

    return check


def _permuted(results: list[np.ndarray], inputs: Any) -> None:
    first, again = results
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(np.sort(first), np.arange(len(first)))
    assert (first != np.arange(len(first))).any()


def _shares(results: list[np.ndarray], inputs: Any) -> None:
    counts = np.bincount(results[0].reshape(-1), minlength=4) / results[0].size
    assert abs(counts - [0.1, 0.2, 0.3, 0.4]).max() < 0.02


def _different(results: list[np.ndarray], inputs: Any) -> None:
    assert (np.diff(np.sort(results[0], -1), axis=-1) > 0).all()


_CHANCES = np.tile(np.array([0.1, 0.2, 0.3, 0.4], np.float32), (COUNT // 100, 1))


def _row(function: Any, check: Any, *inputs: np.ndarray, label: str = "") -> Case:
    return Case(
        _twice(function), inputs, {}, check=check, gradient=False, label=label or getattr(function, "__name__", "")
    )


CASES = [
    _row(lambda seed: pf.randint(0, 10, (COUNT,), seed=seed), _moments(4.5, 2.8723), label="randint"),
    _row(lambda seed: pf.truncated_normal((COUNT,), seed=seed), _moments(0, 0.8796), label="truncated_normal"),
    _row(lambda seed: pf.random_exponential((COUNT,), 2.0, seed=seed), _moments(0.5, 0.5), label="exponential"),
    _row(lambda seed: pf.random_gumbel((COUNT,), seed=seed), _moments(0.5772, 1.2825), label="gumbel"),
    _row(pf.bernoulli, _moments(0.3, 0.4583), np.full(COUNT, 0.3, np.float32)),
    _row(pf.random_gamma, _moments(2.0, 2**0.5), np.full(COUNT, 2.0)),
    _row(pf.random_poisson, _moments(3.0, 3**0.5), np.full(COUNT, 3.0, np.float32)),
    _row(lambda seed: pf.rand(COUNT, seed=seed), _moments(0.5, 12**-0.5), label="rand"),
    _row(lambda seed: pf.randn(COUNT, seed=seed), _moments(0, 1), label="randn"),
    _row(
        lambda seed: pf.random_log_normal((COUNT,), 0.0, 0.5, seed=seed), _moments(1.1331, 0.6039), label="log_normal"
    ),
    _row(lambda seed: pf.random_laplace((COUNT,), 1.0, 2.0, seed=seed), _moments(1, 8**0.5), label="laplace"),
    _row(lambda seed: pf.atan(pf.random_cauchy((COUNT,), seed=seed)), _moments(0, 0.9069), label="cauchy"),
    _row(lambda seed: pf.random_weibull((COUNT,), 2.0, seed=seed), _moments(0.8862, 0.4633), label="weibull"),
    _row(lambda x, seed: pf.random_beta(x, 3.0, seed=seed), _moments(0.4, 0.2), np.full(COUNT, 2.0)),
    _row(lambda x, seed: pf.random_dirichlet(x, seed)[:, 0], _moments(0.25, 0.1936), np.tile([1.0, 3.0], (COUNT, 1))),
    _row(lambda x, seed: pf.random_student_t(x, seed), _moments(0, (9 / 7) ** 0.5), np.full(COUNT, 9.0)),
    _row(lambda p, seed: pf.random_binomial(7, p, seed), _moments(2.1, 1.2124), np.full(COUNT, 0.3)),
    _row(lambda x, seed: pf.dropout2d(x, 0.25, seed=seed), _moments(1, 3**-0.5), np.ones((COUNT, 1, 1, 1))),
    _row(
        lambda x, seed: pf.alpha_dropout(pf.selu(x), 0.25, seed=seed), _moments(0, 1), normal(COUNT, dtype=np.float64)
    ),
    _row(lambda x, seed: pf.gumbel_softmax(x, hard=True, seed=seed)[:, 0], _moments(0.25, 0.433), np.zeros((COUNT, 4))),
    _row(lambda seed: pf.random_permutation(200, seed=seed), _permuted, label="permutation"),
    _row(pf.shuffle, _permuted, np.arange(200)),
    _row(lambda p, seed: pf.multinomial(p, 100, seed=seed), _shares, _CHANCES, label="multinomial"),
    _row(lambda p, seed: pf.multinomial(p, 3, False, seed=seed), _different, _CHANCES, label="different"),
]
