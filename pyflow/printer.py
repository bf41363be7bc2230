"""Graphs, regions and plans as text: ``dump`` for reading and, for graphs, for reading back (pyflow/parser.py).

One node per line::

    %3 = add(%1, %2) {axis=1} : float32[batch,8]  "scope/add" after(%0)  # model.py:12

Values are ``%number``, or ``%number:index`` for nodes of several outputs. Attributes are Python literals, dtypes by
name, sizes in ``<>``, variables as ``$"name"``, small constants in place, large ones by reference (``c0``).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.dims import Dim, Size, Symbol
from pyflow.dtypes import DType
from pyflow.errors import Origin
from pyflow.graph import Graph, Node, Value
from pyflow.opdef import BODY, VARIABLE, Constant, TensorType
from pyflow.parser import parse_graph
from pyflow.plan import Plan, View
from pyflow.region import Region
from pyflow.stored import StoredConstant

__all__ = ["diff", "dot", "dump", "dump_parts", "dump_plan", "parse_graph"]

INLINE = 16
"""Elements of a constant that are written in place."""


def dump(source: Graph | Region) -> str:
    """The text of a graph or region; large constants are named, not written."""
    return dump_held(source)[0]


def dump_parts(source: Graph | Region) -> tuple[str, dict[str, np.ndarray]]:
    """The text, and the large constants that it names: what :func:`parse_graph` takes."""
    text, constants = dump_held(source)
    return text, {name: held.array for name, held in constants.items()}


def dump_held(source: Graph | Region) -> tuple[str, dict[str, Constant]]:
    """As :func:`dump_parts`; constants that lie in files are not read."""
    writer = _Writer()
    if isinstance(source, Graph):
        writer.graph(source)
    else:
        writer.region(source)
    return "\n".join(writer.lines) + "\n", writer.constants


class _Writer:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.constants: dict[str, Constant] = {}
        self.references: dict[int, str] = {}
        self.numbers: dict[Node, int] = {}
        self.bodies: dict[Any, str] = {}
        self.symbols: dict[str, Symbol] = {}

    def graph(self, graph: Graph) -> None:
        for number, node in enumerate(graph.nodes):
            self.numbers[node] = number
        body = [line for node in graph.nodes for line in (*self.blocks(node), self.node(node, node.origin, node.after))]
        tail = [f"input {self.value(value)}" for value in graph.inputs]
        tail += [f"output {self.value(value)}" for value in graph.outputs]
        tail += [f"alias {quoted(name)} {self.value(value)}" for name, value in graph.aliases.items()]
        self.lines.append("pyflow graph 1")
        if graph.seed is not None:
            self.lines.append(f"seed {graph.seed}")
        variables = [self.variable(variable) for variable in graph.variables.values()]
        for name, dim in graph._symbols.items():
            self.symbols.setdefault(name, next(dims.symbols_of(dim)))
        self.lines += [*self.symbol_lines(), *variables, *body, *tail]

    def variable(self, variable: Any) -> str:
        text = f"variable {quoted(variable.name)} : {self.type(variable.type)} trainable={variable.trainable}"
        if variable.initial_value is not None:
            text += f" initial={self.value(variable.initial_value)}"
        if variable.initializer is not None:
            text += f" initializer={self.number(variable.initializer)}"
        return text

    def region(self, region: Region, indent: str = "") -> None:
        nodes = region.nodes()
        for value in region.inputs:
            if value.node not in self.numbers:
                self.numbers[value.node] = len(self.numbers)
        inputs = [value.node for value in region.inputs]
        order = [*inputs, *(node for node in nodes if node not in set(inputs))]
        body: list[str] = []
        for node in order:
            self.numbers.setdefault(node, len(self.numbers))
            body += self.blocks(node)
            body.append(self.node(node, next(iter(region.table.origins.get(node, ())), None), ()))
            body += self.nested(node)
        tail = [f"output {self.value(value)}" for value in region.outputs]
        tail += [f"commit {quoted(name)} {self.value(value)}" for name, value in region.commits]
        tail += [f"effect {self.number(node)}" for node in region.effects]
        tail += [f"check <{left}> <{right}> {quoted(what)}" for left, right, what in region.checks]
        head = [] if indent else ["pyflow region 1", *self.symbol_lines()]
        self.lines += [indent + line for line in (*head, *body, *tail)]

    def blocks(self, node: Node) -> list[str]:
        """The bodies of a control-flow node, which has them by name; numbers inside are their own."""
        lines: list[str] = []
        for body in node.op.bodies(node).values():
            inner = _Writer()
            inner.constants, inner.references, inner.symbols = self.constants, self.references, self.symbols
            inner.bodies = self.bodies
            if isinstance(body, Region):
                inner.region(body, "  ")
            else:
                inner.body(body)
            self.bodies[body] = name = f"body{len(self.bodies)}"
            ports = [f"  input {inner.value(value)}" for value in body.inputs]
            lines += [f"begin {name}", *inner.lines, *ports, "end"]
        return lines

    def body(self, body: Any) -> None:
        first = [value.node for value in body.inputs]
        order = [*first, *(node for node in body.nodes if node not in set(first))]
        self.numbers.update((node, number) for number, node in enumerate(order))
        lines = [line for node in order for line in (*self.blocks(node), self.node(node, node.origin, node.after))]
        self.lines += [f"  {line}" for line in lines]
        self.lines += [f"  output {self.value(value)}" for value in body.outputs]

    def nested(self, node: Node) -> list[str]:
        """The body of a fused node, as a comment: it is for reading only."""
        lines: list[str] = []
        for name, attr in node.attrs.items():
            if isinstance(attr, Region) and attr not in self.bodies:
                inner = _Writer()
                inner.constants, inner.references, inner.symbols = self.constants, self.references, self.symbols
                inner.region(attr, "#     ")
                lines += [f"#   {name}:", *inner.lines]
        return lines

    def symbol_lines(self) -> list[str]:
        """One line per symbol, after those that its bound is made of."""
        lines: dict[str, str] = {}

        def visit(symbol: Symbol) -> None:
            if symbol.name in lines:
                return
            bound = ""
            if symbol.max is not None:
                for inner in dims.symbols_of(symbol.max):
                    visit(inner)
                bound = f" max=<{symbol.max}>"
            hint = "" if symbol.hint is None else f" hint={symbol.hint}"
            lines[symbol.name] = f"dim {symbol.name} min={symbol.min}{bound}{hint}{' late' if symbol.late else ''}"

        for name in sorted(self.symbols):
            visit(self.symbols[name])
        return list(lines.values())

    def node(self, node: Node, origin: Origin | None, after: Sequence[Node]) -> str:
        operands = ", ".join(self.value(value) for value in node.inputs)
        attrs = ", ".join(
            f"{name}={self.attr(attr, declared=node.op.attrs.get(name))}" for name, attr in node.attrs.items()
        )
        types = ", ".join(map(self.type, node.types)) or "()"
        text = f"{self.number(node)} = {node.op.name}({operands})"
        text += f" {{{attrs}}}" if attrs else ""
        text += f" : {types}"
        if node.name:
            text += f"  {quoted(node.name)}"
        if after:
            text += f" after({', '.join(map(self.number, after))})"
        return f"{text}  # {_one_line(str(origin))}" if origin is not None and str(origin) else text

    def number(self, node: Node) -> str:
        return f"%{self.numbers[node]}"

    def value(self, value: Value) -> str:
        many = len(value.node.outputs) > 1
        return f"%{self.numbers[value.node]}:{value.index}" if many else f"%{self.numbers[value.node]}"

    def type(self, type: TensorType) -> str:
        for size in type.dims:
            self.size(size)
        return str(type)

    def size(self, size: Size) -> str:
        for symbol in dims.symbols_of(size):
            self.symbols.setdefault(symbol.name, symbol)
        return str(size)

    def attr(self, attr: Any, declared: Any = None) -> str:
        if declared is VARIABLE:
            return f"${quoted(attr.name)}"
        if declared is BODY and attr is not None:
            return self.bodies[attr]
        if isinstance(attr, Constant):
            return self.constant(attr)
        if isinstance(attr, Dim):
            return f"<{self.size(attr)}>"
        if isinstance(attr, DType):
            return attr.name
        if isinstance(attr, tuple):
            return f"[{', '.join(map(self.attr, attr))}]"
        if isinstance(attr, str):
            return quoted(attr)
        if attr is None or isinstance(attr, (bool, int, float)):
            return repr(attr)
        return f"!{type(attr).__name__}"

    def constant(self, held: Constant) -> str:
        if isinstance(held, StoredConstant):
            return self.reference(held, id(held))
        array = held.array
        if array.dtype.kind == "O":
            entries = ", ".join(map(quoted, array.reshape(-1).tolist()))
            return f"tensor(string, [{', '.join(map(str, array.shape))}], [{entries}])"
        dtype = dtypes.as_dtype(array.dtype)
        if array.size <= INLINE and dtype.kind in "iubf" and _reads_back(array, dtype):
            entries = ", ".join(map(repr, _entries(array, dtype)))
            return f"tensor({dtype}, [{', '.join(map(str, array.shape))}], [{entries}])"
        return self.reference(held, id(array))

    def reference(self, held: Constant, identity: int) -> str:
        """The name of a large constant."""
        if identity not in self.references:
            name = self.references[identity] = f"c{len(self.constants)}"
            self.constants[name] = held
        return self.references[identity]


def _entries(array: np.ndarray, dtype: dtypes.DType) -> list[Any]:
    """The elements as Python numbers, which hold those of every dtype that is written so."""
    wide = {"f": np.float64, "i": np.int64, "u": np.uint64}.get(dtype.kind, np.bool_)
    result: list[Any] = array.reshape(-1).astype(wide).tolist()
    return result


def _reads_back(array: np.ndarray, dtype: dtypes.DType) -> bool:
    """False for NaNs of other bits than the usual one, which numbers as text would lose."""
    if dtype.kind != "f":
        return True
    return np.array(_entries(array, dtype), array.dtype).tobytes() == array.tobytes()


def quoted(text: str) -> str:
    """A JSON string: printable ASCII, on one line."""
    return json.dumps(text)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def dot(source: Graph | Region) -> str:
    """The graph as Graphviz text."""
    nodes = source.nodes if isinstance(source, Graph) else source.nodes()
    number = {node: index for index, node in enumerate(nodes)}
    lines = ["digraph pyflow {", "  node [shape=box, fontname=monospace];"]
    for node in nodes:
        types = "\n".join(map(str, node.types))
        label = "\n".join(filter(None, (node.name, node.op.name, types)))
        lines.append(f"  n{number[node]} [label={quoted(label)}];")
        lines += [
            f"  n{number[value.node]} -> n{number[node]} [label={quoted(str(value.type))}];" for value in node.inputs
        ]
        lines += [
            f"  n{number[before]} -> n{number[node]} [style=dashed];" for before in node.after if before in number
        ]
    return "\n".join([*lines, "}"]) + "\n"


def diff(a: Graph | Region, b: Graph | Region) -> str:
    """What changed from ``a`` to ``b``, as a unified diff of their texts; "" if nothing did."""
    left, right = dump(a).splitlines(), dump(b).splitlines()
    return "\n".join(difflib.unified_diff(left, right, "before", "after", lineterm=""))


def dump_plan(plan: Plan) -> str:
    """Buffers, then every body step by step, then the entries: for reading."""
    lines = ["pyflow plan"]
    for index, buffer in enumerate(plan.buffers):
        slot = f" slot {buffer.slot}" if buffer.slot >= 0 else ""
        name = f" {quoted(buffer.name)}" if buffer.name else ""
        lines.append(
            f"b{index} {buffer.kind.name.lower()} {buffer.dtype}[{buffer.elements}] {buffer.backend}{slot}{name}"
        )
    for index, body in enumerate(plan.bodies):
        lines.append(f"body {index}")
        for step in body:
            details: Mapping[str, Any] = {
                "ints": step.ints,
                "floats": step.floats,
                "programs": step.programs,
                "bodies": step.bodies,
                "text": step.text,
            }
            shown = " ".join(f"{name}={_shown(value)}" for name, value in details.items() if value)
            operands, results = ", ".join(map(_view, step.inputs)), ", ".join(map(_view, step.outputs))
            origin = f"  # {_one_line(step.origin)}" if step.origin else ""
            lines.append(f"  {results or '()'} = {step.kernel}({operands}) {shown}{origin}".rstrip())
    for entry in plan.entries:
        lines.append(f"entry {quoted(entry.name)} body {entry.body}")
        lines += [f"  input {quoted(port.name)} {_view(port.view)}" for port in entry.inputs]
        lines += [f"  output {quoted(port.name)} {_view(port.view)}" for port in entry.outputs]
        lines += [f"  commit b{commit.variable} {_view(commit.source)}" for commit in entry.commits]
        lines += [f"  check {check.left} == {check.right}: {_one_line(check.message)}" for check in entry.checks]
        lines += [f"  prepare body {prepare.body} when {list(prepare.sources)} change" for prepare in entry.prepares]
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    if isinstance(value, tuple) and value and hasattr(value[0], "instrs"):
        return " ".join(
            "{" + "; ".join(f"{i.op}({', '.join(f'r{a}' for a in i.args)})" for i in program.instrs) + "}"
            for program in value
        )
    return quoted(value) if isinstance(value, str) else f"[{', '.join(map(str, value))}]"


def _view(view: View) -> str:
    shape = ",".join(map(str, view.dims))
    strides = ",".join(map(str, view.strides))
    offset = f"+{view.offset}" if view.offset != 0 else ""
    return f"b{view.buffer}{offset}:{view.dtype}[{shape}]({strides})"
