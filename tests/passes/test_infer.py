from __future__ import annotations

from helpers import ops_of, pf, region_of, run_pass, same_results

from pyflow.passes.infer import infer
from pyflow.target import RefTarget


def test_shape_arithmetic_becomes_sizes() -> None:
    def build(graph):
        x = pf.placeholder("float32", ["batch", 4])
        return [pf.concat([pf.shape(x)[:1], pf.constant([2, 2])], axis=0), pf.shape(x)[1] * 3]

    region = region_of(build)
    made = run_pass(infer, region)
    assert ops_of(made) == {"sizes": 1, "constant": 1}
    same_results(region, made, {"batch": 5})


def test_reshape_by_shape_needs_nothing_of_the_shape() -> None:
    def build(graph):
        x = pf.placeholder("float32", ["n", 2, 3])
        return [pf.reshape(x, pf.concat([pf.shape(x)[:1], [6]], axis=0))]

    assert ops_of(run_pass(infer, region_of(build))) == {"reshape": 1}


def test_other_dtypes_are_cast() -> None:
    def build(graph):
        x = pf.placeholder("float32", ["n"])
        return [pf.cast(pf.shape(x), "int32")]

    region = region_of(build)
    made = run_pass(infer, region)
    assert made.outputs[0].dtype.name == "int32"
    same_results(region, made, {"n": 3})


def test_nothing_known_is_the_same_region() -> None:
    region = region_of(lambda graph: [pf.exp(pf.placeholder("float32", ["n"]))])
    assert infer(region, RefTarget()) is region
