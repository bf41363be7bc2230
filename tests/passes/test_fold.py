from __future__ import annotations

import numpy as np
import pytest
from helpers import ops_of, pf, region_of, run_pass, same_results

from pyflow.errors import InvalidArgumentError
from pyflow.passes.fold import BUDGET, fold
from pyflow.target import RefTarget


def test_constants_are_computed() -> None:
    def build(graph):
        x = pf.placeholder("float32", ["n", 3])
        return [x + pf.exp(pf.constant([1.0, 2.0, 3.0])) * 2.0]

    region = region_of(build)
    made = run_pass(fold, region)
    assert ops_of(made) == {"add": 1, "constant": 1}
    same_results(region, made, {"n": 2})


def test_large_results_stay() -> None:
    count = BUDGET // 4 + 1
    region = region_of(lambda graph: [pf.exp(pf.broadcast_to(pf.constant(1.0), [count]))])
    assert fold(region, RefTarget()) is region


def test_large_operands_allow_large_results() -> None:
    region = region_of(lambda graph: [pf.exp(pf.constant(np.zeros(BUDGET // 4 + 1, np.float32)))])
    assert ops_of(run_pass(fold, region)) == {"constant": 1}


@pytest.mark.parametrize("side", [5, int((BUDGET / 4) ** 0.5) + 1])
def test_windows_are_left_to_what_packs_them(side: int) -> None:
    w = np.arange(side * side, dtype=np.float32).reshape(side, side) / side**2

    def build(graph):
        seen = pf.transpose(pf.constant(w), [1, 0])
        x = pf.placeholder("float32", ["n", side])
        return [x @ seen, pf.transpose(pf.constant(w + 1), [1, 0]) + x[:1]]

    region = region_of(build)
    made = run_pass(fold, region)
    assert ops_of(made)["transpose"] == 1
    same_results(region, made, {"n": 2}, tolerance=1e-5)


def test_products_of_constants_are_computed_through_windows() -> None:
    w = np.arange(6, dtype=np.float32).reshape(2, 3)
    made = run_pass(fold, region_of(lambda graph: [pf.constant(w) @ pf.transpose(pf.constant(w), [1, 0])]))
    assert ops_of(made) == {"constant": 1}


@pytest.mark.parametrize("part", [0, 1])
def test_parts_of_a_constant_that_nothing_reads(part: int) -> None:
    def build(graph):
        parts = pf.split(pf.constant(np.ones((4, 6), np.float32)), 2, 1)
        return [pf.placeholder("float32", ["n", 4]) @ parts[part]]

    region = region_of(build)
    same_results(region, run_pass(fold, region), {"n": 2}, tolerance=1e-6)


class Failing(RefTarget):
    def evaluate(self, node, arrays):
        raise InvalidArgumentError("[floor_divide] division by zero")


def test_what_fails_is_left_for_the_run() -> None:
    region = region_of(lambda graph: [pf.constant([1, 2]) // pf.constant([1, 0])])
    assert fold(region, Failing()) is region


def test_what_depends_on_a_feed_or_variable_stays() -> None:
    def build(graph):
        v = pf.Variable(np.ones(3, np.float32))
        return [pf.exp(v) + pf.placeholder("float32", [3])]

    region = region_of(build)
    assert fold(region, RefTarget()) is region
