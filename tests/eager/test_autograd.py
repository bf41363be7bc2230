"""Gradients of tensors: leaves, hooks, tapes, higher orders, and the errors of what cannot be."""

from __future__ import annotations

import gc
import re
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyflow as pf
from pyflow.errors import DTypeError, FailedPreconditionError, InvalidArgumentError, PyflowError


def leaf(*shape: int, seed: int = 0) -> pf.Tensor:
    return pf.tensor(np.random.default_rng([seed, *shape]).standard_normal(shape), requires_grad=True)


def test_gradients_add_up() -> None:
    x = pf.tensor([1.0, 2.0], requires_grad=True)
    for turn in (1, 2):
        (x * x).sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [2 * turn, 4 * turn]
    x.grad = None
    y = x + x
    (y * y).sum().backward()
    assert x.grad.tolist() == [8, 16]


def test_leaves_do_not_share_their_gradients() -> None:
    a, b = leaf(3), leaf(3, seed=1)
    (a + b).sum().backward()
    with pf.no_grad():
        a.grad += 5
    assert b.grad.tolist() == [1, 1, 1]
    seed = pf.tensor(np.ones(3))
    c = leaf(3)
    c.backward(seed)
    seed.zero_()
    assert c.grad.tolist() == [1, 1, 1]


PROGRAMS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "mlp": lambda m, x, w: m.tanh(m.relu(x @ w) @ w.T).sum(),
    "softmax": lambda m, x, w: (m.softmax(x @ w, -1) * x[:, :4]).sum(),
    "indexing": lambda m, x, w: (x[1:, ::2] ** 2).sum() + (x[[0, 0, 2]] * 3).sum() + x[2, 4] * w[0, 1],
    "reused": lambda m, x, w: ((x @ w) * (x @ w)).sum() / (1 + m.exp(-x).sum()),
    "shapes": lambda m, x, w: (x.reshape(5, 3).T @ w[:5]).sum() + w.T[1].sum() * x.mean(),
    "reductions": lambda m, x, w: m.log(m.exp(x).sum(-1)).mean() + m.sqrt((w * w).sum()),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_against_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    program = PROGRAMS[name]
    ours = [leaf(3, 5), leaf(5, 4)]
    theirs = [torch.tensor(x.tolist(), dtype=torch.float64, requires_grad=True) for x in ours]
    for _ in range(2):
        mine, wanted = program(pf, *ours), program(torch, *theirs)
        np.testing.assert_allclose(mine.item(), wanted.item(), rtol=1e-12)
        mine.backward()
        wanted.backward()
    for x, t in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_changes_in_place_against_torch() -> None:
    torch = pytest.importorskip("torch")

    def program(x: Any, v: Any) -> Any:
        y = x * 2
        y[0, 1:] = v * 3
        y *= x
        y += 1
        z = y + y[1]
        z[[0, 2]] = y[[1, 1]]
        return (z * z).sum()

    ours = [leaf(3, 4), leaf(3)]
    theirs = [torch.tensor(x.tolist(), dtype=torch.float64, requires_grad=True) for x in ours]
    program(*ours).backward()
    program(*theirs).backward()
    for x, t in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-12)


def test_programs_with_python_control_flow() -> None:
    x = pf.tensor(np.array([0.5, 1.5]), requires_grad=True)
    y = x
    while y.sum() < 40:
        y = y * y + 1 if y[0] > 1 else y * 3
    y.sum().backward()
    step = 1e-7
    for index in range(2):
        sides = []
        for sign in (1, -1):
            z = x.numpy().copy()
            z[index] += sign * step
            while z.sum() < 40:
                z = z * z + 1 if z[0] > 1 else z * 3
            sides.append(z.sum())
        assert abs(x.grad.numpy()[index] - (sides[0] - sides[1]) / (2 * step)) < 1e-4


def test_higher_orders() -> None:
    cube = pf.grad(lambda x: pf.sum(x**3))
    x = pf.tensor([1.0, 2.0])
    assert cube(x).tolist() == [3, 12]
    second = pf.grad(lambda x: pf.sum(cube(x)))
    assert second(x).tolist() == [6, 12]
    assert pf.grad(lambda x: pf.sum(second(x)))(x).tolist() == [6, 6]
    assert pf.grad(lambda a: pf.grad(lambda b: a * b * b)(pf.tensor(3.0)))(pf.tensor(2.0)).item() == 6
    both = pf.grad(lambda a, b: (a * b).sum(), argnums=(0, 1))
    assert [g.tolist() for g in both(x, x + 1)] == [[2, 3], [1, 2]]
    assert pf.grad(lambda a, b: a.sum(), argnums=1)(x, x).tolist() == [0, 0]
    y = pf.tensor([1.0, 2.0], requires_grad=True)
    (y**3).sum().backward(create_graph=True)
    y.grad[1:].sum().backward()
    assert y.grad.tolist() == [3, 24]


def test_tape() -> None:
    x, w = pf.tensor([1.0, 2.0]), pf.tensor(3.0, requires_grad=True)
    with pf.GradientTape() as tape:
        tape.watch(x)
        loss = (x * x * w).sum()
    assert not x.requires_grad
    found = tape.gradient(loss, {"x": x, "w": w})
    assert found["x"].tolist() == [6, 12]
    assert found["w"].item() == 5
    with pytest.raises(FailedPreconditionError, match="persistent"):
        tape.gradient(loss, x)
    with pf.GradientTape(persistent=True) as tape:
        y = w * w
    assert [tape.gradient(y, w).item() for _ in range(2)] == [6, 6]
    assert tape.gradient(y, [w, x])[1] is None


def test_modes() -> None:
    x = leaf(3)
    with pf.no_grad():
        assert not (x * 2).requires_grad
        with pf.enable_grad():
            assert (x * 2).requires_grad
        x += 1
        assert not pf.is_grad_enabled()

    @pf.no_grad()
    def doubled(v: Any) -> Any:
        return v * 2

    assert not doubled(x).requires_grad
    assert not (x > 0).requires_grad
    assert (x * 2).requires_grad


def test_hooks() -> None:
    x = leaf(2)
    y = x * 3
    seen = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    twice = x.register_hook(lambda g: g * 2)
    y.retain_grad()
    y.sum().backward()
    assert seen == [[1, 1]]
    assert x.grad.tolist() == [6, 6]
    assert y.grad.tolist() == [1, 1]
    twice.remove()
    x.grad = None
    (x * 3).sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_dropout_has_one_mask() -> None:
    x = pf.tensor(np.ones(500, np.float32), requires_grad=True)
    y = pf.dropout(x, 0.4)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())


def test_errors() -> None:
    x = leaf(3)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(FailedPreconditionError, match=r"retain_graph.*|before"):
        y.backward()
    with pytest.raises(InvalidArgumentError, match=r"one real number.*float64\[3\]"):
        (x * x).backward()
    with pytest.raises(FailedPreconditionError, match="requires a gradient"):
        pf.tensor([1.0]).backward()
    with pytest.raises(InvalidArgumentError, match=r"float64\[3\], got float64\[2\]"):
        (x * x).backward(np.ones(2))
    with pytest.raises(DTypeError, match="int64"):
        pf.tensor([1], requires_grad=True)
    with pytest.raises(FailedPreconditionError, match="leaf"):
        x[0] = 1
    with pytest.raises(FailedPreconditionError, match="detach"):
        (x * 2).requires_grad = False
    with pytest.raises(DTypeError, match=r"float64\[3\]"):
        x.grad = pf.tensor([1.0])


def test_a_value_that_backward_needs_must_not_change() -> None:
    x = leaf(3)
    y = pf.exp(x)
    z = y * y
    y += 1
    with pytest.raises(FailedPreconditionError, match=r"\[multiply\].*changed in place.*"):
        z.sum().backward()
    y = x * 2
    w = y + 1
    y += 1
    w.sum().backward()
    assert x.grad.tolist() == [2, 2, 2]
    y = x * 2
    row = y[:2]
    y[0] = 5
    with pytest.raises(FailedPreconditionError, match="window"):
        row.sum()
    with pytest.raises(FailedPreconditionError, match="window"):
        (x * 2)[1:].zero_()


def test_anomalies_have_the_line_of_the_call() -> None:
    x = pf.tensor([0.0, 1.0], requires_grad=True)
    with pf.detect_anomaly():
        y = pf.sqrt(x) * 0.0  # the forward line
        with pytest.raises(PyflowError, match="NaN") as caught:
            y.sum().backward()
    line = int(re.findall(r"test_autograd.py:(\d+)", str(caught.value))[0])
    assert "the forward line" in open(__file__).read().split("\n")[line - 1]


def test_steps_leave_nothing_behind() -> None:
    w = leaf(8, 8)
    x = pf.tensor(np.ones((4, 8)))

    def step() -> None:
        loss = pf.mean(pf.square(pf.tanh(x @ w) - x))
        loss.backward()
        with pf.no_grad():
            w.__isub__(w.grad * 0.01)
        w.grad = None

    for _ in range(200):
        step()
    gc.collect()
    tracemalloc.start()
    objects = len(gc.get_objects())
    try:
        step()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(2000):
            step()
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 20_000
    assert len(gc.get_objects()) - objects < 200


def test_a_long_chain_is_freed_without_recursion() -> None:
    x = pf.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(30_000):
        y = y + 1.0
    y.backward()
    assert x.grad.item() == 1
    y = x
    for _ in range(30_000):
        y = y + 1.0
    del y
