"""``pf.function``: traces, what they take from outside, gradients, and the errors of what cannot be traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyflow as pf
from pyflow.errors import DTypeError, FailedPreconditionError, InvalidArgumentError


def attention(x: Any, w: Any) -> Any:
    q, k, v = x @ w, x @ (w * 0.5), x @ (w + 1.0)
    return pf.softmax(q @ pf.transpose(k) / 2.0, axis=-1) @ v


def newton(x: Any, w: Any) -> Any:
    return pf.while_loop(
        lambda y, n: n < 6, lambda y, n: ((y + pf.abs(x).sum() / y) / 2.0, n + 1), (pf.abs(x).sum() + 1.0, 0)
    )[0]


def recurrent(x: Any, w: Any) -> Any:
    last, states = pf.scan(lambda h, row: ((s := pf.tanh(row * 0.5 + h)), s), x[0] * 0.0, x)
    return last, {"states": states}


def branch(x: Any, w: Any) -> Any:
    return pf.cond(x.sum() > 0, lambda: x @ w, lambda: x - 1.0)


PROGRAMS: dict[str, Callable[..., Any]] = {
    "attention": attention,
    "newton": newton,
    "recurrent": recurrent,
    "branch": branch,
    "indexing": lambda x, w: x[1:, 0] * w[0, 1] + x[-1][0],
}


def leaves(result: Any) -> list[Any]:
    if isinstance(result, dict):
        result = tuple(result.values())
    return [leaf for entry in result for leaf in leaves(entry)] if isinstance(result, tuple) else [result]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_function_gives_the_bits_of_its_eager_calls(name: str) -> None:
    program = PROGRAMS[name]
    traced = pf.function(program)
    rng = np.random.default_rng(0)
    w = pf.tensor(rng.standard_normal((3, 3)))
    for rows in (4, 2, 7):
        x = pf.tensor(rng.standard_normal((rows, 3)))
        for mine, wanted in zip(leaves(traced(x, w)), leaves(program(x, w)), strict=True):
            assert mine.dtype is wanted.dtype
            np.testing.assert_array_equal(mine.numpy(), wanted.numpy())
    assert traced.traces == 1


def test_traces_are_counted_explained_and_limited() -> None:
    @pf.function(max_traces=3)
    def scaled(x: Any, factor: Any, *, name: str = "a") -> Any:
        return x * factor

    x = pf.tensor([1.0, 2.0])
    assert scaled(x, 2).tolist() == [2, 4]
    assert scaled(pf.tensor([1.0, 2.0, 3.0]), 2).tolist() == [2, 4, 6]
    assert scaled.traces == 1
    assert scaled(x, pf.tensor(3.0)).tolist() == [3, 6]
    assert scaled(x.astype("float64"), 2).dtype is pf.float64
    text = scaled.explain()
    assert "first call" in text
    assert "Python values" in text
    assert "float64[?]" in text
    with pytest.raises(FailedPreconditionError, match=r"3 traces.*test_function"):
        scaled(x, 7)


def test_sizes_of_one_and_none_are_ordinary() -> None:
    total = pf.function(lambda x, y: (x + y).sum(axis=0))
    for n in (3, 1, 0, 8):
        x = pf.tensor(np.ones((n, 2), np.float32))
        assert total(x, x).tolist() == [2 * n, 2 * n]
    assert total.traces == 1


def test_a_train_step_changes_what_it_uses_from_outside() -> None:
    def trained(wrap: Callable[[Any], Any]) -> pf.Tensor:
        w = pf.tensor(np.full((2, 1), 0.5), requires_grad=True)
        moment = pf.tensor(np.zeros((2, 1)))

        @wrap
        def step(x: Any, y: Any) -> Any:
            with pf.GradientTape() as tape:
                loss = pf.mean(pf.square(x @ w - y))
            slope = tape.gradient(loss, w)
            with pf.no_grad():
                moment.copy_(moment * 0.5 + slope)
                w.__isub__(moment * 0.01)
            return loss

        for _ in range(20):
            loss = step(pf.tensor([[1.0, 2.0], [3.0, 4.0]], "float64"), pf.tensor([[3.0], [7.0]], "float64"))
        assert loss.item() < 1
        return w

    np.testing.assert_array_equal(trained(pf.function).numpy(), trained(lambda f: f).numpy())


def test_gradients_flow_through_a_function() -> None:
    w = pf.tensor([[2.0, 0.0], [1.0, 3.0]], requires_grad=True)
    x = pf.tensor([[1.0, 2.0]], requires_grad=True)
    pf.function(lambda v: pf.tanh(v @ w).sum())(x).backward()
    mine = x.grad.numpy().copy(), w.grad.numpy().copy()
    x.grad = w.grad = None
    pf.tanh(x @ w).sum().backward()
    for a, b in zip(mine, (x.grad, w.grad), strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-6)
    cubed = pf.function(lambda v: pf.grad(lambda u: pf.sum(u**3))(v))
    assert cubed(pf.tensor([1.0, 2.0])).tolist() == [3, 12]


def test_what_cannot_be_traced() -> None:
    x = pf.tensor([1.0, 2.0])
    leaked = []

    def branching(v: Any) -> Any:
        return v if v.sum() > 0 else -v

    with pytest.raises(DTypeError, match=r"pf\.cond"):
        pf.function(branching)(x)
    with pytest.raises(FailedPreconditionError, match="as a whole"):
        pf.function(lambda v: x.__setitem__(0, v[0]))(x)
    pf.function(lambda v: leaked.append(v))(x)
    with pytest.raises(DTypeError, match="graph value"):
        leaked[0] + x
    with pytest.raises(InvalidArgumentError, match="another graph"):
        leaked[0] + 1.0
    with pytest.raises(InvalidArgumentError, match="outside"):
        pf.function(lambda v: pf.cond(v.sum() > 0, lambda: x.copy_(v * 2.0), lambda: v))(pf.tensor([3.0, 4.0]))
