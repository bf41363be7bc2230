"""A region: the fetched part of a graph, cut at the feeds, frozen and interned; what passes rewrite.

Capture turns variables into values: a read becomes the value that the variable has at that place of the program, a
write names the value that the variable will take. What remains is pure, but for an ordered list of effects (assert,
print) and the commits that end a run. So program order holds by construction, pruning runs only what is fetched, and a
run that fails leaves variables as they were.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pyflow import dims
from pyflow.attrs import attr_key
from pyflow.body import accesses, acts
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError, Origin, message, user_origin
from pyflow.graph import Graph, Node, Value
from pyflow.opdef import OPS, Flow, OpDef, TensorType


class Table:
    """The interned nodes of one compile, and their origins; a :class:`pyflow.graph.Builder`."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[Any, ...], Node] = {}
        self.definers: dict[str, Node] = {}
        """By late symbol: the node that defines it, the newest if a pass made another."""
        self.has_flow = False
        """Was a node of control flow made?"""
        self.origins: dict[Node, tuple[Origin, ...]] = {}
        self.current: tuple[Origin, ...] = ()
        """Origins of what is being rewritten: nodes added now come from there."""
        self.was: dict[Node, Node] = {}
        """By node that a rewrite made anew because its operands changed: the node of the region before that rewrite."""
        self.notes: list[str] = []
        """What passes decided and why, one line each, for ``explain()``."""
        self.rewrites: dict[str, int] = {}
        """How often each rule has fired in this compile."""

    def child(self) -> Table:
        """The table of a body: nodes of its own, origins, notes and counts together with this one's."""
        table = Table()
        table.origins, table.notes, table.rewrites = self.origins, self.notes, self.rewrites
        return table

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
        attrs_key: tuple[Any, ...] | None = None,
    ) -> Node:
        """``attrs_key`` is the node's ``key``, where a like node has it already."""
        if attrs_key is None:
            attrs_key = tuple(map(attr_key, attrs.values()))
        key = (op.name, inputs, attrs_key)
        node = self._nodes.get(key)
        if node is None:
            self.has_flow |= op.flow is not None
            position = len(self._nodes)
            node = self._nodes[key] = Node(op, inputs, attrs, types, contents, position=position, key=attrs_key)
        if op.defines is not None:
            self.definers.update(dict.fromkeys(node.defines, node))
        self.unite(node, self.current)
        return node

    def with_inputs(self, node: Node, inputs: tuple[Value, ...]) -> Node:
        """``node`` on other inputs of the same types and contents."""
        return self.add(node.op, inputs, node.attrs, node.types, node.contents, attrs_key=node.key)

    def make(self, op: OpDef, inputs: tuple[Value, ...], attrs: Mapping[str, Any]) -> Node:
        """A node of settled attributes; types are inferred anew."""
        types = op.types_of(inputs, attrs)
        return self.add(op, inputs, attrs, types, op.contents_of(inputs, attrs, types))

    def input(self, label: str, type: TensorType, content: Any = None) -> Value:
        """A value that comes from outside: a feed or a variable's value. ``label`` is unique in the compile."""
        attrs = {"label": label, "dtype": type.dtype, "dims": type.dims}
        return self.add(OPS["input"], (), attrs, (type,), (content,)).outputs[0]

    def fresh(self, outside: Value) -> Value:
        """An input that stands for a value from outside."""
        made = self.input(f"taken:{len(self._nodes)}", outside.type, outside.content)
        self.unite(made.node, self.origins.get(outside.node, ()))
        return made

    def unite(self, node: Node, origins: tuple[Origin, ...]) -> None:
        """``node`` comes from there too; ``origins`` are without repeats."""
        have = self.origins.setdefault(node, origins)
        if have is not origins:
            united = dict.fromkeys((*have, *origins))
            if len(united) > len(have):
                self.origins[node] = tuple(united)


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
    checks: tuple[tuple[Size, Size, str], ...] = ()
    """Sizes that a run compares before it starts, beside what its nodes ask, and the message where they differ."""
    inner: bool = False
    """A body in the table of what it stands in: the late symbols that it mentions are defined out there."""

    def roots(self) -> tuple[Value, ...]:
        """Every value that must be computed: outputs, commits, inputs of effects."""
        return (
            *self.outputs,
            *(value for _, value in self.commits),
            *(v for node in self.effects for v in node.inputs),
        )

    def nodes(self) -> Sequence[Node]:
        """Every node that the roots and effects need, operands and what defines late symbols before users."""
        return self._ordered(self.definers) if self.definers else self._nodes

    @cached_property
    def _nodes(self) -> tuple[Node, ...]:
        """They are the same each time where no late symbol may be given another definer."""
        return self._ordered(_NO_DEFINERS)

    def _ordered(self, definers: Mapping[str, Node]) -> tuple[Node, ...]:
        return tuple(topological([*(value.node for value in self.roots()), *self.effects], definers=definers))

    @property
    def definers(self) -> Mapping[str, Node]:
        """By late symbol: the node of this region that defines it."""
        return {} if self.inner else self.table.definers

    def late_names(self) -> tuple[str, ...]:
        """The late symbols that its nodes mention and none of them defines."""
        nodes = self.nodes()
        own = {name for node in nodes for name in node.defines}
        return tuple(dict.fromkeys(name for node in nodes for name in node.late if name not in own))

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
        if value.node in known:
            return known[value.node]
        for node in topological([value.node], known):
            if node.op.name == "input":
                label = node.attrs["label"]
                known[node] = label.startswith("variable:") and label not in self._written
            elif not node.inputs:
                known[node] = node.op.name == "constant"
            else:
                known[node] = (
                    all([known[entry.node] for entry in node.inputs])
                    and not node.op.effect
                    and all(isinstance(size, int) for type in node.types for size in type.dims)
                    and not node.late
                )
        return known[value.node]


class Alone:
    """``node in Alone(region)``: it gives one value, which one other node alone reads. What a rewrite of the region
    made anew of a node, because its operands changed, may be asked for too."""

    def __init__(self, region: Region) -> None:
        roots = set(region.roots())
        self._was = region.table.was
        self._nodes = {
            value.node
            for value, readers in region.users().items()
            if len(readers) == len(value.node.outputs) == 1 and value not in roots
        }

    def __contains__(self, node: Node) -> bool:
        return self._was.get(node, node) in self._nodes


def needed_by(node: Node, definers: Mapping[str, Node]) -> Iterator[Node]:
    """The nodes that must run before ``node``: those of its operands, and what defines its late symbols."""
    for value in node.inputs:
        yield value.node
    if definers:
        for name in node.late:
            if name in definers:
                yield definers[name]


_NO_DEFINERS: Mapping[str, Node] = {}


def topological(
    roots: Iterable[Node], without: Container[Node] = (), definers: Mapping[str, Node] = _NO_DEFINERS
) -> list[Node]:
    """The nodes that ``roots`` reach, operands (and ``definers`` of late symbols) first, in a deterministic order, but
    for those in ``without`` and what only they reach; no recursion."""
    order: list[Node] = []
    done: set[Node] = set()
    for root in roots:
        stack: list[tuple[Node, Iterator[Node]]] = []
        if root not in done and root not in without:
            done.add(root)
            stack.append((root, needed_by(root, definers)))
        while stack:
            node, pending = stack[-1]
            for other in pending:
                if other not in done and other not in without:
                    done.add(other)
                    stack.append((other, needed_by(other, definers)))
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
    taken = _Capture(table or Table())
    for index, value in enumerate(feeds):
        if any(dims.late_in(size) for size in value.dims):
            what = f"{value.name}: {value.type} cannot be fed: the run itself finds out its size"
            raise InvalidArgumentError(message("run", what, user_origin(), "feed what it is made of"))
        taken.enter(value, f"feed:{index}", value.content if value.node.op.name != "placeholder" else None)
    needed = needed_for(graph, fetches, set(taken.values))
    missing = [node for node in needed if node.op.name == "placeholder"]
    if missing:
        raise InvalidArgumentError(_missing(missing))
    for node in needed:
        taken.take(node)
    taken.table.current = ()
    return taken.region(
        tuple(taken.values[fetch] for fetch in fetches if isinstance(fetch, Value)),
        tuple((name, taken.current[name]) for name in taken.written),
    )


class _Capture:
    """Declared nodes, taken in program order; a variable is the value that it has at that place."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.values: dict[Value, Value] = {}
        """What stands for each declared value."""
        self.inputs: list[Value] = []
        self.variables: dict[str, Value] = {}
        """Those that were read, or may stay as they were: the values that they have before."""
        self.current: dict[str, Value] = {}
        self.written: dict[str, None] = {}
        self.effects: list[Node] = []

    def region(self, outputs: tuple[Value, ...], commits: tuple[tuple[str, Value], ...] = ()) -> Region:
        return Region(self.table, tuple(self.inputs), outputs, commits, tuple(self.effects), self.variables)

    def enter(self, value: Value, label: str, content: Any) -> None:
        """An input that stands for a declared value."""
        made = self.values[value] = self.table.input(label, value.type, content)
        self.table.unite(made.node, _origins(value.node))
        self.inputs.append(made)

    def now(self, variable: Any) -> Value:
        if variable.name not in self.current:
            value = self.table.input(f"variable:{variable.name}", variable.type)
            self.variables[variable.name] = self.current[variable.name] = value
            self.inputs.append(value)
        return self.current[variable.name]

    def write(self, variable: Any, value: Value) -> None:
        self.current[variable.name] = value
        self.written[variable.name] = None

    def take(self, node: Node) -> None:
        table, values = self.table, self.values
        table.current = _origins(node)
        effect = node.op.effect
        if effect == "read":
            values[node.outputs[0]] = self.now(node.attrs["variable"])
        elif effect == "write":
            values.setdefault(node.outputs[0], values[node.inputs[0]])
            self.write(node.attrs["variable"], values[node.inputs[0]])
        elif effect == "update":
            before = self.now(node.attrs["variable"])
            values.setdefault(node.outputs[0], before)
            after = table.make(OPS[node.attrs["becomes"]], (before, *(values[v] for v in node.inputs)), {})
            self.write(node.attrs["variable"], after.outputs[0])
        elif node.op.flow is not None:
            self.take_flow(node, node.op.flow)
        else:
            copy = table.with_inputs(node, tuple(values[v] for v in node.inputs))
            for declared, made in zip(node.outputs, copy.outputs, strict=True):
                values.setdefault(declared, made)
            if effect == "host" and copy not in self.effects:
                self.effects.append(copy)

    def take_flow(self, node: Node, flow: Flow) -> None:
        """Control flow is pure too: the variables that its bodies touch go in, those that they write come out."""
        bodies = node.op.bodies(node)
        touched = [accesses(body) for body in bodies.values()]
        writes = {name: variable for _, written in touched for name, variable in written.items()}
        reads = {name: variable for read, _ in touched for name, variable in read.items() if name not in writes}
        attrs = dict(node.attrs)
        carried = attrs[flow.carried] if flow.carried else 0
        at = flow.lead + carried
        inputs = [self.values[value] for value in node.inputs]
        inputs[at:at] = [self.now(variable) for variable in writes.values()]
        inputs += [self.now(variable) for variable in reads.values()]
        for name, body in bodies.items():
            inner = _Capture(self.table.child())
            for index, value in enumerate(body.inputs):
                inner.enter(value, f"input:{index}", value.content)
            before = [inner.enter_variable(variable) for variable in writes.values()]
            after = [inner.enter_variable(variable) for variable in reads.values()]
            given = inner.inputs[: len(body.inputs)]
            for each in needed_for(body, [*body.outputs, *filter(acts, body.nodes)], set(body.inputs)):
                inner.take(each)
            inner.inputs[:] = [*given[:carried], *before, *given[carried:], *after]
            results = [inner.values[value] for value in body.outputs]
            held = [inner.current[name] for name in writes]
            place = 1 if name == flow.condition else carried
            inner.variables = {}
            inner.table.current = ()
            attrs[name] = inner.region((*results[:place], *held, *results[place:]))
        if flow.carried:
            attrs[flow.carried] = carried + len(writes)
        made = self.table.make(node.op, tuple(inputs), attrs)
        outputs = list(made.outputs)
        for variable, value in zip(writes.values(), outputs[carried : carried + len(writes)], strict=True):
            self.write(variable, value)
        del outputs[carried : carried + len(writes)]
        for declared, value in zip(node.outputs, outputs, strict=True):
            self.values.setdefault(declared, value)
        if any(body.effects for body in made.op.bodies(made).values()):
            self.effects.append(made)

    def enter_variable(self, variable: Any) -> Value:
        """The input of a body that a variable is."""
        made = self.table.input(f"state:{variable.name}", variable.type)
        self.table.unite(made.node, self.table.current or (Origin("", 0, variable.name),))
        self.current[variable.name] = made
        self.inputs.append(made)
        return made


def _origins(node: Node) -> tuple[Origin, ...]:
    return (node.origin,) if node.origin is not None else ()


def needed_for(graph: Graph, fetches: Sequence[Value | Node], fed: Container[Value] = ()) -> list[Node]:
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
        pending.extend(graph.definers[name] for name in node.late if name in graph.definers)
    return sorted(needed, key=lambda node: node.position)


def _missing(nodes: Sequence[Node]) -> str:
    shown = "\n".join(f"    {node.name}: {node.types[0]}   ({node.origin})" for node in nodes)
    return message("run", f"no value was fed for\n{shown}", user_origin(), "pass feed_dict={...} with each of them")
