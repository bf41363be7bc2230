"""What ops that rearrange, index and window say when they are given what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyflow as pf
from pyflow.errors import DTypeError, FailedPreconditionError, InvalidArgumentError, OutOfRangeError
from pyflow.graph import Graph, Value
from pyflow.interpret import evaluate_graph

Made = Callable[..., Any]


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


ROWS: list[tuple[Made, type[Exception], str]] = [
    (lambda x: pf.reshape(x, (5, 2)), InvalidArgumentError, r"\[reshape\] x: float32\[3,4\] has 12 elements.*has 10"),
    (lambda x: pf.reshape(x, (-1, -1)), InvalidArgumentError, "at most one -1"),
    (lambda x: pf.reshape(x, x[0, :2]), InvalidArgumentError, "expected integers as sizes"),
    (
        lambda x: x[3],
        OutOfRangeError,
        r"index 3 is .* axis 0 of x: float32\[3,4\]; expected -3 <= index < 3",
    ),
    (lambda x: x[x[:2] > 0], InvalidArgumentError, r"expected a mask of shape \[3,4\].*got bool\[2,4\]"),
    (lambda x: x[True], InvalidArgumentError, "expected a mask of shape"),
    (lambda x: x[0, 0, 0], OutOfRangeError, "3 indices for.*2 axes"),
    (lambda x: x[::0], InvalidArgumentError, "step is 0"),
    (lambda x: x[[0, 1], [1, 2, 3]], InvalidArgumentError, r"indices: shapes do not broadcast.*int64\[2\]"),
    (lambda x: x[[0], [1.5]], InvalidArgumentError, r"expected integers as indices.*float32\[1\]"),
    (lambda x: pf.transpose(x, (0, 0)), InvalidArgumentError, "expected a permutation of 2 axes"),
    (lambda x: pf.squeeze(x, 0), InvalidArgumentError, "axis 0 of x: .* has size 3, expected 1"),
    (lambda x: pf.expand_dims(x, 5), InvalidArgumentError, "axis 5 is out of range"),
    (lambda x: pf.concat([]), InvalidArgumentError, "at least one value"),
    (lambda x: pf.concat([x, x[:, :2]]), InvalidArgumentError, "axis 1 of.*4 and 2 differ"),
    (lambda x: pf.split(x, 2), InvalidArgumentError, "does not split into 2 equal parts"),
    (lambda x: pf.split(x, [1, 1]), InvalidArgumentError, r"does not split into sizes \[1,1\]"),
    (lambda x: pf.broadcast_to(x, (2, 2)), InvalidArgumentError, r"does not broadcast to \[2,2\]"),
    (lambda x: pf.pad(x, [1, 2, 3]), InvalidArgumentError, r"expected \(before, after\) pairs"),
    (lambda x: pf.pad(x, [(-2, -2), (0, 0)]), InvalidArgumentError, "negative sizes"),
    (lambda x: pf.gather(x, [5]), OutOfRangeError, "index 5 is out of range for axis 0"),
    (lambda x: pf.one_hot([1], -1), InvalidArgumentError, "one_hot.*a size is negative"),
    (lambda x: pf.random_normal((-1,)), InvalidArgumentError, "random_normal.*a size is negative"),
    (lambda x: pf.broadcast_to(x[0, 0], (2**40, 2**40)), InvalidArgumentError, "more bytes than 63 bits"),
    (lambda x: pf.placeholder(pf.float32, (2**63,)), InvalidArgumentError, "more bytes than 63 bits"),
    (lambda x: pf.nonzero(x, count=2), InvalidArgumentError, "the run finds out count, got 2"),
    (lambda x: pf.exp(x, name=5), DTypeError, "expected a str as name, got 5"),
    (lambda x: pf.arange(0, 5, 0), InvalidArgumentError, "a number other than 0"),
    (lambda x: pf.nonzero(x[0, 0]), InvalidArgumentError, "at least 1 axis"),
    (lambda x: pf.conv2d(x, x), InvalidArgumentError, "expected w in OIHW of 4 axes"),
    (lambda x: pf.conv2d(x[None, None], ones(1, 2, 3, 3)), InvalidArgumentError, "x has 1 channels"),
    (
        lambda x: pf.conv2d(x[None, None], ones(1, 1, 4, 4)),
        InvalidArgumentError,
        "window of 4 does not",
    ),
    (
        lambda x: pf.conv2d(x[None, None], ones(1, 1, 1, 1), padding="full"),
        InvalidArgumentError,
        "'same'",
    ),
    (lambda x: pf.max_pool2d(x[None, None], 5), InvalidArgumentError, "window of 5 does not fit a size of 3"),
    (lambda x: pf.layer_norm(x, [1.0] * 3, [1.0] * 3), InvalidArgumentError, r"expected scale of shape \[4\]"),
    (lambda x: pf.batch_norm(x, *[[1.0] * 3] * 4), InvalidArgumentError, r"expected scale of shape \[4\]"),
    (lambda x: pf.cross_entropy(x, x[0]), InvalidArgumentError, "labels are float32"),
    (lambda x: pf.cross_entropy(x, [0]), InvalidArgumentError, r"labels: expected the sizes \[3\], got int64\[1\]"),
    (lambda x: pf.nll_loss(x, [0]), InvalidArgumentError, r"target: expected the sizes \[3\], got int64\[1\]"),
    (lambda x: pf.softmax_cross_entropy(x, x[:, :1]), InvalidArgumentError, r"sizes \[3,4\], got float32\[3,1\]"),
    (lambda x: pf.binary_cross_entropy(x, x[:1]), InvalidArgumentError, r"sizes \[3,4\], got float32\[1,4\]"),
    (lambda x: pf.cross_entropy(x, [0, 1, 2], reduction="max"), InvalidArgumentError, "'mean', 'sum' or 'none'"),
    (lambda x: pf.dropout(x, 1.0), InvalidArgumentError, "0 <= rate < 1"),
    (lambda x: pf.random_integers((3,), 5, 5), InvalidArgumentError, r"\[5, 5\)"),
]


@pytest.mark.parametrize(("make", "error", "text"), ROWS, ids=[text for _, _, text in ROWS])
def test_message(make: Made, error: type[Exception], text: str) -> None:
    with Graph().as_default():
        x = pf.placeholder("float32", [3, 4])
        with pytest.raises(error, match=text):
            make(x)


def test_assert_fails_the_run_with_its_message() -> None:
    graph = Graph()
    with graph.as_default():
        x = pf.placeholder("float32", [2])
        check = pf.Assert(x > 0, "x must be positive")
    assert evaluate_graph(graph, [check], {x: np.ones(2, np.float32)}) == []
    with pytest.raises(FailedPreconditionError, match="x must be positive"):
        evaluate_graph(graph, [check], {x: np.zeros(2, np.float32)})


def test_print_shows_dtype_shape_and_values(capsys: pytest.CaptureFixture[str]) -> None:
    graph = Graph()
    with graph.as_default():
        x, i = pf.placeholder("float32", [2], name="x"), pf.placeholder("int64", [], name="i")
        y = pf.print(x, i, message="now")
    (result,) = evaluate_graph(graph, [y], {x: np.array([1.5, 2], np.float32), i: np.array(7)})
    np.testing.assert_array_equal(result, [1.5, 2])
    assert capsys.readouterr().out == "now x:0: float32[2] [1.5 2. ]\nnow i:0: int64[] 7\n"


def sizes_that_must_agree(value: Value) -> list[tuple[Any, Any]]:
    node = value.node
    return [(left, right) for left, right, _ in node.op.checks(node)] if node.op.checks else []


def test_sizes_that_are_not_known_yet_are_compared_later() -> None:
    with Graph().as_default():
        x = pf.placeholder("float32", ["n", 4])
        y = pf.placeholder("float32", ["m", 4])
        assert sizes_that_must_agree(pf.concat([x, y], axis=1)) == [(y.dims[0], x.dims[0])]
        assert sizes_that_must_agree(pf.reshape(x, (-1, 2))) == []
        assert sizes_that_must_agree(pf.reshape(x, (3, 4))) == [(x.dims[0] * 4, 12)]
        assert sizes_that_must_agree(pf.squeeze(x, 0)) == [(x.dims[0], 1)]
        assert sizes_that_must_agree(pf.broadcast_to(x, (5, 4))) == [((x.dims[0] - 1) * (x.dims[0] - 5), 0)]
