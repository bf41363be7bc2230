"""Models written to hurt: each is refused, or runs, in little time; what random damage does not find."""

from __future__ import annotations

import time

import numpy as np
import pytest

import pyflow as pf
from pyflow.runtime.verify import random_feeds

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import pyflow.onnx  # noqa: E402

FLOAT = TensorProto.FLOAT


def model(nodes, inputs=(), outputs=("y",), constants=None, opset=20, functions=()):
    """inputs: shapes by name; constants: arrays, or lists of text, by name."""
    tensors = [
        helper.make_tensor(name, TensorProto.STRING, [len(value)], [text.encode() for text in value])
        if isinstance(value, list)
        else numpy_helper.from_array(np.asarray(value), name)
        for name, value in (constants or {}).items()
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in dict(inputs).items()],
        [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in outputs],
        tensors,
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=functions)


def refused(made, error, *words):
    start = time.process_time()
    with pytest.raises(error) as caught:
        graph = pyflow.onnx.load(made.SerializeToString())
        pf.Session(graph, pf.SessionConfig(threads=1)).run(None, {}, pf.RunOptions(timeout=5))
    assert not isinstance(caught.value, pf.errors.InternalError)
    for word in words:
        assert word in str(caught.value)
    assert time.process_time() - start < 10


def test_a_pattern_that_backtracks_for_ever():
    node = helper.make_node("RegexFullMatch", ["x"], ["y"], pattern="(a+)+b")
    graph = pyflow.onnx.load(model([node], constants={"x": ["a" * 5000, "aab"]}))
    assert pf.Session(graph).run(None)[0].tolist() == [False, True]


@pytest.mark.parametrize("rank", [17, 40, 64])
def test_more_axes_than_a_kernel_takes(rank):
    node = helper.make_node("Add", ["x", "x"], ["y"])
    refused(model([node], {"x": [1] * rank}), pf.errors.InvalidArgumentError, f"{rank} axes", "at most 16")
    made = model([node], constants={"x": np.ones([1] * rank, np.float32)})
    refused(made, pf.errors.InvalidArgumentError, f"{rank} axes", "at most 16")


def test_sixteen_axes_are_taken():
    x = np.arange(2.0, dtype=np.float32).reshape([1] * 15 + [2])
    graph = pyflow.onnx.load(model([helper.make_node("Add", ["x", "x"], ["y"])], constants={"x": x}))
    np.testing.assert_array_equal(pf.Session(graph).run(None)[0], 2 * x)


def test_sizes_that_double_with_every_node():
    """With ceil_mode, a size stands three times in the one that follows."""
    nodes = [
        helper.make_node(
            "MaxPool", [f"x{i}"], [f"x{i + 1}"], kernel_shape=[3], strides=[2], pads=[1, 1], ceil_mode=i % 2
        )
        for i in range(60)
    ]
    made = model(nodes, {"x0": [1, 1, "w"]}, ["x60"])
    refused(made, pf.errors.InvalidArgumentError, "give some of the sizes")


def test_many_sizes_that_broadcast():
    names = [f"x{i}" for i in range(120)]
    made = model([helper.make_node("Sum", names, ["y"])], {name: [f"{name}_size"] for name in names})
    refused(made, pf.errors.InvalidArgumentError, "give some of the sizes")
    few = model([helper.make_node("Sum", names[:40], ["y"])], {name: [f"{name}_size"] for name in names[:40]})
    session = pf.Session(pyflow.onnx.load(few))
    feeds = {name: np.ones(1 + 2 * (i % 2), np.float32) for i, name in enumerate(names[:40])}
    assert session.run(None, feeds)[0].tolist() == [40] * 3


@pytest.mark.parametrize("param", ["n*" * 3000 + "n", "*".join(["(n+m+k)"] * 200), "max(" * 500 + "n,n)" * 500])
def test_a_dim_param_that_is_a_large_expression(param):
    made = model([helper.make_node("Neg", ["x"], ["y"])], {"a": ["n", "m", "k"], "x": [param]})
    graph = pyflow.onnx.load(made)
    x = np.ones(3, np.float32)
    np.testing.assert_array_equal(pf.Session(graph).run(None, {"x": x, "a": np.ones((1, 1, 1), np.float32)})[0], -x)


def test_a_sparse_tensor_of_few_bytes():
    made = model([helper.make_node("Neg", ["x"], ["y"])])
    made.graph.sparse_initializer.append(
        helper.make_sparse_tensor(
            helper.make_tensor("x", TensorProto.DOUBLE, [1], [1.0]),
            helper.make_tensor("at", TensorProto.INT64, [1], [5]),
            [2**31],
        )
    )
    refused(made, pf.errors.ResourceExhaustedError, "too large to be made dense")


@pytest.mark.parametrize(
    ("low", "high", "by", "words"),
    [
        (0.0, 1.0, 0.0, "delta other than 0"),
        (0.0, np.inf, 1.0, "too many"),
        (0.0, np.nan, 1.0, "are no"),
        (0.0, 1.0, 1e-30, "too many"),
    ],
)
def test_ranges_that_are_none(low, high, by, words):
    constants = {"a": np.float32(low), "b": np.float32(high), "c": np.float32(by)}
    made = model([helper.make_node("Range", ["a", "b", "c"], ["y"])], constants=constants)
    refused(made, pf.errors.InvalidArgumentError, words)


def test_a_long_range_takes_no_memory_before_it_runs():
    constants = {"a": np.int64(0), "b": np.int64(2**40), "c": np.int64(1)}
    graph = pyflow.onnx.load(model([helper.make_node("Range", ["a", "b", "c"], ["y"])], constants=constants))
    assert graph.outputs[0].shape == (2**40,)


def test_skips_longer_than_the_text():
    node = helper.make_node(
        "TfIdfVectorizer",
        ["x"],
        ["y"],
        mode="TF",
        min_gram_length=2,
        max_gram_length=2,
        max_skip_count=10**9,
        ngram_counts=[0, 0],
        ngram_indexes=[0],
        pool_int64s=[1, 2],
    )
    graph = pyflow.onnx.load(model([node], constants={"x": np.array([1, 1, 2])}))
    assert pf.Session(graph).run(None)[0].tolist() == [2]


def test_a_norm_of_zero():
    node = helper.make_node("LpPool", ["x"], ["y"], kernel_shape=[2, 2], p=0)
    refused(model([node], {"x": [1, 1, 4, 4]}), pf.errors.InvalidArgumentError, "p > 0")


def test_a_function_of_an_operator_set_to_come():
    function = helper.make_function(
        "local", "f", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], [helper.make_opsetid("", 999)]
    )
    node = helper.make_node("f", ["x"], ["y"], domain="local")
    refused(model([node], {"x": [2]}, functions=[function]), pf.errors.UnimplementedError, "999")


def test_names_that_would_steer_a_terminal():
    node = helper.make_node("Nope\x1b[2J", ["x"], ["y"], name="\x1b]0;owned\x07")
    with pytest.raises(pf.errors.UnimplementedError) as caught:
        pyflow.onnx.load(model([node], {"x": [2]}))
    assert "\x1b" not in str(caught.value) and "Nope" in str(caught.value)


def test_random_inputs_of_a_huge_size():
    graph = pyflow.onnx.load(model([helper.make_node("Neg", ["x"], ["y"])], {"x": [2**20, 2**20]}))
    with pytest.raises(pf.errors.InvalidArgumentError, match="random numbers"):
        random_feeds(graph, {})
