"""What a model file holds: tensors (also beside it, mapped), types, attributes, as NumPy and pyflow have them."""

from __future__ import annotations

import math
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, SparseTensorProto, TensorProto, numpy_helper

from pyflow import dims, dtypes
from pyflow.dims import Dim, Size
from pyflow.dtypes import DType
from pyflow.errors import DataLossError, InvalidArgumentError, ResourceExhaustedError, UnimplementedError

BY_ONNX: dict[int, DType] = {dtype.onnx: dtype for dtype in dtypes.ALL if dtype.onnx}
LARGEST = 2**63
MOST_DENSE = 2**28
"""How many elements a sparse tensor, of which a few bytes of a file are enough, may be made to."""


def dtype_of(code: int, what: str) -> DType:
    """The dtype of a TensorProto.DataType; ``what`` has it."""
    if code not in BY_ONNX:
        try:
            name = TensorProto.DataType.Name(code)
        except ValueError:
            raise InvalidArgumentError(f"{what} has the unknown element type {code}") from None
        raise (InvalidArgumentError if code == 0 else UnimplementedError)(f"{what} has elements of type {name}")
    return BY_ONNX[code]


def count_of(shape: tuple[int, ...], what: str) -> int:
    if any(size < 0 for size in shape):
        raise InvalidArgumentError(f"{what} has the shape {list(shape)}: a size is negative")
    count = math.prod(shape)
    if count >= LARGEST:
        raise InvalidArgumentError(f"{what} has the shape {list(shape)}: more elements than 63 bits can count")
    return count


def array_of(tensor: TensorProto, folder: str | None, what: str = "") -> np.ndarray:
    """The array that ``tensor`` holds. Data in a file of its own, below ``folder``, is mapped, not read."""
    what = what or f"tensor {tensor.name!r}"
    dtype = dtype_of(tensor.data_type, what)
    shape = tuple(tensor.dims)
    count = count_of(shape, what)
    if tensor.HasField("segment"):
        raise UnimplementedError(f"{what} is stored in segments")
    if tensor.data_location == TensorProto.EXTERNAL:
        return _mapped(tensor, dtype, shape, count, folder, what)
    if tensor.HasField("raw_data") and dtype.kind in "biufc":
        packed, raw = -(-count * dtype.bits // 8), tensor.raw_data
        if len(raw) != packed:
            raise DataLossError(f"{what}: {dtype}{list(shape)} takes {packed} bytes, the file has {len(raw)}")
        if dtype.bits >= 8 and count:
            return np.frombuffer(raw, dtype.numpy.newbyteorder("<")).astype(dtype.numpy, copy=False).reshape(shape)
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise DataLossError(f"{what}: {dtype}{list(shape)} cannot be read: {error}") from None
    if array.dtype.kind in "OSU":
        return _strings(array)
    if array.dtype != dtype.numpy:
        array = array.view(dtype.numpy) if array.dtype.itemsize == dtype.itemsize else array.astype(dtype.numpy)
    return array


def _strings(array: np.ndarray) -> np.ndarray:
    texts = [entry.decode("utf-8", "replace") if isinstance(entry, bytes) else str(entry) for entry in array.flat]
    result = np.empty(array.shape, object)
    result.reshape(-1)[:] = texts
    return result


def _mapped(
    tensor: TensorProto, dtype: DType, shape: tuple[int, ...], count: int, folder: str | None, what: str
) -> np.ndarray:
    if folder is None:
        raise InvalidArgumentError(f"{what} lies in a file beside the model; load the model by its path")
    if dtype.kind not in "biufc":
        raise UnimplementedError(f"{what}: elements of {dtype} in a file of their own")
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = _inside(folder, entries.get("location", ""), what)
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", -1))
    except ValueError:
        raise InvalidArgumentError(f"{what}: offset and length of its data must be numbers") from None
    packed = -(-count * dtype.bits // 8)
    size = os.path.getsize(path)
    if length not in (-1, packed):
        raise DataLossError(f"{what}: {dtype}{list(shape)} takes {packed} bytes, the model says {length}")
    if offset < 0 or offset + packed > size:
        raise DataLossError(f"{what} takes bytes {offset} to {offset + packed} of {path}, which has {size}")
    if count == 0:
        return np.empty(shape, dtype.numpy)
    raw = np.asarray(np.memmap(path, np.uint8, "r", offset, (packed,)))  # as no subclass: what is one is copied
    if dtype.bits >= 8 and offset % min(dtype.itemsize, 8) == 0:
        return raw.view(dtype.numpy).reshape(shape)
    whole = TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=raw.tobytes())
    return array_of(whole, None, what)


def _inside(folder: str, location: str, what: str) -> str:
    """The path of a file below ``folder``; anything that leads out of it raises."""
    root = os.path.realpath(folder)
    parts = re.split(r"[/\\]", location)
    escapes = not location or "\0" in location or os.path.isabs(location) or ".." in parts
    path = "" if escapes else os.path.realpath(os.path.join(root, location))
    if escapes or os.path.commonpath([root, path]) != root:
        raise InvalidArgumentError(f"{what} names the file {location!r}; expected one inside the model's folder")
    if not os.path.isfile(path):
        raise InvalidArgumentError(f"{what} names the file {location!r}, which is not there")
    for files in getattr(_noting, "files", ()):
        files.add(path)
    return path


_noting = threading.local()


@contextmanager
def noting_files() -> Iterator[set[str]]:
    """Gives the paths of the files with data that are opened inside, by this thread."""
    files: set[str] = set()
    outer = getattr(_noting, "files", ())
    _noting.files = (*outer, files)
    try:
        yield files
    finally:
        _noting.files = outer


def dense_of(sparse: SparseTensorProto, folder: str | None) -> np.ndarray:
    """The array that a sparse tensor stands for."""
    what = f"sparse tensor {sparse.values.name!r}"
    shape = tuple(sparse.dims)
    count = count_of(shape, what)
    if count > MOST_DENSE:
        raise ResourceExhaustedError(f"{what} has the shape {list(shape)}: too large to be made dense")
    values, indices = array_of(sparse.values, folder), array_of(sparse.indices, folder)
    if values.ndim != 1 or indices.shape not in ((len(values),), (len(values), len(shape))):
        raise InvalidArgumentError(f"{what} has values {list(values.shape)} and indices {list(indices.shape)}")
    columns = indices.T if indices.ndim == 2 else indices
    limits = np.array(shape)[:, None] if indices.ndim == 2 else count
    if ((columns < 0) | (columns >= limits)).any():
        raise InvalidArgumentError(f"{what} has an index outside of its shape {list(shape)}")
    flat = np.ravel_multi_index(tuple(columns), shape) if indices.ndim == 2 else indices
    dense = np.zeros(count, values.dtype)
    dense[flat] = values
    return dense.reshape(shape)


_ATTRIBUTES: Mapping[int, tuple[str, Any]] = {
    AttributeProto.FLOAT: ("f", float),
    AttributeProto.INT: ("i", int),
    AttributeProto.STRING: ("s", lambda value: value.decode("utf-8", "replace")),
    AttributeProto.TENSOR: ("t", None),
    AttributeProto.GRAPH: ("g", None),
    AttributeProto.SPARSE_TENSOR: ("sparse_tensor", None),
    AttributeProto.TYPE_PROTO: ("tp", None),
    AttributeProto.FLOATS: ("floats", list),
    AttributeProto.INTS: ("ints", list),
    AttributeProto.STRINGS: ("strings", lambda values: [value.decode("utf-8", "replace") for value in values]),
    AttributeProto.TENSORS: ("tensors", list),
    AttributeProto.GRAPHS: ("graphs", list),
    AttributeProto.SPARSE_TENSORS: ("sparse_tensors", list),
    AttributeProto.TYPE_PROTOS: ("type_protos", list),
}


def attribute_of(attribute: AttributeProto, folder: str | None) -> Any:
    """An attribute's value: numbers, text, lists of these, arrays; graphs and types as they are."""
    if attribute.type not in _ATTRIBUTES:
        raise InvalidArgumentError(f"attribute {attribute.name!r} has the unknown type {attribute.type}")
    field, convert = _ATTRIBUTES[attribute.type]
    value = getattr(attribute, field)
    if attribute.type == AttributeProto.TENSOR:
        return array_of(value, folder, f"attribute {attribute.name!r}")
    if attribute.type == AttributeProto.TENSORS:
        return [array_of(entry, folder, f"attribute {attribute.name!r}") for entry in value]
    if attribute.type == AttributeProto.SPARSE_TENSOR:
        return dense_of(value, folder)
    return value if convert is None else convert(value)


def dim_of(entry: onnx.TensorShapeProto.Dimension, known: Mapping[str, Dim], what: str) -> Size | str | None:
    """A size as ``pf.placeholder`` takes it: an int, a symbol's name, an expression of ``known`` symbols, or None."""
    kind = entry.WhichOneof("value")
    if kind == "dim_value":
        if entry.dim_value < 0:
            raise InvalidArgumentError(f"{what} has the size {entry.dim_value}; expected a size >= 0")
        return int(entry.dim_value)
    if kind is None or not entry.dim_param:
        return None
    name = symbol_name(entry.dim_param)
    if name in known:
        return known[name]
    try:
        size = dims.parse(entry.dim_param, known)
    except ValueError:
        return name
    mentioned = {symbol.name for symbol in dims.symbols_of(size)} if isinstance(size, Dim) else set()
    return size if mentioned and mentioned <= set(known) else name


def symbol_name(text: str) -> str:
    """A dim_param as the name of a symbol, which is narrower in what it may hold."""
    name = re.sub(r"[^\w.:]", "_", text, flags=re.ASCII)
    return name if re.match(r"[A-Za-z_]", name) else f"_{name}"
