"""The gang, forks, a host's pool: the same bits whoever runs the tasks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from pyflow import _core, dtypes

F32 = dtypes.float32.code
WAVE = ([F32], [("sin", F32, [0], 0), ("exp", F32, [1], 0), ("tanh", F32, [2], 0)], [3])
X = np.random.default_rng(0).normal(size=600_001).astype(np.float32)


def wave(threads, **options) -> bytes:
    out = np.empty_like(X)
    _core.call_kernel("elementwise", [X], [out], programs=[WAVE], threads=threads, **options)
    return out.tobytes()


def count_threads() -> int:
    return len(os.listdir("/proc/self/task"))


def test_one_thread_makes_none():
    before = count_threads()
    gang = _core.Gang(1)
    wave(gang)
    assert count_threads() == before
    assert gang.size == 1


def test_workers_are_made_by_the_first_run_and_joined():
    before = count_threads()
    gang = _core.Gang(3)
    assert count_threads() == before
    wave(gang)
    assert count_threads() == before + 2
    wave(gang)
    assert count_threads() == before + 2
    del gang
    assert count_threads() == before


def test_default_size_is_what_the_process_may_use():
    assert 1 <= _core.Gang(0).size == _core.available_cpus() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_gang_and_host_pool_give_equal_bits(threads):
    expected = wave(1)
    gang = _core.Gang(threads)
    for _ in range(5):
        assert wave(gang) == expected
        assert wave(gang, host_pool=True) == expected


def test_callers_take_turns():
    expected = wave(1)
    gang = _core.Gang(2)
    results = []

    def call():
        results.extend(wave(gang) == expected for _ in range(10))

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert results == [True] * 30


def test_an_error_on_any_thread_comes_back():
    x = np.zeros(600_000, np.float32)
    out = np.empty(x.shape, np.int32)
    i32 = dtypes.int32.code
    divide = ([F32], [("cast", i32, [0], 0), ("div", i32, [1, 1], 0)], [2])  # NaN becomes 0, and 0 divides nothing
    gang = _core.Gang(3)
    for place in (0, 300_000, 599_999):
        x[:] = 1
        x[place] = np.nan
        for host_pool in (False, True):
            with pytest.raises(Exception, match="division by zero"):
                _core.call_kernel("elementwise", [x], [out], programs=[divide], threads=gang, host_pool=host_pool)
    x[:] = 2
    _core.call_kernel("elementwise", [x], [out], programs=[divide], threads=gang)
    assert (out == 1).all()


@pytest.mark.parametrize("asleep", [False, True])
def test_gang_survives_fork(asleep):
    expected = wave(1)
    gang = _core.Gang(3)
    assert wave(gang) == expected
    if asleep:
        threading.Event().wait(0.01)
    child = os.fork()
    if child == 0:
        good = wave(gang) == expected and wave(gang) == expected and count_threads() == 3
        del gang
        os._exit(0 if good else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert wave(gang) == expected


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **environment}
    command = [sys.executable, "-c", code]
    elsewhere = os.path.dirname(__file__)  # not the checkout's root, whose pyflow/ may not be the one installed
    return subprocess.run(command, env=environment, cwd=elsewhere, capture_output=True, text=True)


@pytest.mark.parametrize("isa", _core.cpu_isas())
def test_isa_is_forced_by_the_environment(isa):
    done = python("from pyflow import _core; print(_core.selected_isa())", PYFLOW_ISA=isa)
    assert done.stdout.strip() == isa, done.stderr


def test_unknown_isa_is_an_error():
    code = (
        "import numpy as np; from pyflow import _core; x = np.zeros(3, np.float32);"
        f"_core.call_kernel('elementwise', [x], [x], programs=[([{F32}], [('neg', {F32}, [0], 0)], [1])])"
    )
    done = python(code, PYFLOW_ISA="vax")
    assert done.returncode != 0
    assert "ISA 'vax' was asked for by PYFLOW_ISA, this machine runs portable" in done.stderr
