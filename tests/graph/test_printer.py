"""Text that reads back, and text that must not: truncated, altered, hostile."""

from __future__ import annotations

import random

import numpy as np
import pytest

import pyflow as pf
from pyflow.dims import Dim
from pyflow.errors import DataLossError
from pyflow.graph import Graph
from pyflow.interpret import evaluate, evaluate_graph
from pyflow.printer import diff, dot, dump, dump_parts, parse_graph
from pyflow.region import capture


def sample() -> Graph:
    graph = Graph()
    with graph.as_default():
        pf.set_random_seed(7)
        x = pf.placeholder("float32", [Dim("batch", min=1, max=64, hint=32), 4, None], name="x")
        with graph.name_scope("dense"):
            w = pf.Variable(np.arange(60, dtype=np.float32).reshape(4, 15), name="w", trainable=False)
        h = pf.transpose(x, (0, 2, 1)) @ w
        a, b = pf.split(h, 3, axis=2)[:2]
        total = pf.reshape(pf.clip(a, -1e-30, 3.5) + b, [pf.shape(x)[0], -1])
        special = pf.constant(np.array([np.nan, np.inf, -0.0], np.float32))
        found = pf.nonzero(total > 0.25)
        with graph.control_dependencies([w.assign(w * 2.0)]):
            y = pf.identity(total, name='a "quoted" name\n')
        graph.alias("any string: %1 # {", y)
        graph.outputs = [y, special, found]
    return graph


def test_it_reads_back_as_the_same_text() -> None:
    text, constants = dump_parts(sample())
    assert len(constants) == 1
    graph = parse_graph(text, constants)
    assert dump(graph) == text
    assert [value.name for value in graph.inputs] == ["x:0"]
    assert graph.seed == 7
    variable = graph.variables["dense/w"]
    assert not variable.trainable
    assert variable.initializer is graph.find("dense/w/initializer")
    assert graph.find("any string: %1 # {") is graph.outputs[0]
    assert str(graph.inputs[0].node.origin).endswith(str(sample().inputs[0].node.origin))


def test_it_computes_the_same() -> None:
    graph = sample()
    again = parse_graph(*dump_parts(graph))
    x = np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 4, 3)
    one, other = {"dense/w": np.ones((4, 15), np.float32)}, {"dense/w": np.ones((4, 15), np.float32)}
    want = evaluate_graph(graph, graph.outputs, {graph.inputs[0]: x}, one)
    have = evaluate_graph(again, again.outputs, {again.inputs[0]: x}, other)
    for a, b in zip(want, have, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(one["dense/w"], other["dense/w"])
    assert one["dense/w"][0, 0] == 2


def test_a_region_reads_back_as_a_graph() -> None:
    graph = sample()
    region = capture(graph, graph.outputs, graph.inputs)
    again = parse_graph(*dump_parts(region))
    x = np.ones((1, 4, 2), np.float32)
    w = np.ones((4, 15), np.float32)
    inputs = [node for node in again.nodes if node.op.name == "input"]
    feeds = {node.outputs[0]: x if node.attrs["label"] == "feed:0" else w for node in inputs}
    for a, b in zip(evaluate(region, [x, w]), evaluate_graph(again, again.outputs, feeds), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("text", [
    "",
    "nonsense",
    "pyflow graph 2",
    "pyflow graph 1\n%0 = no_such_op() : float32[2]",
    "pyflow graph 1\n%0 = add(%1, %2) : float32[2]",
    "pyflow graph 1\n%0 = constant() {value=c0} : float32[2]",
    "pyflow graph 1\n%0 = constant() {value=tensor(float32, [9999999999], [1.0])} : float32[2]",
    "pyflow graph 1\n%0 = constant() {value=tensor(int32, [1], [1.5])} : int32[1]",
    "pyflow graph 1\n%0 = placeholder() {dtype=float32, dims=[3]} : float32[4]",
    "pyflow graph 1\n%0 = placeholder() {dtype=float32, dims=[-3]} : float32[-3]",
    "pyflow graph 1\n%0 = placeholder() {dtype=float32, dims=[<n>]} : float32[n]",
    "pyflow graph 1\n%0 = placeholder() {dtype=float32, dims=[3], dims=[3]} : float32[3]",
    "pyflow graph 1\n%0 = placeholder() {dtype=float32} : float32[3]",
    'pyflow graph 1\nvariable "w" : float32[2',
    'pyflow graph 1\n%0 = read_variable() {variable=$"w"} : float32[2]',
    "pyflow graph 1\noutput %7",
    "pyflow graph 1\ndim n min=5 max=<2>",
    "pyflow graph 1\ndim n min=" + "9" * 5000,
    "pyflow graph 1\n%0 = placeholder() {dtype=float32, dims=" + "[" * 100_000,
    "pyflow graph 1\n%0 = placeholder() {dtype=float32, dims=[<" + "(" * 100_000 + ">]} : float32[1]",
    "pyflow graph 1\n%0 = placeholder() {dtype=__import__('os')} : float32[3]",
    "pyflow graph 1\n%0 = sigmoid(%0) : float32[3]",
])  # fmt: skip
def test_hostile_text_is_refused_with_its_line(text) -> None:
    with pytest.raises(DataLossError, match=r"line \d+|empty"):
        parse_graph(text)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(DataLossError, match="expected the text"):
        parse_graph(b"pyflow graph 1")  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(40))
def test_altered_text_gives_a_graph_or_an_error(seed) -> None:
    text, constants = dump_parts(sample())
    generator = random.Random(seed)
    for _ in range(10):
        letters = list(text)
        for _ in range(generator.randint(1, 6)):
            at = generator.randrange(len(letters))
            kind = generator.randrange(4)
            if kind == 0:
                del letters[at : at + generator.randint(1, 30)]
            elif kind == 1:
                letters.insert(at, generator.choice('%[](){}<>"#:,=0123456789abc \n$'))
            elif kind == 2:
                letters[at] = chr(generator.randrange(1, 256))
            else:
                letters[at:at] = letters[at // 2 : at // 2 + 20]
        try:
            parse_graph("".join(letters), constants)
        except DataLossError:
            continue


def test_dot_and_diff() -> None:
    graph = sample()
    assert dot(graph).startswith("digraph pyflow {")
    assert '"dense/w' in dot(graph)
    assert diff(graph, graph) == ""
    other = sample()
    with other.as_default():
        pf.exp(other.inputs[0])
    assert "+%" in diff(graph, other)


def test_constants_that_are_not_finite_read_back():
    graph = Graph()
    numbers = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4028235e38], np.float32)
    with graph.as_default():
        value = pf.constant(numbers, name="mask")
    again = pf.parse_graph(graph.dump())
    assert again.dump() == graph.dump()
    assert again.find("mask").attrs["value"].array.tobytes() == numbers.tobytes()
    assert value.dims == (6,)
