"""flow: bodies take and give what is needed, and branches do what only they need."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyflow as pf
from pyflow.graph import Node
from pyflow.ops.common import constant_array
from pyflow.passes.flow import flow
from pyflow.passes.fold import fold
from pyflow.region import Region, capture
from pyflow.rewrite import with_bodies
from pyflow.target import RefTarget


def made(build: Any, *types: Any) -> tuple[Region, Region]:
    """The region of what ``build`` gives of placeholders, before and after the pass."""
    graph = pf.Graph()
    with graph.as_default():
        inputs = [pf.placeholder(dtype, shape) for dtype, shape in types]
        results = build(*inputs)
    region = capture(graph, results if isinstance(results, (list, tuple)) else [results], inputs)
    return region, flow(region, RefTarget())


def ops(region: Region) -> list[str]:
    return sorted(node.op.name for node in region.nodes() if node.op.name not in ("input", "constant"))


def only(region: Region, op: str) -> Node:
    (node,) = (node for node in region.nodes() if node.op.name == op)
    return node


FLAG, ROW = (pf.bool_, ()), (pf.float32, ("n",))


def test_nothing_to_do() -> None:
    before, after = made(lambda x: x + 1.0, ROW)
    assert after is before
    before, after = made(lambda p, x: pf.cond(p, lambda: x + 1.0, lambda: x - 1.0), FLAG, ROW)
    assert after is before


def test_what_one_branch_needs_moves_there() -> None:
    def build(p, x):
        costly = pf.exp(x) * 2.0
        shared = pf.sin(x)
        return pf.cond(p, lambda: pf.sum(costly + shared), lambda: pf.sum(shared))

    _, after = made(build, FLAG, ROW)
    assert ops(after) == ["cond", "sin"]
    then, otherwise = only(after, "cond").attrs["then"], only(after, "cond").attrs["otherwise"]
    assert ops(then) == ["add", "exp", "multiply", "sum"]
    assert ops(otherwise) == ["sum"]


def test_what_others_need_stays() -> None:
    def build(p, x):
        seen = pf.exp(x)
        asked = pf.sum(pf.sin(x)) > 0.0
        kept = pf.cos(x)
        chosen = pf.cond(asked, lambda: pf.sum(seen), lambda: 0.0)
        twice = pf.cond(p, lambda: kept, lambda: x), pf.cond(p, lambda: x, lambda: kept)
        return [chosen, seen, *twice]

    _, after = made(build, FLAG, ROW)
    assert {"exp", "sin", "cos"} <= set(ops(after))


def test_fallible_steps_move_with_the_branch() -> None:
    def build(p, x, i):
        picked = pf.gather(x, i)
        return pf.cond(p, lambda: picked, lambda: 0.0)

    graph = pf.Graph()
    with graph.as_default():
        inputs = [pf.placeholder(*FLAG), pf.placeholder(*ROW), pf.placeholder(pf.int64, ())]
        result = build(*inputs)
    with pf.Session(graph) as session:
        feeds = dict(zip(inputs, (False, np.ones(2, np.float32), np.int64(7)), strict=True))
        assert session.run(result, feeds) == 0.0


def test_a_settled_branch_is_inlined() -> None:
    _, after = made(lambda x: pf.cond(pf.constant(True), lambda: x + 1.0, lambda: x - 1.0), ROW)
    assert ops(after) == ["add"]


def test_results_that_nobody_reads_are_dropped() -> None:
    def build(x):
        def turn(carry, row):
            total, largest = carry
            return (total + row, pf.maximum(largest, row)), (pf.exp(row), total)

        return pf.scan(turn, (0.0, 0.0), x)[1][1]

    _, after = made(build, ROW)
    node = only(after, "scan")
    assert (node.attrs["carried"], len(node.outputs)) == (1, 3)
    assert ops(node.attrs["body"]) == ["add"]


def test_what_a_condition_needs_is_kept() -> None:
    def build(x):
        def turn(i, spare, y):
            return i + 1, spare * 2.0, y + x

        return pf.while_loop(lambda i, spare, y: i < 3, turn, (0, 1.0, x))[2]

    _, after = made(build, ROW)
    node = only(after, "while_loop")
    assert node.attrs["carried"] == 2
    assert ops(node.attrs["body"]) == ["add", "add"]


def test_bodies_know_constants_that_they_capture() -> None:
    def build(p, x):
        six = pf.constant(2.0) * 3.0
        return pf.cond(p, lambda: x * six, lambda: x)

    region, _ = made(build, FLAG, ROW)
    seen: list[Region] = []
    with_bodies(fold(region, RefTarget()), lambda body: seen.append(body) or body)
    product = only(seen[0], "multiply")
    assert [constant_array(value) for value in product.inputs[1:]] == [6.0]
