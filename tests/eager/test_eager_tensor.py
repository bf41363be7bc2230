"""Tensors: making them, what they hold, operators, indexing, changes in place, exchange with other libraries."""

from __future__ import annotations

import copy
import operator
import pickle
import re
import threading
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import pyflow as pf
from pyflow import dtypes
from pyflow.errors import (
    DTypeError,
    FailedPreconditionError,
    InvalidArgumentError,
    OutOfRangeError,
    PyflowError,
)


def test_python_numbers_become_pyflow_dtypes() -> None:
    kinds = [(1.5, pf.float32), (3, pf.int64), (True, pf.bool), (1j, pf.complex64), ("a", pf.string)]
    for given, dtype in kinds:
        assert pf.tensor(given).dtype is dtype
        assert pf.tensor([given, given]).type == pf.TensorType(dtype, (2,))
    assert pf.tensor(np.zeros(3, np.int8)).dtype is pf.int8
    assert pf.tensor(np.arange(3, dtype=">i4")).tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", [d for d in dtypes.ALL if not d.is_object], ids=str)
def test_every_dtype_is_held(dtype: pf.DType) -> None:
    x = pf.tensor(np.ones((2, 3)).astype(dtype.numpy))
    assert x.dtype is dtype
    assert x.numpy().dtype == dtype.numpy
    assert x.shape == (2, 3)
    assert x[1].shape == (3,)
    assert f"dtype={dtype}" in repr(x)
    same = pickle.loads(pickle.dumps(x))
    assert same.dtype is dtype
    assert same.numpy().tobytes() == x.numpy().tobytes()


def test_what_does_not_fit_is_refused() -> None:
    for data, dtype in [([1.5], "int32"), ([300], "uint8"), ([[1], [2, 3]], None), ([object()], None)]:
        with pytest.raises(InvalidArgumentError, match=r"\[tensor\].*test_eager_tensor"):
            pf.tensor(data, dtype)


def test_a_tensor_is_a_copy_and_from_numpy_is_not() -> None:
    array = np.zeros(3, np.float32)
    held, shared = pf.tensor(array), pf.from_numpy(array)
    array[1] = 7
    assert held.tolist() == [0, 0, 0]
    assert shared.tolist() == [0, 7, 0]
    shared[0] = 5
    assert array[0] == 5


def test_python_protocols() -> None:
    x = pf.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert len(x) == 2
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]]
    assert 3.0 in x
    assert 9.0 not in x
    assert float(pf.tensor([2.5])) == 2.5
    assert int(pf.tensor(7)) == 7
    assert list(range(pf.tensor(3))) == [0, 1, 2]
    assert bool(pf.tensor([0.0])) is False
    assert f"{pf.tensor(2.0):.2f}" == "2.00"
    assert np.shares_memory(np.asarray(x), x.numpy())
    assert np.shares_memory(np.asarray(x), x.numpy())
    assert (np.ones((2, 2)) + x).dtype is pf.float64
    assert memoryview(x.numpy())[1, 0] == 3
    assert repr(pf.tensor([1, 2])) == "tensor([1, 2], dtype=int64)"
    for wrong in (lambda: bool(x), lambda: float(x), lambda: len(pf.tensor(1.0)), lambda: [0][pf.tensor(0.0)]):
        with pytest.raises(PyflowError, match="test_eager_tensor"):
            wrong()


OPERATORS = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lt", "le", "gt", "ge", "eq", "ne"]


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
def test_operators_are_numpys(op: str, dtype: str) -> None:
    a = np.random.default_rng(1).uniform(1, 5, (3, 1, 5)).astype(dtype)
    b = np.random.default_rng(2).uniform(1, 4, (4, 5)).astype(dtype)
    for left, right in [(a, b), (a, 3), (3, a), (b, a)] + ([(a, 2.5), (2.5, a)] if dtype[0] == "f" else []):
        function = getattr(operator, op)
        wanted = function(left, right)
        for _ in range(2):
            found = function(*[pf.tensor(v) if isinstance(v, np.ndarray) else v for v in (left, right)]).numpy()
            np.testing.assert_allclose(found, wanted, rtol=2e-6)
        if op != "truediv":
            assert found.dtype == wanted.dtype


def test_many_numbers_are_one_entry() -> None:
    from pyflow.eager import dispatch

    x = pf.tensor(np.arange(6, dtype=np.float32))
    assert (x * 1.5).tolist() == (x.numpy() * np.float32(1.5)).tolist()
    before = len(dispatch._entries)
    for i in range(50):
        assert (x * (i / 7)).tolist() == (x.numpy() * np.float32(i / 7)).tolist()
    sizes = [pf.tensor(np.ones(n, np.float32)) for n in range(2, 30)]
    for each in sizes:
        assert (each + each).tolist() == [2.0] * len(each)
    assert len(dispatch._entries) - before <= 1


KEYS: list[Any] = [
    0,
    -1,
    (1, 2),
    slice(1, None),
    (slice(None), slice(None, None, -2)),
    (..., 1),
    (None, 2, None),
    ([0, 2], [1, 3]),
    (slice(None), [2, 0, 0]),
    np.array([[1, 0], [2, 2]]),
    (np.array([0, 1])[:, None], slice(1, 3)),
    np.arange(12).reshape(3, 4) % 3 == 0,
    np.array([True, False, True]),
    (0, slice(0, 0)),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_indexing_and_item_assignment_are_numpys(key: Any) -> None:
    array = np.arange(12.0).reshape(3, 4)
    x = pf.tensor(array)
    np.testing.assert_array_equal(x[key].numpy(), array[key])
    x[key] = 100
    array[key] = 100
    np.testing.assert_array_equal(x.numpy(), array)
    picked = array[key] + 1
    x[key] = pf.tensor(picked)
    array[key] = picked
    np.testing.assert_array_equal(x.numpy(), array)


def test_indices_may_be_tensors() -> None:
    x = pf.tensor(np.arange(12.0).reshape(3, 4))
    assert x[pf.tensor(1), pf.tensor([0, 3])].tolist() == [4, 7]
    assert x[x > 9].tolist() == [10, 11]
    assert x[: pf.tensor(2), 0].tolist() == [0, 4]


def test_wrong_indices() -> None:
    x = pf.tensor(np.zeros((3, 4)))
    with pytest.raises(OutOfRangeError, match=r"float64\[3,4\].*test_eager_tensor"):
        x[3]
    with pytest.raises(DTypeError, match="float32"):
        x[np.ones(2, np.float32)]
    with pytest.raises(PyflowError):
        x[[0, 1, 2], [0, 1]]
    with pytest.raises(InvalidArgumentError, match=r"float64\[3,4\]"):
        x[0] = np.zeros(3)
    with pytest.raises(DTypeError, match="complex"):
        x[0] = 1j


def test_windows_share_memory_and_in_place_operators_keep_dtype() -> None:
    x = pf.tensor(np.arange(6, dtype=np.float32).reshape(2, 3))
    row = x[1]
    row += 10
    assert x.tolist() == [[0, 1, 2], [13, 14, 15]]
    before = id(x)
    x *= 2
    x[0] -= 1
    assert id(x) == before
    assert x.tolist() == [[-1, 1, 3], [26, 28, 30]]
    assert x.dtype is pf.float32
    with pytest.raises(InvalidArgumentError, match="does not fit"):
        row += pf.tensor(np.zeros((2, 3), np.float32))
    counts = pf.tensor([1, 2])
    with pytest.raises(DTypeError, match="cast"):
        counts += 0.5


def test_read_only_memory_is_not_written() -> None:
    array = np.zeros(3)
    array.flags.writeable = False
    for x in (pf.from_numpy(array), pf.from_dlpack(array)):
        assert x.tolist() == [0, 0, 0]
        assert (x + 1).tolist() == [1, 1, 1]
        with pytest.raises(FailedPreconditionError, match="read-only"):
            x[0] = 1


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "int64", "float16", "float32", "complex64"])
def test_dlpack_with_numpy(dtype: str) -> None:
    x = pf.tensor(np.ones((3, 5)), "float32").astype(dtype)
    taken = np.from_dlpack(x)
    assert np.shares_memory(taken, x.numpy())
    back = pf.from_dlpack(taken[:, ::2])
    assert back.dtype is x.dtype
    assert np.shares_memory(back.numpy(), x.numpy())
    del x
    assert taken.astype(int).sum() == 15


def test_buffer_protocol() -> None:
    x = pf.tensor(np.arange(6, dtype=np.int32).reshape(2, 3))
    view = memoryview(x)
    assert (view.format, view.shape, view.tolist()) == ("i", (2, 3), [[0, 1, 2], [3, 4, 5]])
    view[0, 1] = 7
    assert x[0].tolist() == [0, 7, 2]
    assert memoryview(x[:, ::2]).tolist() == [[0, 2], [3, 5]]
    assert memoryview(pf.tensor([1.0], requires_grad=True)).readonly
    held = memoryview(pf.tensor(np.ones(100_000, np.float32)))
    assert held[99_999] == 1  # the memory outlives the tensor
    with pytest.raises((ValueError, BufferError)):
        memoryview(pf.tensor([1.0], "bfloat16"))


def test_dlpack_with_torch() -> None:
    torch = pytest.importorskip("torch")
    for dtype in ("bool", "int32", "float32", "float64"):
        x = pf.tensor(np.arange(6).reshape(2, 3)).astype(dtype)
        taken = torch.from_dlpack(x)
        assert taken.data_ptr() == x.numpy().ctypes.data
        assert taken.tolist() == x.tolist()
        back = pf.from_dlpack(taken.T)
        assert back.dtype is x.dtype
        assert back.tolist() == taken.T.tolist()
    with pytest.raises(DTypeError, match="from_dlpack"):
        pf.from_dlpack(torch.ones(3, dtype=torch.bfloat16))
    with pytest.raises(DTypeError, match="DLPack"):
        np.from_dlpack(pf.tensor(np.ones(3, ml_dtypes.bfloat16)))


def test_copies() -> None:
    x = pf.tensor([1.0, 2.0], requires_grad=True)
    for made in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert made.requires_grad
        assert made.tolist() == [1, 2]
    with pytest.raises(FailedPreconditionError, match="detach"):
        copy.deepcopy(x * 2)
    assert not x.detach().requires_grad
    assert x.clone().requires_grad
    assert not x.numpy().flags.writeable


def test_text_and_sequences() -> None:
    x = pf.tensor(["a", "bc"])
    assert x.dtype is pf.string
    assert pf.strings.join([x, pf.tensor(["x", "y"])]).tolist() == ["ax", "bcy"]
    assert (x == pf.tensor(["a", "a"])).tolist() == [True, False]


def test_methods() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    x = pf.tensor(array)
    assert x.sum().item() == 15
    assert x.sum(axis=0, keepdims=True).shape == (1, 3)
    assert x.reshape(3, -1).tolist() == array.reshape(3, 2).tolist()
    assert x.T.tolist() == array.T.tolist()
    assert x.transpose(1, 0).shape == (3, 2)
    assert x.astype("int32").dtype is pf.int32
    assert x.argmax(axis=1).tolist() == [2, 2]
    assert x.flatten().shape == (6,)
    assert x.clip(1, 4).tolist() == array.clip(1, 4).tolist()
    x.zero_()
    assert x.tolist() == np.zeros((2, 3)).tolist()


def test_errors_name_shapes_dtypes_and_the_line_of_the_call() -> None:
    x, y = pf.tensor(np.zeros((2, 3), np.float32)), pf.tensor(np.zeros((4, 5), np.float32))
    for _ in range(2):
        with pytest.raises(InvalidArgumentError) as caught:
            x @ y
        line = int(re.findall(r"test_eager_tensor.py:(\d+)", str(caught.value))[0])
        assert "float32[2,3]" in str(caught.value)
        assert "float32[4,5]" in str(caught.value)
        assert line == caught.tb.tb_lineno
    with pytest.raises(DTypeError):
        pf.softmax(pf.tensor(["a"]))
    with pytest.raises(PyflowError, match="test_eager_tensor"):
        pf.gather(x, pf.tensor([7]), 0)


def test_graph_values_and_tensors_do_not_mix() -> None:
    with pf.Graph().as_default():
        value = pf.placeholder("float32", (2,), name="given")
        for mixed in (lambda: value + pf.tensor([1.0, 2.0]), lambda: pf.tensor([1.0, 2.0]) * value):
            with pytest.raises(DTypeError, match=r"given:0.*test_eager_tensor"):
                mixed()
        with pytest.raises(DTypeError, match="given"):
            pf.concat([value, pf.tensor([1.0])], axis=0)


def test_without_tensors_ops_build_graphs_as_before() -> None:
    with pf.Graph().as_default():
        assert isinstance(pf.add([1.0], [2.0]), pf.Value)
        assert isinstance(pf.random_normal((2,)), pf.Value)
    assert pf.eager.run(pf.add, 1.0, 2.0).item() == 3


def test_random_numbers_follow_the_seed() -> None:
    pf.eager.seed(3)
    first = [pf.eager.run(pf.random_normal, (4,)).tolist() for _ in range(2)]
    pf.eager.seed(3)
    assert [pf.eager.run(pf.random_normal, (4,)).tolist() for _ in range(2)] == first
    assert first[0] != first[1]
    kept = pf.dropout(pf.tensor(np.ones(1000, np.float32)), 0.5)
    assert set(kept.tolist()) == {0.0, 2.0}


def test_tensors_are_fed_to_sessions() -> None:
    with pf.Graph().as_default() as graph:
        x = pf.placeholder("float32", (None,))
        y = x * 2
    with pf.Session(graph) as session:
        assert session.run(y, {x: pf.tensor([1.0, 2.0])}).tolist() == [2, 4]


def test_control_flow_is_pythons() -> None:
    x = pf.tensor(3.0)
    assert pf.cond(x > 2, lambda: x * 2, lambda: x).item() == 6
    assert pf.switch_case(pf.tensor(1), [lambda: "a", lambda: "b"]) == "b"
    assert pf.while_loop(lambda i, s: i < 5, lambda i, s: (i + 1, s + i), (pf.tensor(0), pf.tensor(0)))[1].item() == 10
    total, sums = pf.scan(lambda c, row: (c + row, c * 2), pf.tensor(0.0), pf.tensor([1.0, 2.0, 3.0]))
    assert total.item() == 6
    assert sums.tolist() == [0, 2, 6]
    assert pf.map(lambda row: row * row, pf.tensor([1.0, 2.0])).tolist() == [1, 4]
    with pytest.raises(DTypeError, match="one bool"):
        pf.cond(x, lambda: 1, lambda: 2)


def test_eight_threads_at_once() -> None:
    wrong: list[Any] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for turn in range(60):
            array = rng.standard_normal((turn % 7 + 1, 5)).astype(np.float32)
            x = pf.tensor(array, requires_grad=True)
            y = pf.sum(pf.tanh(x) * (x + seed))
            y.backward()
            slope = np.tanh(array) + (array + seed) * (1 - np.tanh(array) ** 2)
            if x.grad is None or not np.allclose(x.grad.numpy(), slope, atol=1e-4):
                wrong.append((seed, turn))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_sums_and_products_of_bools_are_bools() -> None:
    a, b = np.array([True, False, True, False]), np.array([True, True, False, False])
    x, y = pf.tensor(a), pf.tensor(b)
    for made, want in ((x + y, a + b), (x * y, a * b), (x + True, a + True)):
        assert made.dtype is pf.bool_
        assert np.array_equal(made.numpy(), want)
    assert (x + 1).dtype is pf.int64
    assert pf.tensor(np.arange(4))[x + y].tolist() == [0, 1, 2]
