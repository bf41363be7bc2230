"""A model file without the data of its large initializers, which stays in the file until somebody asks for it."""

from __future__ import annotations

import mmap
import os

from onnx import TensorProto

from pyflow.errors import DataLossError
from pyflow.onnx.tensors import count_of, dtype_of
from pyflow.stored import StoredConstant, StoredFile

LEAST = 4096
"""Bytes of data that are left in the file."""
SMALL_FILE = 1 << 16
"""Smaller files are read as a whole."""
_INSIDE = {"model": {7: "graph"}, "graph": {5: "tensor"}}
"""Which fields of a message are looked into: ModelProto.graph, GraphProto.initializer."""
_RAW_DATA = 9
_HERE = "\0"
"""The location of data that lies in the model's own file: no path has this name."""


class Apart:
    """The file that a model's data is left in."""

    def __init__(self, path: str) -> None:
        self.file = StoredFile(path)

    def light(self) -> bytes | None:
        """The model as bytes without the data that is left in the file; None if it is no message as expected, which
        reading it as a whole will tell more about."""
        with open(self.file.path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            try:
                return _without_data(data, 0, len(data), "model")
            except (ValueError, IndexError):
                return None

    def constant(self, tensor: TensorProto, what: str) -> StoredConstant | None:
        """What stands for ``tensor`` if its data was left in the file. Raises as reading it would."""
        if tensor.data_location != TensorProto.EXTERNAL:
            return None
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if entries.get("location") != _HERE:
            return None
        dtype = dtype_of(tensor.data_type, what)
        shape = tuple(tensor.dims)
        packed, found = count_of(shape, what) * dtype.bits // 8, int(entries["length"])
        if dtype.bits < 8 or dtype.kind not in "biufc" or packed != found:
            raise DataLossError(f"{what}: {dtype}{list(shape)} takes {packed} bytes, the file has {found}")
        return StoredConstant(self.file, int(entries["offset"]), dtype, shape)


def _without_data(data: mmap.mmap, at: int, end: int, kind: str) -> bytes:
    """The message of ``kind`` in ``data[at:end]``. Raises ValueError or IndexError for what is no message."""
    parts: list[bytes] = []
    kept = at
    while at < end:
        start = at
        tag, at = _number(data, at)
        field, wire = tag >> 3, tag & 7
        if wire == 0:
            _, at = _number(data, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        elif wire == 2:
            length, at = _number(data, at)
            stop = at + length
            if stop > end:
                raise ValueError(f"a field of {length} bytes at {start}")
            inner = _INSIDE.get(kind, {}).get(field)
            made = None
            if inner is not None and length >= LEAST:
                message = _without_data(data, at, stop, inner)
                made = _field(field, message)
            elif kind == "tensor" and field == _RAW_DATA and length >= LEAST:
                made = _left(at, length)
            if made is not None:
                parts += (data[kept:start], made)
                kept = stop
            at = stop
        else:
            raise ValueError(f"wire type {wire} at {start}")
    if at != end:
        raise ValueError("a field goes beyond its message")
    return b"".join([*parts, data[kept:end]])


def _number(data: mmap.mmap, at: int) -> tuple[int, int]:
    """A base-128 number at ``at``, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError(f"a number at {at}")


def _encoded(number: int) -> bytes:
    result = bytearray()
    while number >= 0x80:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    result.append(number)
    return bytes(result)


def _field(number: int, content: bytes) -> bytes:
    return _encoded(number << 3 | 2) + _encoded(len(content)) + content


def _left(offset: int, length: int) -> bytes:
    """What stands in a TensorProto in place of data."""
    where = TensorProto(data_location=TensorProto.EXTERNAL)
    for key, value in (("location", _HERE), ("offset", str(offset)), ("length", str(length))):
        where.external_data.add(key=key, value=value)
    return where.SerializeToString()


def open_apart(path: str) -> tuple[Apart, bytes] | None:
    """The file and its light model, if it is one whose data can be left in it."""
    try:
        if os.path.getsize(path) < SMALL_FILE:
            return None
        apart = Apart(os.path.abspath(path))
    except OSError:
        return None
    light = apart.light()
    return None if light is None else (apart, light)
