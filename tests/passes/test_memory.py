from __future__ import annotations

from dataclasses import replace

import numpy as np

from pyflow.dims import Dim
from pyflow.dtypes import bool_, float32
from pyflow.graph import Graph, Value
from pyflow.opdef import FUNCTIONS
from pyflow.ops.sources import placeholder
from pyflow.passes.fuse import fuse
from pyflow.passes.memory import memory
from pyflow.passes.schedule import schedule
from pyflow.plan import SHORT, Buffer, Entry, Instr, Kind, Plan, Port, Program, Step
from pyflow.region import capture
from pyflow.target import RefTarget
from pyflow.views import contiguous

F = FUNCTIONS


def scheduled(graph: Graph, fetches: list[Value], feeds: list[Value]) -> Plan:
    return schedule(fuse(capture(graph, fetches, feeds), RefTarget()), RefTarget())


def plan_of(buffers: list[Buffer], bodies: list[list[Step]]) -> Plan:
    entry = Entry("main", (), (), (), (), (), (), (), 0, -1)
    return Plan(tuple(buffers), tuple(map(tuple, bodies)), (entry,))


def step(kernel: str, reads: list[int], writes: list[int], bodies: tuple[int, ...] = (), size: int = 8) -> Step:
    inputs = tuple(contiguous(b, float32, (size,)) for b in reads)
    return Step(kernel, inputs=inputs, outputs=tuple(contiguous(b, float32, (size,)) for b in writes), bodies=bodies)


TEMPORARY = Buffer(Kind.TEMPORARY, float32, 8)


def slots(plan: Plan) -> list[int]:
    return [buffer.slot for buffer in memory(plan).buffers]


def test_a_chain_of_products_takes_two_slots() -> None:
    graph = Graph()
    with graph.as_default():
        x = value = placeholder("float32", ("batch", 4))
        for _ in range(6):
            value = value @ np.ones((4, 4), np.float32)
    assert memory(scheduled(graph, [value], [x])).slots == 2


def test_an_elementwise_step_writes_over_what_it_reads_last() -> None:
    plan = plan_of(
        [TEMPORARY] * 3, [[step("iota", [], [0]), step("elementwise", [0], [1]), step("elementwise", [1], [2])]]
    )
    assert slots(plan) == [0, 0, 0]


def test_no_other_kernel_does() -> None:
    plan = plan_of([TEMPORARY] * 2, [[step("iota", [], [0]), step("copy", [0], [1])]])
    assert len(set(slots(plan))) == 2


def test_nor_where_the_input_is_read_again_or_another_way() -> None:
    again = plan_of([TEMPORARY] * 3, [[step("iota", [], [0]), step("elementwise", [0], [1]), step("copy", [0], [2])]])
    assert len({slots(again)[0], slots(again)[1]}) == 2
    twisted = contiguous(0, float32, (8,))._replace(strides=(-1,), offset=7)
    other = replace(step("elementwise", [0], [1]), inputs=(contiguous(0, float32, (8,)), twisted))
    assert len(set(slots(plan_of([TEMPORARY] * 2, [[step("iota", [], [0]), other]])))) == 2


def over_a_residual(panels: tuple[int, int, int, int]) -> Plan:
    """conv2d_packed of buffer 0, added to buffer 2 in its epilogue; its panels are [groups, panels, depth, 16]."""
    image, constant = replace(TEMPORARY, elements=64), Buffer(Kind.CONSTANT, float32, panels[2] * 16)
    views = [contiguous(each, float32, (1, 2, 2, 16)) for each in (0, 2, 3)]
    program = Program((float32, float32), (Instr("add", float32, (0, 1)),), (2,))
    inputs = (views[0], contiguous(1, float32, panels), views[1])
    conv = Step("conv2d_packed", inputs=inputs, outputs=(views[2],), programs=(program,))
    first = [step("iota", [], [each], size=64) for each in (0, 2)]
    return plan_of([image, constant, image, image], [[*first, conv]])


def test_a_convolution_writes_over_what_its_epilogue_reads_if_sums_stay_in_registers() -> None:
    taken = slots(over_a_residual((1, 1, SHORT, 16)))
    assert taken[2] == taken[3] != taken[0]
    assert len(set(slots(over_a_residual((1, 1, SHORT + 1, 16))))) == 4


def test_nor_where_elements_differ_in_size() -> None:
    narrow = Buffer(Kind.TEMPORARY, bool_, 8)
    test = replace(step("elementwise", [0], []), outputs=(contiguous(1, bool_, (8,)),))
    assert len(set(slots(plan_of([TEMPORARY, narrow], [[step("iota", [], [0]), test]])))) == 2


def test_backends_do_not_share() -> None:
    plan = plan_of([TEMPORARY, replace(TEMPORARY, backend="gpu")], [[step("iota", [], [0]), step("iota", [], [1])]])
    assert len(set(slots(plan))) == 2


def test_what_a_loop_carries_lives_through_it() -> None:
    """Buffer 1 is read at the start of a turn and written at its end: buffer 2, used between, must not share."""
    turn = [step("copy", [1], [2]), step("copy", [2], [3]), step("copy", [3], [1])]
    main = [step("iota", [], [0]), step("iota", [], [1]), replace(step("while", [0], []), bodies=(1, 2))]
    plan = plan_of([TEMPORARY] * 4, [main, [], turn])
    found = slots(plan)
    assert found[1] not in (found[0], found[2], found[3])
    assert found[0] not in (found[2], found[3])


def test_outputs_that_stay_in_the_arena_live_to_the_end() -> None:
    plan = plan_of([TEMPORARY] * 2, [[step("iota", [], [0]), step("iota", [], [1])]])
    entry = replace(plan.entries[0], outputs=(Port("y", contiguous(0, float32, (8,))),))
    assert len(set(slots(replace(plan, entries=(entry,))))) == 2


def test_unknown_sizes_do_not_matter_for_what_is_right() -> None:
    graph = Graph()
    with graph.as_default():
        x = placeholder("float32", (Dim("a"), Dim("b")))
        y = F["relu"](F["matmul"](F["transpose"](x), x))
    plan = memory(scheduled(graph, [y], [x]))
    assert all((b.slot >= 0) == (b.kind is Kind.TEMPORARY) for b in plan.buffers)
