"""Shapes that only the run tells: carried values that grow, branches that differ, sizes found inside of bodies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pyflow as pf
from pyflow import errors
from pyflow.interpret import evaluate_graph


@pytest.fixture
def graph():
    graph = pf.Graph()
    with graph.as_default():
        yield graph


def one(value: Any) -> pf.Value:
    return pf.reshape(value, (1,))


@pytest.mark.parametrize("device", ["cpu", "ref"])
def test_what_grows_and_what_differs(graph: pf.Graph, device: str) -> None:
    x = pf.placeholder(pf.float32, ("n",))
    k, p = pf.placeholder(pf.int64, ()), pf.placeholder(pf.bool_, ())

    def longer(i, y):
        return i + 1, pf.concat([y, one(pf.cast(i, pf.float32))], axis=0)

    grown = pf.while_loop(lambda i, y: i < k, longer, (0, x))[1]
    chosen = pf.cond(p, lambda: x[1:] * 2.0, lambda: pf.concat([x, x], axis=0))
    bounded = pf.while_loop(lambda i, y: i < k, longer, (0, x), max_iterations=3)[1]

    def both(i, a):
        return i + 1, pf.pad(a, [(0, 1), (1, 0)]) + 1.0

    square = pf.while_loop(lambda i, a: i < k, both, (0, pf.reshape(x, (1, -1))))[1]
    kept, sums = pf.scan(lambda c, v: (pf.concat([c, one(v)], axis=0), pf.sum(c)), x[:0], x)
    fetches = [grown, pf.shape(grown), chosen, pf.sum(chosen) + pf.sum(grown), bounded, square, kept, sums]
    with pf.Session(graph, pf.SessionConfig(device=device)) as session:
        for count in (4, 0, 7, 2):
            for taken in (True, False):
                values = np.arange(count + 1, dtype=np.float32)
                feeds = {x: values, k: np.int64(count), p: np.array(taken)}
                got = session.run(fetches, feeds)
                for a, b in zip(got, evaluate_graph(graph, fetches, feeds), strict=True):
                    np.testing.assert_allclose(a, b)
                np.testing.assert_array_equal(got[0], [*values, *range(count)])
                np.testing.assert_array_equal(got[4], [*values, *range(min(3, count))])
                np.testing.assert_array_equal(got[2], values[1:] * 2 if taken else [*values, *values])
                np.testing.assert_array_equal(got[6], values)
        assert session.stats.compiles == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_growing_in_a_growing_loop(graph: pf.Graph, threads: int) -> None:
    n = pf.placeholder(pf.int64, ())
    empty = pf.zeros((0,), pf.int64)

    def outer(i, gathered):
        def inner(j, row):
            return j + 1, pf.concat([row, one(j)], axis=0)

        row = pf.while_loop(lambda j, row: j < i, inner, (0, empty))[1]
        return i + 1, pf.concat([gathered, row], axis=0)

    got = pf.while_loop(lambda i, gathered: i < n, outer, (0, empty))[1]
    first = pf.cond(n > 2, lambda: got[:1], lambda: got)
    with pf.Session(graph, pf.SessionConfig(threads=threads)) as session:
        for count in (0, 4, 2, 9, 3):
            want = [j for i in range(count) for j in range(i)]
            all_of_it, start = session.run([got, first], {n: count})
            np.testing.assert_array_equal(all_of_it, want)
            np.testing.assert_array_equal(start, want[:1] if count > 2 else want)


def test_sizes_found_each_turn(graph: pf.Graph) -> None:
    x = pf.placeholder(pf.float32, ("rows", "n"))

    def turn(total, row):
        high = pf.gather(row, pf.nonzero(row > 0)[0])
        low = pf.gather(row, pf.nonzero(row <= 0)[0])
        product = pf.matmul(pf.reshape(high, (1, -1)), pf.reshape(low, (-1, 1)))
        return total + pf.sum(product), pf.shape(high)[0]

    total, counts = pf.scan(turn, 0.0, x)
    values = np.array([[1, -1, 2, -2, 3, -3], [1, -2, 1, -2, 1, -2]], np.float32)
    with pf.Session(graph) as session:
        got = session.run([total, counts], {x: values})
        assert got[0] == -14 - 6
        np.testing.assert_array_equal(got[1], [3, 3])
        np.testing.assert_array_equal(session.run(counts, {x: np.abs(values)}), [6, 6])
        values[1, 0] = -1
        with pytest.raises(errors.InvalidArgumentError, match=r"rows of y: got 2 and 4.*test_flow_shapes\.py"):
            session.run(total, {x: values})


def test_shrinking_to_nothing(graph: pf.Graph) -> None:
    x = pf.placeholder(pf.int64, ("n",))
    primes = pf.zeros((0,), pf.int64)

    def sieve(left, primes):
        first = left[0]
        keep = pf.nonzero(pf.not_equal(left % first, 0))[0]
        return pf.gather(left, keep), pf.concat([primes, one(first)], axis=0)

    _, got = pf.while_loop(lambda left, primes: pf.size(left) > 0, sieve, (x, primes))
    with pf.Session(graph) as session:
        np.testing.assert_array_equal(session.run(got, {x: np.arange(2, 30)}), [2, 3, 5, 7, 11, 13, 17, 19, 23, 29])
        assert session.run(got, {x: np.arange(0)}).shape == (0,)


def test_text_of_shapes_that_change(graph: pf.Graph) -> None:
    n = pf.placeholder(pf.int64, (), name="n")
    step = lambda i, row: (i + 1, pf.concat([row, one(i)], axis=0))  # noqa: E731
    row = pf.while_loop(lambda i, row: i < n, step, (0, pf.zeros((0,), pf.int64)))[1]
    graph.outputs = [row, pf.cond(n > 1, lambda: row[:1], lambda: row)]
    parsed = pf.parse_graph(graph.dump())
    assert parsed.dump() == graph.dump()
    with pf.Session(parsed) as session:
        whole, first = session.run(None, {"n": 3})
    np.testing.assert_array_equal(whole, [0, 1, 2])
    np.testing.assert_array_equal(first, [0])


def test_no_gradient_through_what_grows(graph: pf.Graph) -> None:
    x = pf.constant([1.0])
    step = lambda i, row: (i + 1, pf.concat([row, row], axis=0))  # noqa: E731
    row = pf.while_loop(lambda i, row: i < 3, step, (0, x), max_iterations=5)[1]
    with pytest.raises(errors.UnimplementedError, match="changes from turn to turn"):
        pf.gradients(pf.sum(row), [x])
    chosen = pf.cond(pf.sum(x) > 0.0, lambda: pf.concat([x * x, x], axis=0), lambda: x)
    (slope,) = pf.gradients(pf.sum(chosen), [x])
    assert pf.Session(graph).run(slope) == [3.0]


def test_looking_inside(graph: pf.Graph) -> None:
    n = pf.placeholder(pf.int64, ())
    got = pf.while_loop(lambda i, y: i < n, lambda i, y: (i + 1, y * 2.0), (0, 1.0))[1]
    with pf.Session(graph) as session:
        assert session.run(got, {n: 3}, options=pf.RunOptions(trace=True)) == 8.0
        kernels = [event.kernel for event in session.last_trace.events]
    assert kernels.count("elementwise") >= 7
    with (
        pf.Session(graph, pf.SessionConfig(check_numerics="first")) as session,
        pytest.raises(errors.FailedPreconditionError, match="not finite"),
    ):
        session.run(got, {n: 10000})


def test_branches_share_the_memory_of_a_result_whose_size_changes(graph: pf.Graph) -> None:
    x = pf.placeholder("float64", (5,))
    y = pf.cond(pf.sum(x) > 0.0, lambda: pf.concat([x, x * 2.0], axis=0), lambda: x[1:])
    session = pf.Session(graph)
    given = np.arange(1.0, 6.0)
    for sign in (1, -1, 1, 1, -1, 1):
        wanted = np.concatenate([given, 2 * given]) if sign > 0 else -given[1:]
        np.testing.assert_array_equal(session.run(y, {x: sign * given}), wanted)
