"""Whole programs: the same bits eagerly, through ``pf.function``, in a session and ahead of time."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyflow as pf

rng = np.random.default_rng(5)


def floats(*shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def slopes_of(loss: Callable[..., Any], *at: Any) -> Any:
    """The gradient of ``loss`` by each of its arguments, of graph values or tensors."""
    if any(isinstance(each, pf.Value) for each in at):
        return pf.gradients(loss(*at), list(at))
    return pf.grad(loss, tuple(range(len(at))))(*at)


def carried(x: Any) -> Any:
    """A loop with a carried state."""
    return pf.while_loop(lambda i, s: i < 6, lambda i, s: (i + 1, s * 0.5 + pf.sin(x)), (pf.zeros_like(x[0, 0]), x))[1]


def rnn(x: Any, w: Any, u: Any) -> Any:
    """A recurrent network by hand: [steps, batch, features]."""

    def cell(state: Any, row: Any) -> tuple[Any, Any]:
        new = pf.tanh(row @ w + state @ u)
        return new, new

    return pf.scan(cell, pf.zeros_like(x[0] @ w), x)[1]


def newton(a: Any) -> Any:
    """Square roots by Newton's iteration, until none moves."""

    def turn(guess: Any, moved: Any) -> tuple[Any, Any]:
        better = 0.5 * (guess + a / guess)
        return better, pf.max(pf.abs(better - guess))

    start = pf.ones_like(a)
    return pf.while_loop(lambda guess, moved: moved > 1e-4, turn, (start, pf.max(pf.abs(a)) + 1), max_iterations=40)[0]


def k_means(points: Any, centres: Any) -> Any:
    """Five rounds of k-means."""

    def turn(centres: Any, _: Any) -> tuple[Any, Any]:
        distances = pf.sum(pf.square(points[:, None] - centres[None]), axis=-1)
        mine = pf.one_hot(pf.argmin(distances, axis=1), 3)
        weights = pf.maximum(pf.sum(mine, axis=0), 1.0)
        return pf.transpose(mine) @ points / weights[:, None], pf.min(distances)

    return pf.scan(turn, centres, None, length=5)


def attention(x: Any, w: Any) -> Any:
    """A block of self-attention with one head."""
    q, k, v = x @ w[0], x @ w[1], x @ w[2]
    weights = pf.softmax(q @ pf.transpose(k, (0, 2, 1)) * 0.5, axis=-1)
    mixed = x + weights @ v
    centred = mixed - pf.mean(mixed, axis=-1, keepdims=True)
    return centred * pf.rsqrt(pf.mean(pf.square(centred), axis=-1, keepdims=True) + 1e-5)


def cnn_step(images: Any, kernel: Any, dense: Any, labels: Any) -> Any:
    """A convolutional network and one step of gradient descent on its weights."""

    def loss(kernel: Any, dense: Any) -> Any:
        hidden = pf.relu(pf.conv2d(images, kernel, padding="same"))
        pooled = pf.max_pool(hidden, 2, 2)
        return pf.cross_entropy(pf.reshape(pooled, (4, -1)) @ dense, labels)

    slopes = slopes_of(loss, kernel, dense)
    return loss(kernel, dense), kernel - 0.1 * slopes[0], dense - 0.1 * slopes[1]


def beam_search(start: Any, table: Any) -> Any:
    """Four steps of a beam of three over a table of transitions."""
    vocabulary = 7

    def turn(state: Any, _: Any) -> tuple[Any, Any]:
        scores, tokens = state
        options = pf.reshape(scores[:, None] + pf.log_softmax(pf.take(table, tokens, axis=0), axis=-1), (-1,))
        best, places = pf.top_k(options, 3)
        chosen = pf.mod(places, vocabulary)
        return (best, chosen), (pf.floor_divide(places, vocabulary), chosen)

    (scores, _), steps = pf.scan(turn, (start, pf.cast(start * 0, pf.int64)), None, length=4)
    return scores, steps


def power_iteration(a: Any, v: Any) -> Any:
    """The largest eigenvalue of a symmetric matrix."""

    def turn(v: Any, _: Any) -> tuple[Any, Any]:
        w = a @ v
        return w / pf.sqrt(pf.sum(w * w)), pf.sum(v * w)

    return pf.scan(turn, v, None, length=8)


def branches(x: Any) -> Any:
    """One of two ways, decided by the data; both in a row."""
    first = pf.cond(pf.sum(x) > 0, lambda: pf.exp(x), lambda: x * x)
    return first, pf.switch_case(pf.cast(pf.argmax(x[0]), pf.int64) % 3, [lambda: x, lambda: -x, lambda: x * 2])


def logistic(x: Any, y: Any, w: Any) -> Any:
    """Five steps of logistic regression."""
    loss = lambda w: pf.mean(pf.softplus(x @ w) - y * (x @ w))  # noqa: E731
    for _ in range(5):
        w = w - 0.5 * slopes_of(loss, w)[0]
    return w, loss(w)


def integers(x: Any) -> Any:
    """Integers alone: the steps of the Collatz sequence."""

    def turn(n: Any, steps: Any) -> tuple[Any, Any]:
        more = n > 1
        after = pf.where(pf.equal(n % 2, 0), n // 2, 3 * n + 1)
        return pf.where(more, after, n), steps + pf.cast(more, pf.int64)

    return pf.while_loop(lambda n, steps: pf.any(n > 1), turn, (x, pf.zeros_like(x)))[1]


def doubles(x: Any) -> Any:
    """float64, NaN and infinity among it: a running, normalised sum."""
    total = pf.cumsum(pf.where(x > 3, np.inf, x), axis=0)
    return total / pf.sqrt(pf.abs(x) - 0.5), pf.sort(x, axis=1), pf.var(x, axis=0)


PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "carried": (carried, (floats(3, 5),)),
    "rnn": (rnn, (floats(6, 3, 4), floats(4, 5), floats(5, 5))),
    "newton": (newton, (np.abs(floats(11)) + 0.1,)),
    "k_means": (k_means, (floats(23, 2), floats(3, 2))),
    "attention": (attention, (floats(2, 5, 8), floats(3, 8, 8))),
    "cnn_step": (cnn_step, (floats(4, 3, 8, 8), floats(5, 3, 3, 3), floats(80, 10), np.array([1, 7, 0, 3]))),
    "beam_search": (beam_search, (floats(3), floats(7, 7))),
    "power_iteration": (power_iteration, ((lambda a: a @ a.T)(floats(7, 7)), floats(7, 1))),
    "branches": (branches, (floats(3, 5),)),
    "logistic": (logistic, (floats(17, 4), (floats(17, 1) > 0).astype(np.float32), floats(4, 1))),
    "integers": (integers, (np.arange(1, 14),)),
    "doubles": (doubles, (rng.standard_normal((7, 5)) * 3,)),
}


def flat(nested: Any) -> list[Any]:
    return [leaf for each in nested for leaf in flat(each)] if isinstance(nested, (tuple, list)) else [nested]


def same(got: Any, expected: Any) -> None:
    for one, other in zip(flat(got), flat(expected), strict=True):
        a, b = np.asarray(one), np.asarray(other)
        assert a.dtype == b.dtype and a.shape == b.shape
        equal = (a == b) | ((a != a) & (b != b))
        assert np.all(equal), (a, b)


def eagerly(name: str) -> Any:
    program, arrays = PROGRAMS[name]
    return program(*map(pf.tensor, arrays))


def declared(name: str) -> tuple[list[Any], list[Any]]:
    program, arrays = PROGRAMS[name]
    inputs = [pf.placeholder(array.dtype, array.shape, name=f"{name}_{i}") for i, array in enumerate(arrays)]
    return inputs, flat(program(*inputs))


@pytest.mark.parametrize("name", PROGRAMS)
def test_through_a_function(name: str) -> None:
    program, arrays = PROGRAMS[name]
    traced = pf.function(program)
    expected = eagerly(name)
    same(traced(*map(pf.tensor, arrays)), expected)
    same(traced(*map(pf.tensor, arrays)), expected)
    assert traced.traces == 1


@pytest.mark.parametrize("name", PROGRAMS)
def test_in_a_session(name: str) -> None:
    graph = pf.Graph()
    with graph.as_default():
        inputs, outputs = declared(name)
    arrays = PROGRAMS[name][1]
    with pf.Session(graph, pf.SessionConfig(numerics="strict")) as session:
        same(session.run(outputs, dict(zip(inputs, arrays, strict=True))), eagerly(name))
    with pf.Session(graph) as session:
        for got, expected in zip(
            session.run(outputs, dict(zip(inputs, arrays, strict=True))), flat(eagerly(name)), strict=True
        ):
            np.testing.assert_allclose(got, np.asarray(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.builds
@pytest.mark.skipif(shutil.which("c++") is None, reason="no compiler")
def test_ahead_of_time(tmp_path: Path) -> None:
    graph = pf.Graph()
    with graph.as_default():
        entries = {name: declared(name) for name in PROGRAMS}
    session = pf.Session(graph, pf.SessionConfig(numerics="strict"))
    loaded = pf.aot.compile(session, entries, tmp_path, emit="shared").load()
    for name, (_, arrays) in PROGRAMS.items():
        got = loaded[name](*arrays)
        same(list(got) if isinstance(got, tuple) else [got], flat(eagerly(name)))
