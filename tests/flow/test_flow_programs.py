"""Programs whose course depends on data give what plain Python gives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyflow as pf

RUNS = [("cpu", 1), ("cpu", 2), ("ref", 1)]


def answers(build: Callable[..., Any], *feeds: Any, device: str = "cpu", threads: int = 1) -> Any:
    """What ``build`` of one placeholder per feed gives in a session."""
    graph = pf.Graph()
    arrays = [np.asarray(feed) for feed in feeds]
    with graph.as_default():
        inputs = [pf.placeholder(a.dtype, tuple(f"n{i}_{k}" for k in range(a.ndim))) for i, a in enumerate(arrays)]
        fetches = build(*inputs)
    config = pf.SessionConfig(device=device, threads=threads, auto_init=True, seed=1)
    with pf.Session(graph, config) as session:
        return session.run(fetches, dict(zip(inputs, arrays, strict=True)))


@pytest.mark.parametrize(("device", "threads"), RUNS)
class TestPrograms:
    @pytest.mark.parametrize("start", [1, 6, 27])
    def test_collatz(self, device: str, threads: int, start: int) -> None:
        def build(n):
            def turn(n, steps):
                return pf.cond(pf.equal(n % 2, 0), lambda: n // 2, lambda: 3 * n + 1), steps + 1

            return pf.while_loop(lambda n, steps: pf.not_equal(n, 1), turn, (n, 0))[1]

        want, n = 0, start
        while n != 1:
            n, want = (n // 2 if n % 2 == 0 else 3 * n + 1), want + 1
        assert answers(build, start, device=device, threads=threads) == want

    def test_newton_square_root(self, device: str, threads: int) -> None:
        def build(a):
            return pf.while_loop(lambda x: pf.abs(x * x - a) > 1e-10, lambda x: (x + a / x) / 2, (a,))[0]

        assert answers(build, 2.0, device=device, threads=threads) == pytest.approx(math.sqrt(2), abs=1e-10)

    def test_greatest_common_divisor(self, device: str, threads: int) -> None:
        def build(a, b):
            return pf.while_loop(lambda a, b: pf.not_equal(b, 0), lambda a, b: (b, a % b), [a, b])[0]

        assert answers(build, 1071, 462, device=device, threads=threads) == 21

    @pytest.mark.parametrize("wanted", [-1.0, 3.5, 100.0])
    def test_binary_search(self, device: str, threads: int, wanted: float) -> None:
        table = np.arange(0, 40, 1.5)

        def build(table, wanted):
            size = pf.size(table)

            def turn(low, high):
                middle = (low + high) // 2
                smaller = pf.less(pf.gather(table, middle), wanted)
                return pf.cond(smaller, lambda: (middle + 1, high), lambda: (low, middle))

            return pf.while_loop(lambda low, high: low < high, turn, (0, size))[0]

        assert answers(build, table, wanted, device=device, threads=threads) == np.searchsorted(table, wanted)

    def test_fibonacci(self, device: str, threads: int) -> None:
        def build(n):
            return pf.while_loop(lambda i, a, b: i < n, lambda i, a, b: (i + 1, b, a + b), (0, 0, 1))[1]

        assert answers(build, 50, device=device, threads=threads) == 12586269025

    def test_power_iteration(self, device: str, threads: int) -> None:
        m = np.random.default_rng(0).random((6, 6))
        m = m + m.T

        def build(m):
            def turn(v, change):
                w = pf.squeeze(pf.matmul(m, pf.expand_dims(v, 1)), 1)
                w = w / pf.sqrt(pf.sum(w * w))
                return w, pf.max(pf.abs(w - v))

            start = pf.sum(m * 0.0, axis=1) + 1.0
            v, _ = pf.while_loop(lambda v, change: change > 1e-12, turn, (start, pf.constant(1.0, pf.float64)))
            return pf.sum(v * pf.squeeze(pf.matmul(m, pf.expand_dims(v, 1)), 1))

        got = answers(build, m, device=device, threads=threads)
        np.testing.assert_allclose(got, np.linalg.eigvalsh(m)[-1], rtol=1e-9)

    @pytest.mark.parametrize("reverse", [False, True])
    @pytest.mark.parametrize("rows", [0, 1, 7])
    def test_prefix_sums(self, device: str, threads: int, reverse: bool, rows: int) -> None:
        x = np.random.default_rng(1).random((rows, 3))

        def build(x):
            def turn(total, row):
                return total + row, {"total": total + row, "before": total}

            return pf.scan(turn, pf.zeros((3,), pf.float64), x, reverse=reverse)

        total, ys = answers(build, x, device=device, threads=threads)
        order = x[::-1] if reverse else x
        want = np.cumsum(order, axis=0)
        np.testing.assert_allclose(total, x.sum(0), rtol=1e-12)
        np.testing.assert_allclose(ys["total"], want[::-1] if reverse else want, rtol=1e-12)
        before = want - order
        np.testing.assert_allclose(ys["before"], before[::-1] if reverse else before, atol=1e-12)

    def test_bubble_sort(self, device: str, threads: int) -> None:
        x = np.random.default_rng(2).permutation(9).astype(np.float64)

        def build(x):
            def sweep(turn, x):
                last, sorted_rows = pf.scan(lambda top, v: (pf.maximum(top, v), pf.minimum(top, v)), x[0], x[1:])
                return turn + 1, pf.concat([sorted_rows, pf.reshape(last, (1,))], axis=0)

            return pf.while_loop(lambda turn, x: turn < 9, sweep, (0, pf.reshape(x, (9,))))[1]

        np.testing.assert_array_equal(answers(build, x, device=device, threads=threads), np.sort(x))

    def test_early_exit(self, device: str, threads: int) -> None:
        x = np.array([3, 1, 4, 1, 5, 9, 2, 6])

        def build(x):
            def more(i, found):
                return pf.logical_and(i < pf.size(x), pf.logical_not(found))

            i, found = pf.while_loop(more, lambda i, found: (i + 1, pf.gather(x, i) > 4), (0, False))
            return i - 1, found

        assert answers(build, x, device=device, threads=threads) == (4, True)

    def test_random_walk_keeps_its_state(self, device: str, threads: int) -> None:
        def build(steps):
            place = pf.Variable(np.zeros(2), name="place")

            def turn(i):
                place.assign_add(pf.random_normal((2,), dtype=pf.float64))
                return i + 1

            done = pf.while_loop(lambda i: i < steps, turn, (0,))
            with pf.control_dependencies([done[0]]):
                return place.value()

        first = answers(build, 5, device=device, threads=threads)
        assert np.abs(first).min() > 0
        np.testing.assert_array_equal(first, answers(build, 5, device=device, threads=threads))
        assert np.abs(first - answers(build, 6, device=device, threads=threads)).min() > 0

    def test_recurrent_network(self, device: str, threads: int) -> None:
        random = np.random.default_rng(3)
        x, w, u = random.random((5, 2, 3)), random.random((3, 4)), random.random((4, 4)) * 0.1

        def build(x, w, u):
            w, u = pf.reshape(w, (3, 4)), pf.reshape(u, (4, 4))

            def cell(h, row):
                h = pf.tanh(pf.matmul(pf.reshape(row, (2, 3)), w) + pf.matmul(h, u))
                return h, h

            return pf.scan(cell, pf.zeros((2, 4), pf.float64), x)

        h, hs = answers(build, x, w, u, device=device, threads=threads)
        want, state = [], np.zeros((2, 4))
        for row in x:
            state = np.tanh(row @ w + state @ u)
            want.append(state)
        np.testing.assert_allclose(hs, want, rtol=1e-10)
        np.testing.assert_allclose(h, want[-1], rtol=1e-10)

    def test_loop_in_branch_in_loop(self, device: str, threads: int) -> None:
        def build(n):
            def turn(i, total):
                def triangle():
                    return pf.while_loop(lambda k, t: k > 0, lambda k, t: (k - 1, t + k), (i, 0))[1]

                return i + 1, total + pf.cond(pf.equal(i % 3, 0), triangle, lambda: -i)

            return pf.while_loop(lambda i, total: i < n, turn, (0, 0))[1]

        want = sum(i * (i + 1) // 2 if i % 3 == 0 else -i for i in range(20))
        assert answers(build, 20, device=device, threads=threads) == want

    @pytest.mark.parametrize("index", [-1, 0, 1, 2, 3, 9])
    def test_switch(self, device: str, threads: int, index: int) -> None:
        def build(index):
            branches = [lambda k=k: pf.constant(10 * k) for k in range(4)]
            chosen = pf.switch_case(index, branches), pf.switch_case(index, branches, lambda: pf.constant(-7))
            return (*chosen, pf.switch_case(index, {2: branches[1], 9: branches[2]}, branches[3]))

        last, default, table = answers(build, index, device=device, threads=threads)
        inside = 0 <= index < 4
        assert last == (10 * index if inside else 30)
        assert default == (10 * index if inside else -7)
        assert table == {2: 10, 9: 20}.get(index, 30)

    def test_map_of_structures(self, device: str, threads: int) -> None:
        x = np.random.default_rng(4).random((4, 3))

        def build(x):
            return pf.map(
                lambda row: {"low": pf.min(row["x"]), "all": [row["x"] * 2.0, row["y"]]}, {"x": x, "y": x[:, 0]}
            )

        got = answers(build, x, device=device, threads=threads)
        np.testing.assert_array_equal(got["low"], x.min(1))
        np.testing.assert_array_equal(got["all"][0], x * 2)
        np.testing.assert_array_equal(got["all"][1], x[:, 0])

    def test_a_bound_ends_a_loop(self, device: str, threads: int) -> None:
        def build(n):
            endless = pf.while_loop(lambda i: i > 0, lambda i: i * 2, (1,), max_iterations=4)[0]
            short = pf.while_loop(lambda i: i < n, lambda i: i + 1, (0,), max_iterations=100)[0]
            return endless, short

        assert answers(build, 7, device=device, threads=threads) == (16, 7)

    def test_scan_by_length(self, device: str, threads: int) -> None:
        def build(x):
            return pf.scan(lambda i, _: (i + 1, i * i), 0, None, length=5)

        last, squares = answers(build, 0, device=device, threads=threads)
        assert last == 5
        np.testing.assert_array_equal(squares, np.arange(5) ** 2)


def test_threads_do_not_change_bits() -> None:
    x = np.random.default_rng(5).standard_normal((40, 64)).astype(np.float32)
    w = np.random.default_rng(6).standard_normal((64, 64)).astype(np.float32) * 0.1

    def build(x, w):
        w = pf.reshape(w, (64, 64))

        def cell(h, row):
            h = pf.tanh(pf.matmul(pf.reshape(row, (1, 64)) + h, w))
            return h, pf.sum(h)

        return pf.scan(cell, pf.zeros((1, 64)), x)

    one, two = answers(build, x, w), answers(build, x, w, threads=2)
    for a, b in zip(one, two, strict=True):
        assert a.tobytes() == b.tobytes()


def test_one_compile_at_many_sizes() -> None:
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder(pf.float32, ("rows", "columns"))
        total, sums = pf.scan(lambda c, row: (c + pf.sum(row), c), 0.0, x)
        turns = pf.while_loop(lambda i, y: pf.sum(y) < 100.0, lambda i, y: (i + 1, y + 1.0), (0, x[:, 0]))[0]
    with pf.Session(graph) as session:
        for rows, columns in ((1, 1), (5, 3), (2, 7), (64, 5)):
            value = np.ones((rows, columns), np.float32)
            got, all_sums, count = session.run([total, sums, turns], {x: value})
            assert got == rows * columns
            np.testing.assert_array_equal(all_sums, np.arange(rows) * columns)
            assert count == max(0, math.ceil((100 - rows) / rows))
        assert session.stats.compiles == 1
