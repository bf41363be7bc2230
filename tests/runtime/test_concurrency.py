"""One session under many threads; stopping runs; forks."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import pyflow as pf


@pytest.fixture
def graph():
    made = pf.Graph()
    with made.as_default():
        yield made


def heavy(graph, turns=60):
    """A run of some seconds that writes a variable at its end."""
    x = value = pf.placeholder(pf.float32, (512, 512), name="x")
    v = pf.Variable(np.float32(0), name="v")
    for _ in range(turns):
        value = pf.tanh(value @ x)
    return x, v, v.assign(pf.sum(value) * 0.0 + 1.0)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_bits_do_not_depend_on_threads(graph, threads):
    x = pf.placeholder(pf.float32, ("n", 301), name="x")
    y = pf.softmax(pf.tanh(x @ (np.ones((301, 257), np.float32) / 7)))
    z = [y, pf.sum(y), pf.mean(y, axis=0), pf.argmax(y, axis=1), pf.gradients(pf.sum(y * y), x)[0]]
    feed = np.random.default_rng(0).standard_normal((403, 301)).astype(np.float32)
    one = pf.Session(graph, pf.SessionConfig(threads=1)).run(z, {x: feed})
    many = pf.Session(graph, pf.SessionConfig(threads=threads)).run(z, {x: feed})
    for a, b in zip(one, many, strict=True):
        np.testing.assert_array_equal(a, b)


def test_many_threads_read_and_write_one_session(graph):
    x = pf.placeholder(pf.float32, ("n",), name="x")
    v = pf.Variable(np.zeros(1000, np.float32), name="v")
    up = v.assign_add(1.0)
    spread = pf.max(v.value()) - pf.min(v.value())
    y = x * 2.0
    session = pf.Session(graph, pf.SessionConfig(threads=2))
    session.run(v.initializer)

    def work(i):
        for k in range(50):
            n = (i * 7 + k) % 13
            feed = np.full(n, i, np.float32)
            np.testing.assert_array_equal(session.run(y, {x: feed}), feed * 2)
            assert session.run(spread) == 0
            session.run(up)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert v.eval(session).tolist() == [400.0] * 1000
    assert session.stats.compiles == 4


def test_timeout_leaves_variables(graph):
    x, v, write = heavy(graph)
    session = pf.Session(graph, pf.SessionConfig(threads=1))
    session.run(v.initializer)
    feed = np.full((512, 512), 0.01, np.float32)
    with pytest.raises(pf.errors.DeadlineExceededError) as caught:
        session.run(write, {x: feed}, pf.RunOptions(timeout=0.002))
    assert isinstance(caught.value, TimeoutError)
    assert v.eval(session) == 0
    assert session.run(write, {x: feed}, pf.RunOptions(timeout=120)) == 1


def test_cancel_from_another_thread(graph):
    x, v, write = heavy(graph, 400)
    session = pf.Session(graph, pf.SessionConfig(threads=2))
    session.run(v.initializer)
    feed = np.full((512, 512), 0.01, np.float32)
    session.memory_plan({}, write)
    token = pf.CancelToken()
    timer = threading.Timer(0.1, token.cancel)
    timer.start()
    with pytest.raises(pf.errors.CancelledError):
        session.run(write, {x: feed}, pf.RunOptions(cancel=token))
    timer.join()
    assert v.eval(session) == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_interrupt_stops_a_run(graph, threads):
    x, v, write = heavy(graph, 600)
    session = pf.Session(graph, pf.SessionConfig(threads=threads))
    session.run(v.initializer)
    call = session.make_callable(write, [x])
    feed = np.full((512, 512), 0.01, np.float32)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        call(feed)
        time.sleep(5)
    timer.join()
    assert time.monotonic() - began < 4
    assert v.eval(session) == 0


def test_a_forked_child_runs(graph):
    x = pf.placeholder(pf.float32, (256, 256), name="x")
    y = pf.tanh(x @ x)
    session = pf.Session(graph, pf.SessionConfig(threads=2))
    feed = np.full((256, 256), 0.01, np.float32)
    want = session.run(y, {x: feed})
    child = os.fork()
    if child == 0:
        same = np.array_equal(session.run(y, {x: feed}), want)
        os._exit(0 if same else 1)
    for _ in range(600):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.05)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    assert os.waitstatus_to_exitcode(status) == 0
    np.testing.assert_array_equal(session.run(y, {x: feed}), want)


def test_close_gives_memory_back(graph):
    x = pf.placeholder(pf.float32, ("n",), name="x")
    y = pf.exp(x) @ x
    feed = np.zeros(4_000_000, np.float32)

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    session = pf.Session(graph)
    session.run(y, {x: feed})
    before = resident()
    session.close()
    assert resident() < before - 12_000_000
