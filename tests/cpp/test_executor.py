"""The executor, by plans made by hand: sizes, variables, control flow, stopping, and bytes that lie."""

from __future__ import annotations

import os
import random
import signal
import struct
import threading
import time
import zlib

import numpy as np
import pytest

from pyflow import _core, dtypes, errors
from pyflow.dims import Dim, Size, late_symbol, product
from pyflow.plan import (
    Buffer,
    Check,
    Commit,
    Entry,
    Instr,
    Kind,
    Plan,
    Port,
    Prepare,
    Program,
    Solve,
    Step,
    View,
)

F32 = dtypes.float32
BATCH = Dim("batch", min=1, max=64)


def view(buffer: int, *dims: Size, dtype: dtypes.DType = F32, offset: Size = 0) -> View:
    strides: list[Size] = []
    for axis in range(len(dims)):
        strides.append(product(dims[axis + 1 :]))
    return View(buffer, dtype, tuple(dims), tuple(strides), offset)


def elementwise(op: str, output: View, *inputs: View, **fields: object) -> Step:
    dtype_list = tuple(each.dtype for each in inputs)
    program = Program(dtype_list, (Instr(op, output.dtype, tuple(range(len(inputs)))),), (len(inputs),))
    return Step("elementwise", inputs=inputs, outputs=(output,), programs=(program,), **fields)  # type: ignore[arg-type]


def entry(inputs: list[Port], outputs: list[Port], **fields: object) -> Entry:
    solves = []
    seen: set[str] = set()
    for index, port in enumerate(inputs):
        for axis, size in enumerate(port.view.dims):
            if isinstance(size, Dim) and str(size).isidentifier() and str(size) not in seen:
                seen.add(str(size))
                solves.append(Solve(str(size), index, axis, 1, 0))
    values: dict[str, object] = {
        "name": "main", "inputs": tuple(inputs), "outputs": tuple(outputs), "solves": tuple(solves), "checks": (),
        "commits": (), "reads": (), "prepares": (), "body": 0, "last_cancellable": 1 << 30,
    }  # fmt: skip
    values.update(fields)
    return Entry(**values)  # type: ignore[arg-type]


def load(plan: Plan, state: object = None, threads: int = 1, constants: tuple = (), index: int = 0, **fields: object):
    model = _core.Model(plan.to_bytes(), list(constants))
    return _core.Callable(model, index, state or _core.State(), _core.Threads(threads), **fields)


def array(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def add_plan(**fields: object) -> Plan:
    x, y, z = view(0, BATCH, 3), view(1, BATCH, 3), view(2, BATCH, 3)
    buffers = (
        Buffer(Kind.INPUT, F32, 3 * BATCH),
        Buffer(Kind.INPUT, F32, 3 * BATCH),
        Buffer(Kind.OUTPUT, F32, 3 * BATCH),
    )
    step = elementwise("add", z, x, y, origin="model.py:12")
    return Plan(buffers, ((step,),), (entry([Port("x", x), Port("y", y)], [Port("z", z)], **fields),))


def test_a_plan_runs_at_any_size_in_range() -> None:
    run = load(add_plan())
    for batch in (1, 5, 64, 5):
        x = np.arange(batch * 3, dtype=np.float32).reshape(batch, 3)
        (z,) = run(x, x)
        np.testing.assert_array_equal(z, x + x)
    assert run.stats == {"runs": 4, "binds": 3}


def test_sizes_that_do_not_fit_name_input_axis_and_symbol() -> None:
    run = load(add_plan())
    with pytest.raises(
        errors.InvalidArgumentError, match=r"'x' has size 65 on axis 0; expected batch with batch from 1 to 64"
    ):
        run(np.zeros((65, 3), np.float32), np.zeros((65, 3), np.float32))
    with pytest.raises(errors.InvalidArgumentError, match=r"'y' has size 2 on axis 0; expected batch = 4"):
        run(np.zeros((4, 3), np.float32), np.zeros((2, 3), np.float32))
    with pytest.raises(errors.InvalidArgumentError, match=r"'x' has size 2 on axis 1; expected 3"):
        run(np.zeros((4, 2), np.float32), np.zeros((4, 3), np.float32))
    with pytest.raises(errors.InvalidArgumentError, match="takes 2 inputs; got 1"):
        run(np.zeros((4, 3), np.float32))


def test_feeds_are_coerced_only_when_they_must_be() -> None:
    asked = []

    def coerce(index: int, given: object) -> np.ndarray:
        asked.append(index)
        return np.ascontiguousarray(given, np.float32)

    run = load(add_plan(), coerce=coerce)
    x = np.ones((2, 3), np.float32)
    x.flags.writeable = False
    run(x, x)
    assert asked == []
    (z,) = run([[1, 2, 3]], np.ones((3, 1), ">f4").T)
    assert asked == [0, 1]
    np.testing.assert_array_equal(z, [[2, 3, 4]])
    with pytest.raises(errors.InvalidArgumentError, match=r"'x' is float64\[2,3\]; expected a C-contiguous float32"):
        load(add_plan())(np.ones((2, 3)), x)


def test_a_check_is_made_at_binding() -> None:
    run = load(add_plan(checks=(Check(BATCH, 4, "batch must be four"),)))
    run(np.ones((4, 3), np.float32), np.ones((4, 3), np.float32))
    with pytest.raises(errors.InvalidArgumentError, match="batch must be four: got 5 and 4"):
        run(np.ones((5, 3), np.float32), np.ones((5, 3), np.float32))


def test_solving_needs_exact_division() -> None:
    x, z = view(0, 4 * BATCH + 1), view(1, BATCH)
    buffers = (Buffer(Kind.INPUT, F32, 4 * BATCH + 1), Buffer(Kind.OUTPUT, F32, BATCH))
    step = elementwise("neg", z, View(0, F32, (BATCH,), (4,), 1))
    plan = Plan(buffers, ((step,),), (entry([Port("x", x)], [Port("z", z)], solves=(Solve("batch", 0, 0, 4, 1),)),))
    run = load(plan)
    given = np.arange(13, dtype=np.float32)
    np.testing.assert_array_equal(run(given)[0], -given[1::4])
    with pytest.raises(errors.InvalidArgumentError, match=r"size 14 on axis 0; expected \(4\*batch\+1\)"):
        run(np.zeros(14, np.float32))


def test_views_with_offsets_and_negative_strides() -> None:
    buffers = (Buffer(Kind.INPUT, F32, 6), Buffer(Kind.OUTPUT, F32, 6))
    steps = (
        elementwise("neg", view(1, 3), View(0, F32, (3,), (-2,), 4)),
        elementwise("neg", view(1, 3, offset=3), View(0, F32, (3,), (0,), 5)),
    )
    run = load(Plan(buffers, (steps,), (entry([Port("x", view(0, 6))], [Port("y", view(1, 6))]),)))
    np.testing.assert_array_equal(run(array(0, 1, 2, 3, 4, 5))[0], [-4, -2, 0, -5, -5, -5])


def test_a_view_that_leaves_its_buffer_is_refused() -> None:
    for bad in (View(0, F32, (3,), (1,), 4), View(0, F32, (3,), (-1,), 1), View(0, F32, (3,), (1 << 62,), 0)):
        buffers = (Buffer(Kind.INPUT, F32, 6), Buffer(Kind.OUTPUT, F32, 3))
        run = load(
            Plan(
                buffers,
                ((elementwise("neg", view(1, 3), bad),),),
                (entry([Port("x", view(0, 6))], [Port("y", view(1, 3))]),),
            )
        )
        with pytest.raises(errors.DataLossError, match="leaves buffer 0, which holds 6"):
            run(np.zeros(6, np.float32))


def counter_plan(*more: Step) -> Plan:
    """w <- w + x, and y = w before; ``more`` runs after that and before the commit."""
    buffers = (
        Buffer(Kind.VARIABLE, F32, 2, "w"),
        Buffer(Kind.INPUT, F32, 2),
        Buffer(Kind.TEMPORARY, F32, 2),
        Buffer(Kind.OUTPUT, F32, 2),
        Buffer(Kind.INPUT, dtypes.bool_, 1),
    )
    steps = (
        elementwise("add", view(2, 2), view(0, 2), view(1, 2)),
        Step("copy", inputs=(view(0, 2),), outputs=(view(3, 2),)),
        *more,
    )
    return Plan(
        buffers,
        (steps,),
        (
            entry(
                [Port("x", view(1, 2)), Port("ok", view(4, dtype=dtypes.bool_))],
                [Port("y", view(3, 2))],
                reads=(0,),
                commits=(Commit(0, view(2, 2)),),
            ),
        ),
    )


def check_step() -> Step:
    return Step(
        "assert", inputs=(view(4, dtype=dtypes.bool_),), text="it was not so", origin="train.py:7", fallible=True
    )


def test_a_commit_writes_the_variable_and_a_failed_run_leaves_it() -> None:
    state = _core.State()
    run = load(counter_plan(check_step()), state)
    yes, no = np.array(True), np.array(False)
    with pytest.raises(
        errors.FailedPreconditionError, match=r"variable 'w' has no value yet.*global_variables_initializer"
    ):
        run(array(1, 2), yes)
    state.set("w", array(10, 20))
    np.testing.assert_array_equal(run(array(1, 2), yes)[0], [10, 20])
    np.testing.assert_array_equal(state.get("w"), [11, 22])
    assert state.counter("w") == 2
    with pytest.raises(errors.FailedPreconditionError, match=r"it was not so   \(train.py:7\)"):
        run(array(1, 2), no)
    np.testing.assert_array_equal(state.get("w"), [11, 22])
    assert state.counter("w") == 2


def test_a_state_keeps_types() -> None:
    state = _core.State()
    state.declare("w", F32.code, [2, 3])
    assert state.names() == ["w"]
    assert not state.has("w")
    assert state.type("w") == (F32.code, [2, 3])
    with pytest.raises(errors.InvalidArgumentError, match=r"'w' is float32\[2,3\]; got float32\[6\]"):
        state.set("w", np.zeros(6, np.float32))
    with pytest.raises(errors.FailedPreconditionError, match="no value yet"):
        state.get("w")
    with pytest.raises(errors.InvalidArgumentError, match="the plan expects 2 elements"):
        load(counter_plan(), state)


def test_prepared_values_follow_their_sources() -> None:
    calls = []

    def run_host(kernel, text, inputs, outputs, ints, floats, programs):
        calls.append(kernel)
        outputs[0][...] = inputs[0] * 2

    backend = register(run_host)
    buffers = (
        Buffer(Kind.VARIABLE, F32, 2, "w"),
        Buffer(Kind.PREPARED, F32, 2),
        Buffer(Kind.OUTPUT, F32, 2),
        Buffer(Kind.CONSTANT, F32, 2),
        Buffer(Kind.PREPARED, F32, 2),
    )
    bodies = (
        (elementwise("add", view(2, 2), view(1, 2), view(4, 2)),),
        (Step("double", backend, inputs=(view(0, 2),), outputs=(view(1, 2),)),),
        (Step("double_constant", backend, inputs=(view(3, 2),), outputs=(view(4, 2),)),),
    )
    state = _core.State()
    state.set("w", array(1, 2))
    plan = Plan(
        buffers,
        bodies,
        (entry([], [Port("y", view(2, 2))], reads=(0,), prepares=(Prepare(1, (0,), (1,)), Prepare(2, (), (4,)))),),
    )
    run = load(plan, state, constants=(array(10, 20),))
    for _ in range(2):
        np.testing.assert_array_equal(run()[0], [22, 44])
    state.set("w", array(3, 4))
    np.testing.assert_array_equal(run()[0], [26, 48])
    assert calls == ["double", "double_constant", "double"]


_registered = 0


def register(run, supports=lambda *step: True) -> str:
    global _registered
    _registered += 1
    _core.register_host_backend(f"test{_registered}", supports, run)
    return f"test{_registered}"


def late_plan() -> Plan:
    """nonzero of x, then -rows of it: sizes that the run tells."""
    count = late_symbol("count", 6)
    buffers = (
        Buffer(Kind.INPUT, F32, 6),
        Buffer(Kind.TEMPORARY, dtypes.int64, 6),
        Buffer(Kind.TEMPORARY, dtypes.int64, 6),
    )
    steps = (
        Step("nonzero", inputs=(view(0, 6),), outputs=(view(1, 1, count, dtype=dtypes.int64),), defines=("count",)),
        elementwise("neg", view(2, count, dtype=dtypes.int64), view(1, count, dtype=dtypes.int64)),
    )
    ports = [Port("where", view(1, 1, count, dtype=dtypes.int64)), Port("minus", view(2, count, dtype=dtypes.int64))]
    return Plan(buffers, (steps,), (entry([Port("x", view(0, 6))], ports),))


def test_late_sizes() -> None:
    run = load(late_plan())
    for x in (array(0, 1, 0, 2, 3, 0), array(1, 1, 1, 1, 1, 1), np.zeros(6, np.float32), array(0, 0, 0, 0, 0, 7)):
        where, minus = run(x)
        (expected,) = np.nonzero(x)
        assert (where.shape, minus.shape) == ((1, len(expected)), expected.shape)
        np.testing.assert_array_equal(where[0], expected)
        np.testing.assert_array_equal(minus, -expected)
    with pytest.raises(errors.InvalidArgumentError, match="known only after the run"):
        run.run([np.zeros(6, np.float32)], out=[np.zeros((1, 6), np.int64), None])


def test_a_late_size_above_its_bound_fails() -> None:
    count = late_symbol("count", 2)
    backend = register(lambda *step: [3])
    buffers = (Buffer(Kind.TEMPORARY, F32, 2),)
    step = Step("define", backend, outputs=(view(0, count),), defines=("count",))
    run = load(Plan(buffers, ((step,),), (entry([], [Port("y", view(0, count))]),)))
    with pytest.raises(errors.InvalidArgumentError, match="'count' came out as 3; expected 0 to 2"):
        run()


def control_plan() -> Plan:
    """if up: x += 1 else x -= 1; then while x < limit: x *= 2."""
    boolean = dtypes.bool_
    buffers = (
        Buffer(Kind.INPUT, F32, 1),
        Buffer(Kind.INPUT, boolean, 1),
        Buffer(Kind.INPUT, F32, 1),
        Buffer(Kind.OUTPUT, F32, 1),
        Buffer(Kind.TEMPORARY, boolean, 1),
        Buffer(Kind.CONSTANT, F32, 1),
    )
    x, limit, y, more, one = view(0), view(2), view(3), view(4, dtype=boolean), view(5)
    up = View(1, boolean, (), ())
    main = (Step("if", inputs=(up,), bodies=(1, 2)), Step("while", inputs=(more,), bodies=(3, 4)))
    bodies = (
        main,
        (elementwise("add", y, x, one),),
        (elementwise("sub", y, x, one),),
        (elementwise("less", more, y, limit),),
        (elementwise("add", y, y, y),),
    )
    ports = [Port("x", x), Port("up", up), Port("limit", limit)]
    return Plan(buffers, bodies, (entry(ports, [Port("y", y)]),))


def scalar(value: object, dtype: type = np.float32) -> np.ndarray:
    return np.array(value, dtype)


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
    tail = Plan(plan.buffers, plan.bodies, (_with(plan.entries[0], last_cancellable=-1),))
    load(tail, state).run([array(1, 2), np.array(True)], cancel=cancel)
    np.testing.assert_array_equal(state.get("w"), [2, 3])


def _with(given: Entry, **fields: object) -> Entry:
    values = {name: getattr(given, name) for name in Entry.__slots__}
    return Entry(**{**values, **fields})


def test_out() -> None:
    run = load(add_plan())
    x = np.ones((2, 3), np.float32)
    out = np.zeros((2, 3), np.float32)
    (z,) = run.run([x, x], out=[out])
    assert z is out
    assert (out == 2).all()
    for bad in (np.zeros((2, 3)), np.zeros((3, 2), np.float32), np.zeros((3, 2), np.float32).T, x[:0]):
        with pytest.raises(errors.InvalidArgumentError, match=r"out= for 'z' is .*; expected a writeable C-contiguous"):
            run.run([x, x], out=[bad])
    with pytest.raises(errors.InvalidArgumentError, match="overlaps the feed 'x'"):
        run.run([x, out], out=[x])
    whole = np.zeros((3, 3), np.float32)
    with pytest.raises(errors.InvalidArgumentError, match="overlaps the feed 'y'"):
        run.run([x, whole[:2]], out=[whole[1:]])
    with pytest.raises(errors.InvalidArgumentError, match="out= has 0 arrays"):
        run.run([x, x], out=[])


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


def test_what_a_host_step_raises_is_chained() -> None:
    def fail(kernel, *_):
        raise ValueError(f"{kernel} does not like it")

    backend = register(fail)
    buffers = (Buffer(Kind.OUTPUT, F32, 2),)
    step = Step("callback", backend, outputs=(view(0, 2),), origin="user.py:3")
    run = load(Plan(buffers, ((step,),), (entry([], [Port("y", view(0, 2))]),)))
    with pytest.raises(
        errors.InvalidArgumentError, match=r"\[callback\] ValueError: callback does not like it   \(user.py:3\)"
    ) as info:
        run()
    assert isinstance(info.value.__cause__, ValueError)


def test_a_host_step_cannot_use_the_state_of_its_run() -> None:
    state = _core.State()
    state.set("w", array(1, 2))

    def reach(*_):
        state.get("w")

    buffers = (Buffer(Kind.OUTPUT, F32, 2),)
    run = load(
        Plan(
            buffers,
            ((Step("callback", register(reach), outputs=(view(0, 2),)),),),
            (entry([], [Port("y", view(0, 2))]),),
        ),
        state,
    )
    with pytest.raises(errors.FailedPreconditionError, match="cannot use the State of that run"):
        run()


def test_a_step_that_its_backend_does_not_run_is_named() -> None:
    buffers = (Buffer(Kind.OUTPUT, F32, 2),)
    step = Step("no_such_kernel", outputs=(view(0, 2),), origin="user.py:3")
    with pytest.raises(errors.UnimplementedError, match=r"\[no_such_kernel\].*\(user.py:3\)"):
        load(Plan(buffers, ((step,),), (entry([], [Port("y", view(0, 2))]),)))
    with pytest.raises(errors.NotFoundError, match="no backend 'tpu'; there are cpu, null"):
        load(Plan(buffers, ((Step("copy", "tpu", outputs=(view(0, 2),)),),), (entry([], [Port("y", view(0, 2))]),)))
    assert _core.supports("cpu", "no_such_kernel", [], [])[0] is False
    assert _core.supports("null", "no_such_kernel", [], [])[0] is True


def test_the_null_backend_runs_nothing() -> None:
    buffers = (Buffer(Kind.OUTPUT, F32, 2, backend="null"),)
    run = load(
        Plan(buffers, ((Step("anything", "null", outputs=(view(0, 2),)),),), (entry([], [Port("y", view(0, 2))]),))
    )
    assert run()[0].shape == (2,)


def test_slots_share_memory_and_the_memory_plan_tells() -> None:
    buffers = (
        Buffer(Kind.INPUT, F32, BATCH),
        Buffer(Kind.TEMPORARY, F32, BATCH, slot=0),
        Buffer(Kind.TEMPORARY, F32, 2 * BATCH, slot=1),
        Buffer(Kind.TEMPORARY, F32, BATCH, slot=0),
        Buffer(Kind.OUTPUT, F32, BATCH),
    )
    v = [view(index, BATCH) for index in range(5)]
    steps = tuple(elementwise("neg", v[i + 1], v[i]) for i in range(4))
    run = load(Plan(buffers, (steps,), (entry([Port("x", v[0])], [Port("y", v[4])]),), slots=2))
    np.testing.assert_array_equal(run(array(1, 2, 3))[0], [1, 2, 3])
    plan = run.memory_plan([(33,)])
    assert plan["spaces"] == {"host": 192 + 320}
    rows = {row["buffer"]: row for row in plan["buffers"]}
    assert [rows[buffer]["offset"] for buffer in (1, 2, 3)] == [0, 192, 0]
    assert rows[2]["bytes"] == 264
    assert plan["peak"] == 512 + plan["scratch"]


@pytest.mark.parametrize("threads", [1, 2])
def test_many_python_threads_may_call_one_callable(threads: int) -> None:
    state = _core.State()
    state.set("w", array(0, 0))
    add = load(add_plan(), threads=threads)
    count = load(counter_plan(), state, threads=threads)
    failures = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(40):
            x = rng.standard_normal((int(rng.integers(1, 65)), 3), np.float32)
            if not np.array_equal(add(x, x)[0], x + x):
                failures.append(seed)
            count.run([array(1, 2), np.array(True)]) if seed % 2 else count(array(1, 2), np.array(True))

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures
    np.testing.assert_array_equal(state.get("w"), [240, 480])


def test_fail_may_give_another_exception() -> None:
    run = load(add_plan(), fail=lambda error: LookupError(str(error)))
    with pytest.raises(LookupError, match="takes 2 inputs"):
        run()


def test_bytes_that_are_no_plan() -> None:
    data = add_plan().to_bytes()
    with pytest.raises(errors.DataLossError, match="no plan"):
        _core.Model(b"hello", [])
    with pytest.raises(errors.FailedPreconditionError, match="format version 9; this pyflow reads up to version 1"):
        _core.Model(data[:8] + struct.pack("<I", 9) + data[12:], [])
    with pytest.raises(errors.DataLossError, match="checksum"):
        _core.Model(data[:-1] + bytes([data[-1] ^ 1]), [])
    with pytest.raises(errors.InvalidArgumentError, match="0 constants; got 1"):
        _core.Model(data, [array(1)])


def test_bodies_must_not_reach_themselves() -> None:
    buffers = (Buffer(Kind.INPUT, F32, 1),)
    bodies = ((Step("call", bodies=(1,)),), (Step("call", bodies=(0,)),))
    with pytest.raises(errors.DataLossError, match="reaches itself"):
        _core.Model(Plan(buffers, bodies, (entry([], []),)).to_bytes(), [])
    deep = (*((Step("call", bodies=(index + 1,)),) for index in range(100)), ())
    with pytest.raises(errors.DataLossError, match="deep"):
        _core.Model(Plan(buffers, deep, (entry([], []),)).to_bytes(), [])


def _seal(content: bytes) -> bytes:
    return b"PYFLPLAN" + struct.pack("<II", 1, zlib.crc32(content)) + content


@pytest.mark.parametrize("sealed", [False, True], ids=["as damaged", "with the checksum made again"])
def test_damaged_bytes_never_crash(sealed: bool) -> None:
    """With a checksum that fits, reader and executor themselves must refuse what would read or write outside."""
    rng = random.Random(2_718)
    cases = [
        (add_plan(), (), [np.ones((4, 3), np.float32)] * 2),
        (control_plan(), (scalar(1),), [scalar(2), scalar(True, bool), scalar(20)]),
        (late_plan(), (), [array(0, 1, 0, 2, 3, 0)]),
        (counter_plan(check_step()), (), [array(1, 2), np.array(True)]),
    ]
    accepted = refused = 0
    for _ in range(2_000):
        plan, constants, inputs = rng.choice(cases)
        content = bytearray(plan.to_bytes()[16:] if sealed else plan.to_bytes())
        if rng.random() < 0.2:
            del content[rng.randrange(len(content)) :]
        else:
            for _ in range(rng.randint(1, 3)):
                at = rng.randrange(len(content))
                content[at] = rng.choice([content[at] ^ 1 << rng.randrange(8), rng.randrange(256), 0, 255])
        state = _core.State()
        state.set("w", array(1, 2))
        try:
            model = _core.Model(_seal(bytes(content)) if sealed else bytes(content), list(constants))
            run = _core.Callable(model, 0, state, _core.Threads(1))
            run.run(inputs, deadline_ns=time.monotonic_ns() + 20_000_000)
            accepted += 1
        except errors.PyflowError:
            refused += 1
    assert refused > 100
    assert accepted > 0 or not sealed
