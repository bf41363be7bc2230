from __future__ import annotations

import time

import numpy as np
import pytest
from plan_machine import Machine
from random_graphs import random_sample

from pyflow.dims import Dim
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Graph, Node, Value
from pyflow.interpret import evaluate
from pyflow.opdef import FUNCTIONS
from pyflow.ops.arrays.indexing import nonzero
from pyflow.ops.arrays.joining import concat
from pyflow.ops.objects.debug import Assert
from pyflow.ops.sources import placeholder
from pyflow.ops.state import Variable
from pyflow.passes.fuse import fuse
from pyflow.passes.memory import memory
from pyflow.passes.schedule import schedule
from pyflow.plan import Kind, Plan
from pyflow.region import Region, capture
from pyflow.target import RefTarget

F = FUNCTIONS


def plan_of(region: Region, slots: bool = True) -> Plan:
    plan = schedule(fuse(region, RefTarget()), RefTarget())
    return memory(plan) if slots else plan


def compiled(graph: Graph, fetches: list[Value | Node], feeds: list[Value]) -> Plan:
    return plan_of(capture(graph, fetches, feeds))


def check_against_interpreter(
    region: Region, plan: Plan, feeds: list[np.ndarray], state: dict[str, np.ndarray]
) -> None:
    values = iter(feeds)
    names = {value: name for name, value in region.variables.items()}
    given = [state[names[value]] if value in names else next(values) for value in region.inputs]
    wanted = evaluate(region, given)
    machine = Machine(plan, state)
    got = machine.run(feeds)
    for mine, right in zip(got, wanted, strict=False):
        np.testing.assert_array_equal(mine, right)
    for (name, _), right in zip(region.commits, wanted[len(got) :], strict=True):
        np.testing.assert_array_equal(machine.variables[name], right)
    for name in set(state) - {name for name, _ in region.commits}:
        np.testing.assert_array_equal(machine.variables[name], state[name])


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs_give_what_the_interpreter_gives(seed: int) -> None:
    sample = random_sample(seed)
    region = capture(sample.graph, sample.fetches, sample.feeds)
    plan = plan_of(region)
    rng = np.random.default_rng(seed)
    state = {v.name: rng.integers(-4, 5, v.dims).astype(np.float64) for v in sample.variables}
    for batch in (0, 1, 3):
        check_against_interpreter(region, plan, sample.arrays(rng, batch), state)
    plan.to_bytes()


def test_a_plan_is_the_same_each_time() -> None:
    plans = []
    for _ in range(2):
        sample = random_sample(7, steps=60)
        plans.append(plan_of(capture(sample.graph, sample.fetches, sample.feeds)).to_bytes())
    assert plans[0] == plans[1]


def test_an_update_is_written_in_place_after_every_reader() -> None:
    graph = Graph()
    with graph.as_default():
        x = placeholder("float32", ("batch", 3))
        w = Variable(np.ones((3, 3), np.float32), name="w")
        y = x @ w
        step = w.assign_sub(w * 0.5)
    plan = compiled(graph, [y, step.node], [x])
    (entry,) = plan.entries
    (commit,) = entry.commits
    assert commit.source.buffer == commit.variable
    body = plan.bodies[entry.body]
    assert [step.kernel for step in body] == ["matmul", "elementwise"]
    assert entry.last_cancellable == 0


def test_a_swap_keeps_both_old_values() -> None:
    graph = Graph()
    with graph.as_default():
        a = Variable(np.zeros(2, np.float32), name="a")
        b = Variable(np.ones(2, np.float32), name="b")
        old_a, old_b = a.value(), b.value()
        writes = [a.assign(old_b), b.assign(old_a)]
    machine = Machine(compiled(graph, [w.node for w in writes], []), {"a": np.full(2, 1, "f"), "b": np.full(2, 2, "f")})
    machine.run([])
    assert machine.variables["a"].tolist() == [2, 2]
    assert machine.variables["b"].tolist() == [1, 1]


def test_a_fallible_step_comes_before_writes_in_place() -> None:
    graph = Graph()
    with graph.as_default():
        v = Variable(np.ones(2, np.float32), name="v")
        check = Assert(v.value() < 5.0, "too large")
        step = v.assign_add(1.0)
    plan = compiled(graph, [step.node, check], [])
    body = plan.bodies[plan.entries[0].body]
    assert [s.kernel for s in body][-2:] == ["assert", "elementwise"]
    assert plan.entries[0].last_cancellable == len(body) - 2


def test_what_a_check_needs_is_not_written_in_place() -> None:
    graph = Graph()
    with graph.as_default():
        v = Variable(np.ones(2, np.float32), name="v")
        step = v.assign_add(1.0)
        check = Assert(v.value() < 5.0, "too large")
    plan = compiled(graph, [step.node, check], [])
    (commit,) = plan.entries[0].commits
    assert commit.source.buffer != commit.variable
    assert plan.buffers[commit.source.buffer].kind is Kind.TEMPORARY


def test_weights_are_prepared_unless_the_run_writes_them() -> None:
    graph = Graph()
    with graph.as_default():
        x = placeholder("float32", ("batch", 4))
        w = Variable(np.ones((4, 4), np.float32), name="w")
        y = x @ F["matmul"](w, w)
        write = w.assign(w * 2.0)
    plan = compiled(graph, [y], [x])
    (entry,) = plan.entries
    (prepare,) = entry.prepares
    assert [plan.buffers[b].name for b in prepare.sources] == ["w"]
    assert [plan.buffers[b].kind for b in prepare.results] == [Kind.PREPARED]
    assert len(plan.bodies[entry.body]) == 1
    assert not compiled(graph, [y, write.node], [x]).entries[0].prepares


def test_outputs_are_written_once_and_read_never() -> None:
    graph = Graph()
    with graph.as_default():
        x = placeholder("float32", ("batch", 4))
        y = x + 1.0
        z = F["sum"](y, 1)
    region = capture(graph, [y, y, x, z], [x])
    plan = plan_of(region)
    check_against_interpreter(region, plan, [np.ones((2, 4), np.float32)], {})
    buffers = [port.view.buffer for port in plan.entries[0].outputs]
    assert len(set(buffers)) == len(buffers)


def test_joins_are_written_by_the_producers() -> None:
    graph = Graph()
    with graph.as_default():
        x = placeholder("float32", ("batch", 4))
        y = concat([x + 1.0, F["matmul"](x, np.ones((4, 2), np.float32))], 1)
    plan = compiled(graph, [y], [x])
    kernels = [step.kernel for step in plan.bodies[plan.entries[0].body]]
    assert sorted(kernels) == ["elementwise", "matmul"]


def test_a_late_size_is_defined_by_a_step() -> None:
    graph = Graph()
    with graph.as_default():
        x = placeholder("float32", ("n",))
        found = nonzero(x)
        twice = found * 2
    region = capture(graph, [twice, found], [x])
    plan = plan_of(region)
    body = plan.bodies[plan.entries[0].body]
    (name,) = next(step for step in body if step.kernel == "nonzero").defines
    assert all(plan.buffers[port.view.buffer].kind is Kind.TEMPORARY for port in plan.entries[0].outputs)
    assert name in {symbol.name for symbol in plan.symbols() if symbol.late}
    got = Machine(plan, {}).run([np.array([0, 3, 0, 4], np.float32)])
    np.testing.assert_array_equal(got[0], [[2, 6]])


def test_a_size_that_no_feed_tells_is_an_error() -> None:
    graph = Graph()
    with graph.as_default():
        x = placeholder("float32", (2 * Dim("n") * Dim("m"),), name="x")
        y = x + 1.0
    with pytest.raises(InvalidArgumentError, match=r"no feed tells the size '[nm]'.*test_schedule.py"):
        plan_of(capture(graph, [y], [x]))


def test_an_assumed_broadcast_becomes_a_check() -> None:
    graph = Graph()
    with graph.as_default():
        x = placeholder("float32", ("n",))
        y = x + np.ones(4, np.float32)
    plan = compiled(graph, [y], [x])
    machine = Machine(plan, {})
    np.testing.assert_array_equal(machine.run([np.ones(1, np.float32)])[0], [2, 2, 2, 2])
    with pytest.raises(AssertionError):
        machine.run([np.ones(3, np.float32)])


def test_a_graph_of_500_nodes_is_scheduled_quickly() -> None:
    graph = Graph()
    with graph.as_default():
        x = value = placeholder("float32", ("batch", 8))
        for i in range(125):
            value = F["relu"](value @ np.full((8, 8), i, np.float32) + 1.0)
    region = fuse(capture(graph, [value], [x]), RefTarget())
    best = min(_seconds(region) for _ in range(5))
    assert best < 0.1, f"{best * 1e3:.0f} ms"


def _seconds(region: Region) -> float:
    started = time.process_time()
    memory(schedule(region, RefTarget()))
    return time.process_time() - started
