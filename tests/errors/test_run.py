"""Errors of a run: each names the placeholder or variable and its line; variables stay as they were."""

from __future__ import annotations

import numpy as np
import pytest

import pyflow as pf
from pyflow import errors

HERE = "test_run.py:"


@pytest.fixture
def session(graph):
    return pf.Session(graph)


def test_missing_feed_names_all(graph, session, fails):
    x = pf.placeholder(pf.float32, ("batch",), name="x")
    y = pf.placeholder(pf.float32, ("batch",), name="y")
    with fails(errors.InvalidArgumentError, ValueError, "x: float32[batch]", "y: float32[batch]", HERE, "feed_dict"):
        session.run(x + y)


def test_wrong_feed_dtype(graph, session, fails):
    x = pf.placeholder(pf.float32, (2,), name="x")
    with fails(errors.DTypeError, TypeError, "x: float32[2]", "float64", "astype", HERE):
        session.run(x + 1, {x: np.zeros(2, np.float64)})
    with fails(errors.DTypeError, TypeError, "x: float32[2]", HERE):
        session.run(x + 1, {x: ["a", "b"]})
    n = pf.placeholder(pf.int32, (2,), name="n")
    with fails(errors.DTypeError, TypeError, "n: int32[2]", "float64", HERE):
        session.run(n + 1, {n: [0.5, 1.0]})


def test_wrong_feed_shape(graph, session, fails):
    x = pf.placeholder(pf.float32, ("batch", 3), name="x")
    y = pf.placeholder(pf.float32, ("batch",), name="y")
    with fails(errors.InvalidArgumentError, ValueError, "x", "3", "4"):
        session.run(x + 1, {x: np.zeros((2, 4), np.float32)})
    with fails(errors.InvalidArgumentError, ValueError, "x", "dims", HERE):
        session.run(x + 1, {x: np.zeros(3, np.float32)})
    with fails(errors.InvalidArgumentError, ValueError, "batch", "2", "5"):
        session.run([x + 1, y + 1], {x: np.zeros((2, 3), np.float32), y: np.zeros(5, np.float32)})


def test_size_outside_its_range(graph, session, fails):
    x = pf.placeholder(pf.float32, (pf.Dim("batch", min=1, max=4),), name="x")
    y = x * 2.0
    assert session.run(y, {x: np.ones(4, np.float32)}).tolist() == [2, 2, 2, 2]
    with fails(errors.InvalidArgumentError, ValueError, "batch", "5", "4"):
        session.run(y, {x: np.ones(5, np.float32)})
    with fails(errors.InvalidArgumentError, ValueError, "batch", "0"):
        session.run(y, {x: np.ones(0, np.float32)})


def test_symbols_that_do_not_broadcast(graph, session, fails):
    x = pf.placeholder(pf.float32, ("a",), name="x")
    y = pf.placeholder(pf.float32, ("b",), name="y")
    z = x + y
    assert session.run(z, {x: np.ones(3, np.float32), y: np.ones(1, np.float32)}).shape == (3,)
    assert session.run(z, {x: np.ones(1, np.float32), y: np.ones(0, np.float32)}).shape == (0,)
    with fails(errors.InvalidArgumentError, ValueError, "2", "3"):
        session.run(z, {x: np.ones(2, np.float32), y: np.ones(3, np.float32)})


def test_unknown_and_foreign_names(graph, session, fails):
    x = pf.placeholder(pf.float32, (), name="x")
    with fails(errors.NotFoundError, KeyError, "'z'", HERE):
        session.run("z", {x: 1.0})
    with fails(errors.NotFoundError, KeyError, "'xx'", HERE):
        session.run(x, {"xx": 1.0})
    with pf.Graph().as_default():
        other = pf.placeholder(pf.float32, (), name="other")
    with fails(errors.InvalidArgumentError, ValueError, "other", "another graph", HERE):
        session.run(other)
    with fails(errors.InvalidArgumentError, ValueError, "other", "another graph", HERE):
        session.run(x, {other: 1.0})
    with fails(errors.DTypeError, TypeError, "cannot fetch", HERE):
        session.run([3.5])
    with fails(errors.InvalidArgumentError, ValueError, "twice", HERE):
        session.run(x, {x: 1.0, "x": 2.0})


def test_uninitialised_variable(graph, session, fails):
    v = pf.Variable(np.float32(2), name="v")
    y = v * 2.0
    with fails(errors.FailedPreconditionError, RuntimeError, "v", "global_variables_initializer"):
        session.run(y)
    automatic = pf.Session(graph, pf.SessionConfig(auto_init=True))
    assert automatic.run(y) == 4


def test_index_out_of_range_leaves_variables(graph, session, fails):
    table = pf.Variable(np.arange(5, dtype=np.float32), name="table")
    count = pf.Variable(np.float32(1), name="count")
    index = pf.placeholder(pf.int64, (), name="index")
    session.run(pf.global_variables_initializer())
    bump = count.assign_add(1.0)
    picked = pf.gather(table, index)
    assert session.run(picked, {index: -1}) == 4
    with fails(errors.OutOfRangeError, IndexError, "[gather]", "7", "5", HERE):
        session.run([bump, picked], {index: 7})
    assert count.eval(session) == 1
    assert session.run([bump, picked], {index: 2})[0] == 2


@pytest.mark.parametrize(
    ("op", "make", "shapes", "words"),
    [
        ("scan", lambda a, b: pf.map(lambda row: row[0] + row[1], (a, b)), [(2,), (3,)], "differ in length: 3 and 2"),
        ("scan", lambda a, b: pf.scan(lambda c, row: (c + row[1], c), 0.0, (a, b))[0], [(3,), (2,)], "2 and 3"),
        ("conv_transpose", pf.conv_transpose, [(1, 2, 4, 4), (3, 2, 2, 2)], "channels: got 2 and 3"),
        ("batch_norm", lambda x, w: pf.batch_norm(x, w, w, w, w), [(2, 3, 2, 2), (1,)], "sizes: got 1 and 3"),
        ("cross_entropy", pf.cross_entropy, [(3, 4), (1, 4)], "labels: sizes: got 1 and 3"),
        ("solve", pf.linalg.solve, [(3, 3), (2, 2)], "rows: got 3 and 2"),
    ],
)
def test_sizes_of_what_is_composed_are_compared(graph, session, fails, op, make, shapes, words):
    """Where an op is expanded, a size of 1 does not broadcast that would not in the op, and nothing is read beyond."""
    given = [np.ones(shape, np.float32) for shape in shapes]
    inputs = [
        pf.placeholder(pf.float32, tuple(f"{name}{axis}" for axis in range(array.ndim)), name=name)
        for name, array in zip("ab", given, strict=True)
    ]
    made = make(*inputs)
    with fails(errors.InvalidArgumentError, ValueError, op, words, HERE):
        session.run(made, dict(zip(inputs, given, strict=True)))


def test_cast_to_integer_of_what_does_not_fit(graph, session):
    """No error, and the same on every machine: the nearest integer that fits, 0 for NaN."""
    x = pf.placeholder(pf.float32, (None,), name="x")
    given = np.array([1.9, -1.9, np.nan, np.inf, -np.inf, 3e9, -3e9], np.float32)
    low, high = -(2**31), 2**31 - 1
    assert session.run(pf.cast(x, pf.int32), {x: given}).tolist() == [1, -1, 0, high, low, high, low]
    assert session.run(pf.cast(x, pf.uint8), {x: given}).tolist() == [1, 0, 0, 255, 0, 255, 0]


def test_integer_division_by_zero(graph, session, fails):
    n = pf.placeholder(pf.int32, (None,), name="n")
    with fails(errors.InvalidArgumentError, ValueError, "zero", HERE):
        session.run(10 // n, {n: np.array([3, 0], np.int32)})


def test_assertion(graph, session, fails):
    x = pf.placeholder(pf.float32, (None,), name="x")
    v = pf.Variable(np.float32(0), name="v")
    session.run(pf.global_variables_initializer())
    check = pf.Assert(x > 0, "x must be positive")
    with graph.control_dependencies([check]):
        write = v.assign(pf.sum(x))
    with fails(errors.FailedPreconditionError, RuntimeError, "x must be positive", HERE):
        session.run(write, {x: np.array([1, -1], np.float32)})
    assert v.eval(session) == 0
    assert session.run(write, {x: np.array([1, 2], np.float32)}) == 3


def test_check_numerics_names_the_first_node(graph, fails):
    x = pf.placeholder(pf.float32, (2,), name="x")
    ratio = pf.log(x)
    y = pf.exp(ratio * 2.0) + 1.0
    session = pf.Session(graph, pf.SessionConfig(check_numerics="first"))
    assert np.isfinite(session.run(y, {x: np.array([1, 2], np.float32)})).all()
    line = ratio.node.origin.line
    with fails(errors.FailedPreconditionError, RuntimeError, f"{HERE}{line}", "NaN", "min -1"):
        session.run(y, {x: np.array([1, -1], np.float32)})


def test_out_that_does_not_fit(graph, session, fails):
    x = pf.placeholder(pf.float32, (None,), name="x")
    y = x * 2.0
    feed = np.ones(3, np.float32)
    out = np.empty(3, np.float32)
    assert session.run(y, {x: feed}, out=out) is out
    assert out.tolist() == [2, 2, 2]
    for bad in (np.empty(4, np.float32), np.empty(3, np.float64), np.empty(6, np.float32)[::2]):
        with fails(errors.InvalidArgumentError, ValueError, "out"):
            session.run(y, {x: feed}, out=bad)
    with fails(errors.InvalidArgumentError, ValueError, "out"):
        session.run(y, {x: feed}, out=feed)


def test_feed_is_never_written(graph, session):
    x = pf.placeholder(pf.float32, (None,), name="x")
    feed = np.ones(3, np.float32)
    feed.setflags(write=False)
    same = session.run(pf.identity(x), {x: feed})
    assert not np.shares_memory(same, feed)
    assert session.run(x, {x: feed}).tolist() == [1, 1, 1]


def test_unknown_backend_and_op_without_kernel(graph, fails):
    with fails(errors.NotFoundError, KeyError, "'tpu'", "cpu", HERE):
        pf.Session(graph, pf.SessionConfig(device="tpu"))


def test_closed_session(graph, session, fails):
    x = pf.placeholder(pf.float32, (), name="x")
    session.close()
    with fails(errors.FailedPreconditionError, RuntimeError, "closed", HERE):
        session.run(x, {x: 1.0})


def test_run_none_without_outputs(graph, session, fails):
    with fails(errors.InvalidArgumentError, ValueError, "graph.outputs", HERE):
        session.run(None)


def test_memory_plan_without_sizes(graph, session, fails):
    x = pf.placeholder(pf.float32, ("batch",), name="x")
    with fails(errors.InvalidArgumentError, ValueError, "batch", "sizes=", HERE):
        session.memory_plan({}, pf.exp(x))


def test_knob_of_the_wrong_type(graph, monkeypatch, fails):
    monkeypatch.setenv("PYFLOW_DEBUG", "loud")
    with fails(errors.InvalidArgumentError, ValueError, "PYFLOW_DEBUG", "loud"):
        pf.Session(graph).run(pf.constant(1.0))


@pytest.mark.parametrize(
    ("build", "what"),
    [
        (lambda x: x[5], "end: got 6 and 3"),
        (lambda x: pf.reshape(x, (7,)), "elements: got 3 and 7"),
        (lambda x: x + np.ones(2, np.float32), "axis 0 must be 1 or 2 "),
        (lambda x: pf.broadcast_to(x, (5,)), "axis 0 is not 1 or 5 "),
    ],
)
def test_sizes_that_only_the_run_knows(graph, session, fails, build, what):
    x = pf.placeholder(pf.float32, ("batch",), name="x")
    y = build(x)
    with fails(errors.InvalidArgumentError, ValueError, what, HERE):
        session.run(y, {x: np.ones(3, np.float32)})


@pytest.mark.parametrize("inside", [True, False])
def test_more_memory_than_there_is(graph, session, fails, inside):
    numbers = pf.random_uniform((2**40,), seed=1)
    fetch = pf.max(pf.flip(numbers) * numbers) if inside else numbers
    with fails(errors.ResourceExhaustedError, MemoryError, "host memory" if inside else "TiB", "memory_plan()", HERE):
        session.run(fetch)


def test_a_size_beyond_the_plan(graph, session, fails):
    x = pf.placeholder(pf.float32, ("batch",), name="x")
    y = pf.pad(x, [(2**62, 2**62)])
    with fails(errors.InvalidArgumentError, ValueError, "beyond 64 bits"):
        session.run(y, {x: np.ones(3, np.float32)})


def test_a_callable_counts_its_arrays(graph, session, fails):
    x = pf.placeholder(pf.float32, ("batch",), name="x")
    function = session.make_callable([x * 2.0, pf.no_op()], [x])
    with fails(errors.InvalidArgumentError, ValueError, "takes 1 arrays, got 2", HERE):
        function([1.0], [2.0])


def test_a_variable_is_not_fed(graph, session, fails):
    variable = pf.Variable(1.0)
    with fails(errors.DTypeError, TypeError, "cannot feed", "variable.load", HERE):
        session.run(variable + 1.0, {variable: 2.0})
