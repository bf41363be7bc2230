"""A region: the fetched part of a graph, cut at the feeds, frozen and interned; what passes rewrite.

Capture turns variables into values: a read becomes the value that the variable has at that place of the program, a
write names the value that the variable will take. What remains is pure, but for an ordered list of effects (assert,
print) and the commits that end a run. So program order holds by construction, pruning runs only what is fetched, and a
run that fails leaves variables as they were.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyflow.errors import InvalidArgumentError, Origin, message, user_origin
from pyflow.graph import Graph, Node, Value
from pyflow.opdef import OPS, OpDef, TensorType, attr_key


class Table:
    """The interned nodes of one compile, and their origins; a :class:`pyflow.graph.Builder`."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[Any, ...], Node] = {}
        self.origins: dict[Node, tuple[Origin, ...]] = {}
        self.current: tuple[Origin, ...] = ()
        """Origins of what is being rewritten: nodes added now come from there."""
        self.notes: list[str] = []
        """What passes decided and why, one line each, for ``explain()``."""
        self.rewrites: dict[str, int] = {}
        """How often each rule has fired in this compile."""

    def adopt(self, value: Value) -> Value:
        if value.node.graph is not None:
            raise InvalidArgumentError(f"{value.name} is a declared value, not one of the region")
        return value

    def add(
        self,
        op: OpDef,
        inputs: tuple[Value, ...],
        attrs: Mapping[str, Any],
        types: tuple[TensorType, ...],
        contents: tuple[Any, ...],
        name: str | None = None,
    ) -> Node:
        key = (op.name, inputs, tuple(map(attr_key, attrs.values())))
        node = self._nodes.get(key)
        if node is None:
            position = len(self._nodes)
            node = self._nodes[key] = Node(op, inputs, attrs, types, contents, position=position)
        self.unite(node, self.current)
        return node

    def make(self, op: OpDef, inputs: tuple[Value, ...], attrs: Mapping[str, Any]) -> Node:
        """A node of settled attributes; types are inferred anew."""
        types = op.types_of(inputs, attrs)
        return self.add(op, inputs, attrs, types, op.contents_of(inputs, attrs, types))

    def input(self, label: str, type: TensorType, content: Any = None) -> Value:
        """A value that comes from outside: a feed or a variable's value. ``label`` is unique in the compile."""
        attrs = {"label": label, "dtype": type.dtype, "dims": type.dims}
        return self.add(OPS["input"], (), attrs, (type,), (content,)).outputs[0]

    def unite(self, node: Node, origins: Iterable[Origin]) -> None:
        have = self.origins.get(node, ())
        new = tuple(origin for origin in origins if origin not in have)
        if new or node not in self.origins:
            self.origins[node] = have + new


@dataclass(frozen=True, eq=False)
class Region:
    """Values in, values out. Passes make new ones with ``dataclasses.replace``; unchanged means the same object."""

    table: Table
    inputs: tuple[Value, ...]
    """Values of ``input`` nodes: feeds first, in order, then variables."""
    outputs: tuple[Value, ...]
    commits: tuple[tuple[str, Value], ...] = ()
    """(variable, the value it takes when the run ends)."""
    effects: tuple[Node, ...] = ()
    """Nodes that run for what they do (assert, print), in program order."""
    variables: Mapping[str, Value] = field(default_factory=dict)
    """The inputs that are variables' values before the run, by variable."""

    def roots(self) -> tuple[Value, ...]:
        """Every value that must be computed: outputs, commits, inputs of effects."""
        return (
            *self.outputs,
            *(value for _, value in self.commits),
            *(v for node in self.effects for v in node.inputs),
        )

    def nodes(self) -> list[Node]:
        """Every node that the roots and effects need, operands before users."""
        return topological([*(value.node for value in self.roots()), *self.effects])

    def users(self) -> dict[Value, list[Node]]:
        """Which nodes read each value."""
        result: dict[Value, list[Node]] = {}
        for node in self.nodes():
            for value in node.inputs:
                result.setdefault(value, []).append(node)
        return result


class Lasting:
    """``value in Lasting(region)``: it depends on constants and on variables that the run does not write, so that it
    is the same from run to run: what prepare steps compute. Values made later in the compile may be asked for too."""

    def __init__(self, region: Region) -> None:
        self._written = {f"variable:{name}" for name, _ in region.commits}
        self._known: dict[Node, bool] = {}

    def __contains__(self, value: Value) -> bool:
        known = self._known
        for node in topological([value.node], known):
            if node.op.name == "input":
                label = node.attrs["label"]
                known[node] = label.startswith("variable:") and label not in self._written
            elif not node.inputs:
                known[node] = node.op.name == "constant"
            else:
                known[node] = (
                    not node.op.effect
                    and all(known[entry.node] for entry in node.inputs)
                    and all(isinstance(size, int) for type in node.types for size in type.dims)
                )
        return known[value.node]


def topological(roots: Iterable[Node], without: Container[Node] = ()) -> list[Node]:
    """The nodes that ``roots`` reach, operands first, in a deterministic order, but for those in ``without`` and what
    only they reach; no recursion."""
    order: list[Node] = []
    done: set[Node] = set()
    for root in roots:
        stack: list[tuple[Node, Iterator[Value]]] = []
        if root not in done and root not in without:
            done.add(root)
            stack.append((root, iter(root.inputs)))
        while stack:
            node, pending = stack[-1]
            for value in pending:
                if value.node not in done and value.node not in without:
                    done.add(value.node)
                    stack.append((value.node, iter(value.node.inputs)))
                    break
            else:
                order.append(node)
                stack.pop()
    return order


def capture(
    graph: Graph, fetches: Sequence[Value | Node], feeds: Sequence[Value], table: Table | None = None
) -> Region:
    """The region that computes ``fetches`` from ``feeds``; nodes that are fetched give no output but run.

    Raises InvalidArgumentError, listing them, for placeholders that are needed and neither fed nor defaulted.
    """
    table = table or Table()
    values: dict[Value, Value] = {}
    for index, value in enumerate(feeds):
        values[value] = table.input(
            f"feed:{index}", value.type, value.content if value.node.op.name != "placeholder" else None
        )
        table.unite(values[value].node, _origins(value.node))
    inputs = list(values.values())
    variables: dict[str, Value] = {}
    current: dict[str, Value] = {}
    written: list[str] = []
    effects: list[Node] = []

    def now(variable: Any) -> Value:
        if variable.name not in current:
            value = table.input(f"variable:{variable.name}", variable.type)
            variables[variable.name] = current[variable.name] = value
            inputs.append(value)
        return current[variable.name]

    def write(variable: Any, value: Value) -> None:
        current[variable.name] = value
        if variable.name not in written:
            written.append(variable.name)

    needed = _needed(fetches, set(values))
    missing = [node for node in needed if node.op.name == "placeholder"]
    if missing:
        raise InvalidArgumentError(_missing(missing))
    for node in needed:
        table.current = _origins(node)
        effect = node.op.effect
        if effect == "read":
            values[node.outputs[0]] = now(node.attrs["variable"])
        elif effect == "write":
            values.setdefault(node.outputs[0], values[node.inputs[0]])
            write(node.attrs["variable"], values[node.inputs[0]])
        elif effect == "update":
            before = now(node.attrs["variable"])
            values.setdefault(node.outputs[0], before)
            after = table.make(OPS[node.attrs["becomes"]], (before, *(values[v] for v in node.inputs)), {})
            write(node.attrs["variable"], after.outputs[0])
        else:
            copy = table.add(node.op, tuple(values[v] for v in node.inputs), node.attrs, node.types, node.contents)
            for declared, made in zip(node.outputs, copy.outputs, strict=True):
                values.setdefault(declared, made)
            if effect == "host" and copy not in effects:
                effects.append(copy)
    table.current = ()
    return Region(
        table,
        tuple(inputs),
        tuple(values[fetch] for fetch in fetches if isinstance(fetch, Value)),
        tuple((name, current[name]) for name in written),
        tuple(effects),
        variables,
    )


def _origins(node: Node) -> tuple[Origin, ...]:
    return (node.origin,) if node.origin is not None else ()


def _needed(fetches: Sequence[Value | Node], fed: set[Value]) -> list[Node]:
    """Declared nodes that a run takes, in program order; a fed value needs nothing."""
    pending = [f if isinstance(f, Node) else f.node for f in fetches if isinstance(f, Node) or f not in fed]
    needed: set[Node] = set()
    while pending:
        node = pending.pop()
        if node in needed:
            continue
        needed.add(node)
        pending.extend(value.node for value in node.inputs if value not in fed)
        pending.extend(node.after)
    return sorted(needed, key=lambda node: node.position)


def _missing(nodes: Sequence[Node]) -> str:
    shown = "\n".join(f"    {node.name}: {node.types[0]}   ({node.origin})" for node in nodes)
    return message("run", f"no value was fed for\n{shown}", user_origin(), "pass feed_dict={...} with each of them")
