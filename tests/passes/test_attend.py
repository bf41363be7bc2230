from __future__ import annotations

import numpy as np
import pytest
from helpers import ops_of, pf, region_of, run_pass, same_results

from pyflow.passes.attend import attend
from pyflow.passes.layout import layout
from pyflow.passes.recognise import recognise
from pyflow.passes.simplify import simplify
from pyflow.target import RefTarget

HEADS, SIZE = 3, 8


def heads(x):
    return pf.transpose(pf.reshape(x, (x.shape[0], x.shape[1], HEADS, SIZE)), (0, 2, 1, 3))


def joined(y):
    y = pf.transpose(y, (0, 2, 1, 3))
    return pf.reshape(y, (y.shape[0], y.shape[1], HEADS * SIZE))


def swapped(k):
    return pf.transpose(k, (0, 1, 3, 2))


def parts():
    return [heads(pf.placeholder("float32", ["b", "n", HEADS * SIZE])) for _ in range(3)]


def scaled_queries(q, k, v):
    return pf.softmax(pf.matmul(q / np.float32(SIZE**0.5), swapped(k)), -1) @ v


def scaled_both(q, k, v):
    root = np.float32(SIZE**-0.25)
    return pf.softmax(pf.matmul(q * root, swapped(k) * root), -1) @ v


def scaled_scores(q, k, v):
    return pf.softmax(np.float32(SIZE**-0.5) * pf.matmul(q, swapped(k)), -1) @ v


def divided_scores(q, k, v):
    return pf.softmax(pf.matmul(q, swapped(k)) / np.float32(SIZE**0.5), -1) @ v


def masked(q, k, v):
    mask = pf.placeholder("float32", ["b", 1, 1, "n"])
    return pf.softmax(pf.matmul(q, swapped(k)) / np.float32(SIZE**0.5) + mask, -1) @ v


def masked_first(q, k, v):
    mask = pf.placeholder("float32", ["n", "n"])
    return pf.softmax(mask + pf.matmul(q * np.float32(0.3), swapped(k)), -1) @ v


def without_nan(q, k, v):
    mask = pf.where(pf.placeholder("bool", ["n", "n"]), np.float32(0), np.float32(-np.inf))
    weights = pf.softmax(pf.matmul(q * np.float32(0.3), swapped(k)) + mask, -1)
    return pf.where(pf.isnan(weights), np.float32(0), weights) @ v


def other_sizes(q, k, v):
    mask = pf.placeholder("float32", ["m", 1, "r", "s"])
    return pf.softmax(pf.matmul(q, swapped(k)) + mask, -1) @ v


def primitive_softmax(q, k, v):
    scores = pf.matmul(q, pf.transpose(k, (0, 1, 3, 2)))
    powers = pf.exp(scores - pf.max(scores, axis=3, keepdims=True))
    return pf.matmul(powers / pf.sum(powers, axis=3, keepdims=True), v)


FORMS = [
    scaled_queries,
    scaled_both,
    scaled_scores,
    divided_scores,
    masked,
    masked_first,
    without_nan,
    other_sizes,
    primitive_softmax,
]
SIZES = {"b": 2, "n": 5, "m": 2, "r": 5, "s": 5}


def passed(region):
    for function in (simplify, recognise, attend):
        region = run_pass(function, region, RefTarget())
    return region


@pytest.mark.parametrize("form", FORMS)
def test_forms(form):
    region = region_of(lambda g: [joined(form(*parts()))])
    made = passed(region)
    counts = ops_of(made)
    assert counts["attend"] == 1 and not counts["softmax"] and not counts["matmul"]
    same_results(region, made, SIZES, 1e-5)


LOWEST = float(np.finfo(np.float32).min)


def _masked_by(mask, queries=5, keys=5):
    """softmax(q k + mask) v with ``mask`` a constant, in a region."""

    def build(graph):
        q, k, v = (pf.placeholder("float32", ["b", 2, size, SIZE]) for size in (queries, keys, keys))
        return [pf.softmax(pf.matmul(q, swapped(k)) + pf.constant(mask.astype("f")), -1) @ v]

    return region_of(build)


def _lower(rows, keys, offset, hidden):
    return np.where(np.tri(rows, keys, offset), 0.0, hidden)


@pytest.mark.parametrize("hidden", [-np.inf, LOWEST, -1e30])
@pytest.mark.parametrize(
    ("rows", "keys", "offset"), [(5, 5, 0), (5, 5, 4), (3, 9, 6), (9, 4, 1), (1, 4, 3), (300, 300, 0)]
)
def test_a_mask_by_place_is_causal(rows, keys, offset, hidden):
    region = _masked_by(_lower(rows, keys, offset, hidden)[None, None], rows, keys)
    made = passed(region)
    (node,) = (node for node in made.nodes() if node.op.name == "attend")
    assert node.attrs["is_causal"] and node.attrs["offset"] == offset and len(node.inputs) == 3
    same_results(region, made, {"b": 2}, 1e-5)


def _with_one(place, value):
    mask = _lower(5, 5, 0, -np.inf)
    mask[place] = value
    return mask


@pytest.mark.parametrize(
    "mask",
    [
        _lower(5, 5, 0, -1e4),
        _lower(5, 5, -1, LOWEST),
        _lower(5, 5, 0, -np.inf).T,
        _lower(1, 5, 2, -np.inf),
        np.stack([_lower(5, 5, offset, -np.inf) for offset in (0, 1)]),
        _with_one((3, 1), 0.5),
        _with_one((3, 1), -np.inf),
        _with_one((1, 3), 0.0),
        _with_one((1, 3), np.nan),
        np.zeros(5),
    ],
    ids=["small", "nothing seen", "turned", "one row", "per head", "a bias", "a hole", "one more", "nan", "one axis"],
)
def test_other_masks_stay_what_they_are(mask):
    region = _masked_by(mask)
    made = passed(region)
    (node,) = (node for node in made.nodes() if node.op.name == "attend")
    assert not node.attrs["is_causal"] and len(node.inputs) == 4
    same_results(region, made, {"b": 2}, 1e-5)


def test_layers_in_a_row_are_all_found():
    def build(graph):
        q, k, v = parts()
        for _ in range(3):
            q = scaled_queries(q, k, v)
        return [q]

    assert ops_of(passed(region_of(build)))["attend"] == 3


def test_heads_side_by_side_are_the_result_itself():
    region = region_of(lambda g: [joined(scaled_scores(*parts()))])
    made = run_pass(layout, passed(region), RefTarget())
    node = next(node for node in made.nodes() if node.op.name == "attend")
    assert node.attrs["order"] == (0, 2, 1, 3)
    same_results(region, made, {"b": 2, "n": 5}, 1e-5)


def test_a_result_that_is_read_in_another_order_too_stays():
    def build(graph):
        y = scaled_scores(*parts())
        return [joined(y), pf.exp(y)]

    made = run_pass(layout, passed(region_of(build)), RefTarget())
    assert [node.attrs["order"] for node in made.nodes() if node.op.name == "attend"] == [()]


def _weights_asked_for(graph):
    q, k, v = parts()
    weights = pf.softmax(pf.matmul(q, swapped(k)), -1)
    return [weights @ v, weights]


def _weights_read(graph):
    q, k, v = parts()
    for _ in range(2):
        weights = pf.softmax(pf.matmul(q * np.float32(0.5), swapped(k)), -1)
        q = weights @ v + pf.mean(weights, axis=-1, keepdims=True)
    return [q]


def _trained(graph):
    q, k, v = (pf.Variable(np.ones((1, 1, 4, 4), np.float32), name=name) for name in "qkv")
    y = pf.softmax(pf.matmul(q, swapped(k)), -1) @ v
    return pf.gradients(pf.sum(y), [q, k, v])


def _weights_that_last(graph):
    q, _, _ = parts()
    keys, values = (pf.Variable(np.ones((1, 1, 4, SIZE), np.float32)) for _ in range(2))
    return [pf.softmax(pf.matmul(q, swapped(keys)), -1) @ values]


def _another_axis(graph):
    q, k, v = parts()
    return [pf.softmax(pf.matmul(q, swapped(k)), -2) @ v]


def _two_masks(graph):
    q, k, v = parts()
    masks = [pf.placeholder("float32", ["n", "n"]) for _ in range(2)]
    return [pf.softmax(pf.matmul(q, swapped(k)) + masks[0] + masks[1], -1) @ v]


def _wide_mask(graph):
    q, k, v = parts()
    mask = pf.placeholder("float32", [4, 1, 1, 1, "n"])
    return [pf.softmax(pf.matmul(q, swapped(k)) + mask, -1) @ v]


@pytest.mark.parametrize(
    "build",
    [_weights_asked_for, _weights_read, _trained, _weights_that_last, _another_axis, _two_masks, _wide_mask],
)
def test_left_alone(build):
    assert not ops_of(passed(region_of(build)))["attend"]


def test_strict_leaves_it():
    region = region_of(lambda g: [scaled_scores(*parts())])
    assert attend(region, RefTarget(numerics="strict")) is region


@pytest.mark.parametrize("form", FORMS)
def test_optimised_and_strict_sessions_agree(form):
    graph = pf.Graph()
    with graph.as_default():
        y = joined(form(*parts()))
    generator = np.random.default_rng(0)
    sizes = {name: 2 if name in "bm" else 300 for name in SIZES}
    feeds = {
        value: generator.standard_normal([size if isinstance(size, int) else sizes[str(size)] for size in value.dims])
        for value in graph.inputs
    }
    feeds = {value: (array if value.dtype.kind == "f" else array > 0) for value, array in feeds.items()}
    feeds = {value: array.astype(value.dtype.numpy) for value, array in feeds.items()}
    found = pf.Session(graph)
    strict = pf.Session(graph, pf.SessionConfig(numerics="strict"))
    assert "attend" in found.explain(y, feeds=list(feeds)).__str__()
    np.testing.assert_allclose(found.run(y, feeds), strict.run(y, feeds), 1e-4, 1e-5)
