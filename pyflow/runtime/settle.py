"""What a plan computes from constants alone, packed weights foremost, is computed when the plan is made ready: it then
has the results as its constants, and what only they were made of is let go of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pyflow import _core
from pyflow.plan import Buffer, Entry, Kind, Plan, Port, Prepare, Step, View
from pyflow.runtime.state import State
from pyflow.stored import HUGE, StoredConstant, block, room

WORTHWHILE = 64 << 10
"""Bytes of constants; where there are fewer, the first run computes what they tell, and keeps them beside it."""
PORTION = 8 << 20
"""Bytes of constants that are read from their file at a time."""


def settle(plan: Plan, threads: Any, fail: Any = None) -> Plan | None:
    """``plan`` with what its constants alone tell computed, on ``threads``; None if there is no such thing.

    Buffers and bodies keep their numbers. Raises what the steps raise.
    """
    if sum(_bytes(buffer) for buffer in plan.buffers if buffer.kind is Kind.CONSTANT) < WORTHWHILE:
        return None
    entries = []
    found: dict[int, np.ndarray] = {}
    for entry in plan.entries:
        now = [prepare for prepare in entry.prepares if not prepare.sources and _is_ours(plan, prepare)]
        for prepare in now:
            found.update(_computed(plan, prepare, threads, fail))
        entries.append(replace(entry, prepares=tuple(each for each in entry.prepares if each not in now)))
    if not found:
        return None
    emptied = {prepare.body for entry in plan.entries for prepare in entry.prepares}
    emptied -= {prepare.body for entry in entries for prepare in entry.prepares}
    bodies = tuple(() if index in emptied else body for index, body in enumerate(plan.bodies))
    buffers = [
        replace(buffer, kind=Kind.CONSTANT) if index in found else buffer for index, buffer in enumerate(plan.buffers)
    ]
    arrays = {**_constants(plan), **found}
    return _with(plan, buffers, arrays, bodies, entries)


def _is_ours(plan: Plan, prepare: Prepare) -> bool:
    """Does it run on the cpu backend's kernels and memory as a whole?"""
    steps = [step for body in _reached(plan.bodies, prepare.body) for step in plan.bodies[body]]
    touched = {view.buffer for step in steps for view in (*step.inputs, *step.outputs)}
    kernels = all(step.backend == "cpu" and not step.bodies for step in steps)
    return kernels and all(plan.buffers[buffer].backend == "cpu" for buffer in touched)


def _computed(plan: Plan, prepare: Prepare, threads: Any, fail: Any) -> dict[int, np.ndarray]:
    """The results of a prepare body, by buffer, in one block of memory."""
    places, total = {}, 0
    for index in prepare.results:
        places[index] = total
        total += room(_bytes(plan.buffers[index]))
    memory = block(total)
    results = {}
    for index, start in places.items():
        buffer = plan.buffers[index]
        results[index] = memory[start : start + _bytes(buffer)].view(buffer.dtype.memory.numpy)
    constants = _constants(plan)
    staging: np.ndarray | None = None
    for steps in _portions(plan, prepare.body):
        arrays = {view.buffer: constants[view.buffer] for s in steps for view in s.inputs if view.buffer in constants}
        need = sum(room(held.nbytes) for held in arrays.values() if isinstance(held, StoredConstant))
        if staging is None or need > len(staging):
            staging = block(need if need < HUGE // 4 else room(need, HUGE))
        _compute(plan, steps, _read(arrays, staging), results, threads, fail)
    return results


def _compute(
    plan: Plan,
    steps: tuple[Step, ...],
    arrays: dict[int, np.ndarray],
    results: dict[int, np.ndarray],
    threads: Any,
    fail: Any,
) -> None:
    """Runs steps of a body, by a plan of nothing else; what they write of ``results`` is written there."""
    touched = dict.fromkeys(view.buffer for step in steps for view in (*step.inputs, *step.outputs))
    place = {buffer: at for at, buffer in enumerate(touched)}
    slots: dict[int, int] = {}
    buffers, ports = [], []
    for index, at in place.items():
        buffer = plan.buffers[index]
        if index in results:
            buffer = replace(buffer, kind=Kind.OUTPUT)
            ports.append(Port(f"prepared:{index}", View(at, buffer.dtype, (buffer.elements,), (1,))))
        elif buffer.slot >= 0:
            buffer = replace(buffer, slot=slots.setdefault(buffer.slot, len(slots)))
        buffers.append(buffer)
    here = tuple([step.moved(place) for step in steps])
    entry = Entry("prepare", (), tuple(ports), (), (), (), (), (), 0, len(steps) - 1)
    constants = tuple(arrays[index] for index in place if index in arrays)
    alone = Plan(tuple(buffers), (here,), (entry,), len(slots), plan.numerics, constants)
    call = _core.Callable(model_of(alone), 0, State().native, threads, None, fail)
    call.run((), out=[results[index] for index in place if index in results])


def _portions(plan: Plan, body: int) -> Iterator[tuple[Step, ...]]:
    """The steps of a body in portions that read nothing of each other's, each of about PORTION bytes of constants."""
    steps = plan.bodies[body]
    leader = list(range(len(steps)))

    def find(step: int) -> int:
        while leader[step] != step:
            step = leader[step]
        return step

    first: dict[int, int] = {}
    for index, step in enumerate(steps):
        for view in (*step.inputs, *step.outputs):
            if plan.buffers[view.buffer].kind is not Kind.CONSTANT:
                low, high = sorted((find(first.setdefault(view.buffer, index)), find(index)))
                leader[high] = low
    groups: dict[int, list[int]] = {}
    for index in range(len(steps)):
        groups.setdefault(find(index), []).append(index)
    portion: list[int] = []
    size = 0
    for group in groups.values():
        touched = {view.buffer for index in group for view in steps[index].inputs}
        more = sum(_bytes(plan.buffers[each]) for each in touched if plan.buffers[each].kind is Kind.CONSTANT)
        if portion and size + more > PORTION:
            yield tuple(steps[index] for index in sorted(portion))
            portion, size = [], 0
        portion += group
        size += more
    yield tuple(steps[index] for index in sorted(portion))


def _read(constants: dict[int, Any], memory: np.ndarray) -> dict[int, np.ndarray]:
    """Their arrays; those that lie in a file are read to ``memory``."""
    arrays, at = {}, 0
    for index, held in constants.items():
        if isinstance(held, StoredConstant):
            arrays[index] = held.read_to(memory[at : at + held.nbytes])
            at += room(held.nbytes)
        else:
            arrays[index] = np.asarray(held)
    return arrays


def _bytes(buffer: Buffer) -> int:
    """Of a buffer of known size."""
    assert isinstance(buffer.elements, int)
    return buffer.elements * buffer.dtype.memory.itemsize


def _with(
    plan: Plan,
    buffers: Sequence[Buffer],
    arrays: dict[int, Any],
    bodies: tuple[tuple[Step, ...], ...],
    entries: Sequence[Entry],
) -> Plan:
    """A plan of these bodies and entries; of buffers that they do not touch, the numbers are left."""
    used = _used(bodies, entries)
    kept = [
        buffer
        if index in used or buffer.kind is Kind.TEMPORARY
        else Buffer(Kind.TEMPORARY, buffer.dtype, 0, backend=buffer.backend)
        for index, buffer in enumerate(buffers)
    ]
    constants = tuple(arrays[index] for index, buffer in enumerate(kept) if buffer.kind is Kind.CONSTANT)
    return Plan(tuple(kept), bodies, tuple(entries), plan.slots, plan.numerics, constants)


def _constants(plan: Plan) -> dict[int, Any]:
    """By buffer."""
    indices = [index for index, buffer in enumerate(plan.buffers) if buffer.kind is Kind.CONSTANT]
    return dict(zip(indices, plan.constants, strict=True))


def _used(bodies: Iterable[tuple[Step, ...]], entries: Sequence[Entry]) -> set[int]:
    used = {view.buffer for body in bodies for step in body for view in (*step.inputs, *step.outputs)}
    for entry in entries:
        used.update(port.view.buffer for port in (*entry.inputs, *entry.outputs))
        used.update(each for commit in entry.commits for each in (commit.variable, commit.source.buffer))
        used.update(entry.reads)
        used.update(each for prepare in entry.prepares for each in (*prepare.sources, *prepare.results))
    return used


def _reached(bodies: Sequence[tuple[Step, ...]], body: int) -> set[int]:
    reached, pending = {body}, [body]
    while pending:
        for step in bodies[pending.pop()]:
            pending += [inner for inner in step.bodies if inner not in reached]
            reached.update(step.bodies)
    return reached


def model_of(plan: Plan) -> Any:
    """The native model of a plan."""
    return _core.Model(plan.to_bytes(), [np.asarray(array) for array in plan.constants])
