"""The native side of eager calls: what is found by key, memory that comes back, many threads."""

from __future__ import annotations

import gc
import os
import sys
import threading

import numpy as np
import pytest

import pyflow as pf
from pyflow.errors import FailedPreconditionError, InvalidArgumentError


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "float16", "bfloat16", "bool"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (3, 5), (1, 1, 2)])
def test_an_operator_gives_the_same_when_it_is_known(dtype: str, shape: tuple[int, ...]) -> None:
    x = pf.cast(pf.tensor(np.arange(int(np.prod(shape))).reshape(shape) % 5), dtype)
    for operator in ("__add__", "__mul__", "__eq__", "__lt__", "__and__", "__sub__"):
        if (operator == "__and__") != (dtype == "bool"):
            continue
        if dtype == "bool" and operator in ("__sub__", "__mul__", "__add__", "__lt__"):
            continue
        first, second = (getattr(x, operator)(x) for _ in range(2))
        assert first.dtype is second.dtype and first.shape == second.shape == shape
        assert np.array_equal(first.numpy(), second.numpy())


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "float16", "bfloat16", "uint8", "complex64"])
def test_numbers_beside_tensors_take_their_dtype_or_promote(dtype: str) -> None:
    x = pf.cast(pf.tensor([1, 2, 3]), dtype)
    for number in (2, 0.5, -1.25, 3):
        if dtype == "uint8" and number == -1.25:
            continue
        results = [(x + number, number * x) for _ in range(3)]
        for added, multiplied in results:
            assert added.dtype is results[0][0].dtype and multiplied.dtype is results[0][1].dtype
            assert np.array_equal(added.numpy(), results[0][0].numpy())
        expected = np.asarray(x.numpy().astype(np.complex128) + number)
        assert np.allclose(results[0][0].numpy().astype(np.complex128), expected, rtol=1e-2)


def test_a_number_that_does_not_fit_is_an_error_each_time() -> None:
    x = pf.tensor([1, 2, 3], "int32")
    assert (x + 5).tolist() == [6, 7, 8]
    with pytest.raises(Exception, match="int32"):
        x + 2**40
    assert (x + 6).tolist() == [7, 8, 9]


def test_sizes_that_do_not_fit_name_the_op_and_shapes_each_time() -> None:
    x, y = pf.tensor(np.ones(3, np.float32)), pf.tensor(np.ones(4, np.float32))
    for _ in range(2):
        with pytest.raises(InvalidArgumentError, match=r"add.*float32\[3\].*float32\[4\]"):
            x + y
        with pytest.raises(InvalidArgumentError, match="add"):
            x += y
    assert x.tolist() == [1, 1, 1]


@pytest.mark.parametrize("size", [1, 2, 7, 1000, 40_000])
def test_changes_in_place_write_the_same_memory(size: int) -> None:
    x = pf.tensor(np.arange(size, dtype=np.float32))
    y = pf.tensor(np.full(size, 2, np.float32))
    array, window = x.numpy(), x[:1]
    for turn in range(3):
        before = array.copy()
        x += y
        x *= 2
        x -= x[:1].clone()
        expected = (before + 2) * 2
        assert np.array_equal(array, expected - expected[0])
        assert x.numpy() is array and window.item() == array[0]
        assert x._version.count == 3 * (turn + 1)
    x += x
    x += x[::-1]
    assert x.numpy() is array


def test_operands_that_overlap_what_is_changed_are_read_first() -> None:
    for _ in range(2):
        x = pf.tensor(np.arange(8, dtype=np.float32))
        head, tail = x[:4], x[2:6]
        for _ in range(2):
            head += tail
        assert x.tolist() == reference()


def reference() -> list[float]:
    x = np.arange(8, dtype=np.float32)
    for _ in range(2):
        x[:4] = x[:4] + x[2:6].copy()
    return [float(each) for each in x]


def test_a_read_only_tensor_is_not_changed() -> None:
    array = np.ones(3, np.float32)
    array.flags.writeable = False
    x = pf.from_numpy(array)
    x + 1
    for _ in range(2):
        with pytest.raises(FailedPreconditionError, match="read-only"):
            x += 1
    assert array.tolist() == [1, 1, 1]


def test_a_large_array_outlives_its_tensor() -> None:
    x = pf.tensor(np.ones(100_000, np.float32))
    arrays = [(x * number).numpy() for number in (1, 2, 3)]
    gc.collect()
    others = [(x * 7).numpy() for _ in range(3)]
    assert [array[99_999] for array in arrays] == [1, 2, 3]
    assert all(other[0] == 7 for other in others)
    taken = np.from_dlpack(x * 5)
    x * 9
    assert taken[50_000] == 5


def test_a_gradient_reads_what_the_call_was_given() -> None:
    x = pf.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(3):
        y = x * x
        y *= 1.0
        z = y.sum()
        z.backward()
    assert x.grad is not None and x.grad.tolist() == [6, 12]


def test_many_steps_leak_nothing() -> None:
    w = pf.tensor(np.ones(64, np.float32), requires_grad=True)
    data = pf.tensor(np.ones((4, 64), np.float32))

    def steps(count: int) -> None:
        for _ in range(count):
            loss = pf.sum(pf.square(data * w - 1.0))
            loss.backward()
            with pf.no_grad():
                w.sub_(w.grad * 0.001)
            w.grad = None
            data[0, 1:5]
            _ = -data

    steps(2000)
    gc.collect()
    objects, memory = len(gc.get_objects()), resident()
    references = sys.getrefcount(w), sys.getrefcount(data)
    steps(100_000)
    gc.collect()
    assert len(gc.get_objects()) < objects + 200
    assert resident() < memory + (8 << 20)
    assert (sys.getrefcount(w), sys.getrefcount(data)) == references


def test_large_results_are_given_back() -> None:
    x = pf.tensor(np.ones(1_000_000, np.float32))
    for _ in range(20):
        x + x
    memory = resident()
    for _ in range(500):
        x + x
    assert resident() < memory + (16 << 20)


def test_threads_run_calls_at_once() -> None:
    large = [pf.tensor(np.full(300_000, number, np.float32)) for number in range(8)]
    failures: list[BaseException] = []
    start = threading.Barrier(8)

    def work(number: int) -> None:
        try:
            start.wait()
            x = pf.tensor(np.full(5, number, np.float32), requires_grad=True)
            for turn in range(100):
                y = large[number] + large[number]
                assert y[turn].item() == 2 * number
                with pf.no_grad():
                    large[number] -= 0.0
                z = (x * x + float(turn)).sum()
                z.backward()
                assert x.grad is not None and x.grad.tolist() == [2.0 * number] * 5
                x.grad = None
                odd = pf.tensor(np.ones(turn % 13, np.float32)) * number
                assert odd.tolist() == [number] * (turn % 13)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_long_chain_of_records_is_forgotten() -> None:
    x = pf.tensor(1.0, requires_grad=True)
    y = x
    for _ in range(200_000):
        y = y * 1.0
    del y
    gc.collect()
    y = x
    for _ in range(50_000):
        y = y * 1.0
    y.backward()
    assert x.grad is not None and x.grad.item() == 1


def test_modes_are_of_one_thread() -> None:
    seen = []
    with pf.no_grad():
        thread = threading.Thread(target=lambda: seen.append(pf.is_grad_enabled()))
        thread.start()
        thread.join()
        assert not pf.is_grad_enabled()
    assert seen == [True]


def test_a_tensor_takes_attributes_and_weak_references() -> None:
    import weakref

    x = pf.tensor([1.0])
    x.tag = "mine"
    seen = weakref.ref(x)
    assert x.tag == "mine" and seen() is x
    y = x + x
    with pytest.raises(AttributeError):
        _ = y.tag
    del x
    gc.collect()
    assert seen() is None


def test_cycles_through_gradients_are_collected() -> None:
    import weakref

    x = pf.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    y.loop = y
    seen = weakref.ref(y)
    del y
    gc.collect()
    assert seen() is None
