"""Errors of sorting, indexing, einsum, linear algebra and the like: while the graph is built, and in a run."""

from __future__ import annotations

import numpy as np
import pytest

import pyflow as pf
from pyflow import errors

HERE = "test_numpy_ops.py:"
INVALID = errors.InvalidArgumentError


def _x(*shape):
    return pf.placeholder(pf.float32, shape)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: pf.top_k(_x(3), 4), ["[sorted_with_indices]", "4 elements", "float32[3]"]),
        (lambda: pf.sort(_x(3), 1), ["axis 1 is out of range", "float32[3]"]),
        (lambda: pf.searchsorted(_x(2, 2), _x(2)), ["[searchsorted]", "1 axis", "float32[2,2]"]),
        (lambda: pf.einsum("ij,jk", _x(2, 3)), ["[einsum]", "2 operands, got 1"]),
        (lambda: pf.einsum("ij,jk", _x(2, 3), _x(4, 5)), ["[einsum]", "axis j", "3 and 4"]),
        (lambda: pf.einsum("i1", _x(2, 3)), ["[einsum]", "subscript 'i1'"]),
        (lambda: pf.einsum("ijk", _x(2, 3)), ["[einsum]", "names 3 axes", "has 2"]),
        (lambda: pf.einsum("ij->k", _x(2, 3)), ["[einsum]", "'ij->k'"]),
        (lambda: pf.tensordot(_x(2, 3), _x(4, 5), 1), ["[tensordot]", "differ", HERE]),
        (lambda: pf.gather_elements(_x(2, 3), np.zeros((3, 3), int), 1), ["[gather_elements]", "float32[2,3]"]),
        (lambda: pf.gather_nd(_x(2, 3), np.zeros((4, 3), int)), ["[gather_nd]", "int64[4,3]"]),
        (lambda: pf.scatter_nd(_x(2, 3), [[0]], _x(2)), ["[scatter_nd]", "expected updates: float32[1,3]"]),
        (lambda: pf.scatter_elements(_x(3), [0], _x(1), reduction="sum"), ["[scatter_elements]", "'sum'"]),
        (lambda: pf.scatter_elements(pf.cast(_x(3), bool), [0], [True], reduction="add"), ["needs numbers"]),
        (lambda: pf.diagonal(_x(3)), ["[diagonal]", "2 axes", "float32[3]"]),
        (lambda: pf.linspace(0, 1, -1), ["[linspace]", "got -1", HERE]),
        (lambda: pf.meshgrid(_x(2, 2)), ["[meshgrid]", "1 axis", HERE]),
        (lambda: pf.pad(_x(0), 1, mode="edge"), ["[pad_repeated]", "no elements"]),
        (lambda: pf.cross(_x(4), _x(4)), ["[cross]", "size 3", HERE]),
        (lambda: pf.cumsum(_x(4), 1), ["[cumsum]", "axis 1 is out of range"]),
        (lambda: pf.linear_recurrence(_x(4), _x(3)), ["[linear_recurrence]", "float32[4]", "float32[3]"]),
        (lambda: pf.norm(_x(2, 2, 2), 1), ["[norm]", "got 3", HERE]),
        (lambda: pf.quantile(_x(3), 0.5, method="best"), ["[quantile]", "'best'", HERE]),
        (lambda: pf.linalg.inv(_x(2, 3)), ["[linalg_inv]", "square", "float32[2,3]"]),
        (lambda: pf.linalg.solve(_x(2, 2), _x(3, 1)), ["[linalg_solve]", "rows"]),
        (lambda: pf.linalg.svd(_x(3)), ["[linalg_svd]", "2 axes"]),
        (lambda: pf.fft.irfft(_x(4), n=0), ["[fft_to_real]", "at least 1"]),
        (lambda: pf.array_split(_x(4), 0), ["[array_split]", "got 0", HERE]),
        (lambda: pf.unstack(_x(None)), ["[unstack]", "known size", HERE]),
        (lambda: pf.moveaxis(_x(2, 3), (0, 1), 0), ["[moveaxis]", "2 and 1", HERE]),
        (lambda: pf.moveaxis(_x(3), 7, 0), ["[moveaxis] axis 7 is out of range for x: float32[3]", HERE]),
        (lambda: pf.swapaxes(_x(3), 0, 4), ["[swapaxes] axis 4", HERE]),
        (lambda: pf.lstm(_x(5, 2, 3), _x(1, 4, 3), _x(1, 4, 2)), ["[lstm] expected w [1, 4 * H, I]", "[1,4,3]", HERE]),
        (lambda: pf.gru(_x(5, 2, 4), _x(1, 6, 3), _x(1, 6, 2)), ["[gru]", "for I = 4", HERE]),
        (lambda: pf.rnn(_x(5, 2, 3), _x(1, 2, 3), _x(1, 2, 2), _x(1, 2)), ["[rnn]", "b [1, 2 * H]", HERE]),
        (lambda: pf.roll(_x(3), 1, 3), ["[roll] axis 3", HERE]),
        (lambda: pf.arange(0.0, float("inf")), ["[arange]", "finite", "inf", HERE]),
        (lambda: pf.arange(float("nan")), ["[arange]", "finite", HERE]),
        (lambda: pf.quantile(_x(3), 1.5), ["[quantile] expected 0 <= q <= 1, got 1.5", HERE]),
        (lambda: pf.median(pf.complex(_x(3), _x(3))), ["[quantile]", "complex64[3]", HERE]),
        (lambda: pf.random_uniform((3,), 5.0, 1.0), ["[random_uniform]", "low <= high, got 5.0 and 1.0", HERE]),
        (lambda: pf.random_uniform((3,), float("nan")), ["[random_uniform]", "nan", HERE]),
        (lambda: pf.random_normal((3,), 0.0, -1.0), ["[random_normal] expected stddev >= 0, got -1.0", HERE]),
        (lambda: pf.random_exponential((3,), -1.0), ["[random_exponential] expected rate > 0", HERE]),
        (lambda: pf.random_gamma(_x(3), 0.0), ["[random_gamma] expected beta > 0", HERE]),
        (lambda: pf.random_uniform((3,), seed="a"), ["expected an int64 as seed, got 'a'", HERE]),
        (lambda: pf.random_uniform((3,), seed=2**64), ["expected an int64 as seed", HERE]),
        (lambda: pf.cast(_x(3), "float31"), ["'float31' is no dtype that pyflow knows", HERE]),
        (lambda: pf.cast(_x(3), None), ["None is no dtype", HERE]),
        (lambda: pf.placeholder("float31", (2,)), ["'float31' is no dtype", HERE]),
    ],
)
def test_while_the_graph_is_built(graph, build, words):
    with pytest.raises((INVALID, errors.DTypeError)) as caught:
        build()
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "make", "feed", "words"),
    [
        (errors.OutOfRangeError, lambda x: pf.gather_elements(np.ones(3), x), [0, 3], ["index 3", "axis 0 of size 3"]),
        (errors.OutOfRangeError, lambda x: pf.gather_nd(np.ones((2, 3)), x[None]), [1, -4], ["index -4", "axis 1"]),
        (errors.OutOfRangeError, lambda x: pf.scatter_elements(np.ones(3), x, np.ones(2)), [0, -4], ["index -4"]),
        (errors.OutOfRangeError, lambda x: pf.scatter_nd(np.ones(3), x[:, None], np.ones(2)), [0, 9], ["index 9"]),
        (errors.OutOfRangeError, lambda x: pf.bincount(x), [3, -1], ["out of range"]),
        (INVALID, lambda x: pf.fmod(np.array([1, 2]), x), [1, 0], ["division"]),
        (INVALID, lambda x: pf.linalg.inv(pf.cast(pf.outer(x, x), pf.float64)), [1, 2], ["ingular"]),
        (INVALID, lambda x: pf.linalg.cholesky(pf.diag(pf.cast(x, pf.float64))), [1, -2], ["positive definite"]),
    ],
)
def test_in_a_run(graph, kind, make, feed, words):
    x = pf.placeholder(pf.int64, (2,))
    y = make(x)
    with pf.Session(graph) as session, pytest.raises(kind) as caught:
        session.run(y, {x: feed})
    for word in words:
        assert word in str(caught.value)
