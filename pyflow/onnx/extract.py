"""One node of a model as a model of its own, with its inputs and what it should give, in a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from pyflow import dtypes
from pyflow.errors import DataLossError, message
from pyflow.onnx.tensors import array_of, dense_of


def captured(node: NodeProto) -> Iterator[str]:
    """The names that bodies of ``node`` take from the graph around it."""
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            yield from _free(body)


def _free(body: GraphProto) -> Iterator[str]:
    own = {entry.name for entry in (*body.input, *body.initializer)}
    own |= {entry.values.name for entry in body.sparse_initializer}
    for node in body.node:
        yield from (name for name in (*node.input, *captured(node)) if name and name not in own)
        own.update(node.output)
    yield from (entry.name for entry in body.output if entry.name not in own)


def constants_of(proto: ModelProto, folder: str | None, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Those of ``names`` that are the model's own tensors."""
    wanted = set(names)
    made = {each.name: array_of(each, folder) for each in proto.graph.initializer if each.name in wanted}
    sparse = [each for each in proto.graph.sparse_initializer if each.values.name in wanted]
    return {**made, **{each.values.name: dense_of(each, folder) for each in sparse}}


def one_node(
    proto: ModelProto, node: NodeProto, values: Mapping[str, Any], constants: Mapping[str, np.ndarray]
) -> ModelProto:
    """A model of ``node`` alone: ``constants`` stay in it, the rest of what the node reads are its inputs.

    ``values``: an array for each of those, and for the outputs whose types are to be written down.
    """
    reads = [name for name in dict.fromkeys([*node.input, *captured(node)]) if name]
    inputs = [_typed(name, values[name]) for name in reads if name not in constants]
    outputs = [
        _typed(name, values[name]) if name in values else ValueInfoProto(name=name) for name in node.output if name
    ]
    tensors = [tensor_of(name, constants[name]) for name in reads if name in constants]
    graph = helper.make_graph([node], node.name or node.op_type, inputs, outputs, tensors)
    made = helper.make_model(graph, opset_imports=proto.opset_import, functions=proto.functions)
    made.ir_version = max(proto.ir_version, 4)
    return made


def tensor_of(name: str, array: np.ndarray) -> TensorProto:
    """``array`` as a tensor of that name."""
    return onnx.numpy_helper.from_array(array, name)


def _typed(name: str, value: Any) -> ValueInfoProto:
    if isinstance(value, (list, tuple)):
        first = value[0] if value else np.zeros(0, np.float32)
        return helper.make_tensor_sequence_value_info(name, _code(np.asarray(first)), None)
    array = np.asarray(value)
    return helper.make_tensor_value_info(name, _code(array), array.shape)


def _code(array: np.ndarray) -> int:
    return dtypes.as_dtype(array.dtype).onnx


def write(
    folder: Path, model: ModelProto, values: Mapping[str, Any], want: Mapping[str, Any], have: Mapping[str, Any]
) -> dict[str, Path]:
    """Writes ``model.onnx``, the inputs, and what was expected and what came, a file each (a sequence
    as an .npz file); the inputs' by name."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, os.fspath(folder / "model.onnx"))
    inputs = {entry.name: values[entry.name] for entry in model.graph.input}
    files = {}
    for part, arrays in (("input", inputs), ("expected", want), ("result", have)):
        for index, (name, value) in enumerate(arrays.items()):
            path = folder / f"{part}_{index}_{file_name(name)}.npy"
            if isinstance(value, (list, tuple)):
                np.savez(path.with_suffix(".npz"), *map(_storable, value))
            else:
                np.save(path, _storable(value), allow_pickle=False)
            if part == "input":
                files[name] = path
    return files


def _storable(value: Any) -> np.ndarray:
    """Text as NumPy's own, which its files hold."""
    array = np.asarray(value)
    return array.astype(str) if array.dtype.kind == "O" else array


def read_tensor(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in a file that holds a TensorProto."""
    tensor = TensorProto()
    try:
        tensor.ParseFromString(Path(path).read_bytes())
    except DecodeError as error:
        raise DataLossError(message("onnx", f"{os.fspath(path)!r} holds no tensor: {error}")) from None
    return array_of(tensor, None)


def file_name(name: str) -> str:
    """``name`` without what a file's name may not hold."""
    return re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("._")[:80] or "node"
