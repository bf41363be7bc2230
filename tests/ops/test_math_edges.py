"""What rows cannot say of the math ops: gradients at edges, known contents, failures and their messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyflow as pf
from pyflow import constant, dtypes, errors, placeholder
from pyflow.dims import Dim
from pyflow.gradients import gradients
from pyflow.graph import Graph
from pyflow.interpret import evaluate_graph
from pyflow.opdef import ANY


def slope(function: Callable[..., Any], *arrays: Any) -> list[np.ndarray]:
    """The gradients of the sum of a function by its inputs, in float64."""
    graph = Graph()
    with graph.as_default():
        values = [placeholder("float64", np.shape(array)) for array in arrays]
        found = gradients(function(*values), values)
        assert all(gradient is not None for gradient in found)
        return evaluate_graph(graph, found, {v: np.asarray(a, float) for v, a in zip(values, arrays, strict=True)})


@pytest.mark.parametrize(
    ("function", "arrays", "expected"),
    [
        (pf.relu, [[0.0, -1, 2]], [[0, 0, 1]]),
        (pf.abs, [[0.0, -2, 2]], [[0, -1, 1]]),
        (pf.maximum, [[1.0, 2], [1.0, 3]], [[1, 0], [0, 1]]),
        (pf.minimum, [[1.0, 2], [1.0, 3]], [[1, 1], [0, 0]]),
        (lambda x: pf.max(x), [[3.0, 1, 3]], [[0.5, 0, 0.5]]),
        (lambda x: pf.min(x, 1), [[[1.0, 1], [2, 0]]], [[[0.5, 0.5], [0, 1]]]),
        (lambda x: pf.prod(x), [[2.0, 0, 3]], [[0, 6, 0]]),
        (lambda x: pf.prod(x), [[0.0, 0, 3]], [[0, 0, 0]]),
        (lambda x: pf.prod(x), [[2.0, 4]], [[4, 2]]),
        (pf.pow, [[0.0, 0, 0], [0.0, 1, 2]], [[0, 1, 0], [0, 0, 0]]),
        (lambda x: x**2, [[0.0, -3]], [[0, -6]]),
        (lambda x: pf.clip(x, -1.0, 1.0), [[-2.0, -1, 0, 1, 2]], [[0, 1, 1, 1, 0]]),
        (pf.clip, [[-2.0, 0, 2], -1.0, 1.0], [[0, 1, 0], 1, 1]),
        (lambda x: pf.where(x > 0, pf.log(pf.where(x > 0, x, 1.0)), 0.0), [[0.0, 2]], [[0, 0.5]]),
        (pf.add, [[1.0, 2, 3], 1.0], [[1, 1, 1], 3]),
        (pf.logsumexp, [[-np.inf, 0.0]], [[0, 1]]),
    ],
)
def test_gradients_at_edges(function: Callable[..., Any], arrays: list[Any], expected: list[Any]) -> None:
    for found, wanted in zip(slope(function, *arrays), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_no_gradient_is_not_a_missing_gradient() -> None:
    with Graph().as_default():
        x = placeholder("float32", (3,))
        assert gradients(pf.floor(x), x) == [None]
        assert gradients(pf.stop_gradient(x) * 2, x) == [None]


def test_small_integers_stay_known() -> None:
    batch = Dim("batch")
    with Graph().as_default():
        x = placeholder("float32", ("batch", 6))
        sizes = pf.shape(x)
        assert (sizes * 2 + 1).content == (batch * 2 + 1, 13)
        assert (sizes[0] * sizes[1] // 3).content == batch * 2
        assert pf.prod(sizes).content == batch * 6
        assert pf.sum(sizes, keepdims=True).content == (batch + 6,)
        assert pf.max(constant([3, 9, 4])).content == 9
        assert pf.cast(sizes, "int32").content == (batch, 6)
        assert (-constant([1, 2])).content == (-1, -2)
        assert (constant([7, -7]) % 3).content == (1, 2)
        assert pf.maximum(sizes, 1).content[1] == 6


def test_what_wraps_or_fails_is_not_known() -> None:
    with Graph().as_default():
        largest = constant(np.array([2**31 - 1], np.int32))
        assert (largest + constant(np.array([1], np.int32))).content is None
        assert pf.cast(constant([2**31]), "int32").content is None
        assert (constant([1]) // constant([0])).content is None
        assert (constant([5]) // placeholder("int64", (1,))).content is None


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (
            lambda x: pf.softmax(x, 3),
            errors.InvalidArgumentError,
            ["[softmax]", "axis 3", "float32[4,b]", "-2 <= axis < 2"],
        ),
        (lambda x: pf.sum(x, (0, -2)), errors.InvalidArgumentError, ["[sum]", "(0, -2)", "twice"]),
        (lambda x: pf.argmax(x, 2), errors.InvalidArgumentError, ["[argmax]", "axis 2", "float32[4,b]"]),
        (
            lambda x: x + np.ones((3, 7), np.float32),
            errors.InvalidArgumentError,
            ["[add]", "float32[4,b]", "float32[3,7]"],
        ),
        (lambda x: x @ x, None, []),
        (lambda x: np.ones((2, 3), np.float32) @ x, errors.InvalidArgumentError, ["[matmul]", "3 columns", "4 rows"]),
        (lambda x: pf.matmul(x, 2.0), errors.InvalidArgumentError, ["[matmul]", "0-d", "use *"]),
        (lambda x: pf.max(np.ones((0, 3)), 0), errors.InvalidArgumentError, ["[max]", "no elements", "float64[0,3]"]),
        (lambda x: pf.logical_and(x, True), errors.DTypeError, ["[logical_and]", "expected bool", "float32"]),
        (lambda x: pf.gelu(x, "quick"), errors.DTypeError, ["[gelu]", "'tanh'", "'quick'"]),
        (lambda x: pf.sum_to(x, (3, 1)), errors.InvalidArgumentError, ["[sum_to]", "float32[4,b]", "[3,1]"]),
    ],
)
def test_messages(call: Callable[..., Any], kind: type[Exception] | None, words: list[str]) -> None:
    with Graph().as_default():
        x = placeholder("float32", (4, "b"))
        if kind is None:
            call(x)
            return
        with pytest.raises(kind) as caught:
            call(x)
    text = str(caught.value)
    assert all(word in text for word in (*words, "test_math_edges.py")), text


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: x // (x - x), "zero"),
        (lambda x: x % (x - x), "zero"),
        (lambda x: x ** (-x), "negative"),
    ],
)
def test_failures_of_a_run(call: Callable[..., Any], words: str) -> None:
    graph = Graph()
    with graph.as_default():
        x = placeholder("int64", (2,))
        y = call(x)
    assert y.node.op.is_fallible(y.node)
    with pytest.raises(errors.InvalidArgumentError, match=words):
        evaluate_graph(graph, [y], {x: np.array([2, 3])})


def test_division_by_a_nonzero_constant_cannot_fail() -> None:
    with Graph().as_default():
        x = placeholder("int64", (2,))
        for y in (x // 2, x % 3, x**2, pf.cast(x, "int32")):
            assert not y.node.op.is_fallible(y.node)


@pytest.mark.parametrize("dtype", sorted(ANY, key=str), ids=str)
def test_python_numbers_take_the_dtype(dtype: dtypes.DType) -> None:
    with Graph().as_default():
        x = placeholder(dtype, (2,))
        assert (x + 1).dtype is (dtypes.int64 if dtype is dtypes.bool_ else dtype)
        assert (x / 2).dtype is (dtype if dtype.is_floating else dtypes.float64)
