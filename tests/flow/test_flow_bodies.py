"""Bodies: variables and effects in program order, captures, runs that fail or are stopped, text, errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyflow as pf
from pyflow import errors
from pyflow.interpret import evaluate_graph
from pyflow.runtime.verify import verify_graph


@pytest.fixture
def graph():
    graph = pf.Graph()
    with graph.as_default():
        yield graph


def run(graph: pf.Graph, fetches: Any, feeds: dict | None = None, **config: Any) -> Any:
    with pf.Session(graph, pf.SessionConfig(auto_init=True, seed=3, **config)) as session:
        return session.run(fetches, feeds or {})


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize("device", ["cpu", "ref"])
def test_variables_keep_program_order(graph: pf.Graph, taken: bool, device: str) -> None:
    pred = pf.placeholder(pf.bool_, ())
    v = pf.Variable(np.float32(1), name="v")
    before = v.value()

    def yes():
        v.assign_add(10.0)
        return v * 2.0

    inside = pf.cond(pred, yes, lambda: v + 0.5)
    between = v.value()
    loop = pf.while_loop(lambda i: v < 20.0, lambda i: (v.assign(v * 2.0), i + 1)[1], (0,))[0]
    after = v.value()
    start = 11.0 if taken else 1.0
    end, turns = start, 0
    while end < 20:
        end, turns = end * 2, turns + 1
    want = [1.0, 22.0 if taken else 1.5, start, turns, end]
    assert run(graph, [before, inside, between, loop, after], {pred: taken}, device=device) == want
    variables = {"v": np.float32(1)}
    got = evaluate_graph(graph, [before, inside, between, loop, after], {pred: np.array(taken)}, variables)
    assert got == want
    assert variables["v"] == end


def test_a_condition_may_write(graph: pf.Graph) -> None:
    asked = pf.Variable(np.int64(0), name="asked")

    def more(i):
        asked.assign_add(1)
        return i < 3

    plain = pf.while_loop(more, lambda i: i + 1, (0,))[0]
    first = asked.value()
    bounded = pf.while_loop(more, lambda i: i + 1, (0,), max_iterations=2)[0]
    assert run(graph, [plain, first, bounded, asked]) == [3, 4, 2, 6]


def test_loops_over_nothing_but_variables(graph: pf.Graph) -> None:
    v = pf.Variable(np.int64(1), name="v")
    done = pf.while_loop(lambda: v < 100, lambda: (v.assign(v * 3), ())[1], ())
    assert done == ()
    node = graph.nodes[-1]
    assert run(graph, [node, v]) == [None, 243]


def test_what_is_not_fetched_does_not_run(graph: pf.Graph) -> None:
    v = pf.Variable(np.float32(1), name="v")
    pf.cond(v > 0.0, lambda: v.assign(5.0), lambda: v.assign(7.0))
    assert run(graph, v.value()) == 1.0


def test_control_dependencies(graph: pf.Graph) -> None:
    v = pf.Variable(np.float32(1), name="v")
    write = v.assign(3.0)

    def body(i):
        with pf.control_dependencies([write]):
            return i + v

    got = pf.while_loop(lambda i: i < 5.0, body, (0.0,))[0]
    assert run(graph, [got, v]) == [6.0, 3.0]


@pytest.mark.parametrize("device", ["cpu", "ref"])
def test_a_branch_not_taken_is_not_run(graph: pf.Graph, capsys: pytest.CaptureFixture, device: str) -> None:
    pred = pf.placeholder(pf.bool_, ())

    def yes():
        return pf.print(pf.constant(1.0), message="taken")

    def no():
        pf.Assert(pf.constant(False), "never")
        return 2.0

    got = pf.cond(pred, yes, no)
    assert run(graph, got, {pred: True}, device=device) == 1.0
    assert capsys.readouterr().out.count("taken") == 1
    with pytest.raises(errors.FailedPreconditionError, match="never"):
        run(graph, got, {pred: False}, device=device)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("device", ["cpu", "ref"])
def test_host_ops_that_one_branch_needs_run_there(graph: pf.Graph, device: str) -> None:
    taken, x = pf.placeholder(pf.bool_, ()), pf.placeholder(pf.float64, (2, 2))
    factor = pf.linalg.cholesky(x)
    result = pf.cond(taken, lambda: factor, lambda: pf.zeros((2, 2), pf.float64))
    indefinite = -np.eye(2)
    assert not run(graph, result, {taken: False, x: indefinite}, device=device).any()
    with pytest.raises(errors.InvalidArgumentError, match="cholesky"):
        run(graph, result, {taken: True, x: indefinite}, device=device)


def test_effects_run_in_order_each_turn(graph: pf.Graph, capsys: pytest.CaptureFixture) -> None:
    first = pf.print(pf.constant(0), message="before")

    def body(i):
        pf.print(i, message="turn")
        return i + 1

    got = pf.while_loop(lambda i: i < 3, body, (first,))[0]
    last = pf.print(got, message="after")
    assert run(graph, last) == 3
    words = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert words == ["before", "turn", "turn", "turn", "after"]


def test_a_failed_turn_leaves_variables_as_they_were(graph: pf.Graph) -> None:
    v = pf.Variable(np.float32(1), name="v")

    def body(i):
        pf.Assert(i < 3, "too far")
        v.assign_add(1.0)
        return i + 1

    got = pf.while_loop(lambda i: i < 5, body, (0,))
    add = v.assign_add(100.0)
    with pf.Session(graph, pf.SessionConfig(auto_init=True)) as session:
        session.run(v.initializer)
        with pytest.raises(errors.FailedPreconditionError, match="too far"):
            session.run([got, add])
        assert session.run(v) == 1.0


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_an_endless_loop_can_be_stopped(graph: pf.Graph, threads: int, how: str) -> None:
    import threading

    v = pf.Variable(np.float32(1), name="v")

    def body(i):
        v.assign_add(1.0)
        return i + 1

    got = pf.while_loop(lambda i: i >= 0, body, (0,))
    after = v.assign(v * 2.0)
    with pf.Session(graph, pf.SessionConfig(auto_init=True, threads=threads)) as session:
        session.run(v.initializer)
        if how == "timeout":
            with pytest.raises(errors.DeadlineExceededError):
                session.run([got, after], options=pf.RunOptions(timeout=0.2))
        else:
            token = pf.CancelToken()
            threading.Timer(0.2, token.cancel).start()
            with pytest.raises(errors.CancelledError):
                session.run([got, after], options=pf.RunOptions(cancel=token))
        assert session.run(v) == 1.0


def test_random_draws_anew_each_turn(graph: pf.Graph) -> None:
    xs = pf.map(lambda i: pf.random_uniform(()), pf.arange(4))
    alone = pf.random_uniform(())
    first, last = run(graph, [xs, alone])
    assert len({*first.tolist(), float(last)}) == 5


def test_captures_through_levels(graph: pf.Graph) -> None:
    x = pf.placeholder(pf.float32, ("n",))
    scale = pf.Variable(np.float32(2), name="scale")
    outer = x * 3.0

    def turn(i, total):
        return i + 1, total + pf.cond(i > 1, lambda: pf.sum(outer) * scale, lambda: pf.sum(x))

    got = pf.while_loop(lambda i, total: i < 4, turn, (0, 0.0))[1]
    assert run(graph, got, {x: np.ones(2, np.float32)}) == 2 * 2 + 2 * 12


def test_structures(graph: pf.Graph) -> None:
    start = {"i": 0, "pair": (1.0, [pf.constant([1.0, 2.0])])}

    def body(state):
        low, (high,) = state["pair"]
        return {"i": state["i"] + 1, "pair": (low * 2.0, [high + low])}

    end = pf.while_loop(lambda state: state["i"] < 3, body, start)
    got = run(graph, end)
    assert got["i"] == 3
    assert got["pair"][0] == 8.0
    np.testing.assert_array_equal(got["pair"][1][0], [8, 9])
    assert pf.cond(pf.constant(True), lambda: None, lambda: None) is None
    left, right = pf.cond(pf.constant(True), lambda: (1, 2.0), lambda: (pf.constant(3, pf.int32), 4.0))
    assert (left.dtype, right.dtype) == (pf.int32, pf.float32)


def program(graph: pf.Graph) -> dict[str, Any]:
    n = pf.placeholder(pf.int64, (), name="n")
    x = pf.placeholder(pf.float32, ("k",), name="x")
    v = pf.Variable(np.float32(1), name="v")

    def many():
        v.assign_add(1.0)
        return pf.while_loop(lambda i, t: i > 0, lambda i, t: (i - 1, t + v), (n, 0.0))[1]

    chosen = pf.cond(n > 2, many, lambda: pf.sum(x))
    total, rows = pf.scan(lambda c, row: (c + row, row * v), chosen, x, reverse=True)
    bounded = pf.while_loop(lambda i: i < n, lambda i: i * 2, (1,), max_iterations=10)[0]
    graph.outputs = [chosen, total, rows, bounded, v.value()]
    return {"n": np.int64(5), "x": np.arange(3, dtype=np.float32)}


def test_text_reads_back(graph: pf.Graph, tmp_path: Any) -> None:
    feeds = program(graph)
    text = graph.dump()
    parsed = pf.parse_graph(text)
    assert parsed.dump() == text
    want = run(graph, None, feeds)
    graph.save(str(tmp_path / "graph"))
    for other in (parsed, pf.load_graph(str(tmp_path / "graph"))):
        for got, expected in zip(run(other, None, feeds), want, strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("begin body0", "begin bodyx"),
        ("begin body1", "begin body0"),
        ("carried=2", "carried=1"),
        ("carried=2", "carried=-1"),
        ("sliced=1", "sliced=2"),
        ("condition=body", "condition=none"),
        ("\nend\n", "\n"),
        ("end\n", "end\nend\n"),
    ],
)
def test_altered_text_is_refused(graph: pf.Graph, old: str, new: str) -> None:
    program(graph)
    text = graph.dump()
    assert old in text
    with pytest.raises(errors.DataLossError):
        pf.parse_graph(text.replace(old, new, 1))


def test_every_stage_agrees(graph: pf.Graph) -> None:
    report = verify_graph(graph, program(graph))
    assert report.agrees, str(report)


def test_explain_shows_bodies(graph: pf.Graph) -> None:
    feeds = program(graph)
    with pf.Session(graph) as session:
        explained = session.explain(None, list(feeds))
    depths = {(row.kernel, row.depth) for row in explained.rows}
    assert {("if", 0), ("then:", 1), ("while", 2), ("put_row", 2)} <= depths
    assert "as long as:" in str(explained)


X = [1.0, 2.0]


@pytest.mark.parametrize(
    ("build", "kind", "words"),
    [
        (lambda x: pf.cond(x, lambda: 1, lambda: 2), errors.DTypeError, r"\[cond\] expected a bool as pred"),
        (
            lambda x: pf.cond(x > 0.0, lambda: 1, lambda: 2),
            errors.InvalidArgumentError,
            "one bool as pred, got bool.2.",
        ),
        (
            lambda x: pf.cond(True, lambda: (x, x), lambda: x),
            errors.InvalidArgumentError,
            "value, value.*false_fn value",
        ),
        (lambda x: pf.cond(True, lambda: x, lambda: pf.cast(x, pf.int64)), errors.DTypeError, "int64.2.*float32"),
        (lambda x: pf.cond(True, lambda: x, lambda: x[0]), errors.InvalidArgumentError, "one dtype and rank"),
        (
            lambda x: pf.while_loop(lambda y: True, lambda y: y[0], (x,)),
            errors.InvalidArgumentError,
            "keep its dtype and rank",
        ),
        (
            lambda x: pf.scan(lambda c, v: (c, x[: pf.cast(v, pf.int64)]), 0, x),
            errors.InvalidArgumentError,
            "another size",
        ),
        (lambda x: pf.cond(True, x, lambda: x), errors.InvalidArgumentError, "expected a function as true_fn"),
        (lambda x: pf.while_loop(lambda i: i, lambda i: i, (0,)), errors.DTypeError, "cond gives int64.*one bool"),
        (lambda x: pf.while_loop(lambda i: x > 0.0, lambda i: i, (0,)), errors.DTypeError, "one bool"),
        (lambda x: pf.while_loop(lambda i: i < 3, lambda i: (i, i), (0,)), errors.InvalidArgumentError, "body gives"),
        (
            lambda x: pf.while_loop(lambda i: i < 3, lambda i: i / 2.0, (0,)),
            errors.DTypeError,
            "float64.*expected int64",
        ),
        (lambda x: pf.scan(lambda c, v: (c, v), 0.0, 1.0), errors.InvalidArgumentError, "at least one axis"),
        (lambda x: pf.scan(lambda c, v: (c, v), 0.0, (x, x[:1])), errors.InvalidArgumentError, "expected 2 rows"),
        (lambda x: pf.scan(lambda c, v: (c, v), 0.0, None), errors.InvalidArgumentError, "pass length="),
        (lambda x: pf.scan(lambda c, v: c, 0.0, x), errors.InvalidArgumentError, r"expected \(carry, y\)"),
        (lambda x: pf.scan(lambda c, v: ((c, c), v), 0.0, x), errors.InvalidArgumentError, "as carry; expected value"),
        (lambda x: pf.switch_case(0.5, [lambda: 1]), errors.DTypeError, "one integer as index"),
        (lambda x: pf.switch_case(0, []), errors.InvalidArgumentError, "at least one branch"),
        (
            lambda x: pf.cond(True, lambda: pf.Variable(1.0), lambda: 1.0),
            errors.InvalidArgumentError,
            "make a variable",
        ),
        (lambda x: pf.map(lambda v: pf.placeholder(pf.float32, ()), x), errors.InvalidArgumentError, "cannot be fed"),
    ],
)
def test_errors_name_the_line(graph: pf.Graph, build: Callable[..., Any], kind: type, words: str) -> None:
    x = pf.constant(X)
    with pytest.raises(kind, match=words) as caught:
        build(x)
    assert re.search(r"test_flow_bodies\.py:\d+", str(caught.value)), str(caught.value)


def test_values_of_a_body_stay_inside(graph: pf.Graph) -> None:
    leaked = []
    pf.cond(pf.constant(True), lambda: leaked.append(pf.constant(1.0) + 1.0) or 1.0, lambda: 2.0)
    with pytest.raises(errors.InvalidArgumentError, match="inside of a body of control flow"):
        leaked[0] + 1.0
