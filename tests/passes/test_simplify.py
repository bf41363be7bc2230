from __future__ import annotations

import numpy as np
import pytest
from helpers import ops_of, pf, region_of, run_pass, same_results

from pyflow.passes.simplify import simplify
from pyflow.target import RefTarget


def x2(graph):
    return pf.placeholder("float32", ["n", 4])


def i2(graph):
    return pf.placeholder("int32", ["n", 4])


GONE = {
    "x * 1": lambda g: x2(g) * 1.0,
    "1 * x": lambda g: 1.0 * x2(g),
    "x / 1": lambda g: x2(g) / 1.0,
    "x - 0": lambda g: x2(g) - 0.0,
    "i + 0": lambda g: i2(g) + 0,
    "x * ones": lambda g: x2(g) * np.ones((1, 4), np.float32),
    "-(-x)": lambda g: pf.negative(-x2(g)),
    "cast to the same": lambda g: pf.identity(x2(g)),
    "cast there and back": lambda g: pf.cast(pf.cast(x2(g), "float64"), "float32"),
    "transpose twice": lambda g: pf.transpose(pf.transpose(x2(g))),
    "reshape to itself": lambda g: pf.reshape(x2(g), [-1, 4]),
    "reshape and back": lambda g: pf.reshape(pf.reshape(x2(g), [-1]), [-1, 4]),
    "expand and squeeze": lambda g: pf.squeeze(pf.expand_dims(x2(g), 1), 1),
    "whole slice": lambda g: x2(g)[:, 0:4],
    "flip twice": lambda g: pf.flip(pf.flip(x2(g), 1), 1),
    "stop_gradient": lambda g: pf.stop_gradient(x2(g)),
    "concat of one": lambda g: pf.concat([x2(g)], axis=0),
    "where of equals": lambda g: (lambda x: pf.where(x > 0, x, x))(x2(g)),
    "where of a known condition": lambda g: pf.where(pf.constant(True), x2(g), 0.0),
    "sum over no axis": lambda g: pf.sum(x2(g), axis=()),
    "maximum of one": lambda g: (lambda x: pf.maximum(x, x))(x2(g)),
}


@pytest.mark.parametrize("what", GONE)
def test_goes(what) -> None:
    region = region_of(lambda graph: [GONE[what](graph)])
    made = run_pass(simplify, region)
    assert not ops_of(made), what
    same_results(region, made, {"n": 3})


KEPT = {
    "x + 0 turns -0 into 0": lambda g: x2(g) + 0.0,
    "x * 0 keeps NaN": lambda g: x2(g) * 0.0,
    "through a narrower dtype": lambda g: pf.cast(pf.cast(x2(g), "int32"), "float32"),
    "a slice": lambda g: x2(g)[:, 1:],
    "another order": lambda g: pf.transpose(x2(g)),
    "ones that widen": lambda g: pf.placeholder("float32", [1, 4]) * np.ones((3, 4), np.float32),
}


@pytest.mark.parametrize("what", KEPT)
def test_stays_and_is_the_same_region(what) -> None:
    region = region_of(lambda graph: [KEPT[what](graph)])
    assert simplify(region, RefTarget()) is region


def test_integers_times_zero() -> None:
    region = region_of(lambda graph: [i2(graph) * 0])
    made = run_pass(simplify, region)
    assert ops_of(made) == {"broadcast_to": 1, "constant": 1}
    same_results(region, made, {"n": 3})


def test_one_order_of_operands() -> None:
    def build(graph):
        x, y = pf.placeholder("float32", ["n"]), pf.placeholder("float32", ["n"])
        return [(x + y) * (y + x)]

    region = region_of(build)
    made = run_pass(simplify, region)
    assert ops_of(made) == {"add": 1, "multiply": 1}
    same_results(region, made, {"n": 4})


def test_windows_become_one() -> None:
    def build(graph):
        x = pf.placeholder("float32", [2, 3, 4])
        return [pf.transpose(pf.transpose(x, (1, 0, 2)), (2, 1, 0)), pf.reshape(pf.reshape(x, [6, 4]), [4, 6])]

    region = region_of(build)
    made = run_pass(simplify, region)
    assert ops_of(made) == {"transpose": 1, "reshape": 1}
    same_results(region, made)


def test_heads_apart_are_one_reshape_and_one_transpose() -> None:
    def build(graph):
        x = pf.placeholder("float32", [5, 2, 12])
        return [pf.transpose(pf.reshape(pf.transpose(pf.reshape(x, [5, 6, 4]), (1, 0, 2)), [2, 3, 5, 4]), (0, 1, 3, 2))]

    region = region_of(build)
    made = run_pass(simplify, region)
    assert ops_of(made) == {"transpose": 1, "reshape": 1}
    same_results(region, made)


@pytest.mark.parametrize("place", [0, 2, -1, -3])
def test_a_known_place_is_a_window(place) -> None:
    def build(graph):
        x = pf.placeholder("float32", ["n", 3, 4])
        return [pf.gather(x, np.int64(place), axis=1)]

    region = region_of(build)
    made = run_pass(simplify, region)
    assert ops_of(made) == {"slice": 1, "reshape": 1}
    same_results(region, made, {"n": 5})


def test_a_place_that_may_be_outside_is_gathered() -> None:
    def build(graph):
        x = pf.placeholder("float32", ["n", 3])
        return [pf.gather(x, np.int64(1), axis=0), pf.gather(x, np.int64([1]), axis=1)]

    region = region_of(build)
    assert ops_of(run_pass(simplify, region))["gather"] == 2


def test_a_check_is_not_dropped() -> None:
    region = region_of(lambda graph: [pf.expand_dims(pf.squeeze(pf.placeholder("float32", ["n", 4]), 0), 0)])
    assert ops_of(simplify(region, RefTarget()))["squeeze"] == 1


def test_origins_stay() -> None:
    region = region_of(lambda graph: [pf.exp(x2(graph)) * 1.0])
    made = run_pass(simplify, region)
    names = {origin.name for origin in made.table.origins[made.outputs[0].node]}
    assert {"exp", "multiply"} <= names
