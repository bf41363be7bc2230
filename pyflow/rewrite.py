"""The one rewrite driver: rules, applied until none fires, on the nodes of a region.

A pass is a tuple of rules and a call of :func:`rewrite`. The driver keeps what every rule would otherwise have to:
order, interning, origins, the type check, the loop guard, the counter that bisects miscompiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import is_
from typing import TypeAlias

import numpy as np

from pyflow import knobs
from pyflow.errors import InternalError, message
from pyflow.graph import Node, Value, building, current_builder
from pyflow.opdef import OPS, Constant, OpDef, TensorType
from pyflow.region import Region, Table, needed_by

Replacement: TypeAlias = Value | tuple[Value, ...] | None


DEEPEST = 500
"""Replacements of replacements of one node; more are taken for a rule without end."""


@dataclass(frozen=True)
class Rule:
    """``apply`` gives what stands for the node's outputs, or None where the rule does not apply."""

    name: str
    ops: tuple[str, ...] | Callable[[OpDef], object]
    """The ops whose nodes it is offered, by name or by what their rows say; empty: all."""
    apply: Callable[[Node], Replacement]
    exact: bool = True
    """Same bits; a rule that may round otherwise is left out where numerics is strict."""
    why: str = ""

    def suits(self, op: OpDef) -> bool:
        """Is it offered nodes of ``op``?"""
        ops = self.ops
        return not ops or op.name in ops if isinstance(ops, tuple) else bool(ops(op))


def also_from(nodes: Iterable[Node]) -> None:
    """Called by a rule that swallows ``nodes``: what it builds from here on bears their origins too."""
    table = current_builder()
    assert isinstance(table, Table)
    have = dict.fromkeys(table.current)
    for node in nodes:
        have.update(dict.fromkeys(table.origins.get(node, ())))
    table.current = tuple(have)


def constant_of(array: np.ndarray) -> Value:
    """Called by a rule: a constant node that holds ``array`` itself, which nobody may write from here on."""
    table = current_builder()
    assert isinstance(table, Table)
    array.setflags(write=False)
    return table.make(OPS["constant"], (), {"value": Constant(array)}).outputs[0]


def again(node: Node, *inputs: Value) -> Value:
    """Called by a rule: the first output of ``node``'s op, with its attributes, on other inputs."""
    table = current_builder()
    assert isinstance(table, Table)
    return table.make(node.op, inputs, node.attrs).outputs[0]


def shown(op: str, value: Value, **attrs: object) -> Value:
    """Called by a rule: ``value`` as an op of one operand shows it; ``attrs`` are all that the op has, settled."""
    table = current_builder()
    assert isinstance(table, Table)
    return table.make(OPS[op], (value,), attrs).outputs[0]


def compatible(have: TensorType, want: TensorType) -> bool:
    """Same dtype and rank, and no axis of two different known sizes."""
    return (
        have.dtype is want.dtype
        and len(have.dims) == len(want.dims)
        and all(
            a == b or not (isinstance(a, int) and isinstance(b, int)) for a, b in zip(have.dims, want.dims, strict=True)
        )
    )


def rebuilt(table: Table, node: Node, inputs: tuple[Value, ...]) -> Node:
    """``node`` on other inputs, with its origins; types are inferred anew only if an input's type changed."""
    if all(map(is_, inputs, node.inputs)):
        return node
    table.current = table.origins.get(node, ())
    for new, old in zip(inputs, node.inputs, strict=True):
        if new is not old and not _alike(new, old):
            return table.make(node.op, inputs, node.attrs)
    return table.with_inputs(node, inputs)


def with_bodies(region: Region, change: Callable[[Region], Region]) -> Region:
    """``region`` with ``change`` of every body of its control flow; itself if nothing changed.

    Constants that a body captures are known in what ``change`` is given.
    """
    if not region.table.has_flow:
        return region
    made: dict[Value, Value] = {}
    copies: dict[Node, Node] = {}
    for node in region.nodes():
        inputs = tuple(made[value] for value in node.inputs)
        bodies = {name: change(_informed(node, body, inputs)) for name, body in node.op.bodies(node).items()}
        if all(body is node.attrs[name] for name, body in bodies.items()):
            copies[node] = rebuilt(region.table, node, inputs)
        else:
            region.table.current = region.table.origins.get(node, ())
            copies[node] = region.table.make(node.op, inputs, {**node.attrs, **bodies})
        made.update(zip(node.outputs, copies[node].outputs, strict=True))
    region.table.current = ()
    if all(copy is node for node, copy in copies.items()):
        return region
    return replace(
        region,
        outputs=tuple(made[value] for value in region.outputs),
        commits=tuple((name, made[value]) for name, value in region.commits),
        effects=tuple(copies[node] for node in region.effects),
    )


def _informed(node: Node, body: Region, inputs: Sequence[Value]) -> Region:
    """``body`` with the constants among ``inputs`` that no turn changes in the place of its inputs."""
    flow = node.op.flow
    assert flow is not None
    lasting = flow.lead + (node.attrs[flow.carried] if flow.carried else 0) + node.attrs.get("sliced", 0)
    known = {
        body.inputs[place - flow.lead]: value.node
        for place, value in enumerate(inputs)
        if place >= lasting and value.node.op.name == "constant"
    }
    if not known or known.keys().isdisjoint(node.outputs[0] for node in body.nodes() if node.outputs):
        return body
    table = body.table
    made: dict[Value, Value] = {}
    copies: dict[Node, Node] = {}
    for each in body.nodes():
        if each.outputs and each.outputs[0] in known:
            source = known[each.outputs[0]]
            table.current = table.origins.get(source, ())
            copies[each] = table.with_inputs(source, ())
        else:
            copies[each] = rebuilt(table, each, tuple(made[value] for value in each.inputs))
        made.update(zip(each.outputs, copies[each].outputs, strict=True))
    table.current = ()
    outputs = tuple(made[value] for value in body.outputs)
    return replace(body, outputs=outputs, effects=tuple(copies[each] for each in body.effects))


def inlined(table: Table, body: Region, inputs: Sequence[Value]) -> tuple[list[Value], list[Node]]:
    """The outputs and effects of ``body`` on other inputs, its nodes made anew in ``table``."""
    made = dict(zip(body.inputs, inputs, strict=True))
    copies: dict[Node, Node] = {}
    for node in body.nodes():
        if node.outputs and node.outputs[0] in made:
            continue
        operands = tuple(made[value] for value in node.inputs)
        table.current = table.origins.get(node, ())
        if all(new.type == old.type for new, old in zip(operands, node.inputs, strict=True)):
            copy = table.with_inputs(node, operands)
        else:
            copy = table.make(node.op, operands, node.attrs)
        copies[node] = copy
        made.update(zip(node.outputs, copy.outputs, strict=True))
    return [made[value] for value in body.outputs], [copies[node] for node in body.effects]


def _alike(new: Value, old: Value) -> bool:
    """Of one type and content; what was rebuilt shares its types with what it was."""
    if new.index == old.index and new.node.types is old.node.types and new.node.contents is old.node.contents:
        return True
    return new.type == old.type and bool(new.content == old.content)


class Tally:
    """Counts rewrites in ``table.rewrites``, of which the knob PYFLOW_MAX_REWRITES allows so many in a compile."""

    def __init__(self, table: Table) -> None:
        self.rewrites = table.rewrites
        limit = knobs.MAX_REWRITES.get()
        self.left = None if limit < 0 else max(0, limit - sum(self.rewrites.values()))

    def add(self, rule: str) -> None:
        self.rewrites[rule] = self.rewrites.get(rule, 0) + 1
        if self.left is not None:
            self.left -= 1


def rewrite(region: Region, rules: Sequence[Rule], numerics: str = "default") -> Region:
    """``region`` with ``rules`` applied, in their order, to each node until none fires; the same object if none did.

    Counts per rule are added to ``region.table.rewrites``; the knob PYFLOW_MAX_REWRITES ends rewriting early.
    """
    region.table.was.clear()
    walk = _Walk(region, [rule for rule in rules if rule.exact or numerics != "strict"])
    with building(region.table):
        for node in region.nodes():
            walk.settle(node)
    outputs = tuple(walk.now(value) for value in region.outputs)
    commits = tuple((name, walk.now(value)) for name, value in region.commits)
    effects = tuple(walk.effect(node) for node in region.effects)
    walk.keep_definers()
    region.table.current = ()
    unchanged = (
        all(new is old for new, old in zip(outputs, region.outputs, strict=True))
        and all(new[1] is old[1] for new, old in zip(commits, region.commits, strict=True))
        and all(new is old for new, old in zip(effects, region.effects, strict=True))
    )
    return region if unchanged else replace(region, outputs=outputs, commits=commits, effects=effects)


class _Walk:
    """One pass over a region: ``done`` says what stands for the outputs of each node."""

    def __init__(self, region: Region, rules: Sequence[Rule]) -> None:
        self.table = region.table
        self.definers = dict(region.definers)
        self.rules = rules
        self.by_op: dict[OpDef, tuple[Rule, ...]] = {}
        self.done: dict[Node, tuple[Value, ...]] = {}
        self.replaced: dict[Node, tuple[Rule, tuple[Value, ...]]] = {}
        self.depth = 0
        self.tally = Tally(self.table)

    def now(self, value: Value) -> Value:
        return self.done[value.node][value.index]

    def effect(self, node: Node) -> Node:
        """What stands for a node that is run for what it does."""
        if node in self.done and node.op.flow is not None:
            return next(value.node for value in self.done[node] if value.node.op.flow is not None)
        return rebuilt(self.table, node, tuple(self.now(value) for value in node.inputs))

    def keep_definers(self) -> None:
        """A late symbol is defined by what stands for the node that defined it, whatever rules tried out."""
        for name, node in self.definers.items():
            if node in self.done:
                now = self.done[node][0].node
                self.table.definers[name] = now if name in now.defines else node

    def settle(self, root: Node) -> None:
        """Fills ``done`` for ``root``, the next of the region, what it needs being settled; no recursion."""
        done = self.done
        if root in done:
            return
        current = self._step(root)
        if root in done:
            return
        stack = [root] if current is root else [root, current]
        while stack:
            node = stack[-1]
            if node in done:
                stack.pop()
                continue
            if node in self.replaced:
                stack.extend(self._finish(node))
                continue
            pending = [other for other in needed_by(node, self.definers) if other not in done]
            if pending:
                looped = next((entry for entry in pending if entry in self.replaced), None)
                if looped is not None:
                    raise self._loop(looped)
                stack.extend(reversed(pending))
                continue
            current = self._step(node)
            if node in done:
                stack.pop()
            elif current is not node:
                stack.append(current)

    def _step(self, node: Node) -> Node:
        """``node`` on what stands for its inputs, offered to the rules; fills ``done`` for both unless one fires."""
        done, current = self.done, node
        for value in node.inputs:
            if done[value.node][value.index] is not value:
                current = rebuilt(self.table, node, tuple([done[each.node][each.index] for each in node.inputs]))
                self.table.was.setdefault(current, self.table.was.get(node, node))
                break
        if current not in done:
            if current in self.replaced:
                raise self._loop(current)
            self._offer(current)
        if current in done:
            done[node] = done[current]
        return current

    def _offer(self, node: Node) -> None:
        """Offers ``node``, whose inputs are settled, to the rules: fills ``done``, or ``replaced`` if one fires."""
        rules = self.by_op.get(node.op)
        if rules is None:
            rules = self.by_op[node.op] = tuple([rule for rule in self.rules if rule.suits(node.op)])
        if self.tally.left == 0 or node.op.effect:
            rules = ()
        for rule in rules:
            self.table.current = self.table.origins.get(node, ())
            made = rule.apply(node)
            if made is None:
                continue
            values = made if isinstance(made, tuple) else (made,)
            if len(values) == len(node.outputs) and all(
                new is old for new, old in zip(values, node.outputs, strict=True)
            ):
                continue
            self._verify(rule, node, values)
            for value in values:
                self.table.unite(value.node, self.table.current)
            self.tally.add(rule.name)
            self.replaced[node] = (rule, values)
            self.depth += 1
            if self.depth > DEEPEST:
                raise self._loop(node)
            return
        self.done[node] = node.outputs

    def _finish(self, node: Node) -> list[Node]:
        """What must be settled before ``node`` is; nothing, and ``done`` filled, once all is."""
        _, values = self.replaced[node]
        pending = [value.node for value in values if value.node not in self.done]
        if any(entry in self.replaced for entry in pending):
            raise self._loop(node)
        if not pending:
            self.depth -= 1
            self.done[node] = tuple(self.now(value) for value in values)
        return pending

    def _verify(self, rule: Rule, node: Node, values: tuple[Value, ...]) -> None:
        types = tuple([value.type for value in values])
        fits = types == node.types or (len(types) == len(node.types) and all(map(compatible, types, node.types)))
        if not fits:
            was, now = ", ".join(map(str, node.types)), ", ".join(map(str, types))
            raise InternalError(self._bug(rule, node, f"replaced {was} by {now}"))
        if any(value.node.graph is not None for value in values):
            raise InternalError(self._bug(rule, node, "gave a value of a declared graph"))

    def _loop(self, node: Node) -> InternalError:
        rule = self.replaced[node][0]
        return InternalError(self._bug(rule, node, "fires without end"))

    def _bug(self, rule: Rule, node: Node, what: str) -> str:
        origin = next(iter(self.table.origins.get(node, ())), None)
        return message(node.op.name, f"rule {rule.name!r} {what}", origin, "this is a bug in pyflow: please report it")
