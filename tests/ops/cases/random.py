"""Rows of random ops: their statistics, their range, and that a seed gives the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from cases.case import FLOATS, INTEGERS, Case
from pyflow.dtypes import as_dtype
from pyflow.ops.randoms.draws import dropout, random_integers, random_normal, random_uniform

COUNT = 40_000


def _twice(function: Any) -> Any:
    """The numbers of one seed, again, and those of another seed."""
    return lambda: (function(1), function(1), function(2))


def _agree(results: list[np.ndarray]) -> np.ndarray:
    first, again, other = results
    np.testing.assert_array_equal(first, again)
    assert np.mean(first == other) < 0.3
    assert first.shape == (COUNT,)
    return first.astype(np.float64)


def _uniform(results: list[np.ndarray], inputs: Any) -> None:
    numbers = _agree(results)
    assert numbers.min() >= -2
    assert numbers.max() < 4
    counts, _ = np.histogram(numbers, 20, (-2, 4))
    assert abs(counts / COUNT - 0.05).max() < 0.006


def _normal(results: list[np.ndarray], inputs: Any) -> None:
    numbers = (_agree(results) - 3) / 2
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3)):
        assert abs((numbers**power).mean() - moment) < 0.2


def _integers(results: list[np.ndarray], inputs: Any) -> None:
    values, counts = np.unique(_agree(results), return_counts=True)
    np.testing.assert_array_equal(values, np.arange(-3, 4))
    assert abs(counts / COUNT - 1 / 7).max() < 0.01


def _dropped(results: list[np.ndarray], inputs: Any) -> None:
    (y,), (x,) = results, inputs
    kept = y != 0
    assert abs(kept.mean() - 0.75) < 0.01
    np.testing.assert_allclose(y[kept], x[kept] / 0.75, rtol=1e-6)


CASES = [
    *(
        Case(
            _twice(lambda s, d=d: random_uniform((COUNT,), -2, 4, as_dtype(d), s)),
            (),
            check=_uniform,
            dtype=d,
            label=f"uniform {np.dtype(d)}",
        )
        for d in FLOATS
    ),
    *(
        Case(
            _twice(lambda s, d=d: random_normal((COUNT,), 3, 2, as_dtype(d), s)),
            (),
            check=_normal,
            dtype=d,
            label=f"normal {np.dtype(d)}",
        )
        for d in FLOATS
    ),
    *(
        Case(
            _twice(lambda s, d=d: random_integers((COUNT,), -3, 4, as_dtype(d), s)),
            (),
            check=_integers,
            dtype=d,
            label=f"integers {np.dtype(d)}",
        )
        for d in INTEGERS
    ),
    *(
        Case(lambda x: dropout(x, 0.25, seed=7), (np.full((100, 200), 2, d),), check=_dropped, dtype=d, label="dropout")
        for d in FLOATS
    ),
    Case(lambda x: dropout(x, 0.25, training=False), (np.ones((2, 3)),), expected=lambda x: x, label="dropout off"),
]
