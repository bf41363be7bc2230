"""What users of NumPy and PyTorch write without a thought: it is right here too, eagerly and in a trace."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import pyflow as pf
from pyflow.errors import DTypeError, FailedPreconditionError, InvalidArgumentError

A = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
HERE = "test_daily.py"


def test_bits_of_integers_and_logic_of_bools() -> None:
    x, y = np.array([6, -7, 12]), np.array([3, 5, 2])
    a, b = pf.tensor(x), pf.tensor(y)
    for mine, wanted in (
        (a & b, x & y),
        (a | 1, x | 1),
        (3 ^ a, 3 ^ x),
        (~a, ~x),
        (a << b, x << y),
        (a >> 1, x >> 1),
        (1 << b, 1 << y),
        ((a > 0) & (b > 2), (x > 0) & (y > 2)),
        (~(a > 0) | True, ~(x > 0) | True),
    ):
        np.testing.assert_array_equal(mine.numpy(), wanted)
    a &= 7
    a |= 8
    a ^= 1
    a <<= 2
    a >>= 1
    x &= 7
    x |= 8
    x ^= 1
    x <<= 2
    x >>= 1
    np.testing.assert_array_equal(a.numpy(), x)
    m, k = pf.tensor(np.eye(2)), np.eye(2)
    m @= np.ones((2, 2))
    k @= np.ones((2, 2))
    np.testing.assert_array_equal(m.numpy(), k)


def test_numpys_functions_take_tensors() -> None:
    t = pf.tensor(A)
    for mine, wanted in (
        (np.sin(t), np.sin(A)),
        (np.add(A, t), A + A),
        (A * t, A * A),
        (np.power(t, 2), A**2),
        (np.true_divide(t, 2), A / 2),
        (np.maximum(t, 3), np.maximum(A, 3)),
        (np.mean(t, axis=1), A.mean(1)),
        (np.sum(t), A.sum()),
    ):
        assert isinstance(mine, pf.Tensor)
        np.testing.assert_allclose(mine.numpy(), wanted, rtol=1e-6)
    assert t.sum(dtype="float64").dtype is pf.float64
    x = pf.tensor([1.0, 2.0], requires_grad=True)
    (np.exp(x) * np.array([1, 2], np.float32)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp([1, 2]) * [1, 2], rtol=1e-6)
    with pytest.raises(TypeError):
        np.add(t, 1, out=A.copy())


def test_methods_of_both_libraries() -> None:
    t = pf.tensor(A)
    assert t.permute(2, 0, 1).shape == (4, 2, 3) and t.unsqueeze(1).shape == (2, 1, 3, 4)
    assert t.swapaxes(0, 2).shape == (4, 3, 2) and t.dim() == 3 and t.numel() == 24 and t.contiguous() is t
    np.testing.assert_array_equal(t.flip(1).numpy(), np.flip(A, 1))
    assert t.pow(2).sum().item() == (A**2).sum() and t.ptp().item() == 23


def test_memory_is_lent_as_it_is() -> None:
    torch = pytest.importorskip("torch")
    for dtype in (torch.float32, torch.int64, torch.bool, torch.uint8, torch.complex64, torch.float16):
        x = torch.ones(3, 2).to(dtype)
        t = pf.from_dlpack(x)
        assert torch.from_dlpack(t).data_ptr() == x.data_ptr() and torch.from_dlpack(t).dtype == dtype
    frozen = pf.tensor([1.0, 2.0], requires_grad=True)
    assert not np.from_dlpack(frozen).flags.writeable
    assert np.from_dlpack(frozen.detach()).flags.writeable


def test_pickles_and_copies() -> None:
    for dtype in ("bfloat16", "float16", "int8", "bool", "complex64", "uint64"):
        t = pf.tensor([0, 1]).astype(dtype)
        for made in (pickle.loads(pickle.dumps(t)), copy.deepcopy(t), copy.copy(t)):
            assert made.dtype is t.dtype and made.tolist() == t.tolist()


def test_tapes_inside_of_tapes() -> None:
    x = pf.tensor(3.0)
    with pf.GradientTape() as outer:
        outer.watch(x)
        with pf.GradientTape() as inner:
            inner.watch(x)
            y = x**3
        slope = inner.gradient(y, x)
    assert slope.item() == 27
    assert outer.gradient(slope, x).item() == 18


def test_jacobians_in_loops() -> None:
    x = pf.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = pf.stack([x[0] * x[1], x[1] * x[2]])
    rows = []
    for row in y:
        x.grad = None
        row.backward(retain_graph=True)
        rows.append(x.grad.tolist())
    assert rows == [[2, 1, 0], [0, 3, 2]]


def test_sizes_are_numbers_in_a_trace() -> None:
    mean = pf.function(lambda x: x.reshape(x.shape[0], -1).sum(axis=1) / x.shape[0] + x.shape[1])
    for rows in (2, 1, 0):
        x = A[:rows] if rows else np.zeros((0, 3, 4), np.float32)
        got = mean(pf.tensor(x))
        assert got.dtype is pf.float32
        np.testing.assert_array_equal(got.numpy(), x.reshape(rows, 12).sum(1) / max(rows, 1) + 3)
    assert mean.traces == 1


def test_values_around_a_function_are_guarded() -> None:
    factor, names = 2.0, ["a"]

    @pf.function
    def scaled(x: Any) -> Any:
        return x * factor + len(names)

    x = pf.tensor([1.0])
    assert scaled(x).item() == 3
    factor = 5.0
    assert scaled(x).item() == 6
    factor = 2.0
    assert scaled(x).item() == 3
    assert scaled.traces == 2
    assert "'factor'" in scaled.explain()


def test_no_grad_holds_in_a_trace() -> None:
    w = pf.tensor([1.0, 2.0], requires_grad=True)

    def slope() -> Any:
        with pf.GradientTape() as tape:
            with pf.no_grad():
                still = w * 2
            loss = pf.sum(w * still + w.detach() * w)
        return tape.gradient(loss, w)

    assert pf.function(slope)().tolist() == slope().tolist() == [3, 6]
    through = pf.function(lambda: w * still_of(w))

    def still_of(v: Any) -> Any:
        with pf.no_grad():
            return v * 3

    through().sum().backward()
    assert w.grad.tolist() == [3, 6]


def test_arguments_that_change_in_place() -> None:
    @pf.function
    def moved(x: Any, y: Any) -> Any:
        x += y
        x *= 2
        return x - 1

    x, y = pf.tensor([1.0, 2.0]), pf.tensor([1.0, 1.0])
    assert moved(x, y).tolist() == [3, 5]
    assert x.tolist() == [4, 6] and y.tolist() == [1, 1]
    leaf = pf.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(FailedPreconditionError, match="leaf"):
        moved(leaf, y)
    with pytest.raises(InvalidArgumentError, match="changed in place"):
        pf.function(lambda v: v.__iadd__(np.ones((3, 2), np.float32)))(x)


def test_gradients_left_by_a_function_are_those_of_eager() -> None:
    def accumulated(wrap: Any) -> list[Any]:
        w, b = pf.tensor([1.0, 2.0], requires_grad=True), pf.tensor(0.5, requires_grad=True)
        w.register_hook(lambda g: g * 10)
        seen = []

        def run(x: Any) -> Any:
            loss = (w * x).sum() + b
            loss.backward()
            return loss.detach()

        run = wrap(run)
        for _ in range(3):
            run(pf.tensor([1.0, 3.0]))
            seen.append((w.grad.tolist(), b.grad.item()))
        b.grad = None
        run(pf.tensor([1.0, 3.0]))
        return [*seen, (w.grad.tolist(), b.grad.item())]

    assert accumulated(pf.function) == accumulated(lambda f: f)


def test_what_a_graph_value_is_not() -> None:
    for wrong in (
        lambda v: v.__setitem__(0, 1.0),
        lambda v: v.copy_(v),
        lambda v: v.item(),
        lambda v: v.tolist(),
        lambda v: float(v.sum()),
        lambda v: v.numpy(),
    ):
        with pytest.raises(DTypeError, match="graph value") as caught:
            pf.function(wrong)(pf.tensor([1.0, 2.0]))
        assert HERE in str(caught.value)
    with pytest.raises(DTypeError, match="expected a function"):
        pf.function(3)
