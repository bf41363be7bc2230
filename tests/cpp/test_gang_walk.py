"""Segments of many steps, walked by all threads of a gang: who waits for whom, and how a walk is stopped."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest
from hand_plans import F32, elementwise, entry, load, register, view

from pyflow import _core, dtypes, errors
from pyflow.plan import Buffer, Commit, Instr, Kind, Plan, Port, Program, Step, View

COUNT = 120_001
ROUNDS = 12
THREADS = [1, 2, 3, 5]
X = np.random.default_rng(0).standard_normal(COUNT).astype(np.float32)


def count_threads() -> int:
    return len(os.listdir("/proc/self/task"))


def walk_plan(*tail: Step, rounds: int = ROUNDS, last_cancellable: int = 1 << 30) -> Plan:
    """a = w + x, then `rounds` times: s = the last of a (one task, on one thread), b = sin(a) and a = b - s (many
    tasks); ``tail``; then w <- a."""
    buffers = (
        Buffer(Kind.VARIABLE, F32, COUNT, "w"),
        Buffer(Kind.INPUT, F32, COUNT),
        Buffer(Kind.TEMPORARY, F32, COUNT),
        Buffer(Kind.TEMPORARY, F32, COUNT),
        Buffer(Kind.TEMPORARY, F32, 1),
        Buffer(Kind.TEMPORARY, dtypes.int32, COUNT),
        Buffer(Kind.INPUT, dtypes.bool_, 1),
    )
    w, x, a, b = (view(buffer, COUNT) for buffer in range(4))
    turn = (
        Step("copy", inputs=(view(2, 1, offset=COUNT - 1),), outputs=(view(4, 1),)),
        elementwise("sin", b, a),
        elementwise("sub", a, b, View(4, F32, (COUNT,), (0,))),
    )
    steps = (elementwise("add", a, w, x), *(turn * rounds), *tail)
    ports = [Port("x", x), Port("ok", view(6, dtype=dtypes.bool_))]
    main = entry(ports, [], reads=(0,), commits=(Commit(0, a),), last_cancellable=last_cancellable)
    return Plan(buffers, (steps,), (main,))


def divide() -> Step:
    """x as integers, divided by themselves: NaN becomes 0, by which nothing is divided."""
    instrs = (Instr("cast", dtypes.int32, (0,)), Instr("div", dtypes.int32, (1, 1)))
    program = Program((F32,), instrs, (2,))
    result = view(5, COUNT, dtype=dtypes.int32)
    return Step(
        "elementwise",
        inputs=(view(2, COUNT),),
        outputs=(result,),
        programs=(program,),
        origin="divide.py:3",
        fallible=True,
    )


def check() -> Step:
    return Step("assert", inputs=(view(6, dtype=dtypes.bool_),), text="it was not so", origin="a.py:7", fallible=True)


def new_state() -> _core.State:
    state = _core.State()
    state.set("w", np.zeros(COUNT, np.float32))
    return state


def one_thread(rounds: int = ROUNDS) -> np.ndarray:
    state = new_state()
    load(walk_plan(rounds=rounds), state).run([X, np.array(True)])
    return state.get("w").copy()


@pytest.mark.parametrize("threads", THREADS)
def test_steps_wait_for_what_they_read(threads: int) -> None:
    state = new_state()
    before = count_threads()
    run = load(walk_plan(), state, threads)
    run.run([X, np.array(True)])
    assert count_threads() == before + threads - 1
    np.testing.assert_array_equal(state.get("w"), one_thread())
    want = X.astype(np.float64)
    for _ in range(ROUNDS):
        want = np.sin(want) - want[-1]
    np.testing.assert_allclose(state.get("w"), want, atol=1e-3)


@pytest.mark.parametrize("threads", THREADS)
def test_a_walk_stops_whole_or_ends_whole(threads: int) -> None:
    """Cancelled at any moment, w is as before or as after, and the gang walks on."""
    want = one_thread(40)
    plan = walk_plan(rounds=40)
    run = load(plan, state := new_state(), threads)
    begin = time.monotonic()
    run.run([X, np.array(True)])
    length = time.monotonic() - begin
    stopped = 0
    for part in np.linspace(0, 0.9, 10):
        state.set("w", np.zeros(COUNT, np.float32))
        cancel = _core.Cancel()
        timer = threading.Timer(length * part, cancel.set)
        timer.start()
        try:
            run.run([X, np.array(True)], cancel=cancel)
            np.testing.assert_array_equal(state.get("w"), want)
        except errors.CancelledError:
            stopped += 1
            assert not state.get("w").any()
        timer.join()
    assert stopped > 0
    state.set("w", np.zeros(COUNT, np.float32))
    run.run([X, np.array(True)])
    np.testing.assert_array_equal(state.get("w"), want)


@pytest.mark.parametrize("threads", THREADS)
def test_a_deadline_stops_a_walk(threads: int) -> None:
    run = load(walk_plan(rounds=2_000), state := new_state(), threads)
    begin = time.monotonic()
    with pytest.raises(errors.DeadlineExceededError):
        run.run([X, np.array(True)], deadline_ns=time.monotonic_ns() + 20_000_000)
    assert 0.02 <= time.monotonic() - begin < 2
    assert not state.get("w").any()


@pytest.mark.parametrize("threads", THREADS)
def test_steps_after_the_last_cancellable_are_not_stopped(threads: int) -> None:
    cancel = _core.Cancel()
    cancel.set()
    run = load(walk_plan(last_cancellable=-1), state := new_state(), threads)
    run.run([X, np.array(True)], cancel=cancel, deadline_ns=1)
    np.testing.assert_array_equal(state.get("w"), one_thread())


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize(("at", "stops"), [(6, True), (7, True), (8, False), (20, False)])
def test_the_last_cancellable_step_is_the_last_that_a_cancel_stops(threads: int, at: int, stops: bool) -> None:
    """The observer cancels after step ``at``; steps up to 8 may be stopped."""
    cancel = _core.Cancel()
    seen = []

    def observe(*step: object) -> None:
        seen.append(step[0])
        if step[0] == at:
            cancel.set()

    run = load(walk_plan(last_cancellable=8), state := new_state(), threads)
    if stops:
        with pytest.raises(errors.CancelledError):
            run.run([X, np.array(True)], cancel=cancel, observer=observe)
        assert seen == list(range(at + 1))
        assert not state.get("w").any()
    else:
        run.run([X, np.array(True)], cancel=cancel, observer=observe)
        assert seen == list(range(1 + 3 * ROUNDS))
        np.testing.assert_array_equal(state.get("w"), one_thread())


@pytest.mark.parametrize("threads", THREADS)
def test_an_error_on_any_thread_ends_the_walk_at_its_step(threads: int) -> None:
    more = (check(), *(elementwise("neg", view(3, COUNT), view(2, COUNT)) for _ in range(3)))
    run = load(walk_plan(divide(), *more, rounds=0), state := new_state(), threads)
    for place in (0, COUNT // 2, COUNT - 1):
        x = np.ones(COUNT, np.float32)
        x[place] = np.nan
        with pytest.raises(errors.PyflowError, match=r"division by zero.*\(divide.py:3\)"):
            run.run([x, np.array(False)])
        assert not state.get("w").any()
    with pytest.raises(errors.FailedPreconditionError, match=r"it was not so.*\(a.py:7\)"):
        run.run([np.ones(COUNT, np.float32), np.array(False)])
    assert not state.get("w").any()
    run.run([np.ones(COUNT, np.float32), np.array(True)])
    assert (state.get("w") == 1).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_step_of_another_backend_cuts_the_walk(threads: int) -> None:
    """Segments before and after it see each other's writes."""
    given = []

    def halve(kernel, text, inputs, outputs, ints, floats, programs):
        given.append(inputs[0].copy())
        outputs[0][...] = inputs[0] / 2

    buffers = (
        Buffer(Kind.INPUT, F32, COUNT),
        *(Buffer(Kind.TEMPORARY, F32, COUNT),) * 2,
        Buffer(Kind.OUTPUT, F32, COUNT),
    )
    v = [view(buffer, COUNT) for buffer in range(4)]
    steps = (
        elementwise("sin", v[1], v[0]),
        Step("halve", register(halve), inputs=(v[1],), outputs=(v[2],)),
        elementwise("sin", v[3], v[2]),
    )
    run = load(Plan(buffers, (steps,), (entry([Port("x", v[0])], [Port("y", v[3])]),)), threads=threads)
    (y,) = run(X)
    np.testing.assert_allclose(given[0], np.sin(X), atol=1e-6)
    np.testing.assert_allclose(y, np.sin(given[0] / 2), atol=1e-6)
