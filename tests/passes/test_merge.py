from __future__ import annotations

import numpy as np
import pytest
from helpers import ops_of, pf, region_of, run_pass, same_results

from pyflow.passes.merge import merge
from pyflow.passes.pack import pack
from pyflow.passes.place import place
from pyflow.target import RefTarget

HEADS, SIZE = 2, 16
WIDTH = HEADS * SIZE


class Target(RefTarget):
    """One that composes attention of the core that a kernel computes."""

    def __init__(self, **options):
        super().__init__(without=frozenset({"attention"}), **options)


def weights(index, *shape):
    return np.random.default_rng(index).standard_normal(shape).astype(np.float32)


def heads(x):
    return pf.transpose(pf.reshape(x, (x.shape[0], x.shape[1], HEADS, SIZE)), (0, 2, 1, 3))


def attended(projected):
    return pf.scaled_dot_product_attention(*map(heads, projected))


def source():
    return pf.placeholder("float32", ["b", "n", WIDTH])


def projected(x, index, bias=True, variable=False, width=WIDTH):
    w = weights(index, width, WIDTH)
    y = x @ (pf.Variable(w) if variable else w)
    return y + weights(index + 10, WIDTH) if bias else y


def merged(build, **options):
    region = run_pass(place, region_of(build), Target(**options))
    made = run_pass(merge, region, Target(**options))
    same_results(region, made, {"b": 2, "n": 5})
    return region, made


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("variable", [False, True])
def test_three_of_one_input(bias, variable):
    def build(graph):
        x = source()
        return [attended([projected(x, i, bias, variable) for i in range(3)])]

    region, made = merged(build)
    assert ops_of(region)["matmul"] == 3
    assert ops_of(made)["matmul"] == 1
    packed = run_pass(pack, made, Target())
    assert ops_of(packed)["matmul_pack"] == 3, "weights are packed where they lie"
    same_results(region, packed, {"b": 2, "n": 5}, 1e-5)


def test_strict_too():
    def build(graph):
        x = source()
        return [attended([projected(x, i) for i in range(3)])]

    assert ops_of(merged(build, numerics="strict")[1])["matmul"] == 1


def test_two_of_one_input():
    def build(graph):
        x, memory = source(), source()
        return [attended([projected(x, 0), projected(memory, 1), projected(memory, 2)])]

    assert ops_of(merged(build)[1])["matmul"] == 2


def test_one_without_a_bias_stays():
    def build(graph):
        x = source()
        return [attended([projected(x, 0), projected(x, 1, bias=False), projected(x, 2)])]

    assert ops_of(merged(build)[1])["matmul"] == 2


def _read_elsewhere(graph):
    x = source()
    q, k, v = (projected(x, i) for i in range(3))
    return [attended([q, k, v]), pf.exp(k), pf.exp(v)]


def _weights_that_come_in(graph):
    x = source()
    given = [pf.placeholder("float32", [WIDTH, WIDTH]) for _ in range(3)]
    return [attended([x @ w for w in given])]


def _inputs_of_their_own(graph):
    return [attended([projected(source(), i) for i in range(3)])]


def _no_projection(graph):
    return [attended([source() for _ in range(3)])]


@pytest.mark.parametrize("build", [_read_elsewhere, _weights_that_come_in, _inputs_of_their_own, _no_projection])
def test_left_alone(build):
    region, made = merged(build)
    assert made is region


def test_sessions_agree_with_the_ops_one_by_one():
    graph = pf.Graph()
    with graph.as_default():
        x = source()
        parts = [projected(x, i, variable=i == 1) for i in range(3)]
        y = attended(parts)
    feed = {x: weights(5, 2, 37, WIDTH)}
    session = pf.Session(graph, pf.SessionConfig(threads=2, auto_init=True))
    assert str(session.explain(y, feeds=[x])).count("matmul_packed") == 1
    q, k, v = (np.array(session.run(part, feed)) for part in parts)
    want = pf.scaled_dot_product_attention(*(heads(pf.tensor(part)) for part in (q, k, v)))
    assert np.array_equal(session.run(y, feed), np.asarray(want))
