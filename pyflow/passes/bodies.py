"""The part of schedule that lowers control flow: its bodies become bodies of the plan, on the buffers around them.

A branch writes the results where the node has them. What a loop carries stands in buffers of its own: a turn reads them
and writes what the next one starts from, either in place, after the last step that reads the old value, or by copies
that end the turn. Where its size changes from turn to turn, the size is a late symbol, which the end of a turn defines
anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyflow import dims, dtypes
from pyflow.dims import Size
from pyflow.graph import Node, Value
from pyflow.opdef import TensorType
from pyflow.passes.lowering import Draft, Lowered, Part, settled
from pyflow.passes.order import Dependencies
from pyflow.plan import Kind, Step, View
from pyflow.region import Region


def lower_flow(low: Lowered, node: Node) -> None:
    """Adds the step that runs ``node``; its bodies are lowered, its results have views."""
    assert node.op.flow is not None
    if node.op.flow.kernel == "if":
        _branch(low, node)
    else:
        _loop(low, node)


def _new(low: Lowered, type: TensorType) -> View:
    return low.contiguous(low.add_buffer(Kind.TEMPORARY, type), type)


def _branch(low: Lowered, node: Node) -> None:
    condition, *captured = (low.view[value] for value in node.inputs)
    targets = []
    for value in node.outputs:
        low.view[value] = _new(low, value.type)
        targets.append(low.view[value])
    bodies = node.op.bodies(node).values()
    parts = [_body(low, body, captured, list(zip(targets, body.outputs, strict=True))) for body in bodies]
    step = Step(
        "if",
        inputs=(condition,),
        bodies=tuple(part.body for part in parts),
        fallible=any(part.fallible for part in parts),
        origin=low.origin(node),
    )
    low.add_flow(step, node, parts)


def _loop(low: Lowered, node: Node) -> None:
    carried, origin = node.attrs["carried"], low.origin(node)
    given = [low.view[value] for value in node.inputs]
    state = [_new(low, value.type) for value in node.outputs]
    low.view.update(zip(node.outputs, state, strict=True))
    asked = _new(low, TensorType(dtypes.bool_, ()))
    test, turn = node.attrs["condition"], node.attrs["body"]
    inputs = [*state, *given[carried:]]
    held = state[carried - len(test.outputs) + 1 :]
    parts = [
        _body(low, test, inputs, list(zip([asked, *held], test.outputs, strict=True))),
        _body(low, turn, inputs, list(zip(state, turn.outputs, strict=True))),
    ]
    bodies = tuple(part.body for part in parts)
    step = Step("while", inputs=(asked,), bodies=bodies, fallible=True, origin=origin)
    sizes = _defined(state, given)
    if not sizes:
        for start, place in zip(given, state, strict=False):
            low.copy(start, place, origin, node)
        low.add_flow(step, node, parts, state)
        return
    starts = [low.copy_step(start, place, origin) for start, place in zip(given, state, strict=False)]
    low.bodies.append((_define(sizes, origin), *starts, step))
    late = frozenset(name for size in sizes.values() for name in dims.late_names(size))
    whole = Part(len(low.bodies) - 1, (), (), late, True, False)
    step = Step("call", bodies=(whole.body,), fallible=True, origin=origin)
    low.add_flow(step, node, [*parts, whole], [*state, *given])


def _defined(targets: Sequence[View], sources: Sequence[View]) -> dict[str, Size]:
    """The sizes of ``targets`` that have names of their own: those that ``sources`` have there."""
    result: dict[str, Size] = {}
    for target, source in zip(targets, sources, strict=False):
        for name, size in zip(target.dims, source.dims, strict=True):
            if name != size and dims.late_in(name):
                result[dims.late_names(name)[0]] = size
    return result


def _define(sizes: dict[str, Size], origin: str) -> Step:
    return Step("define_sizes", ints=tuple(sizes.values()), defines=tuple(sizes), origin=origin)


def _body(low: Lowered, body: Region, given: Sequence[View], results: Sequence[tuple[View, Value]]) -> Part:
    """Lowers ``body``; each result is written to the view beside it, which the body may read as one of ``given``."""
    inner = low.inside(body, given)
    moved = [(target, inner.view[value], value) for target, value in results if inner.view[value] != target]
    moving = {target.buffer for target, _, _ in moved}
    sources = [
        (target, inner.temporary_copy(view, inner.origin(value.node)) if view.buffer in moving else view, value)
        for target, view, value in moved
    ]
    graph = Dependencies(inner.drafts, inner.late_names)
    copies: list[Draft] = []
    grown: list[Draft] = []
    for target, view, value in sources:
        if not _write_there(inner, graph, target, view):
            differs = view.dims != target.dims
            (grown if differs else copies).append(inner.copy(view, target, inner.origin(value.node)))
    temporary = {index for index, buffer in enumerate(low.buffers) if buffer.kind is Kind.TEMPORARY}
    order = [graph.drafts[index] for index in graph.order(set(), low.bytes_of, temporary)] + copies
    sizes = _defined([target for target, _, _ in sources], [view for _, view, _ in sources])
    if sizes:
        order += [Draft(_define(sizes, ""), None, None, defines=tuple(sizes)), *grown]
    reads = dict.fromkeys(settled(buffer, low.names) for draft in order for buffer in draft.reads)
    writes = dict.fromkeys(settled(buffer, low.names) for draft in order for buffer in draft.writes)
    late = frozenset[str]().union(*map(inner.late_names, order)).difference(*(draft.step.defines for draft in order))
    low.bodies.append(tuple(draft.step for draft in order))
    return Part(
        len(low.bodies) - 1,
        tuple(reads),
        tuple(writes),
        late,
        any(draft.barrier for draft in order),
        any(draft.effect for draft in order),
    )


def _write_there(inner: Lowered, graph: Dependencies, target: View, view: View) -> bool:
    """Makes the steps that compute ``view`` write ``target`` instead, if that is right."""
    buffers, writers = inner.buffers, inner.writers.get(view.buffer, ())
    if not writers or buffers[view.buffer].kind is not Kind.TEMPORARY or view.buffer in inner.names:
        return False
    if not inner.is_whole(view) or not inner.is_whole(target) or view.dims != target.dims:
        return False
    if buffers[view.buffer].backend != buffers[target.buffer].backend:
        return False
    if graph.readers(target.buffer):
        written = next((each for each in writers[0].step.outputs if each.buffer == view.buffer), None)
        if len(writers) > 1 or written is None or not inner.is_whole(written):
            return False
        if graph.write_in_place(writers[0], target.buffer, written, lambda draft: False) is None:
            return False
    inner.names[view.buffer] = target.buffer
    return True
