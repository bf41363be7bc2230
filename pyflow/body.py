"""The body of a control-flow node: a graph of its own, which captures the values that it uses from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyflow.graph import Graph, Node, Value
from pyflow.opdef import OPS, OpDef, TensorType


class Body(Graph):
    """What a control-flow node runs. ``inputs``: its parameters, then what it captures; ``outputs``: its results.

    Variables are those of the graph around it. Ops go to it while it is traced; then :func:`close` settles what the
    bodies of one node take from outside.
    """

    def __init__(self, outer: Graph, label: str = "") -> None:
        super().__init__()
        self.outer = outer
        self.variables = outer.variables
        self.outside: dict[Node, None] = {}
        """Nodes around it that must run before it."""
        self.captured: dict[Value, Value] = {}
        """By value of the graph around it: the input that stands for it."""
        self._symbols = outer._symbols
        if label:
            self._scopes.name = f"{outer._scopes.name}{label}/"

    def parameter(self, type: TensorType, content: Any = None, name: str = "parameter") -> Value:
        """A new input."""
        attrs = {"label": f"{name}:{len(self.inputs)}", "dtype": type.dtype, "dims": type.dims}
        value = self.add(OPS["input"], (), attrs, (type,), (content,), name).outputs[0]
        self.inputs.append(value)
        return value

    def add(
        self,
        op: OpDef,
        inputs: tuple[Value, ...],
        attrs: Mapping[str, Any],
        types: tuple[TensorType, ...],
        contents: tuple[Any, ...],
        name: str | None,
    ) -> Node:
        node = super().add(op, inputs, attrs, types, contents, name)
        node.after = self.own(node.after)
        return node

    def own(self, nodes: Sequence[Node]) -> tuple[Node, ...]:
        """Those of ``nodes`` that are in here; the others must run before the whole body."""
        self.outside.update((node, None) for node in nodes if node.graph is not self)
        return tuple(node for node in nodes if node.graph is self)

    def adopt(self, value: Value) -> Value:
        """``value`` in here: itself, or what stands for a value of a graph around it."""
        if value.node.graph is self:
            return value
        assert self.outer is not None
        outside = self.outer.adopt(value)
        if outside not in self.captured:
            node = outside.node
            if node.op.name == "constant" and not outside.dtype.is_inexact:  # what no gradient is taken by
                copy = self.add(node.op, (), node.attrs, node.types, node.contents, "constant")
                self.captured[outside] = copy.outputs[0]
            else:
                self.captured[outside] = self.parameter(outside.type, outside.content, "captured")
        return self.captured[outside]

    def late_names(self) -> tuple[str, ...]:
        """The late symbols that its nodes mention and none of them defines."""
        return tuple(dict.fromkeys(name for node in self.nodes for name in node.late if name not in self.definers))


def acts(node: Node) -> bool:
    """Does the node, or a body of it, write a variable or do what is seen outside?"""
    return node.op.effect in ("write", "host") or any(map(acts, _inside(node)))


def accesses(body: Body) -> tuple[dict[str, Any], dict[str, Any]]:
    """The variables that a body reads and those that it writes, by name."""
    reads: dict[str, Any] = {}
    writes: dict[str, Any] = {}
    for node in body.nodes:
        effect = node.op.effect
        if effect in ("read", "update"):
            reads[node.attrs["variable"].name] = node.attrs["variable"]
        if effect in ("write", "update"):
            writes[node.attrs["variable"].name] = node.attrs["variable"]
        for inner in node.op.bodies(node).values():
            more = accesses(inner)
            reads.update(more[0])
            writes.update(more[1])
    return reads, writes


def _inside(node: Node) -> list[Node]:
    return [entry for body in node.op.bodies(node).values() for entry in body.nodes]


def close(bodies: Sequence[Body], read: Callable[[Any], Value]) -> list[Value]:
    """Gives the bodies of one node the same captures, in one order, and returns what they stand for outside.

    A variable that they only read is captured too: ``read(variable)`` is its value in the graph around them.
    """
    written = {name for body in bodies for name in accesses(body)[1]}
    outer: dict[str, Value] = {}
    for body in bodies:
        for node in [node for node in body.nodes if node.op.effect == "read"]:
            variable = node.attrs["variable"]
            if variable.name not in written:
                if variable.name not in outer:
                    outer[variable.name] = read(variable)
                _become(node, OPS["identity"], (body.adopt(outer[variable.name]),))
    wanted = dict.fromkeys(
        value for body in bodies for value, inner in body.captured.items() if inner.node.op.name == "input"
    )
    for body in bodies:
        count = len(body.inputs) - sum(inner.node.op.name == "input" for inner in body.captured.values())
        for value in wanted:
            inner = body.captured.get(value)
            if inner is None:
                body.captured[value] = body.parameter(value.type, value.content, "captured")
        body.inputs[count:] = [body.captured[value] for value in wanted]
    return list(wanted)


def _become(node: Node, op: OpDef, inputs: tuple[Value, ...]) -> None:
    node.op, node.inputs, node.attrs = op, inputs, {}
