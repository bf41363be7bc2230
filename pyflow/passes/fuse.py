"""fuse: element-wise ops, and what follows a product element by element, become one kernel call each.

Three sweeps over *units* (groups of nodes that will be one call): a scalar op joins the unit of its users if they are
one; a unit joins the root whose finished result it consumes; a unit whose value goes elsewhere too joins one of its
users' units with an output more. Every element is computed by the same scalar functions in the same order, so fusing
is exact.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pyflow import views
from pyflow.dims import Size
from pyflow.errors import Origin
from pyflow.graph import Node, Value
from pyflow.opdef import OPS
from pyflow.ops.common import constant_held
from pyflow.plan import Program
from pyflow.region import Region, needed_by
from pyflow.target import Target

MAX_INSTRS = 64
MAX_INPUTS = 12
MAX_OUTPUTS = 8
MAX_SEARCH = 200
"""Units looked at for a path between two; beyond that there might be one."""


@dataclass(eq=False)
class _Unit:
    """Nodes that will be one call. ``dims`` is None for a node that is no scalar op."""

    index: int
    members: list[Node]
    dims: tuple[Size, ...] | None = None
    backend: str = ""
    reads: set[Value] = field(default_factory=set)
    root: Node | None = None
    before: set[_Unit] = field(default_factory=set)
    after: set[_Unit] = field(default_factory=set)
    level: int = 0
    """Larger than that of every unit in ``before``."""


def fuse(region: Region, target: Target) -> Region:
    """``region`` with every scalar op and cast inside a ``fused`` node; itself if it has none."""
    nodes = region.nodes()
    if not any(node.op.scalar for node in nodes):
        return region
    return _Fuser(region, target, nodes).run()


def _is_small_constant(value: Value) -> bool:
    held = constant_held(value)
    return held is not None and held.size == 1 and held.dtype.itemsize <= 8


class _Fuser:
    def __init__(self, region: Region, target: Target, nodes: Sequence[Node]) -> None:
        self.region = region
        self.target = target
        self.table = region.table
        self.definers = dict(region.definers)
        self.nodes = nodes
        self.roots = set(region.roots())
        self.users = region.users()
        self.unit: dict[Node, _Unit] = {}
        for index, node in enumerate(nodes):
            unit = self.unit[node] = _Unit(index, [node])
            if node.op.scalar:
                unit.dims = node.types[0].dims
                unit.backend = target.place(node) or target.device
                unit.reads = {value for value in node.inputs if not _is_small_constant(value)}
            elif node.op.epilogue:
                unit.backend = target.place(node) or target.device

    def run(self) -> Region:
        for node in reversed(self.nodes):
            if node.op.scalar:
                self._join_only_user(node)
        for node in reversed(self.nodes):
            if node.op.epilogue:
                self._take_epilogue(node)
        self._link()
        for node in reversed(self.nodes):
            unit = self.unit[node]
            if unit.dims is not None and unit.root is None and unit.members[0] is node:
                self._join_one_user(unit)
        return self._rebuild()

    def _units_of_users(self, value: Value) -> list[_Unit]:
        return list(dict.fromkeys(self.unit[user] for user in self.users.get(value, ())))

    def _refusal(self, unit: _Unit, other: _Unit) -> str:
        """Why the two cannot be one call; "" if they can, as far as shapes and limits go."""
        if other.dims is None or unit.dims != other.dims:
            return "it has another shape"
        if unit.backend != other.backend:
            return f"it runs on {other.backend}"
        if len(unit.members) + len(other.members) > MAX_INSTRS:
            return f"together they are more than {MAX_INSTRS} operations"
        if len(self._reads_of_both(unit, other)) > MAX_INPUTS:
            return f"together they have more than {MAX_INPUTS} inputs"
        return ""

    def _reads_of_both(self, unit: _Unit, other: _Unit) -> set[Value]:
        made = {value for each in (unit, other) for node in each.members for value in node.outputs}
        return (unit.reads | other.reads) - made

    def _join_only_user(self, node: Node) -> None:
        units = self._units_of_users(node.outputs[0])
        unit = self.unit[node]
        if len(units) == 1 and not self._refusal(unit, units[0]) and self._outputs(unit, units[0]) <= MAX_OUTPUTS:
            self._merge(unit, units[0])

    def _outputs(self, *units: _Unit) -> int:
        """How many values of the units are read by others, or asked for."""
        return sum(
            node.outputs[0] in self.roots
            or any(self.unit[user] not in units for user in self.users.get(node.outputs[0], ()))
            for unit in units
            for node in unit.members
        )

    def _merge(self, unit: _Unit, into: _Unit) -> None:
        into.reads = self._reads_of_both(unit, into)
        into.members += unit.members
        for node in unit.members:
            self.unit[node] = into

    def _take_epilogue(self, root: Node) -> None:
        value = root.outputs[0]
        units = self._units_of_users(value)
        if not units:
            return
        if len(root.outputs) > 1 or value in self.roots or len(units) > 1:
            self._note(root, "nothing follows in its call: its result is used in several places")
            return
        unit = units[0]
        if (
            unit.dims is None
            or unit.dims != value.dims
            or unit.root is not None
            or unit.backend != self.unit[root].backend
        ):
            return
        if self._outputs(unit) > 1:
            self._note(root, "nothing follows in its call: what follows has several results")
            return
        takes, why = self._takes_epilogue(root)
        if not takes:
            self._note(root, f"nothing follows in its call: {why}")
            return
        unit.root = root
        unit.reads = (unit.reads - {value}) | set(root.inputs)
        unit.members.append(root)
        self.unit[root] = unit

    def _takes_epilogue(self, root: Node) -> tuple[bool, str]:
        """Does the kernel of ``root`` let a program act on its result? If not, why."""
        inputs = tuple(views.contiguous(0, value.dtype, value.dims) for value in root.inputs)
        outputs = tuple(views.contiguous(0, value.dtype, value.dims) for value in root.outputs)
        nothing = Program((root.types[0].dtype.memory,), (), (0,))
        return self.target.supports(root.op.lowering(root, inputs, outputs), (nothing,), self.unit[root].backend)

    def _link(self) -> None:
        """``before``, ``after`` and levels of the units, as they are now."""
        waiting: dict[_Unit, int] = {}
        units = list(dict.fromkeys(self.unit.values()))
        for node in self.nodes:
            unit = self.unit[node]
            for other in needed_by(node, self.definers):
                source = self.unit[other]
                if source is not unit:
                    unit.before.add(source)
                    source.after.add(unit)
        ready = []
        for unit in units:
            waiting[unit] = len(unit.before)
            if not unit.before:
                ready.append(unit)
        while ready:
            unit = ready.pop()
            for user in unit.after:
                user.level = max(user.level, unit.level + 1)
                waiting[user] -= 1
                if not waiting[user]:
                    ready.append(user)

    def _join_one_user(self, unit: _Unit) -> None:
        """Sweep three: ``unit`` and the first of its users' units that may hold both."""
        users = sorted(
            (u for u in unit.after if u.dims is not None and u.root is None), key=lambda u: (u.level, u.index)
        )
        for other in users:
            refusal = self._refusal(unit, other)
            if not refusal and self._outputs(unit, other) > MAX_OUTPUTS:
                refusal = f"together they have more than {MAX_OUTPUTS} results"
            if not refusal and self._is_reached_around(unit, other):
                refusal = "what it needs besides depends on the result"
            if not refusal:
                self._merge(unit, other)
                self._relink(unit, other)
                return
            self._note(unit.members[0], f"not in one call with {other.members[0].op.name}: {refusal}")

    def _is_reached_around(self, unit: _Unit, other: _Unit) -> bool:
        """Is there a path from ``unit`` to ``other`` through a third? True also if that takes too long to tell."""
        seen = {each for each in unit.after if each is not other and each.level < other.level}
        stack = list(seen)
        while stack:
            for user in stack.pop().after:
                if user is other or len(seen) > MAX_SEARCH:
                    return True
                if user.level < other.level and user not in seen:
                    seen.add(user)
                    stack.append(user)
        return False

    def _relink(self, unit: _Unit, into: _Unit) -> None:
        for each in unit.before:
            each.after.discard(unit)
            each.after.add(into)
        for each in unit.after:
            each.before.discard(unit)
            each.before.add(into)
        into.before = (into.before | unit.before) - {unit, into}
        into.after = (into.after | unit.after) - {unit, into}
        into.before.discard(into)
        rising = [into]
        while rising:
            each = rising.pop()
            for user in each.after:
                if user.level <= each.level:
                    user.level = each.level + 1
                    rising.append(user)

    def _note(self, node: Node, text: str) -> None:
        origin = " + ".join(map(str, self.table.origins.get(node, ())))
        self.table.notes.append(f"fuse: {node.op.name}{f' ({origin})' if origin else ''}: {text}")

    def _rebuild(self) -> Region:
        place = {node: i for i, node in enumerate(self.nodes)}
        made: dict[Value, Value] = {}
        nodes: dict[Node, Node] = {}
        for unit in self._in_order():
            if unit.dims is None:
                (node,) = unit.members
                nodes[node] = self._again(node, made)
                made.update(zip(node.outputs, nodes[node].outputs, strict=True))
            else:
                unit.members.sort(key=place.__getitem__)
                self._emit(unit, made)
        region = self.region
        return replace(
            region,
            outputs=tuple(made[value] for value in region.outputs),
            commits=tuple((name, made[value]) for name, value in region.commits),
            effects=tuple(nodes[node] for node in region.effects),
        )

    def _in_order(self) -> list[_Unit]:
        """The units, operands first, else as their first nodes were."""
        units = list(dict.fromkeys(self.unit.values()))
        position = {unit: i for i, unit in enumerate(units)}
        before: dict[_Unit, set[_Unit]] = {unit: set() for unit in units}
        after: dict[_Unit, list[_Unit]] = {unit: [] for unit in units}
        for node in self.nodes:
            unit = self.unit[node]
            for other in needed_by(node, self.definers):
                source = self.unit[other]
                if source is not unit and source not in before[unit]:
                    before[unit].add(source)
                    after[source].append(unit)
        ready = [position[unit] for unit in units if not before[unit]]
        heapq.heapify(ready)
        order = []
        while ready:
            unit = units[heapq.heappop(ready)]
            order.append(unit)
            for user in after[unit]:
                before[user].discard(unit)
                if not before[user]:
                    heapq.heappush(ready, position[user])
        assert len(order) == len(units), "groups are convex"
        return order

    def _again(self, node: Node, made: dict[Value, Value]) -> Node:
        inputs = tuple(made[value] for value in node.inputs)
        if all(new is old for new, old in zip(inputs, node.inputs, strict=True)):
            return node
        copy = self.table.with_inputs(node, inputs)
        self.table.unite(copy, self.table.origins.get(node, ()))
        return copy

    def _emit(self, unit: _Unit, made: dict[Value, Value]) -> None:
        inside: dict[Value, Value] = {}
        reads: dict[Value, Value] = {}
        origins: dict[Origin, None] = {}

        def read(value: Value) -> None:
            if value not in inside:
                reads[value] = inside[value] = self.table.input(f"fused:{len(reads)}", value.type, value.content)

        for value in unit.root.inputs if unit.root is not None else ():
            read(value)
        for node in unit.members:
            for value in node.inputs:
                if _is_small_constant(value):
                    inside.setdefault(value, value)
                else:
                    read(value)
            copy = self._again(node, inside)
            inside.update(zip(node.outputs, copy.outputs, strict=True))
            origins.update(dict.fromkeys(self.table.origins.get(node, ())))
        results = [
            value
            for node in unit.members
            for value in node.outputs
            if value in self.roots or any(self.unit[user] is not unit for user in self.users.get(value, ()))
        ]
        results_inside = tuple(inside[value] for value in results)
        body = Region(self.table, tuple(reads.values()), results_inside, inner=True)
        inputs = tuple(made[value] for value in reads)
        types = tuple(value.type for value in results)
        contents = tuple(value.content for value in results)
        node = self.table.add(OPS["fused"], inputs, {"body": body}, types, contents)
        self.table.unite(node, tuple(origins))
        made.update(zip(results, node.outputs, strict=True))
