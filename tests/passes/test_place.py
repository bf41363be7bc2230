from __future__ import annotations

import numpy as np
import pytest
from helpers import ops_of, pf, region_of, run_pass, same_results

from pyflow.errors import UnimplementedError
from pyflow.graph import Node
from pyflow.passes.place import place
from pyflow.target import RefTarget

NO_NORM = RefTarget(without=frozenset({"layer_norm"}))


def test_what_has_no_kernel_is_expanded() -> None:
    region = region_of(lambda graph: [pf.softmax(pf.placeholder("float32", ["n", 5]))])
    made = run_pass(place, region, RefTarget(without=frozenset({"softmax"})))
    assert ops_of(made) == {"max": 1, "subtract": 1, "exp": 1, "sum": 1, "divide": 1}
    assert all(origin.name == "softmax" for node in made.nodes()[1:] for origin in made.table.origins[node])
    same_results(region, made, {"n": 3}, tolerance=1e-6)


def test_what_an_op_compares_is_compared_where_it_is_expanded() -> None:
    def build(graph):
        x = pf.placeholder("float32", [2, "n"])
        scale, bias = (pf.placeholder("float32", [size]) for size in ("s", "n"))
        return [pf.layer_norm(x, scale, bias)]

    region = region_of(build)
    made = run_pass(place, region, NO_NORM)
    assert ops_of(made)["checked"] == 1
    (check,) = (node for node in made.nodes() if node.op.name == "checked")
    assert [str(check.attrs["left"]), str(check.attrs["right"]), check.attrs["by"]] == ["s", "n", "layer_norm"]
    same_results(region, made, {"n": 3, "s": 3}, tolerance=1e-5)
    known = run_pass(place, region_of(lambda graph: [pf.layer_norm(*(pf.placeholder("float32", [3]),) * 3)]), NO_NORM)
    assert "checked" not in ops_of(known)


def test_expansions_are_expanded() -> None:
    def build(graph):
        return [pf.std(pf.placeholder("float32", ["n", 5]), axis=1)]

    region = region_of(build)
    made = run_pass(place, region, RefTarget(without=frozenset({"std", "var"})))
    assert not {"std", "var"} & set(ops_of(made))
    same_results(region, made, {"n": 3}, tolerance=1e-5)


def test_everything_placed_is_the_same_region() -> None:
    region = region_of(lambda graph: [pf.softmax(pf.placeholder("float32", ["n", 5])) + 1.0])
    assert place(region, RefTarget()) is region


def test_one_error_lists_all_that_cannot_run() -> None:
    def build(graph):
        x = pf.placeholder("float32", ["n", 5])
        return [pf.exp(x, name="first") + pf.tanh(x, name="second")]

    with pytest.raises(UnimplementedError) as caught:
        place(region_of(build), RefTarget(without=frozenset({"exp", "tanh"})))
    text = str(caught.value)
    assert "2 nodes" in text
    assert "first" in text
    assert "second" in text
    assert "test_place.py:" in text
    assert "float32[n,5]" in text
    assert "allow_fallback" in text


class TwoMemories(RefTarget):
    """``exp`` runs on the device, whose memory is its own; the rest on the host."""

    def place(self, node: Node) -> str | None:
        return "far" if node.op.name == "exp" else "cpu"

    def shares_memory(self, backend: str) -> bool:
        return backend != "far"


def test_values_cross_memories_by_transfers() -> None:
    def build(graph):
        x = pf.placeholder("float32", ["n"])
        return [pf.exp(pf.exp(x)) + x]

    region = region_of(build)
    made = run_pass(place, region, TwoMemories(device="far", allow_fallback=True))
    assert ops_of(made) == {"transfer": 2, "exp": 2, "add": 1}
    assert sorted(node.attrs["to"] for node in made.nodes() if node.op.name == "transfer") == ["cpu", "far"]
    np.testing.assert_equal(made.outputs[0].node.op.name, "add")
    same_results(region, made, {"n": 3})
