"""``load``: an ONNX model as a graph."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, EncodeError, Message
from onnx import ModelProto, ValueInfoProto

import pyflow.onnx.rows  # noqa: F401
from pyflow import dtypes
from pyflow.collecting import collected_after
from pyflow.dims import Dim
from pyflow.errors import (
    DataLossError,
    DTypeError,
    InvalidArgumentError,
    NotFoundError,
    PyflowError,
    UnimplementedError,
    message,
    user_origin,
)
from pyflow.graph import Graph, Value
from pyflow.onnx import table
from pyflow.onnx.apart import Apart, open_apart
from pyflow.onnx.importer import MISSING, Importer, Problem, Scope
from pyflow.onnx.tensors import dim_of, dtype_of, noting_files, symbol_name
from pyflow.onnx.variants import held_by
from pyflow.ops.sources import holding, placeholder, placeholder_with_default

OLDEST = 7
"""Operator sets of the main domain from here on are read directly; older ones are converted to it first."""

Model: TypeAlias = str | os.PathLike | bytes | ModelProto
Shapes: TypeAlias = Mapping[str, Sequence[Any]]


def load(model: Model, *, shapes: Shapes | None = None, folder: str | os.PathLike | None = None) -> Graph:
    """As :func:`pyflow.onnx.load`, which sees to plans that were kept."""
    return load_noting(model, shapes, folder).graph


def load_noting(model: Model, shapes: Shapes | None, folder: str | os.PathLike | None) -> Imported:
    """As ``load``; also tells which files were read beside the model's."""
    with collected_after():
        imported = import_model(model, shapes, folder)
    if imported.problems:
        kind = InvalidArgumentError if all(each.supported for each in imported.problems) else UnimplementedError
        shown = "\n".join(f"    {problem}" for problem in imported.problems[:50])
        more = f"\n    and {len(imported.problems) - 50} more" if len(imported.problems) > 50 else ""
        count = len(imported.problems)
        raise kind(
            message("onnx", f"{imported.label}: {count} node{'s' * (count > 1)} cannot be imported\n{shown}{more}")
        )
    return imported


class Imported:
    """A graph, what kept it from being whole, and the files beside the model that it is made of."""

    def __init__(self, graph: Graph, label: str, problems: list[Problem], files: Sequence[str]) -> None:
        self.graph = graph
        self.label = label
        self.problems = problems
        self.files = files


def import_model(model: Model, shapes: Shapes | None = None, folder: str | os.PathLike | None = None) -> Imported:
    """As ``load``; problems of nodes are listed, not raised."""
    label = "model"
    try:
        proto, label, beside, apart = _read_apart(model)
        proto = in_a_known_opset(proto)
        settled = os.fspath(folder) if folder is not None else beside
        return _import(proto, label, settled, {} if shapes is None else shapes, apart)
    except PyflowError as error:
        if str(error).startswith("["):
            raise
        raise type(error)(message("onnx", f"{label}: {error}", user_origin())) from None
    except RecursionError:
        raise InvalidArgumentError(message("onnx", f"{label}: nested too deeply", user_origin())) from None


def read(model: Model) -> tuple[ModelProto, str, str | None]:
    """The parsed model, what to call it, and the folder of its file."""
    found = _read(model)
    _check_text(found[0])
    return found


def _read(model: Model) -> tuple[ModelProto, str, str | None]:
    if isinstance(model, ModelProto):
        return model, model.graph.name or "model", None
    if isinstance(model, (bytes, bytearray, memoryview)):
        return _parsed(bytes(model), "model"), "model", None
    if not isinstance(model, (str, os.PathLike)):
        raise DTypeError(f"expected a path, bytes or a ModelProto, got {type(model).__name__}")
    path = os.fspath(model)
    if not os.path.isfile(path):
        raise NotFoundError(f"there is no file {path!r}")
    with open(path, "rb") as file:
        return _parsed(file.read(), path), os.path.basename(path), os.path.dirname(os.path.abspath(path))


def _read_apart(model: Model) -> tuple[ModelProto, str, str | None, Apart | None]:
    """As :func:`read`; the data of large initializers is left in the file, if there is one."""
    found = open_apart(os.fspath(model)) if isinstance(model, (str, os.PathLike)) and os.path.isfile(model) else None
    if found is not None:
        apart, light = found
        path = apart.file.path
        proto = _parsed(light, path)
        if opsets_of(proto).get("", OLDEST) >= OLDEST:
            _check_text(proto)
            return proto, os.path.basename(path), os.path.dirname(path), apart
    return (*read(model), None)


def _parsed(data: bytes, what: str) -> ModelProto:
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise DataLossError(f"{what} is no ONNX model, or is damaged: {error}") from None
    if not proto.ir_version or not proto.HasField("graph"):
        raise DataLossError(f"{what} is no ONNX model, or is damaged: it has no IR version or no graph")
    return proto


def _check_text(proto: ModelProto) -> None:
    """Raises DataLossError for text that is not UTF-8, which protobuf hands over as bytes."""
    pending: list[Message] = [proto]
    while pending:
        for field, value in pending.pop().ListFields():
            kind = field.type
            if kind == FieldDescriptor.TYPE_STRING:
                if type(value) is str:
                    continue
                for entry in (value,) if isinstance(value, bytes) else value:
                    if type(entry) is not str:
                        raise DataLossError(f"the model is damaged: {field.full_name} is no text: {entry[:40]!r}")
            elif kind == FieldDescriptor.TYPE_MESSAGE:
                if isinstance(value, Message):
                    pending.append(value)
                else:
                    pending += value


def opsets_of(proto: ModelProto) -> dict[str, int]:
    """Version by domain; InvalidArgumentError for ones that are not there or contradict each other."""
    if not 0 < proto.ir_version <= onnx.IR_VERSION:
        raise InvalidArgumentError(f"IR version {proto.ir_version}; expected 1 to {onnx.IR_VERSION}: update onnx")
    opsets: dict[str, int] = {}
    for entry in proto.opset_import:
        domain = table.domain_of(entry.domain)
        if opsets.setdefault(domain, entry.version) != entry.version or entry.version < 1:
            raise InvalidArgumentError(f"operator set {domain or 'ai.onnx'} is imported as version {entry.version}")
    if not opsets and proto.ir_version < 3:
        opsets[""] = 1
    if not opsets:
        raise InvalidArgumentError("the model imports no operator set")
    table.check_version(opsets.get("", 0))
    return opsets


def in_a_known_opset(proto: ModelProto) -> ModelProto:
    """The model itself if its operator set can be read directly, else converted."""
    version = opsets_of(proto).get("", OLDEST)
    if version >= OLDEST or not any(_changed(node, version) for node in proto.graph.node):
        return proto
    try:
        return onnx.version_converter.convert_version(proto, OLDEST)
    except (RuntimeError, ValueError, EncodeError, onnx.version_converter.ConvertError) as error:
        first = str(error).strip().split("\n")[0]
        raise UnimplementedError(
            f"operator set {version} is older than {OLDEST}, and onnx cannot convert the model: {first}"
        ) from None


def _changed(node: Any, version: int) -> bool:
    old = table.schema_of(table.domain_of(node.domain), node.op_type, version)
    if old is None or table.reads_older(node.op_type, old.since_version):
        return False
    new = table.schema_of(table.domain_of(node.domain), node.op_type, OLDEST)
    return new is None or new.since_version != old.since_version


def _functions(proto: ModelProto) -> dict[tuple[str, str, str], Any]:
    result: dict[tuple[str, str, str], Any] = {}
    for function in proto.functions:
        key = (table.domain_of(function.domain), function.name, function.overload)
        if key in result:
            raise InvalidArgumentError(f"the function {function.name!r} is defined twice")
        result[key] = function
    return result


def _import(proto: ModelProto, label: str, folder: str | None, shapes: Shapes, apart: Apart | None) -> Imported:
    graph = Graph()
    if apart is not None:
        graph.files.append(apart.file)
    importer = Importer(graph, label, folder, _functions(proto), proto.graph.node, apart)
    scope = Scope(opsets_of(proto))
    unknown = set(shapes) - {entry.name for entry in proto.graph.input}
    if unknown:
        raise NotFoundError(f"shapes= names {sorted(unknown)}, which the model does not have as inputs")
    with graph.as_default(), graph.attributed_to(user_origin()), noting_files() as files:
        _declare(proto, importer, scope, shapes)
        importer.nodes(proto.graph.node, scope)
        graph.outputs = _outputs(proto, importer, scope)
    return Imported(graph, label, importer.problems, sorted(files))


def _declare(proto: ModelProto, importer: Importer, scope: Scope, shapes: Shapes) -> None:
    """Inputs and initializers."""
    defaults: dict[str, Any] = {}
    for name, array in importer.initializers(proto.graph):
        if not name or name in defaults:
            raise InvalidArgumentError(f"two initializers have the name {name!r}" if name else "an unnamed initializer")
        defaults[name] = array
    symbols: dict[str, Dim] = {
        name: Dim(name)
        for entry in proto.graph.input
        for dim in entry.type.tensor_type.shape.dim
        if dim.dim_param and (name := symbol_name(dim.dim_param)) == dim.dim_param
    }
    for entry in proto.graph.input:
        if not entry.name:
            raise InvalidArgumentError("an input has no name")
        if entry.name in defaults and proto.ir_version < 4:
            continue
        if entry.name in defaults:
            array = defaults.pop(entry.name)
            value = placeholder_with_default(holding(array), name=entry.name)
            _same_type(value, entry)
            importer.overridable.add(value)
        else:
            value = _input(entry, symbols, shapes)
            if value.dtype is dtypes.variant:
                importer.variants[value] = held_by(entry.type)
        scope.bind(entry.name, value)
        importer.name(entry.name, value)
    for name, array in defaults.items():
        value = holding(array)
        scope.bind(name, value)
        importer.name(name, value)


def _input(entry: ValueInfoProto, symbols: Mapping[str, Dim], shapes: Shapes) -> Value:
    what = f"input {entry.name!r}"
    kind = entry.type.WhichOneof("value")
    if kind in ("sequence_type", "optional_type"):
        return placeholder(dtypes.variant, (), name=entry.name)
    if kind != "tensor_type":
        raise UnimplementedError(f"{what} is of the kind {kind or 'unknown'}; expected a tensor")
    tensor = entry.type.tensor_type
    dtype = dtype_of(tensor.elem_type, what)
    if entry.name in shapes:
        shape: Sequence[Any] = shapes[entry.name]
    elif tensor.HasField("shape"):
        shape = [dim_of(dim, symbols, what) for dim in tensor.shape.dim]
    else:
        raise InvalidArgumentError(f"{what} has no rank; pass shapes={{{entry.name!r}: [...]}} with None where unknown")
    return placeholder(dtype, shape, name=entry.name)


def _same_type(value: Value, entry: ValueInfoProto) -> None:
    tensor = entry.type.tensor_type
    if entry.type.HasField("tensor_type") and tensor.elem_type and value.dtype.name != "variant":
        declared = dtype_of(tensor.elem_type, f"value {entry.name!r}")
        if declared is not value.dtype:
            raise InvalidArgumentError(f"{entry.name!r} is {value.type}; the model says {declared}")


def _outputs(proto: ModelProto, importer: Importer, scope: Scope) -> list[Value]:
    """The model's outputs; without those that a problem keeps from being made."""
    result = []
    for entry in proto.graph.output:
        if entry.name not in scope.values:
            raise InvalidArgumentError(f"output {entry.name!r} is made by no node, and is no input or initializer")
        value = scope.values[entry.name]
        if value is not MISSING:
            _same_type(value, entry)
            result.append(value)
    return result
