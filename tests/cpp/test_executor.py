"""The executor, by plans made by hand: sizes, variables, host steps, memory."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hand_plans import (
    BATCH,
    F32,
    I64,
    add_plan,
    array,
    check_step,
    counter_plan,
    elementwise,
    entry,
    growing_plan,
    late_plan,
    load,
    register,
    unbounded_plan,
    view,
)

from pyflow import _core, errors
from pyflow.dims import late_symbol
from pyflow.plan import Buffer, Check, Kind, Plan, Port, Prepare, Solve, Step, View


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
    run = load(add_plan(checks=(Check(BATCH, 4, "batch must be four: got {} and {}"),)))
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


def test_sizes_without_a_bound() -> None:
    run = load(unbounded_plan())
    for count in (3, 100_000, 0, 5, 1, 200_000):
        for _ in range(2):
            minus, more = run(np.array([count]))
            np.testing.assert_array_equal(minus, -np.arange(count))
            np.testing.assert_array_equal(more, np.arange(2 * count))
    with pytest.raises(errors.InvalidArgumentError, match="'count' came out as -1; expected 0 or more"):
        run(np.array([-1]))
    with pytest.raises(errors.ResourceExhaustedError, match=r"no \d+ bytes of host memory left"):
        run(np.array([2**42]))
    with pytest.raises(errors.ResourceExhaustedError, match="is no size in memory"):
        run(np.array([2**61]))
    with pytest.raises(errors.InvalidArgumentError, match="beyond 64 bits"):
        run(np.array([2**62]))
    assert len(run(np.array([4]))[0]) == 4
    assert {row["buffer"]: row["bytes"] for row in run.memory_plan([[1]])["buffers"] if row["late"]} == {
        2: 0,
        3: 0,
        4: 0,
    }


def test_a_size_is_defined_anew_in_each_turn() -> None:
    run = load(growing_plan(), constants=(np.array([1]),))
    for limit in (3, 700, 2):
        np.testing.assert_array_equal(run(np.array([limit]))[0], np.arange(limit))
    with pytest.raises(errors.InvalidArgumentError, match="the size n has no value here"):
        run(np.array([0]))


def test_a_size_below_zero_where_its_range_says_so() -> None:
    for low, fits in ((0, False), (-4, True)):
        shift = late_symbol("shift", 2, low)
        step = Step("late_sizes", inputs=(view(0, 1, dtype=I64),), outputs=(view(1, 1, dtype=I64),), defines=("shift",))
        sizes = Step("sizes", outputs=(view(2, 1, dtype=I64),), ints=(3 + shift,))
        buffers = (Buffer(Kind.INPUT, I64, 1), Buffer(Kind.TEMPORARY, I64, 1), Buffer(Kind.OUTPUT, I64, 1))
        ports = [Port("x", view(0, 1, dtype=I64))], [Port("y", view(2, 1, dtype=I64))]
        run = load(Plan(buffers, ((step, sizes),), (entry(*ports),)))
        if fits:
            assert run(np.array([-4]))[0].tolist() == [-1]
        else:
            with pytest.raises(errors.InvalidArgumentError, match="came out as -4; expected 0 to 2"):
                run(np.array([-4]))


@pytest.mark.parametrize(("kind", "slot"), [(Kind.TEMPORARY, 0), (Kind.OUTPUT, -1), (Kind.INPUT, -1)])
def test_late_memory_is_a_temporary_without_a_slot(kind, slot) -> None:
    plan = unbounded_plan()
    buffers = list(plan.buffers)
    buffers[2] = Buffer(kind, I64, late_symbol("count"), slot=slot)
    with pytest.raises(errors.DataLossError, match="of a late size"):
        load(Plan(tuple(buffers), plan.bodies, plan.entries, slots=1))


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
