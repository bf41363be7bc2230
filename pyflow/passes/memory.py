"""memory: temporaries whose lifetimes do not meet share a slot.

Largest first at the hints, each into the largest slot that is free for its whole life; of buffers of one size the first
or the last to live comes first, whichever takes less memory. An element-wise step may write exactly over an input that
it is the last to read. What is decided here holds at every size: only lifetimes matter, and binding makes a slot as
large as its largest member.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from pyflow import dims
from pyflow.plan import Buffer, Kind, Plan, Step, View, overwritable

UNKNOWN = 64
"""The guess for a size of which nothing is known."""


@dataclass
class _Life:
    """From the first step that touches a buffer to the last."""

    first: int
    last: int
    written_first: bool


def memory(plan: Plan) -> Plan:
    """``plan`` with a slot for every TEMPORARY buffer, but for those whose size only the run tells."""
    lives, in_place = _lifetimes(plan)
    sizes = {index: _bytes(plan.buffers[index]) for index in lives}
    early = sorted(lives, key=lambda index: (-sizes[index], lives[index].first, index))
    late = sorted(lives, key=lambda index: (-sizes[index], -lives[index].first, index))
    tries = [_assigned(plan, order, lives, in_place) for order in (early, late)]
    slot_of = min(tries, key=lambda slots: _total(slots, sizes))
    buffers = tuple(
        replace(buffer, slot=slot_of[index]) if index in slot_of else buffer
        for index, buffer in enumerate(plan.buffers)
    )
    return replace(plan, buffers=buffers, slots=len(set(slot_of.values())))


def _total(slot_of: dict[int, int], sizes: dict[int, int]) -> int:
    """What the slots take."""
    largest: dict[int, int] = {}
    for index, slot in slot_of.items():
        largest[slot] = max(largest.get(slot, 0), sizes[index])
    return sum(largest.values())


def _assigned(
    plan: Plan, order: list[int], lives: dict[int, _Life], in_place: set[tuple[int, int, int]]
) -> dict[int, int]:
    """The slot of each buffer, if they are looked at in this order."""
    slots: dict[str, list[_Slot]] = {}
    slot_of: dict[int, int] = {}
    count = 0
    for index in order:
        candidates = slots.setdefault(plan.buffers[index].backend, [])
        slot = next((each for each in candidates if each.takes(index, lives, in_place)), None)
        if slot is None:
            slot = _Slot(count)
            candidates.append(slot)
            count += 1
        insort(slot.members, (lives[index].first, lives[index].last, index))
        slot_of[index] = slot.number
    return slot_of


@dataclass
class _Slot:
    """``members``: (first, last, buffer), in order; two meet at most where one is written over the other."""

    number: int
    members: list[tuple[int, int, int]] = field(default_factory=list)

    def takes(self, index: int, lives: dict[int, _Life], in_place: set[tuple[int, int, int]]) -> bool:
        life = lives[index]
        at = bisect_left(self.members, (life.first, life.last, index))
        for step, start in ((-1, at - 1), (1, at)):
            while 0 <= start < len(self.members):
                first, last, other = self.members[start]
                if last < life.first or life.last < first:
                    break
                if not (
                    (life.last == first and (other, index, first) in in_place)
                    or (last == life.first and (index, other, last) in in_place)
                ):
                    return False
                start += step
        return True


def _bytes(buffer: Buffer) -> int:
    return (dims.hint_of(buffer.elements, UNKNOWN) or 0) * buffer.dtype.itemsize


def _lifetimes(plan: Plan) -> tuple[dict[int, _Life], set[tuple[int, int, int]]]:
    """Lifetimes of the TEMPORARY buffers on one time line (prepare bodies and bodies one after the other, nested bodies
    inside the step that runs them), and (output, input, time) of every exact overwriting that a step allows."""
    lives: dict[int, _Life] = {}
    in_place: set[tuple[int, int, int]] = set()
    loops: list[tuple[int, int]] = []
    time = 0

    def touch(buffer: int, write: bool) -> None:
        if plan.buffers[buffer].kind is Kind.TEMPORARY and not dims.late_in(plan.buffers[buffer].elements):
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
            in_place.update((output, source, time) for output, source in _overwritings(step))

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


def _overwritings(step: Step) -> Iterator[tuple[int, int]]:
    """(output, input) buffers where the step reads exactly the elements that it writes."""
    sources = {view.buffer for view in overwritable(step)}
    for output in step.outputs:
        for source in sources:
            if all(_same_window(output, view) for view in step.inputs if view.buffer == source):
                yield output.buffer, source


def _same_window(output: View, source: View) -> bool:
    return (
        output.dtype.itemsize == source.dtype.itemsize
        and output.dims == source.dims
        and output.strides == source.strides
        and output.offset == source.offset
    )
