from __future__ import annotations

import numpy as np
import pytest
from helpers import ops_of, pf, region_of, run_pass, same_results

from pyflow.gradients import gradients
from pyflow.passes.layout import layout
from pyflow.passes.pack import pack
from pyflow.passes.simplify import simplify
from pyflow.target import RefTarget

NHWC = RefTarget(nhwc=True)


def network(x, write=False):
    """conv, bias, relu, pool, pad, conv, a residual join and a mean pool; NCHW throughout."""
    generator = np.random.default_rng(1)
    w1 = pf.Variable(generator.standard_normal((4, 3, 3, 3)).astype(np.float32), name="w1")
    w2 = pf.Variable(generator.standard_normal((4, 4, 3, 3)).astype(np.float32), name="w2")
    bias = pf.Variable(generator.standard_normal(4).astype(np.float32), name="bias")
    h = pf.relu(pf.conv2d(x, w1, bias, padding="same"))
    h = pf.max_pool2d(h, 2)
    h = h + pf.conv2d(pf.pad(h, [(0, 0), (0, 0), (1, 1), (1, 1)]), w2)
    h = pf.concat([h, pf.tanh(h)], axis=1)
    return pf.avg_pool2d(h, 2), [w1, w2, bias]


def test_a_network_stays_channels_last() -> None:
    region = region_of(lambda graph: [network(pf.placeholder("float32", ["n", 3, 8, 8], name="x"))[0]])
    made = run_pass(layout, region, NHWC, "layout")
    after = run_pass(simplify, made)
    images = [n for n in after.nodes() if n.op.name == "transpose" and n.attrs["axes"] in ((0, 2, 3, 1), (0, 3, 1, 2))]
    assert len(images) == 2, "one where the images come in, one where the result goes out"
    formats = {node.attrs["data_format"] for node in made.nodes() if "data_format" in node.attrs}
    assert formats == {"NHWC"}
    same_results(region, after, {"n": 2}, tolerance=1e-4)


def test_gradients_too() -> None:
    def build(graph):
        y, variables = network(pf.placeholder("float32", ["n", 3, 8, 8], name="x"))
        return gradients(pf.mean(pf.square(y)), variables)

    region = region_of(build)
    made = run_pass(layout, region, NHWC, "layout")
    assert {node.attrs["data_format"] for node in made.nodes() if "data_format" in node.attrs} == {"NHWC"}
    same_results(region, made, {"n": 2}, tolerance=1e-3)


def test_other_transposes_stay_where_they_are() -> None:
    region = region_of(lambda graph: [pf.exp(pf.transpose(pf.placeholder("float32", ["n", 2, 3, 4]), (0, 2, 1, 3)))])
    assert layout(region, NHWC) is region


def test_a_target_without_preference_changes_nothing() -> None:
    region = region_of(lambda graph: [network(pf.placeholder("float32", ["n", 3, 8, 8], name="x"))[0]])
    assert layout(region, RefTarget()) is region


def transposes(region):
    return [
        node.attrs["axes"] for node in region.nodes() if node.op.name == "transpose" and len(node.attrs["axes"]) == 4
    ]


def test_packed_weights_have_no_format() -> None:
    region = region_of(lambda graph: [network(pf.placeholder("float32", ["n", 3, 8, 8], name="x"))[0]])
    made = run_pass(layout, run_pass(pack, region, NHWC), NHWC, "layout")
    assert ops_of(made)["conv2d_packed"] == 2
    assert {node.attrs["data_format"] for node in made.nodes() if node.op.name == "conv2d_packed"} == {"NHWC"}
    assert sorted(transposes(made)) == [(0, 2, 3, 1), (0, 3, 1, 2)]
    same_results(region, made, {"n": 2}, tolerance=1e-4)


def test_images_that_come_and_go_channels_last_are_not_moved() -> None:
    def build(graph):
        x = pf.transpose(pf.placeholder("float32", ["n", 8, 8, 3]), (0, 3, 1, 2))
        return [pf.transpose(network(pf.abs(x))[0], (0, 2, 3, 1))]

    region = region_of(build)
    made = run_pass(layout, region, NHWC, "layout")
    assert (0, 3, 1, 2) not in transposes(made) and (0, 2, 3, 1) not in transposes(made)
    same_results(region, made, {"n": 2}, tolerance=1e-4)


def test_an_image_is_seen_in_every_order_that_is_asked_for() -> None:
    def build(graph):
        y = network(pf.placeholder("float32", ["n", 3, 8, 8]))[0]
        return [y, pf.transpose(y, (0, 1, 3, 2)), pf.transpose(y, (3, 2, 1, 0)), pf.reshape(y, (-1, 32))]

    region = region_of(build)
    made = run_pass(layout, region, NHWC, "layout")
    same_results(region, made, {"n": 2}, tolerance=1e-4)


@pytest.mark.parametrize("shape", [(), (8,), (1,), (8, 1), (5, 1, 1), (5, 8, 1), (5, 8, 8), (1, 5, 1, 1), (2, 5, 8, 8)])
def test_operands_of_any_rank_broadcast_to_images(shape) -> None:
    other = np.random.default_rng(2).standard_normal(shape).astype(np.float32)

    def build(graph):
        x = pf.placeholder("float32", [2, 5, 8, 8])
        return [pf.max_pool2d(x, 3, stride=1, padding="same") * pf.Variable(other)]

    region = region_of(build)
    made = run_pass(layout, region, NHWC, "layout")
    assert made.outputs[0].node.op.name == "transpose"
    same_results(region, made, {}, tolerance=0)


@pytest.mark.parametrize("most", range(12))
def test_the_knob_that_bisects_ends_it_anywhere(monkeypatch, most) -> None:
    region = region_of(lambda graph: [network(pf.placeholder("float32", ["n", 3, 8, 8], name="x"))[0]])
    monkeypatch.setenv("PYFLOW_MAX_REWRITES", str(most))
    made = run_pass(layout, region, NHWC, "layout")
    assert sum(made.table.rewrites.values()) == min(most, 10)
    same_results(region, made, {"n": 2}, tolerance=1e-4)
