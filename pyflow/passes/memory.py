"""memory: temporaries whose lifetimes do not meet share a slot.

Largest first at the hints, each into the largest slot that is free for its whole life. An element-wise step may write
exactly over an input that it is the last to read. What is decided here holds at every size: only lifetimes matter, and
binding makes a slot as large as its largest member.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pyflow import dims, views
from pyflow.dims import Size
from pyflow.plan import Buffer, Kind, Plan, Step, View

UNKNOWN = 64
"""The guess for a size of which nothing is known."""


@dataclass
class _Life:
    """From the first step that touches a buffer to the last."""

    first: int
    last: int
    written_first: bool


def memory(plan: Plan) -> Plan:
    """``plan`` with a slot for every TEMPORARY buffer."""
    lives, in_place = _lifetimes(plan)
    order = sorted(lives, key=lambda index: (-_bytes(plan.buffers[index]), lives[index].first, index))
    slots: list[list[int]] = []
    slot_of: dict[int, int] = {}
    for index in order:
        for number, members in enumerate(slots):
            if plan.buffers[members[0]].backend == plan.buffers[index].backend and all(
                _apart(lives[index], lives[other], (index, other), in_place) for other in members
            ):
                members.append(index)
                slot_of[index] = number
                break
        else:
            slot_of[index] = len(slots)
            slots.append([index])
    buffers = tuple(
        replace(buffer, slot=slot_of[index]) if index in slot_of else buffer for index, buffer in enumerate(plan.buffers)
    )
    return replace(plan, buffers=buffers, slots=len(slots))


def _bytes(buffer: Buffer) -> int:
    return (dims.hint_of(buffer.elements, UNKNOWN) or 0) * buffer.dtype.itemsize


def _apart(a: _Life, b: _Life, pair: tuple[int, int], in_place: set[tuple[int, int, int]]) -> bool:
    if a.last < b.first or b.last < a.first:
        return True
    if a.last == b.first:
        return (pair[1], pair[0], a.last) in in_place
    return b.last == a.first and (pair[0], pair[1], b.last) in in_place


def _lifetimes(plan: Plan) -> tuple[dict[int, _Life], set[tuple[int, int, int]]]:
    """Lifetimes of the TEMPORARY buffers on one time line (prepare bodies and bodies one after the other, nested bodies
    inside the step that runs them), and (output, input, time) of every exact overwriting that a step allows."""
    lives: dict[int, _Life] = {}
    in_place: set[tuple[int, int, int]] = set()
    loops: list[tuple[int, int]] = []
    time = 0

    def touch(buffer: int, write: bool) -> None:
        if plan.buffers[buffer].kind is Kind.TEMPORARY:
            life = lives.setdefault(buffer, _Life(time, time, write))
            life.last = time

    def walk(body: int) -> None:
        nonlocal time
        for step in plan.bodies[body]:
            time += 1
            for view in step.inputs:
                touch(view.buffer, False)
            start = time
            for nested in step.bodies:
                walk(nested)
            if step.bodies:
                time += 1
                for view in step.inputs:
                    touch(view.buffer, False)
            for view in step.outputs:
                touch(view.buffer, True)
            if step.kernel == "while":
                loops.append((start, time))
            in_place.update((output, source, time) for output, source in _overwritings(plan, step))

    for entry in plan.entries:
        for prepare in entry.prepares:
            walk(prepare.body)
        walk(entry.body)
        time += 1
        for port in entry.outputs:
            touch(port.view.buffer, False)
        for commit in entry.commits:
            touch(commit.source.buffer, False)
    for start, end in loops:
        for life in lives.values():
            inside = start <= life.first and life.last <= end
            if not (life.last < start or life.first > end) and not (inside and life.written_first):
                life.first, life.last = min(life.first, start), max(life.last, end)
    return lives, in_place


def _overwritings(plan: Plan, step: Step) -> Iterator[tuple[int, int]]:
    if step.kernel != "elementwise":
        return
    for output in step.outputs:
        for source in {view.buffer for view in step.inputs}:
            reads = [view for view in step.inputs if view.buffer == source]
            if all(_exact(plan, output, view) for view in reads):
                yield output.buffer, source


def _exact(plan: Plan, output: View, source: View) -> bool:
    """Are the two the same window of buffers that hold nothing else?"""
    sizes: tuple[Size, ...] = (plan.buffers[output.buffer].elements, plan.buffers[source.buffer].elements)
    return (
        output.dims == source.dims
        and output.strides == source.strides
        and output.offset == source.offset == 0
        and output.dtype.itemsize == source.dtype.itemsize
        and sizes[0] == sizes[1] == dims.product(output.dims)
        and views.is_contiguous(output)
    )
