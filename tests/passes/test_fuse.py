from __future__ import annotations

import numpy as np
import pytest
from random_graphs import random_sample

from pyflow.graph import Graph, Node, Value
from pyflow.interpret import evaluate
from pyflow.opdef import FUNCTIONS
from pyflow.ops.internal.fused import root_of
from pyflow.ops.sources import placeholder
from pyflow.ops.state import Variable
from pyflow.passes.fuse import MAX_INPUTS, MAX_INSTRS, MAX_OUTPUTS, fuse
from pyflow.region import Region, capture
from pyflow.target import RefTarget

F = FUNCTIONS


def fused_nodes(region: Region) -> list[Node]:
    return [node for node in region.nodes() if node.op.name == "fused"]


def names(node: Node) -> list[str]:
    return [each.op.name for each in node.attrs["body"].nodes() if each.op.name != "input"]


def fused(graph: Graph, fetches: list[Value], feeds: list[Value]) -> Region:
    return fuse(capture(graph, fetches, feeds), RefTarget())


@pytest.mark.parametrize("seed", range(40))
def test_fusing_changes_no_bit(seed: int) -> None:
    sample = random_sample(seed)
    region = capture(sample.graph, sample.fetches, sample.feeds)
    after = fuse(region, RefTarget())
    arrays = sample.arrays(np.random.default_rng(seed), 3)
    state = {v.name: np.full(v.dims, 2.0) for v in sample.variables}
    given = arrays + [state[name] for name in region.variables]
    for mine, right in zip(evaluate(after, given), evaluate(region, given), strict=True):
        np.testing.assert_array_equal(mine, right)
    assert not any(node.op.scalar for node in after.nodes())
    for node in fused_nodes(after):
        body = node.attrs["body"]
        assert len(body.inputs) <= MAX_INPUTS
        assert len(names(node)) <= 2 * MAX_INSTRS
        assert len(body.outputs) <= MAX_OUTPUTS
    origins = {o for node in region.nodes() for o in region.table.origins[node]}
    inside = [each for node in fused_nodes(after) for each in node.attrs["body"].nodes()]
    assert origins == {o for node in (*after.nodes(), *inside) for o in after.table.origins[node]}


def test_a_region_without_scalar_ops_stays_itself() -> None:
    graph = Graph()
    with graph.as_default():
        x = placeholder("float32", ("batch", 4))
        y = F["sum"](F["transpose"](x), 0)
    region = capture(graph, [y], [x])
    assert fuse(region, RefTarget()) is region


def test_a_chain_is_one_call() -> None:
    graph = Graph()
    with graph.as_default():
        x = placeholder("float32", ("batch", 4))
        y = F["relu"](x * 2.0 + x)
    (node,) = fused_nodes(fused(graph, [y], [x]))
    assert sorted(names(node)) == ["add", "constant", "multiply", "relu"]
    assert len(node.inputs) == 1


def test_bias_activation_and_residual_join_the_product() -> None:
    graph = Graph()
    with graph.as_default():
        x = placeholder("float32", ("batch", 4))
        w = Variable(np.ones((4, 4), np.float32), name="w")
        b = Variable(np.ones(4, np.float32), name="b")
        y = F["relu"](x @ w + b) + x
    (node,) = fused_nodes(fused(graph, [y], [x]))
    assert root_of(node).op.name == "matmul"
    assert sorted(names(node)) == ["add", "add", "matmul", "relu"]


def test_a_product_used_twice_keeps_its_call() -> None:
    graph = Graph()
    with graph.as_default():
        x = placeholder("float32", ("batch", 4))
        y = x @ np.ones((4, 4), np.float32)
        z = F["relu"](y)
    region = fused(graph, [z, y], [x])
    assert [root_of(node) for node in fused_nodes(region)] == [None]
    assert any("matmul" in note and "several places" in note for note in region.table.notes)


def test_what_depends_on_the_group_stays_out() -> None:
    """x - max(x): the subtraction needs the reduction of what it would be fused with."""
    graph = Graph()
    with graph.as_default():
        x = placeholder("float32", ("batch", 4))
        doubled = x * 2.0
        y = doubled - F["max"](doubled, 1, True)
    region = fused(graph, [y], [x])
    assert len(fused_nodes(region)) == 2
    assert any("depends on the result" in note for note in region.table.notes)


def test_a_value_used_elsewhere_is_one_result_more() -> None:
    """centred feeds its own square, in one call, and the product that needs the square's sum, in another."""
    graph = Graph()
    with graph.as_default():
        x = placeholder("float32", ("batch", 4))
        centred = x - 1.0
        y = centred * F["sum"](centred * centred, 1, True)
    region = fused(graph, [y], [x])
    assert sorted(len(node.outputs) for node in fused_nodes(region)) == [1, 2]


def test_a_smaller_producer_stays_out() -> None:
    graph = Graph()
    with graph.as_default():
        x = placeholder("float32", ("batch", 4))
        b = placeholder("float32", (4,))
        y = x + F["relu"](b)
    region = fused(graph, [y], [x, b])
    assert [node.types[0].dims for node in fused_nodes(region)] == [(4,), y.dims]


def test_programs_stay_within_their_limit() -> None:
    graph = Graph()
    with graph.as_default():
        x = y = placeholder("float32", (4,))
        for i in range(3 * MAX_INSTRS):
            y = F["relu"](y + float(i))
    assert all(len(names(node)) <= 2 * MAX_INSTRS for node in fused_nodes(fused(graph, [y], [x])))
