"""Sessions: what may be fetched and fed, what is compiled when, and what stays as it was."""

from __future__ import annotations

import itertools
from collections import namedtuple

import numpy as np
import pytest

import pyflow as pf


@pytest.fixture
def graph():
    made = pf.Graph()
    with made.as_default():
        yield made


def test_one_compile_for_every_size(graph):
    x = pf.placeholder(pf.float32, ("batch", 3), name="x")
    w = pf.constant(np.arange(6, dtype=np.float32).reshape(3, 2))
    y = pf.softmax(pf.relu(x @ w) + 1.0)
    session = pf.Session(graph)
    for batch in (1, 7, 64, 0):
        feed = np.random.default_rng(batch).standard_normal((batch, 3)).astype(np.float32)
        have = session.run(y, {x: feed})
        z = np.maximum(feed @ np.arange(6, dtype=np.float32).reshape(3, 2), 0) + 1
        want = np.exp(z - z.max(axis=1, keepdims=True)) if batch else z
        want = want / want.sum(axis=1, keepdims=True) if batch else z
        np.testing.assert_allclose(have, want, rtol=1e-5)
    assert session.stats.compiles == 1
    assert session.stats.runs == 4


def program(graph):
    v = pf.Variable(np.float32(1), name="v")
    r0 = v.value()
    up = v.assign(v + 1.0)
    r1 = v.value()
    return v, r0, up, r1


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
@pytest.mark.parametrize("threads", [1, 2])
def test_program_order_however_it_is_listed(graph, order, threads):
    v, r0, up, r1 = program(graph)
    session = pf.Session(graph, pf.SessionConfig(threads=threads))
    session.run(v.initializer)
    values = (r0, up, r1)
    have = session.run([values[i] for i in order])
    assert [have[order.index(i)] for i in range(3)] == [1, 2, 2]
    assert session.run(v) == 2


def test_an_order_is_not_a_need(graph):
    v, r0, _, r1 = program(graph)
    session = pf.Session(graph)
    session.run(v.initializer)
    assert session.run([r0, r1]) == [1, 1]
    assert v.eval(session) == 1
    assert session.run(r1) == 1


def test_a_failing_step_leaves_the_variable(graph):
    v, r0, up, r1 = program(graph)
    index = pf.placeholder(pf.int64, (), name="index")
    picked = pf.gather(np.zeros(3, np.float32), index)
    session = pf.Session(graph)
    session.run(v.initializer)
    with pytest.raises(pf.errors.OutOfRangeError):
        session.run([r1, up, picked, r0], {index: 3})
    assert v.eval(session) == 1
    assert session.run([r1, up, picked], {index: 0})[0] == 2


def test_control_dependencies_pull_the_write_in(graph):
    v = pf.Variable(np.float32(1), name="v")
    up = v.assign_add(1.0)
    with graph.control_dependencies([up]):
        after = v.value() * 10.0
    session = pf.Session(graph)
    session.run(v.initializer)
    assert session.run(after) == 20
    assert session.run(after) == 30


def test_several_writes_in_one_run(graph):
    v = pf.Variable(np.array([1, 2, 3], np.float32), name="v")
    first = v.assign_add(1.0)
    between = v.value()
    second = v.assign(v * 2.0)
    session = pf.Session(graph)
    session.run(v.initializer)
    have = session.run({"first": first, "between": between, "second": second})
    assert have["first"].tolist() == have["between"].tolist() == [2, 3, 4]
    assert have["second"].tolist() == v.eval(session).tolist() == [4, 6, 8]
    assert session.run([second])[0].tolist() == [8, 12, 16]


def test_swap_of_two_variables(graph):
    a = pf.Variable(np.array([1, 2], np.float32), name="a")
    b = pf.Variable(np.array([3, 4], np.float32), name="b")
    old_a, old_b = a.value(), b.value()
    swap = pf.group(a.assign(old_b), b.assign(old_a))
    session = pf.Session(graph)
    session.run(pf.global_variables_initializer())
    assert session.run(swap) is None
    assert a.eval(session).tolist() == [3, 4]
    assert b.eval(session).tolist() == [1, 2]


def test_structures(graph):
    x = pf.placeholder(pf.float32, (2,), name="x")
    y = pf.identity(x * 2.0, name="y")
    pair = namedtuple("pair", "first second")
    session = pf.Session(graph)
    feed = {"x": [1.0, 2.0]}
    nested = session.run({"a": [y, (x, "y:0")], "b": pair(y, pf.group(y))}, feed)
    assert nested["a"][0].tolist() == [2, 4]
    assert nested["a"][1][0].tolist() == [1, 2]
    assert nested["a"][1][1].tolist() == [2, 4]
    assert nested["b"].second is None
    assert session.run([], feed) == []
    assert session.run("y", feed).tolist() == [2, 4]
    graph.outputs = [y, x]
    assert [a.tolist() for a in session.run(None, feed)] == [[2, 4], [1, 2]]


def test_feeding_an_intermediate_cuts_the_graph(graph):
    x = pf.placeholder(pf.float32, ("n",), name="x")
    middle = pf.exp(x, name="middle")
    y = middle + 1.0
    session = pf.Session(graph)
    assert session.run(y, {middle: np.array([1, 2, 3], np.float32)}).tolist() == [2, 3, 4]
    assert session.run(y, {"middle:0": np.array([1], np.float32)}).tolist() == [2]
    default = pf.placeholder_with_default(np.float32(5), name="default")
    assert session.run(default * 2.0) == 10
    assert session.run(default * 2.0, {default: 1.5}) == 3


def test_every_value_may_be_fetched(graph):
    x = pf.placeholder(pf.float32, ("n", 4), name="x")
    y = pf.log_softmax(pf.gelu(pf.layer_norm(x, np.ones(4, np.float32), np.zeros(4, np.float32)) * 2.0) - 1.0)
    loss = pf.mean(y)
    pf.gradients(loss, x)
    session = pf.Session(graph)
    feed = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    together = session.run([v for node in graph.nodes for v in node.outputs], {x: feed})
    values = [v for node in graph.nodes for v in node.outputs]
    for value, array in zip(values, together, strict=True):
        np.testing.assert_allclose(session.run(value, {x: feed}), array, rtol=1e-5, atol=1e-6)


def test_make_callable(graph):
    x = pf.placeholder(pf.float32, ("n",), name="x")
    y, z = x + 1.0, x * 3.0
    session = pf.Session(graph)
    single = session.make_callable(y, [x])
    assert single(np.array([1, 2], np.float32)).tolist() == [2, 3]
    assert single([1, 2]).tolist() == [2, 3]
    both = session.make_callable((y, z), ["x"])
    assert [a.tolist() for a in both(np.array([1], np.float32))] == [[2], [3]]
    listed = session.make_callable([z, y], [x])
    assert [a.tolist() for a in listed([1.0])] == [[3], [2]] and isinstance(listed([1.0]), list)
    inner, nothing = session.make_callable(((y, z), z.node), [x])([1.0])
    assert [a.tolist() for a in inner] == [[2], [3]] and nothing is None


def test_plan_cache_is_bounded(graph):
    x = pf.placeholder(pf.float32, (), name="x")
    values = [x + float(i) for i in range(10)]
    session = pf.Session(graph, pf.SessionConfig(plan_cache=4))
    for _ in range(2):
        for i, value in enumerate(values):
            assert session.run(value, {x: 1.0}) == 1 + i
    assert session.stats.compiles == 20
    assert session.stats.evictions == 16


def test_state_shared_by_sessions(graph):
    v = pf.Variable(np.float32(1), name="v")
    up = v.assign_add(1.0)
    first = pf.Session(graph)
    first.run(v.initializer)
    second = pf.Session(graph, state=first.state)
    second.run(up)
    assert first.run(v.value()) == 2
    with pytest.raises(pf.errors.FailedPreconditionError):
        pf.Session(graph).run(up)


def test_random_draws(graph):
    a = pf.random_uniform((100,), name="a")
    b = pf.random_uniform((100,), name="b")
    seeded = pf.random_normal((50,), seed=3)
    session = pf.Session(graph, pf.SessionConfig(seed=7))
    first, second = session.run([a, b])
    assert not np.array_equal(first, second)
    assert not np.array_equal(session.run(a), first)
    again = pf.Session(graph, pf.SessionConfig(seed=7))
    np.testing.assert_array_equal(again.run([b, a])[1], first)
    np.testing.assert_array_equal(session.run(seeded), again.run(seeded))
    alone = pf.Session(graph, pf.SessionConfig(seed=7))
    np.testing.assert_array_equal(alone.run(b), first)


def test_interactive_and_default_sessions(graph):
    x = pf.constant([1.0, 2.0])
    with pf.Session(graph):
        assert (x * 2.0).eval().tolist() == [2, 4]
    session = pf.InteractiveSession(graph)
    assert x.eval().tolist() == [1, 2]
    session.close()
    with pytest.raises(pf.errors.FailedPreconditionError, match="no session"):
        x.eval()


def test_nonzero_is_of_late_size(graph):
    x = pf.placeholder(pf.float32, ("n", "m"), name="x")
    where = pf.nonzero(x)
    twice = pf.cast(where * 2, pf.float32)
    total = pf.sum(pf.cast(where, pf.float32), axis=1)
    session = pf.Session(graph)
    for shape in ((3, 4), (1, 1), (0, 4), (17, 5)):
        feed = (np.random.default_rng(1).random(shape) > 0.5).astype(np.float32)
        a, b, c = session.run([where, twice, total], {x: feed})
        want = np.array(np.nonzero(feed))
        np.testing.assert_array_equal(a, want)
        np.testing.assert_array_equal(b, want * 2)
        np.testing.assert_array_equal(c, want.sum(axis=1))
    assert session.stats.compiles == 1


def test_print(graph, capfd):
    x = pf.placeholder(pf.float32, (2,), name="x")
    shown = pf.print(x, message="x is")
    session = pf.Session(graph)
    session.run(shown, {x: [1.0, 2.5]})
    assert "x is" in (text := capfd.readouterr().out)
    assert "2.5" in text


def test_explain_and_memory_plan(graph):
    x = pf.placeholder(pf.float32, ("batch", 8), name="x")
    w = pf.Variable(np.ones((8, 4), np.float32), name="w")
    y = pf.tanh(x @ w + 1.0)
    session = pf.Session(graph, pf.SessionConfig(auto_init=True))
    explained = session.explain(y)
    assert any(row.kernel.startswith("matmul") for row in explained.rows)
    assert any("test_session.py:" in row.origin for row in explained.rows)
    text = str(explained)
    assert max(map(len, text.splitlines())) <= 160
    small = session.memory_plan(
        {"batch": 1}, pf.exp(pf.exp(x) @ np.ones((8, 8), np.float32)) @ np.ones((8, 8), np.float32)
    )
    assert small.peak >= 32
    assert "arena" in str(small)


def test_numpy_on_the_left(graph):
    x = pf.placeholder(pf.float32, (2,), name="x")
    y = np.ones(2, np.float32) + x
    assert isinstance(y, pf.Value)
    assert pf.Session(graph).run(np.float32(2) * y, {x: [1.0, 2.0]}).tolist() == [4, 6]


def test_trace(graph, tmp_path):
    import json

    x = pf.placeholder(pf.float32, (64, 64), name="x")
    session = pf.Session(graph)
    session.run(pf.exp(x) @ x, {x: np.zeros((64, 64), np.float32)}, pf.RunOptions(trace=True))
    session.last_trace.save(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert any(event["name"].startswith("matmul") for event in events)
    assert all("test_session.py:" in event["args"]["origin"] for event in events)
    assert all(event["dur"] >= 0 for event in events)


def test_strict_mode_gives_the_bits_of_single_ops(graph):
    x = pf.placeholder(pf.float32, ("n", 7), name="x")
    chain = [x]
    for step in (
        pf.exp,
        lambda v: v * 0.3,
        pf.tanh,
        lambda v: v + x,
        pf.sigmoid,
        lambda v: v @ np.ones((7, 7), np.float32),
    ):
        chain.append(step(chain[-1]))
    chain.append(pf.softmax(chain[-1]))
    session = pf.Session(graph, pf.SessionConfig(numerics="strict"))
    feed = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    whole = session.run(chain[-1], {x: feed})
    value = feed
    for before, after in itertools.pairwise(chain):
        value = session.run(after, {before: value, x: feed} if before is not x else {x: value})
    np.testing.assert_array_equal(whole, value)
