"""Ops that run in Python on every device: placement, folding, errors, what keeps them alive."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import pyflow as pf
from pyflow.opdef import FUNCTIONS, OPS, TensorType


@pytest.fixture
def graph() -> Iterator[pf.Graph]:
    made = pf.Graph()
    with made.as_default():
        yield made


@pytest.fixture
def define() -> Iterator[Callable[..., Any]]:
    """``pf.define`` for ops that the test alone knows."""
    made: list[str] = []

    def function(name: str, *args: Any, **kwargs: Any) -> Any:
        made.append(name)
        return pf.define(name, *args, host=True, doc="An op of one test.", **kwargs)

    yield function
    for name in made:
        del OPS[name], FUNCTIONS[name]


@pytest.fixture
def inverse(define: Callable[..., Any]) -> Any:
    return define("test_inverse", "x:T", infer=lambda x: x.type, ref=np.linalg.inv)


MATRIX = np.array([[2, 1], [1, 3]], np.float32)


@pytest.fixture(params=["cpu", "ref"])
def session(graph: pf.Graph, request: pytest.FixtureRequest) -> pf.Session:
    return pf.Session(graph, pf.SessionConfig(device=request.param))


def test_between_kernels(graph: pf.Graph, session: pf.Session, inverse: Any) -> None:
    x = pf.placeholder(pf.float32, ("n", "n"))
    y = inverse(x * 2.0) + 1.0
    np.testing.assert_allclose(session.run(y, {x: MATRIX}), np.linalg.inv(MATRIX * 2) + 1, rtol=1e-6)
    placed = {row.kernel: (row.backend, row.note) for row in session.explain(y).rows}
    assert placed["test_inverse"] == ("host", "runs in Python")


def test_strided_operands(graph: pf.Graph, session: pf.Session, inverse: Any) -> None:
    x = pf.placeholder(pf.float32, (2, 4))
    y = inverse(pf.transpose(x)[::2])
    given = np.arange(8, dtype=np.float32).reshape(2, 4) ** 2
    np.testing.assert_allclose(session.run(y, {x: given}), np.linalg.inv(given.T[::2]), rtol=1e-5)


def test_what_numpy_raises_names_the_line(graph: pf.Graph, session: pf.Session, inverse: Any) -> None:
    x = pf.placeholder(pf.float32, ("n", "n"))
    y = inverse(x)
    with pytest.raises(pf.errors.InvalidArgumentError, match=r"Singular matrix .*test_host_ops.py:\d+") as raised:
        session.run(y, {x: MATRIX * 0})
    assert isinstance(raised.value.__cause__, np.linalg.LinAlgError)


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        (lambda x: x.astype(np.int8), r"expected float32.*, got int8\[2,2\]"),
        (lambda x: x[0], r"expected float32.*, got float32\[2\]"),
        (lambda x: x[:1], r"expected float32\[n,n\] \(n is 2\), got float32\[1,2\]"),
        (lambda x: None, "gave 0 results, expected 1"),
        (lambda x: "text", r"expected float32.*, got <U4\[\]"),
    ],
    ids=["dtype", "rank", "size", "nothing", "text"],
)
def test_results_that_are_not_as_inferred(
    graph: pf.Graph, session: pf.Session, define: Callable[..., Any], ref: Any, expected: str
) -> None:
    x = pf.placeholder(pf.float32, ("n", "n"))
    y = define("test_wrong", "x:T", infer=lambda x: x.type, ref=ref)(x)
    with pytest.raises(pf.errors.InvalidArgumentError, match=expected):
        session.run(y, {x: MATRIX})


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (KeyError("k"), pf.errors.NotFoundError),
        (IndexError("i"), pf.errors.OutOfRangeError),
        (TypeError("t"), pf.errors.InvalidArgumentError),
        (RuntimeError("r"), pf.errors.FailedPreconditionError),
        (pf.errors.UnimplementedError("u"), pf.errors.UnimplementedError),
    ],
    ids=lambda entry: getattr(entry, "__name__", type(entry).__name__),
)
def test_what_a_ref_raises(
    graph: pf.Graph, session: pf.Session, define: Callable[..., Any], raised: Exception, expected: type[Exception]
) -> None:
    def ref(x: np.ndarray) -> np.ndarray:
        raise raised

    v = pf.Variable(np.zeros(2, np.float32), name="v")
    session.run(pf.global_variables_initializer())
    y = define("test_raising", "x:T", infer=lambda x: x.type, ref=ref)(v)
    with pytest.raises(expected):
        session.run([v.assign(v + 1.0), y])
    assert not session.state.get("v").any(), "a failed run leaves variables as they were"


def test_interrupts_pass_as_they_are(graph: pf.Graph, session: pf.Session, define: Callable[..., Any]) -> None:
    def ref(x: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    y = define("test_interrupt", "x:T", infer=lambda x: x.type, ref=ref)(pf.placeholder_with_default(1.0))
    with pytest.raises(KeyboardInterrupt):
        session.run(y)


def test_pure_ones_are_folded(graph: pf.Graph, session: pf.Session, inverse: Any) -> None:
    y = inverse(pf.constant(MATRIX))
    assert [row.kernel for row in session.explain(y).rows] == ["copy"]
    np.testing.assert_allclose(session.run(y), np.linalg.inv(MATRIX), rtol=1e-6)


def test_one_that_fails_is_left_for_the_run_to_report(graph: pf.Graph, session: pf.Session, inverse: Any) -> None:
    y = inverse(pf.constant(MATRIX * 0))
    with pytest.raises(pf.errors.InvalidArgumentError, match="Singular"):
        session.run(y)


def test_ones_with_an_effect_run_each_time(graph: pf.Graph, session: pf.Session, define: Callable[..., Any]) -> None:
    seen: list[float] = []

    def ref(x: np.ndarray) -> np.ndarray:
        seen.append(float(x))
        return x

    y = define("test_effect", "x:T", infer=lambda x: x.type, ref=ref, effect="host")(pf.constant(3.0))
    for _ in range(3):
        session.run(y)
    assert seen == [3, 3, 3]


def test_unused_ones_do_not_run(graph: pf.Graph, session: pf.Session, define: Callable[..., Any]) -> None:
    def ref(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise AssertionError

    x = pf.placeholder(pf.float32, (2,))
    define("test_unused", "x:T", infer=lambda x: (x.type, x.type), ref=ref, multiple=True)(x)
    np.testing.assert_array_equal(session.run(x + 1.0, {x: MATRIX[0]}), MATRIX[0] + 1)


def test_several_results(graph: pf.Graph, session: pf.Session, define: Callable[..., Any]) -> None:
    split = define(
        "test_split",
        "x:T",
        infer=lambda x: (x.type, TensorType(pf.int64, x.dims)),
        ref=lambda x: (np.floor(x), np.floor(x).astype(np.int64)),
        multiple=True,
    )
    x = pf.placeholder(pf.float32, ("n",))
    whole, integers = split(x)
    found = session.run([whole + 1.0, integers + 1], {x: np.array([1.5, 2.5], np.float32)})
    assert [array.tolist() for array in found] == [[2, 3], [2, 3]]


def test_a_callable_outlives_its_session(graph: pf.Graph, inverse: Any) -> None:
    x = pf.placeholder(pf.float32, ("n", "n"))
    session = pf.Session(graph)
    function = session.make_callable(inverse(x), [x])
    session.close()
    del session
    gc.collect()
    np.testing.assert_allclose(function(MATRIX), np.linalg.inv(MATRIX), rtol=1e-6)


def test_plans_that_were_dropped_keep_nothing(graph: pf.Graph, inverse: Any) -> None:
    from pyflow.runtime.reference import _held

    x = pf.placeholder(pf.float32, ("n", "n"))
    gc.collect()
    before = len(_held)
    session = pf.Session(graph, pf.SessionConfig(plan_cache=2))
    for turn in range(6):
        session.run(inverse(x) * float(turn), {x: MATRIX})
    gc.collect()
    assert len(_held) - before <= 2
