from __future__ import annotations

import numpy as np
import pytest
from helpers import ops_of, pf, region_of, run_pass, same_results

from pyflow.passes.pipeline import compile_region
from pyflow.passes.unify import unify
from pyflow.target import RefTarget


def test_a_size_that_must_be_a_number_is_that_number() -> None:
    def build(graph):
        x = pf.placeholder("float32", ["batch", "features"])
        w = pf.placeholder("float32", [8, 3])
        return [x @ w, pf.shape(x)]

    region = region_of(build)
    made = run_pass(unify, region)
    assert str(made.outputs[0].type) == "float32[batch,3]"
    assert made.outputs[1].content == (made.inputs[0].dims[0], 8)
    assert [(str(left), right) for left, right, _ in made.checks] == [("features", 8)]
    same_results(region, made, {"batch": 5, "features": 8})


def test_chains_of_equal_sizes_become_one() -> None:
    def build(graph):
        a = pf.placeholder("float32", ["m", "j"])
        b = pf.placeholder("float32", ["k", "n"])
        c = pf.placeholder("float32", ["l", 4])
        return [a @ b @ c, pf.shape(b)]

    region = region_of(build)
    made = run_pass(unify, region)
    assert [str(size) for size in made.outputs[1].content] == ["j", "n"]
    assert len(made.checks) == 2
    same_results(region, made, {"m": 2, "j": 3, "k": 3, "n": 5, "l": 5})


def test_the_symbol_with_a_hint_stays() -> None:
    def build(graph):
        a = pf.placeholder("float32", [2, "j"])
        b = pf.placeholder("float32", [pf.Dim("k", hint=64), 3])
        return [a @ b, pf.shape(a)]

    assert str(run_pass(unify, region_of(build)).outputs[1].content[1]) == "k"


def test_gradients_of_weights_are_not_summed_again() -> None:
    def build(graph):
        x = pf.placeholder("float32", ["batch", "features"])
        w = pf.Variable(np.ones((8, 3), np.float32), name="w")
        return pf.gradients(pf.sum(pf.exp(x @ w)), [w])

    region = region_of(build)
    assert "sum_to" in ops_of(region)
    kernels = [step.kernel for step in compile_region(region, RefTarget()).plan.bodies[0]]
    assert "reduce_sum" not in kernels


def test_what_has_no_equal_sizes_or_control_flow_is_the_same_region() -> None:
    plain = region_of(lambda graph: [pf.exp(pf.placeholder("float32", ["n", "m"]))])
    assert unify(plain, RefTarget()) is plain

    def build(graph):
        x = pf.placeholder("float32", ["n", "k"])
        w = pf.placeholder("float32", [8, 3])
        return [pf.cond(pf.sum(x) > 0, lambda: x @ w, lambda: pf.zeros([pf.shape(x)[0], 3]))]

    looped = region_of(build)
    assert unify(looped, RefTarget()) is looped


def test_a_run_still_compares_them_and_names_the_line() -> None:
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder("float32", ["batch", "features"], name="x")
        w = pf.placeholder("float32", ["rows", 3], name="w")
        y = x @ w
        sizes = pf.shape(x)
    session = pf.Session(graph)
    feeds = {"x": np.ones((2, 8), np.float32), "w": np.ones((8, 3), np.float32)}
    made, seen = session.run([y, sizes], feeds)
    assert np.array_equal(made, np.full((2, 3), 8.0)) and seen.tolist() == [2, 8]
    with pytest.raises(
        pf.errors.InvalidArgumentError, match=r"(?s)\[matmul\].*columns of x.*got 7 and 8.*test_unify\.py"
    ):
        session.run([y, sizes], {**feeds, "x": np.ones((2, 7), np.float32)})
    assert session.run(sizes, {"x": np.ones((2, 7), np.float32)}).tolist() == [2, 7]


def test_products_are_written_over_what_their_epilogue_reads() -> None:
    graph = pf.Graph()
    rng = np.random.default_rng(0)
    start = rng.standard_normal((64, 48)).astype(np.float32)
    with graph.as_default():
        x = pf.placeholder("float32", ["n", 64], name="x")
        g = pf.placeholder("float32", ["n", 48], name="g")
        w = pf.Variable(start, name="w")
        update = w.assign(w - pf.transpose(x) @ g * 0.5)
    session = pf.Session(graph)
    session.run(w.initializer)
    for n in (0, 1, 7, 200, 500):
        feeds = {
            "x": rng.standard_normal((n, 64)).astype(np.float32),
            "g": rng.standard_normal((n, 48)).astype(np.float32),
        }
        before = session.run(w).copy()
        session.run(update, feeds)
        want = before - (feeds["x"].T.astype(np.float64) @ feeds["g"]) * 0.5
        np.testing.assert_allclose(session.run(w), want, rtol=1e-4, atol=1e-3)


def test_a_factor_is_not_written_over() -> None:
    graph = pf.Graph()
    start = np.random.default_rng(0).standard_normal((40, 40)).astype(np.float32)
    with graph.as_default():
        w = pf.Variable(start, name="w")
        update = w.assign(w @ w + w)
    session = pf.Session(graph)
    session.run(w.initializer)
    session.run(update)
    np.testing.assert_allclose(session.run(w), start.astype(np.float64) @ start + start, rtol=1e-4, atol=1e-4)


def test_what_a_branch_that_is_not_taken_needs_of_sizes_does_not_matter() -> None:
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder("float32", ["n", "k"], name="x")
        w = pf.placeholder("float32", ["k2", 3], name="w")
        y = pf.cond(pf.sum(x) > 0, lambda: pf.sum(x), lambda: pf.sum(x @ w))
    session = pf.Session(graph)
    feeds = {"x": np.ones((2, 7), np.float32), "w": np.ones((7, 3), np.float32)}
    assert session.run(y, feeds) == 14.0
    assert session.run(y, {"x": -feeds["x"], "w": feeds["w"]}) == -42.0
