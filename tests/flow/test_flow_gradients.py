"""Gradients of control flow against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyflow as pf
from pyflow import errors
from pyflow.ops.state import GENERATOR

A = np.array([0.5, 1.2, -0.7])
B = np.array([1.5, 0.3, 0.9])
C = np.array(0.3)


def cell(c: Any) -> Callable[..., Any]:
    return lambda h, v: (pf.tanh(h * v + c), h * c)


def row(x: Any, c: Any, reverse: bool = False) -> Any:
    h, ys = pf.scan(cell(c), c, x, reverse=reverse)
    return h + pf.sum(pf.square(ys))


def newton(x: Any, y: Any) -> Any:
    def more(i: Any, h: Any) -> Any:
        return pf.logical_and(i < 5, pf.sum(h) < 3.0)

    return pf.while_loop(more, lambda i, h: (i + 1, h * y + x), (0, x), max_iterations=10)[1]


CASES: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "cond, taken": (lambda x, y, c: pf.cond(c > 0, lambda: pf.sum(x * y), lambda: pf.sum(pf.sin(x))), (A, B, C)),
    "cond, not taken": (lambda x, y, c: pf.cond(c < 0, lambda: pf.sum(x * y), lambda: pf.sum(pf.sin(x))), (A, B, C)),
    "cond, two results": (lambda x, c: sum(pf.cond(c > 0, lambda: (x * x, c), lambda: (x, c * c))), (A, C)),
    "scan": (row, (A, C)),
    "scan, reverse": (lambda x, c: row(x, c, reverse=True), (A, C)),
    "scan, nothing carried": (lambda x: pf.sum(pf.map(lambda v: v * v * v, x)), (A,)),
    "scan, integers beside": (
        lambda x: pf.scan(lambda s, v: ((s[0] + 1, s[1] + v * pf.cast(s[0], pf.float64)), None), (0, x[0]), x)[0][1],
        (A,),
    ),
    "while, bounded": (newton, (A, B)),
    "while, no turn": (
        lambda x: pf.while_loop(lambda h: pf.sum(h) > 100.0, lambda h: h * 2.0, (x,), max_iterations=4)[0],
        (A,),
    ),
    "branch in a map": (
        lambda x, c: pf.sum(pf.map(lambda v: pf.cond(v > 0, lambda: v * v * c, lambda: pf.exp(v)), x)),
        (A, C),
    ),
    "scan in a scan": (
        lambda x, c: pf.scan(lambda h, v: (pf.scan(lambda k, u: (k * pf.cos(u * v) + c, None), h, x)[0], None), c, x)[
            0
        ],
        (A, C),
    ),
    "loop in a scan": (
        lambda x, c: pf.scan(
            lambda h, v: (
                pf.while_loop(lambda k: k < 2.0, lambda k: k * 1.5 + c, (h * v,), max_iterations=9)[0],
                v * h,
            ),
            c,
            x * x,
        )[0],
        (A, C),
    ),
    "random in a scan": (
        lambda x: pf.scan(lambda h, v: (h + v * v * pf.random_normal((), dtype=pf.float64), None), x[0], x)[0],
        (A,),
    ),
    "random in a branch": (
        lambda x: pf.cond(x[0] > 0, lambda: pf.sum(x * x * pf.random_normal((3,), dtype=pf.float64)), lambda: x[1]),
        (A,),
    ),
    "of the gradient": (
        lambda x: pf.gradients(pf.scan(lambda h, v: (h * pf.sin(v), None), pf.constant(1.0, pf.float64), x)[0], [x])[0],
        (A,),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_finite_differences(name: str) -> None:
    build, feeds = CASES[name]
    graph = pf.Graph()
    with graph.as_default():
        inputs = [pf.placeholder(pf.float64, feed.shape) for feed in feeds]
        y = pf.sum(build(*inputs))
        slopes = pf.gradients(y, inputs)
    with pf.Session(graph, pf.SessionConfig(seed=1)) as session:

        def value(fetch: Any, place: int = 0, change: np.ndarray | float = 0.0) -> np.ndarray:
            session.state.set(GENERATOR, np.array([5, 0]))
            arrays = [feed + change if i == place else feed for i, feed in enumerate(feeds)]
            return session.run(fetch, dict(zip(inputs, arrays, strict=True)))

        for place, (feed, slope) in enumerate(zip(feeds, slopes, strict=True)):
            want = np.zeros_like(feed)
            for at in np.ndindex(feed.shape):
                step = np.zeros_like(feed)
                step[at] = 1e-5
                want[at] = (value(y, place, step) - value(y, place, -step)) / 2e-5
            got = np.zeros_like(feed) if slope is None else value(slope)
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-8)


def test_by_a_variable_that_bodies_read() -> None:
    graph = pf.Graph()
    with graph.as_default():
        w = pf.Variable(np.array(2.0), name="w")
        x = pf.placeholder(pf.float64, ("n",))
        y = pf.scan(lambda h, v: (h * w + v, None), pf.constant(1.0, pf.float64), x)[0]
        (slope,) = pf.gradients(y, [w])
    with pf.Session(graph, pf.SessionConfig(auto_init=True)) as session:
        assert session.run([y, slope], {x: np.array([1.0, 2.0, 3.0])}) == [19.0, 18.0]


def test_training_in_a_loop() -> None:
    graph = pf.Graph()
    with graph.as_default():
        goal = pf.placeholder(pf.float64, ())
        w = pf.Variable(np.array(0.0), name="w")

        def step(i):
            (slope,) = pf.gradients(pf.square(w - goal), [w])
            w.assign_sub(0.1 * slope)
            return i + 1

        done = pf.while_loop(lambda i: i < 100, step, (0,))
    with pf.Session(graph, pf.SessionConfig(auto_init=True)) as session:
        session.run(done, {goal: 3.0})
        assert session.run(w) == pytest.approx(3.0)


def test_an_unbounded_loop_names_the_argument() -> None:
    with pf.Graph().as_default():
        x = pf.constant(1.0)
        y = pf.while_loop(lambda y: y < 10.0, lambda y: y * x, (x,))[0]
        with pytest.raises(errors.UnimplementedError, match=r"not bounded   \(.*\n.*max_iterations="):
            pf.gradients(y, [x])


def test_what_the_gradient_keeps_costs_nothing_without_it() -> None:
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder(pf.float64, (4,))
        y = pf.scan(lambda h, v: (pf.tanh(h * v), None), x[0], x)[0]
        before = pf.Session(graph).explain(y, [x])
        pf.gradients(y, [x])
        after = pf.Session(graph).explain(y, [x])
    assert [row.kernel for row in after.rows] == [row.kernel for row in before.rows]
    assert "put_row" not in [row.kernel for row in after.rows]


def test_variables_that_a_body_reads_and_writes() -> None:
    """Their reads inside are no values of the graph: refused, never left out of the sum; by others it flows."""
    with pf.Graph().as_default():
        xs = pf.placeholder(pf.float64, ("t",))
        w = pf.Variable(np.float64(1.5), name="w")

        def body(carry: Any, x: Any) -> Any:
            result = carry * w + x
            w.assign_add(0.5)
            return result, carry

        last, _ = pf.scan(body, pf.constant(0.0, pf.float64), xs)
        with pytest.raises(
            errors.UnimplementedError, match=r"by variable w, which its body reads and writes.*\n.*carry"
        ):
            pf.gradients(last + w, [w])
        (slope,) = pf.gradients(last, [xs])
        session = pf.Session(config=pf.SessionConfig(auto_init=True))
        np.testing.assert_allclose(session.run(slope, {xs: [1.0, 2.0, 3.0]}), [2.0 * 2.5, 2.5, 1.0])
