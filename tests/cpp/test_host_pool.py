"""Sessions on a host's threads: `SessionConfig(executor=...)` with a pool built from host_pool.cpp."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import pyflow as pf

pytestmark = pytest.mark.builds
SOURCE = Path(__file__).with_name("host_pool.cpp")
FLAGS = ("-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-pthread")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if shutil.which("c++") is None:
        pytest.skip("there is no c++")
    path = tmp_path_factory.mktemp("pool") / "host_pool.so"
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # no sanitizer's compiler
    command = ["c++", *FLAGS, f"-I{pf.get_include()}", str(SOURCE), "-o", str(path)]
    subprocess.run(command, check=True, env=environment)
    loaded = ctypes.CDLL(str(path))
    loaded.make_pool.argtypes = [ctypes.c_int32, ctypes.c_uint32]
    loaded.make_pool.restype = ctypes.c_void_p
    for name in ("executor_of", "loops_of", "helped_of", "free_pool"):
        getattr(loaded, name).argtypes = [ctypes.c_void_p]
    loaded.executor_of.restype = ctypes.c_void_p
    loaded.loops_of.restype = loaded.helped_of.restype = ctypes.c_int64
    return loaded


class Pool:
    def __init__(self, library: ctypes.CDLL, threads: int, struct_size: int = 0) -> None:
        self._library = library
        self._pool = library.make_pool(threads, struct_size)
        self.executor: int = library.executor_of(self._pool)

    @property
    def loops(self) -> int:
        """How many parallel_for calls there were."""
        return self._library.loops_of(self._pool)

    @property
    def helped(self) -> int:
        """How many tasks ran on threads of the pool's own."""
        return self._library.helped_of(self._pool)

    def free(self) -> None:
        self._library.free_pool(self._pool)


@pytest.fixture
def pool(library: ctypes.CDLL) -> Iterator[Pool]:
    made = Pool(library, 3)
    yield made
    made.free()


@pytest.fixture
def graph() -> Iterator[pf.Graph]:
    made = pf.Graph()
    with made.as_default():
        yield made


FEED = np.random.default_rng(0).standard_normal((403, 301)).astype(np.float32)


def model() -> tuple[pf.Tensor, list[pf.Tensor]]:
    x = pf.placeholder(pf.float32, ("n", 301), name="x")
    y = pf.softmax(pf.tanh(x @ (np.ones((301, 257), np.float32) / 7)))
    return x, [y, pf.sum(y), pf.mean(y, axis=0), pf.argmax(y, axis=1), pf.gradients(pf.sum(y * y), x)[0]]


def wide(count: int) -> np.ndarray:
    return np.ones((count,), np.float32)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_bits_are_those_of_one_thread(library: ctypes.CDLL, graph: pf.Graph, threads: int) -> None:
    pool = Pool(library, threads)
    x, fetches = model()
    with pf.Session(graph, pf.SessionConfig(threads=1)) as alone:
        want = alone.run(fetches, {x: FEED})
    with pf.Session(graph, pf.SessionConfig(executor=pool.executor)) as session:
        for _ in range(3):
            for have, expected in zip(session.run(fetches, {x: FEED}), want, strict=True):
                np.testing.assert_array_equal(have, expected)
    assert (pool.loops > 0) == (pool.helped > 0) == (threads > 1)
    pool.free()


def test_an_error_on_a_thread_of_the_host_comes_back(pool: Pool, graph: pf.Graph) -> None:
    x = pf.placeholder(pf.float32, ("n",), name="x")
    whole = pf.cast(pf.exp(pf.tanh(x)) * x, pf.int32)  # 0 for NaN
    y = whole // whole
    session = pf.Session(graph, pf.SessionConfig(executor=pool.executor))
    for place in (0, 700_000, 1_999_999):
        feed = wide(2_000_000)
        feed[place] = np.nan
        with pytest.raises(pf.errors.PyflowError, match="division by zero"):
            session.run(y, {x: feed})
    assert (session.run(y, {x: wide(2_000_000)}) == 1).all()
    assert pool.helped > 0


def test_cancel_and_deadline_stop_between_steps(pool: Pool, graph: pf.Graph) -> None:
    x = value = pf.placeholder(pf.float32, (512, 512), name="x")
    v = pf.Variable(np.float32(0), name="v")
    for _ in range(300):
        value = pf.tanh(value @ x)
    write = v.assign(pf.sum(value) * 0.0 + 1.0)
    session = pf.Session(graph, pf.SessionConfig(executor=pool.executor))
    session.run(v.initializer)
    feed = np.full((512, 512), 0.01, np.float32)
    with pytest.raises(pf.errors.DeadlineExceededError):
        session.run(write, {x: feed}, pf.RunOptions(timeout=0.002))
    token = pf.CancelToken()
    timer = threading.Timer(0.1, token.cancel)
    timer.start()
    with pytest.raises(pf.errors.CancelledError):
        session.run(write, {x: feed}, pf.RunOptions(cancel=token))
    timer.join()
    assert v.eval(session) == 0
    assert pool.loops > 0


def test_two_sessions_share_a_pool(pool: Pool, graph: pf.Graph) -> None:
    x, fetches = model()
    with pf.Session(graph, pf.SessionConfig(threads=1)) as alone:
        want = alone.run(fetches, {x: FEED})
    failures: list[str] = []

    def work() -> None:
        with pf.Session(graph, pf.SessionConfig(executor=pool.executor)) as session:
            for _ in range(5):
                for have, expected in zip(session.run(fetches, {x: FEED}), want, strict=True):
                    if not np.array_equal(have, expected):
                        failures.append("bits differ")

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures
    assert pool.helped > 0


def test_an_executor_of_an_older_layout_is_refused(library: ctypes.CDLL, graph: pf.Graph) -> None:
    pool = Pool(library, 2, struct_size=8)
    with pytest.raises(pf.errors.FailedPreconditionError, match="the host's pf_executor has 8 bytes; expected"):
        pf.Session(graph, pf.SessionConfig(executor=pool.executor))
    pool.free()
