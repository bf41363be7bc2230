"""flow: what bodies take and give is what is needed; a settled branch takes the place of its node; what only one branch
needs is computed there.

Results that nobody reads, values that no body reads and what a loop carries for neither are dropped.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from typing import Any

from pyflow import dims
from pyflow.graph import Node, Value, building
from pyflow.ops.common import constant_array
from pyflow.region import Lasting, Region, Table, topological
from pyflow.rewrite import inlined, rebuilt
from pyflow.target import Target


def flow(region: Region, target: Target) -> Region:
    """``region`` with its control flow reduced to what is needed."""
    if not region.table.has_flow:
        return region
    return _sunk(_reduced(region))


def _reduced(region: Region) -> Region:
    live = set(region.roots())
    kept: dict[Node, _Kept] = {}
    effects = set(region.effects)
    for node in reversed(region.nodes()):
        if node.op.flow is None:
            if node in effects or node.defines or any(value in live for value in node.outputs):
                live.update(node.inputs)
        elif node in effects or node.defines or any(value in live for value in node.outputs):
            named = set(node.defines)
            sized = (v for v in node.outputs if any(named.intersection(dims.late_names(size)) for size in v.dims))
            live.update(sized)
            kept[node] = _Kept(node, live)
            live.update(node.inputs[i] for i in kept[node].inputs)
    return _rebuilt(region, kept)


def _read_by(body: Region, outputs: Sequence[Value]) -> set[int]:
    """The inputs of ``body``, by place, that ``outputs``, effects and definers of sizes need."""
    roots = [value.node for value in outputs] + list(body.effects)
    reached = set(topological(roots, definers=body.definers))
    return {place for place, value in enumerate(body.inputs) if value.node in reached}


class _Kept:
    """The parts of a control-flow node that are needed, by place; ``inputs`` and ``outputs`` are the node's."""

    def __init__(self, node: Node, live: Container[Value]) -> None:
        self.node = node
        flow = node.op.flow
        assert flow is not None
        self.carried = node.attrs[flow.carried] if flow.carried else 0
        bodies = node.op.bodies(node)
        self.asks = bodies.pop(flow.condition, None) if flow.condition else None
        self.held = len(self.asks.outputs) - 1 if self.asks is not None else 0
        first = next(iter(bodies.values()))
        shift = len(node.outputs) - len(first.outputs)
        """Results that are none of a body's, after the carried ones."""
        needed = [
            place
            for place in range(len(first.outputs))
            if node.outputs[place if place < self.carried else place + shift] in live
        ]
        while True:
            given: set[int] = set()
            for body in bodies.values():
                given |= _read_by(body, [body.outputs[place] for place in needed])
            if self.asks is not None:
                given |= _read_by(self.asks, self._asked(needed))
            wider = sorted({*needed, *(place for place in given if place < self.carried)})
            if wider == needed:
                break
            needed = wider
        self.results = needed
        self.outputs = sorted(
            [place if place < self.carried else place + shift for place in needed]
            + list(range(self.carried, self.carried + shift))
        )
        self.given = sorted({*given, *(place for place in needed if place < self.carried)})
        self.inputs = [*range(flow.lead), *(place + flow.lead for place in self.given)]

    def _asked(self, needed: Sequence[int]) -> list[Value]:
        """What the condition must give: the bool, then the carried values that it may change."""
        first = self.carried - self.held
        assert self.asks is not None
        return [self.asks.outputs[0], *(self.asks.outputs[1 + p - first] for p in needed if first <= p < self.carried)]

    @property
    def is_all(self) -> bool:
        return len(self.inputs) == len(self.node.inputs) and len(self.outputs) == len(self.node.outputs)

    def attrs(self) -> dict[str, Any]:
        """The node's, with bodies and counts of what is kept."""
        node = self.node
        assert node.op.flow is not None
        attrs = dict(node.attrs)
        for name, body in node.op.bodies(node).items():
            results = self._asked(self.results) if body is self.asks else [body.outputs[p] for p in self.results]
            attrs[name] = replace(
                body, inputs=tuple(body.inputs[place] for place in self.given), outputs=tuple(results)
            )
        if node.op.flow.carried:
            attrs[node.op.flow.carried] = sum(place < self.carried for place in self.given)
        if "sliced" in attrs:
            end = self.carried + node.attrs["sliced"]
            attrs["sliced"] = sum(self.carried <= place < end for place in self.given)
        return attrs


def _rebuilt(region: Region, kept: dict[Node, _Kept]) -> Region:
    table = region.table
    made: dict[Value, Value] = {}
    copies: dict[Node, Node] = {}
    effects: list[Node] = []
    after: dict[Node, list[Node]] = {}
    for node in region.nodes():
        part = kept.get(node)
        if part is None:
            if node.op.flow is None and all(value in made for value in node.inputs):
                copies[node] = rebuilt(table, node, tuple(made[value] for value in node.inputs))
                made.update(zip(node.outputs, copies[node].outputs, strict=True))
            continue
        inputs = tuple(made[node.inputs[place]] for place in part.inputs)
        table.current = table.origins.get(node, ())
        settled = constant_array(inputs[0]) if node.op.flow is not None and node.op.flow.kernel == "if" else None
        attrs = dict(node.attrs) if part.is_all else part.attrs()
        if settled is not None:
            body = attrs["then" if settled else "otherwise"]
            with building(table):
                results, after[node] = inlined(table, body, inputs[1:])
            made.update(zip((node.outputs[place] for place in part.outputs), results, strict=True))
            continue
        if part.is_all:
            copies[node] = rebuilt(table, node, inputs)
        else:
            copies[node] = table.make(node.op, inputs, attrs)
        made.update(zip((node.outputs[place] for place in part.outputs), copies[node].outputs, strict=True))
    table.current = ()
    for node in region.effects:
        effects += after[node] if node in after else [copies[node]]
    if all(copies.get(node) is node for node in region.nodes()):
        return region
    return _with(region, made, effects)


def _with(region: Region, made: dict[Value, Value], effects: Iterable[Node]) -> Region:
    return replace(
        region,
        outputs=tuple(made[value] for value in region.outputs),
        commits=tuple((name, made[value]) for name, value in region.commits),
        effects=tuple(effects),
    )


def _sunk(region: Region) -> Region:
    """``region`` with what only one branch of one node needs in that branch."""
    nodes = region.nodes()
    branching = [node for node in nodes if node.op.flow is not None and node.op.flow.kernel == "if"]
    if not branching:
        return region
    users = region.users()
    roots, lasting = set(region.roots()), Lasting(region)
    home: dict[Node, tuple[Node, str]] = {}
    wanted: dict[Node, dict[Value, set[str]]] = {}
    for node in branching:
        reads: dict[Value, set[str]] = {}
        for name, body in node.op.bodies(node).items():
            for place in _read_by(body, body.outputs):
                reads.setdefault(node.inputs[place + 1], set()).add(name)
        reads.setdefault(node.inputs[0], set()).add("")
        wanted[node] = reads
    for node in reversed(nodes):
        movable = node.inputs and not node.op.effect and node.op.flow is None
        if not movable or node.defines or any(value in roots for value in node.outputs):
            continue
        places: set[tuple[Node, str]] = set()
        for value in node.outputs:
            for user in users.get(value, ()):
                if user in wanted:
                    places.update((user, name) for name in wanted[user].get(value, ("",)))
                else:
                    places.add(home.get(user, (user, "")))
        if len(places) == 1 and not any(value in lasting for value in node.outputs):
            (only,) = places
            if only[1]:
                home[node] = only
    return _moved(region, home) if home else region


def _moved(region: Region, home: dict[Node, tuple[Node, str]]) -> Region:
    table = region.table
    made: dict[Value, Value] = {}
    copies: dict[Node, Node] = {}
    moving: dict[Node, dict[str, list[Node]]] = {}
    for node in region.nodes():
        if node in home:
            branching, name = home[node]
            moving.setdefault(branching, {}).setdefault(name, []).append(node)
            continue
        if node not in moving:
            copies[node] = rebuilt(table, node, tuple(made[value] for value in node.inputs))
        else:
            captured: dict[Value, None] = {}
            for value in node.inputs[1:]:
                if value.node not in home:
                    captured[value] = None
            for moved in moving[node].values():
                captured.update((v, None) for each in moved for v in each.inputs if v.node not in home)
            bodies = {
                name: _taking(body, node.inputs[1:], list(captured), moving[node].get(name, []))
                for name, body in node.op.bodies(node).items()
            }
            inputs = (made[node.inputs[0]], *(made[value] for value in captured))
            table.current = table.origins.get(node, ())
            copies[node] = table.make(node.op, inputs, {**node.attrs, **bodies})
        made.update(zip(node.outputs, copies[node].outputs, strict=True))
    table.current = ()
    return _with(region, made, (copies[node] for node in region.effects))


def _taking(body: Region, before: Sequence[Value], after: Sequence[Value], moved: Sequence[Node]) -> Region:
    """``body``, which took ``before``, taking ``after``, with ``moved``, nodes from outside, in front of its own."""
    table: Table = body.table
    inside = dict(zip(before, body.inputs, strict=True))
    inputs = []
    for value in after:
        given = inside.get(value)
        if given is None:
            given = inside[value] = table.fresh(value)
        inputs.append(given)
    for node in moved:
        table.current = table.origins.get(node, ())
        operands = tuple(inside[value] for value in node.inputs)
        copy = table.with_inputs(node, operands)
        inside.update(zip(node.outputs, copy.outputs, strict=True))
    made = {value: value for value in inputs}
    made.update((given, inside[value]) for value, given in zip(before, body.inputs, strict=True) if given not in made)
    copies: dict[Node, Node] = {}
    for node in body.nodes():
        if node.outputs and node.outputs[0] in made:
            continue
        copies[node] = rebuilt(table, node, tuple(made[value] for value in node.inputs))
        made.update(zip(node.outputs, copies[node].outputs, strict=True))
    table.current = ()
    return replace(
        body,
        inputs=tuple(inputs),
        outputs=tuple(made[value] for value in body.outputs),
        effects=tuple(copies[node] for node in body.effects),
    )
