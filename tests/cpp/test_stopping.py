"""Control flow, cancelling, deadlines, signals and observers, by plans made by hand."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest
from hand_plans import array, control_plan, counter_plan, load, replaced, scalar

from pyflow import _core, errors
from pyflow.plan import Plan


def test_if_and_while() -> None:
    run = load(control_plan(), constants=(scalar(1),))
    assert run(scalar(2), scalar(True, bool), scalar(20))[0] == 24
    assert run(scalar(2), scalar(False, bool), scalar(20))[0] == 32
    assert run(scalar(50), scalar(True, bool), scalar(20))[0] == 51


def test_cancel_and_deadline_stop_a_loop() -> None:
    run = load(control_plan(), constants=(scalar(1),))
    inputs = [scalar(-1), scalar(True, bool), scalar(1)]  # stays 0 for ever
    begin = time.monotonic()
    with pytest.raises(errors.DeadlineExceededError):
        run.run(inputs, deadline_ns=time.monotonic_ns() + 50_000_000)
    assert 0.04 < time.monotonic() - begin < 5
    cancel = _core.Cancel()
    threading.Timer(0.05, cancel.set).start()
    with pytest.raises(errors.CancelledError):
        run.run(inputs, cancel=cancel)
    assert cancel.is_set()


def test_control_c_stops_a_loop_and_a_handler_that_returns_does_not() -> None:
    run = load(control_plan(), constants=(scalar(1),))
    inputs = [scalar(-1), scalar(True, bool), scalar(1)]
    threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        run(*inputs)
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        with pytest.raises(errors.DeadlineExceededError):
            run.run(inputs, deadline_ns=time.monotonic_ns() + 200_000_000)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [1]


def test_a_cancelled_run_leaves_variables_but_not_after_the_last_cancellable_step() -> None:
    state = _core.State()
    state.set("w", array(1, 1))
    cancel = _core.Cancel()
    cancel.set()
    plan = counter_plan()
    with pytest.raises(errors.CancelledError):
        load(plan, state).run([array(1, 2), np.array(True)], cancel=cancel)
    np.testing.assert_array_equal(state.get("w"), [1, 1])
    tail = Plan(plan.buffers, plan.bodies, (replaced(plan.entries[0], last_cancellable=-1),))
    load(tail, state).run([array(1, 2), np.array(True)], cancel=cancel)
    np.testing.assert_array_equal(state.get("w"), [2, 3])


def test_the_observer_sees_every_step_and_may_stop_the_run() -> None:
    run = load(counter_plan(), state := _core.State())
    state.set("w", array(1, 2))
    seen = []
    run.run(
        [array(1, 1), np.array(True)],
        observer=lambda *step: seen.append((step[0], step[1], step[4][0].tolist(), step[6] >= step[5])),
    )
    assert seen == [(0, "elementwise", [2, 3], True), (1, "copy", [1, 2], True)]

    class Stop(Exception):
        pass

    def stop(*step: object) -> None:
        raise Stop

    with pytest.raises(Stop):
        run.run([array(1, 1), np.array(True)], observer=stop)
    np.testing.assert_array_equal(state.get("w"), [2, 3])
