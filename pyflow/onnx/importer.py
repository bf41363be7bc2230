"""From a model's nodes to a graph's: names, scopes, bodies and functions; what each op becomes is in the table."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import FunctionProto, GraphProto, NodeProto, TypeProto

from pyflow.apply import apply
from pyflow.dims import Dim
from pyflow.dtypes import variant
from pyflow.errors import (
    DTypeError,
    InternalError,
    InvalidArgumentError,
    Origin,
    PyflowError,
    UnimplementedError,
)
from pyflow.graph import Graph, Node, Value, get_default_graph
from pyflow.interpret import evaluate_node
from pyflow.onnx import table
from pyflow.onnx.apart import Apart
from pyflow.onnx.node import OnnxNode
from pyflow.onnx.schemas import attributes_of, check_inputs
from pyflow.onnx.tensors import array_of, dense_of
from pyflow.onnx.variants import Element, Held, Optional, held_by
from pyflow.onnx.variants import Sequence as HeldSequence
from pyflow.opdef import OPS, Constant
from pyflow.ops.sources import holding
from pyflow.region import topological
from pyflow.stored import MappedData

DEEPEST = 64
"""How deep bodies and functions may be nested."""
MOST_ADDED, MOST_PER_NODE = 1 << 14, 128
"""How many nodes the calls of functions may add in all: so many, or so many for each node of the model's functions."""
LARGEST_KNOWN = 1 << 16
"""Constant subgraphs of at most this many elements are computed while the graph is built."""


@dataclass(frozen=True)
class Problem:
    """A node that cannot be imported, and why."""

    op_type: str
    domain: str
    version: int
    node: str
    reason: str
    supported: bool = False
    """The op has a row; it is what this node asks for that does not fit."""

    def __str__(self) -> str:
        domain = f"{self.domain}." if self.domain else ""
        op = f"{domain}{self.op_type}"
        shown = op if op.isprintable() else ascii(op)
        return f"{shown} (opset {self.version}), node {self.node!r}: {self.reason}"


class Missing:
    """Stands for a value that a node with a problem would have made."""


MISSING = Missing()


class BodyFailed(PyflowError):
    """A body has a problem, which is noted; the node around it cannot be made."""


@dataclass
class Scope:
    """The names that nodes see."""

    opsets: Mapping[str, int]
    parent: Scope | None = None
    values: dict[str, Any] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)
    """Attribute values that the nodes of a function refer to."""
    function: str = ""
    depth: int = 0
    pending: frozenset[str] = frozenset()
    """What later nodes make."""

    def find(self, name: str) -> Any:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.parent
        raise InvalidArgumentError(self._unknown(name))

    def _unknown(self, name: str) -> str:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.pending:
                return (
                    f"input {name!r} is used before the node that makes it; "
                    "nodes must be in order, and a graph of nodes has no cycle"
                )
            scope = scope.parent
        return f"input {name!r} is made by no node, and is no input or initializer"

    def inner(self, **changes: Any) -> Scope:
        if self.depth >= DEEPEST:
            raise InvalidArgumentError(f"bodies and functions are nested more than {DEEPEST} deep")
        made = Scope(self.opsets, self, attrs=self.attrs, function=self.function, depth=self.depth + 1)
        for name, value in changes.items():
            setattr(made, name, value)
        return made

    def bind(self, name: str, value: Any) -> None:
        if name in self.values:
            raise InvalidArgumentError(f"the name {name!r} is given to two values")
        self.values[name] = value


class Importer:
    """Adds nodes of one model to the graph that is the default one."""

    def __init__(
        self,
        graph: Graph,
        label: str,
        folder: str | None,
        functions: Mapping[tuple[str, str, str], Any],
        nodes: Sequence[NodeProto] = (),
        apart: Apart | None = None,
    ) -> None:
        self.graph = graph
        self.label = label
        self.folder = folder
        self.apart = apart
        """The file in which data of initializers was left."""
        self.functions = functions
        self.problems: list[Problem] = []
        self.overridable: set[Value] = set()
        """Values with a default that a run may replace."""
        self.variants: dict[Value, Any] = {}
        """What sequences and optionals are known to hold."""
        self._aliased: set[Value] = set()
        self._results: dict[Node, Sequence[Constant | np.ndarray | None]] = {}
        self._calls: list[tuple[str, str, str]] = []
        self._row_of = functools.cache(table.row_of)
        written = sum(_count(function.node) for function in functions.values()) + _count(nodes)
        self._may_add = max(MOST_ADDED, MOST_PER_NODE * written)

    def initializers(self, proto: GraphProto) -> Iterator[tuple[str, Any]]:
        """(name, array) of a graph's own tensors."""
        for tensor in proto.initializer:
            what = f"initializer {tensor.name!r}"
            left = self.apart.constant(tensor, what) if self.apart is not None else None
            held = array_of(tensor, self.folder, what) if left is None else left
            mapped = MappedData.under(held) if isinstance(held, np.ndarray) else None
            if mapped is not None:
                self.graph.files.append(mapped)
            yield tensor.name, held
        for sparse in proto.sparse_initializer:
            yield sparse.values.name, dense_of(sparse, self.folder)

    def nodes(self, nodes: Sequence[NodeProto], scope: Scope) -> None:
        """Adds the nodes of a graph or function; what goes wrong with one is noted, and the rest is looked at."""
        scope.pending = frozenset(name for node in nodes for name in node.output if name)
        for index, node in enumerate(nodes):
            self.node(node, node.name or f"{node.op_type}_{index}", scope)

    def node(self, proto: NodeProto, name: str, scope: Scope) -> None:
        domain = table.domain_of(proto.domain)
        version = scope.opsets.get(domain, 0)
        graph = get_default_graph()
        origin = Origin(f"{self.label}: {proto.op_type} {name!r}", 0)

        def note(reason: str, supported: bool) -> None:
            self.problems.append(Problem(proto.op_type, domain, version, scope.function + name, reason, supported))

        try:
            with graph.name_scope(name, origin):
                outputs = self._outputs(proto, name, domain, version, scope)
        except BodyFailed:
            outputs = None
        except InternalError:
            raise
        except UnimplementedError as error:
            note(_text(error), False)
            outputs = None
        except RecursionError:
            note("it is nested too deeply", True)
            outputs = None
        except Exception as error:
            note(_text(error), True)
            outputs = None
        values = [MISSING] * len(proto.output) if outputs is None else outputs
        for output, value in zip(proto.output, values, strict=False):
            if output:
                try:
                    scope.bind(output, self._named(output, value, scope))
                except InvalidArgumentError as error:
                    note(str(error), True)

    def _named(self, name: str, value: Any, scope: Scope) -> Any:
        """The value under its ONNX name; a value that has one already gets a node of its own."""
        if scope.parent is not None or scope.function or not isinstance(value, Value):
            return value
        if value in self._aliased:
            held = self.variants.get(value)
            value = apply(OPS["identity"], (value,), {})
            self.variants[value] = held
        self.name(name, value)
        return value

    def name(self, name: str, value: Value) -> None:
        """``value`` can be fetched and fed by its name in the model."""
        self._aliased.add(value)
        self.graph.alias(name, value)

    def _outputs(self, proto: NodeProto, name: str, domain: str, version: int, scope: Scope) -> Sequence[Any] | None:
        """The values of the node's outputs; None if its inputs are missing."""
        function = self._function(proto, domain)
        if function is None and not version:
            raise InvalidArgumentError(f"the model imports no operator set of the domain {domain or 'ai.onnx'!r}")
        schema = None if function is not None else table.schema_of(domain, proto.op_type, version)
        inputs = tuple(scope.find(entry) if entry else None for entry in proto.input)
        attrs = attributes_of(proto, schema, scope.attrs, self.folder)
        missing = any([value is MISSING for value in inputs])
        if function is not None:
            return None if missing else self._call(function, inputs, proto.output, attrs, name, scope)
        row, since = self._row_of(domain, proto.op_type, version)
        if missing:
            return None
        if schema is not None:
            check_inputs(schema, inputs)
        if row is None:
            return self._expanded(proto, schema, version, inputs, attrs, name, scope)
        given = inputs
        while given and given[-1] is None:
            given = given[:-1]
        node = OnnxNode(
            domain,
            proto.op_type,
            name,
            version,
            since,
            inputs,
            tuple(proto.output),
            attrs,
            self.known,
            self.variants,
            lambda attr: self._body(attrs, attr, scope),
            scope.find,
        )
        try:
            result = row(node, *given)
        except TypeError as error:
            raise InvalidArgumentError(f"{len(given)} inputs do not fit: {error}") from error
        outputs = tuple(result) if isinstance(result, (tuple, list)) else (result,)
        if any([name and (i >= len(outputs) or outputs[i] is None) for i, name in enumerate(node.outputs)]):
            raise UnimplementedError(f"of its outputs {list(proto.output)} only {len(outputs)} are made")
        return outputs

    def _add(self, count: int) -> None:
        """Nodes of a function or a body are about to be added, maybe not for the first time."""
        self._may_add -= count + 1
        if self._may_add < 0:
            raise InvalidArgumentError("functions and bodies add too many nodes: one holds another again and again")

    # Functions: the model's own, and bodies that the standard gives.

    def _function(self, proto: NodeProto, domain: str) -> FunctionProto | None:
        found: FunctionProto | None = self.functions.get((domain, proto.op_type, proto.overload))
        return found

    def _opsets(self, function: FunctionProto, scope: Scope) -> dict[str, int]:
        own = {table.domain_of(entry.domain): entry.version for entry in function.opset_import}
        table.check_version(own.get("", 0))
        return {**scope.opsets, **own}

    def _call(
        self,
        function: FunctionProto,
        inputs: Sequence[Any],
        outputs: Sequence[str],
        attrs: Mapping[str, Any],
        name: str,
        scope: Scope,
    ) -> Sequence[Any]:
        """Adds the nodes of ``function`` in place of a node that calls it; the values of ``outputs``."""
        key = (function.domain, function.name, function.overload)
        if key in self._calls:
            raise InvalidArgumentError(f"the function {function.name!r} calls itself")
        self._add(len(function.node))
        if len(inputs) > len(function.input):
            raise InvalidArgumentError(f"the function takes {len(function.input)} inputs, got {len(inputs)}")
        given = dict(attrs)
        for entry in function.attribute_proto:
            given.setdefault(entry.name, attributes_of(_holder(entry), None, {}, self.folder)[entry.name])
        inner = scope.inner(
            parent=None,
            values={},
            attrs=given,
            opsets=self._opsets(function, scope),
            function=f"{scope.function}{name}/",
        )
        for formal, value in zip(function.input, [*inputs, *[None] * len(function.input)], strict=False):
            inner.bind(formal, value)
        self._calls.append(key)
        before = len(self.problems)
        try:
            self.nodes(function.node, inner)
        finally:
            self._calls.pop()
        if len(self.problems) > before:
            raise BodyFailed
        return [
            inner.find(formal) if i < len(outputs) and outputs[i] else None for i, formal in enumerate(function.output)
        ]

    def _expanded(
        self,
        proto: NodeProto,
        schema: Any,
        version: int,
        inputs: Sequence[Any],
        attrs: Mapping[str, Any],
        name: str,
        scope: Scope,
    ) -> Sequence[Any]:
        """An op that has no row, through the body that the standard gives for it."""
        if schema.has_context_dependent_function:
            versions = schema.context_dependent_function_opset_versions
            best = max((v for v in versions if v <= version), default=min(versions))
            types = [type_proto(value, self.variants.get(value)).SerializeToString() for value in inputs]
            settled = _settled(proto, scope.attrs)
            text = schema.get_context_dependent_function_with_opset_version(best, settled.SerializeToString(), types)
        else:
            versions = schema.function_opset_versions
            best = max((v for v in versions if v <= version), default=min(versions))
            text = schema.get_function_with_opset_version(best)
        if not text:
            raise UnimplementedError("there is no mapping for the op, and the standard's own body does not take these")
        function = FunctionProto.FromString(text)
        given = {key: value for key, value in attrs.items() if value is not None}
        return self._call(function, inputs, proto.output, given, name, scope)

    # Bodies of If, Loop, Scan.

    def _body(self, attrs: Mapping[str, Any], attr: str, scope: Scope) -> Callable[..., tuple[Any, ...]]:
        proto = attrs.get(attr)
        if not isinstance(proto, GraphProto):
            raise InvalidArgumentError(f"the graph attribute {attr!r} is missing")

        def run(*values: Any) -> tuple[Any, ...]:
            if len(values) != len(proto.input):
                raise InvalidArgumentError(f"the body {attr!r} takes {len(proto.input)} values, got {len(values)}")
            inner = scope.inner()
            self._add(len(proto.node))
            for formal, value in zip(proto.input, values, strict=True):
                inner.bind(formal.name, value)
                if value.dtype is variant and self.variants.get(value) is None:
                    self.variants[value] = held_by(formal.type)
            for name, array in self.initializers(proto):
                if name not in inner.values:
                    inner.bind(name, holding(array))
            before = len(self.problems)
            self.nodes(proto.node, inner)
            results = tuple(inner.find(output.name) for output in proto.output)
            if len(self.problems) > before or any(value is MISSING for value in results):
                raise BodyFailed
            return results

        run.proto = proto  # type: ignore[attr-defined]
        return run

    # Constants.

    def known(self, value: Value) -> np.ndarray | None:
        """The array that ``value`` is in every run, if it depends on constants alone and is small."""
        told = _content_of(value)
        if told is not None:
            return told
        for node in topological([value.node], self._results):
            self._results[node] = self._computed(node)
        held = self._results[value.node][value.index]
        return None if held is None else np.asarray(held)

    def _computed(self, node: Node) -> Sequence[Constant | np.ndarray | None]:
        """The arrays that its outputs are in every run, None where only a run can tell."""
        inputs = [self._results[entry.node][entry.index] for entry in node.inputs]
        fixed = all(isinstance(size, int) for type in node.types for size in type.dims)
        held = node.attrs.get("value") if not node.inputs else None
        if isinstance(held, Constant):
            return [held]
        if fixed and all(math.prod(type.dims) == 0 for type in node.types):
            return [np.empty(type.dims, type.dtype.numpy) for type in node.types]  # type: ignore[arg-type]
        if (
            fixed
            and node.op.ref is not None
            and not node.op.effect
            and all(array is not None for array in inputs)
            and not any(output in self.overridable for output in node.outputs)
            and sum(math.prod(type.dims) for type in node.types) <= LARGEST_KNOWN  # type: ignore[operator, misc]
            and not any(_is_symbolic(attr) for attr in node.attrs.values())
        ):
            return evaluate_node(node, [np.asarray(array) for array in inputs])
        return [_content_of(output) for output in node.outputs]


def _count(nodes: Sequence[NodeProto]) -> int:
    """Nodes, and those of their bodies."""
    total, pending = 0, list(nodes)
    while pending:
        node = pending.pop()
        total += 1
        for attribute in node.attribute:
            pending.extend(attribute.g.node)
    return total


def _content_of(value: Value) -> np.ndarray | None:
    """What a value of sizes is known to hold, if these are numbers."""
    content = value.content
    entries = content if isinstance(content, tuple) else (content,)
    if content is None or not all(isinstance(entry, int) for entry in entries):
        return None
    return np.array(content, value.dtype.numpy)


def _is_symbolic(attr: Any) -> bool:
    return isinstance(attr, Dim) or (isinstance(attr, tuple) and any(isinstance(entry, Dim) for entry in attr))


def _holder(attribute: Any) -> NodeProto:
    return NodeProto(attribute=[attribute])


def _settled(proto: NodeProto, attrs: Mapping[str, Any]) -> NodeProto:
    """The node with values in place of references to its function's attributes."""
    from onnx import helper

    result = NodeProto()
    result.CopyFrom(proto)
    del result.attribute[:]
    for attribute in proto.attribute:
        if not attribute.ref_attr_name:
            result.attribute.append(attribute)
        elif attrs.get(attribute.ref_attr_name) is not None:
            result.attribute.append(helper.make_attribute(attribute.name, attrs[attribute.ref_attr_name]))
    return result


def type_proto(value: Value | None, held: Held | None = None) -> TypeProto:
    """The type of a value as the standard writes it; ``held``: what it holds, if it is a variant."""
    result = TypeProto()
    if value is not None:
        _write_type(result, held if value.dtype is variant else Element(value.dtype, value.dims))
    return result


def _write_type(proto: TypeProto, type: Any) -> None:
    if isinstance(type, HeldSequence):
        _write_type(proto.sequence_type.elem_type, type.element)
    elif isinstance(type, Optional):
        _write_type(proto.optional_type.elem_type, type.held)
    elif isinstance(type, Element):
        tensor = proto.tensor_type
        tensor.elem_type = type.dtype.onnx
        if type.shape is not None:
            tensor.shape.SetInParent()
        for size in type.shape or ():
            entry = tensor.shape.dim.add()
            if isinstance(size, int):
                entry.dim_value = size
            elif size is not None:
                entry.dim_param = str(size)


def _text(error: Exception) -> str:
    """What went wrong, in one line, without a line of Python; an error that is not ours says its kind."""
    text = re.sub(r"   \([^()]*\)$", "", str(error).split("\n")[0])
    return text if isinstance(error, (PyflowError, DTypeError)) else f"{type(error).__name__}: {text}"
