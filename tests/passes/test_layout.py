from __future__ import annotations

import numpy as np
import pytest
from helpers import ops_of, pf, region_of, run_pass, same_results

from pyflow.gradients import gradients
from pyflow.passes.layout import FORMATS, layout
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


def grown(rng, graph):
    """A network of random ops on images that come in either format, with several results and a variable written."""
    first = rng.random() < 0.5
    channels = int(rng.integers(1, 6))
    x = pf.placeholder("float32", ["n", channels, 6, 7] if first else ["n", 6, 7, channels])
    values = [x if first else pf.transpose(x, (0, 3, 1, 2))]
    total = pf.Variable(np.zeros((), np.float32))

    def array(*shape):
        made = rng.standard_normal(shape).astype(np.float32)
        return pf.Variable(made) if rng.random() < 0.3 else pf.constant(made)

    def shifted(y):
        size = [int(each) for each in y.shape[1:]]
        shapes = [(), (size[0], 1, 1), tuple(size), (1, size[0], 1, 1), (1, *size), (size[1], 1), (size[2],)]
        return pf.add(y, array(*shapes[rng.integers(len(shapes))]))

    def convolved(y):
        groups = int(y.shape[1]) if rng.random() < 0.3 else 1
        outer = int(rng.integers(1, 4)) * groups
        w = array(outer, int(y.shape[1]) // groups, 3, 3)
        return pf.conv2d(y, w, padding="same", stride=1, groups=groups)

    choices = [
        convolved,
        convolved,
        shifted,
        pf.relu,
        lambda y: pf.multiply(pf.tanh(y), y),
        lambda y: pf.max_pool2d(y, 3, stride=1, padding="same"),
        lambda y: pf.avg_pool2d(y, 3, stride=1, padding="same"),
        lambda y: pf.concat([y, pf.sigmoid(y)], axis=int(rng.integers(1, 4))),
        lambda y: pf.pad(y, [(0, 0), (0, 1), (1, 0), (1, 2)]),
        lambda y: pf.transpose(y, tuple(np.array([0, *(1 + rng.permutation(3))]))),
        lambda y: pf.transpose(pf.exp(pf.minimum(pf.transpose(y, (0, 2, 3, 1)), np.float32(1))), (0, 3, 1, 2)),
        lambda y: pf.add(y, pf.mean(y, (2, 3), True)),
        lambda y: pf.reshape(y, (-1, int(y.shape[2]), int(y.shape[1]), int(y.shape[3]))),
    ]
    for _ in range(int(rng.integers(4, 14))):
        source = values[int(rng.integers(max(0, len(values) - 3), len(values)))]
        values.append(choices[rng.integers(len(choices))](source))
    written = total.assign_add(pf.mean(values[-1]))
    chosen = [values[i] for i in sorted(set(rng.integers(1, len(values), 2).tolist()))]
    return [*chosen, values[-1], written]


@pytest.mark.parametrize("seed", range(60))
def test_any_network_gives_the_same(seed) -> None:
    region = region_of(lambda graph: grown(np.random.default_rng(seed), graph))
    packed = run_pass(pack, region, NHWC) if seed % 2 else region
    made = run_pass(layout, packed, NHWC, "layout")
    wanted = {node.attrs["data_format"] for node in made.nodes() if node.op.name in FORMATS}
    assert wanted <= {"NHWC"}
    same_results(region, made, {"n": 2}, tolerance=1e-3)


def test_images_whose_number_the_run_tells() -> None:
    def build(graph):
        x = pf.placeholder("float32", [5, 3, 8, 8])
        kept = x[pf.mean(x, (1, 2, 3)) > 0]
        y, _ = network(kept)
        return [y, pf.relu(kept), pf.reshape(y, (-1,))]

    region = region_of(build)
    made = run_pass(layout, region, NHWC, "layout")
    assert {node.attrs["data_format"] for node in made.nodes() if node.op.name in FORMATS} == {"NHWC"}
    same_results(region, made, {}, tolerance=1e-4)
