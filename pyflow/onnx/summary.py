"""What a model file says of itself, read without running it; also where some of its nodes cannot be imported."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from pyflow.onnx.checking import Problem, check
from pyflow.onnx.loader import Model, opsets_of, read
from pyflow.onnx.tensors import BY_ONNX

_HELD = {"sequence_type": "sequence", "optional_type": "optional", "map_type": "map", "sparse_tensor_type": "sparse"}


@dataclass(frozen=True)
class Declared:
    """An input or output as the model declares it."""

    name: str
    type: str
    optional: bool = False
    """An input with a default."""


@dataclass(frozen=True)
class Summary:
    """See :func:`summarise`."""

    label: str
    ir_version: int
    opsets: dict[str, int]
    producer: str
    inputs: tuple[Declared, ...]
    outputs: tuple[Declared, ...]
    dims: tuple[str, ...]
    ops: dict[str, int]
    functions: dict[str, int]
    parameters: dict[str, tuple[int, int]]
    """By element type: how many tensors, how many elements."""
    parameter_bytes: int
    problems: tuple[Problem, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def summarise(model: Model) -> Summary:
    """Inputs, outputs, symbols, ops by count, parameters, and the nodes that :func:`pyflow.onnx.load` cannot map."""
    proto, label, _ = read(model)
    tensors = list(_tensors(proto))
    parameters: dict[str, tuple[int, int]] = {}
    size = 0
    for tensor in tensors:
        count = math.prod(tensor.dims)
        dtype = BY_ONNX.get(tensor.data_type)
        name = str(dtype) if dtype is not None else "unknown"
        number, elements = parameters.get(name, (0, 0))
        parameters[name] = (number + 1, elements + count)
        size += count * dtype.bits // 8 if dtype is not None else 0
    defaults = {tensor.name for tensor in proto.graph.initializer}
    inputs = [_declared(entry, entry.name in defaults) for entry in proto.graph.input]
    names = (
        dim.dim_param
        for entry in proto.graph.input
        for dim in entry.type.tensor_type.shape.dim
        if dim.HasField("dim_param") and dim.dim_param
    )
    ops = Counter(node.op_type for node in _nodes(proto.graph.node))
    producer = " ".join(filter(None, (proto.producer_name, proto.producer_version)))
    return Summary(
        label,
        proto.ir_version,
        opsets_of(proto),
        producer,
        tuple(entry for entry in inputs if not (entry.optional and proto.ir_version < 4)),
        tuple(_declared(entry, False) for entry in proto.graph.output),
        tuple(dict.fromkeys(names)),
        dict(sorted(ops.items(), key=lambda item: (-item[1], item[0]))),
        {function.name: len(function.node) for function in proto.functions},
        parameters,
        size,
        tuple(check(proto, folder=_folder(model))),
    )


def _folder(model: Model) -> str | None:
    return os.path.dirname(os.path.abspath(model)) if isinstance(model, (str, os.PathLike)) else None


def tree(model: Model) -> list[str]:
    """A line per node, bodies indented below theirs, and the model's functions."""
    proto = read(model)[0]
    lines = list(_lines(proto.graph.node, ""))
    for function in proto.functions:
        lines.append(f"function {function.name}({', '.join(function.input)}) -> {', '.join(function.output)}")
        lines += _lines(function.node, "  ")
    return lines


def _lines(nodes: Iterable[NodeProto], indent: str) -> Iterator[str]:
    for node in nodes:
        name = f"{node.name}: " if node.name else ""
        made = ", ".join(entry or "-" for entry in node.output)
        yield f"{indent}{name}{made} = {node.op_type}({', '.join(entry or '-' for entry in node.input)})"
        for attribute in node.attribute:
            for body in _bodies(attribute):
                yield f"{indent}  {attribute.name}({', '.join(entry.name for entry in body.input)}):"
                yield from _lines(body.node, indent + "    ")


def _bodies(attribute: AttributeProto) -> list[GraphProto]:
    return [attribute.g] if attribute.type == AttributeProto.GRAPH else list(attribute.graphs)


def _nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for body in _bodies(attribute):
                yield from _nodes(body.node)


def _tensors(proto: ModelProto) -> Iterator[TensorProto]:
    yield from proto.graph.initializer
    for sparse in proto.graph.sparse_initializer:
        yield sparse.values


def _declared(entry: ValueInfoProto, optional: bool) -> Declared:
    kind = entry.type.WhichOneof("value") or ""
    type = entry.type
    held: list[str] = []
    while kind in ("sequence_type", "optional_type") and len(held) < 8:
        held.append(_HELD[kind])
        type = getattr(type, kind).elem_type
        kind = type.WhichOneof("value") or ""
    if kind != "tensor_type":
        return Declared(entry.name, " of ".join([*held, _HELD.get(kind, "unknown")]), optional)
    dtype = BY_ONNX.get(type.tensor_type.elem_type)
    dims = "..."
    if type.tensor_type.HasField("shape"):
        dims = ",".join(
            dim.dim_param or (str(dim.dim_value) if dim.HasField("dim_value") else "?")
            for dim in type.tensor_type.shape.dim
        )
    return Declared(entry.name, " of ".join([*held, f"{dtype or 'unknown'}[{dims}]"]), optional)
