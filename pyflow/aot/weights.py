"""The weights of a generated program: a safetensors file whose arrays are aligned, with a sum that shows damage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

ALIGNMENT = 64
_DIGITS = 16
_DTYPES = {
    "bool": "BOOL",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
}


@dataclass(frozen=True)
class Weights:
    data: bytes
    offsets: dict[str, int]
    """Where each array begins, by name."""
    header_bytes: int
    header_sum: int


def pack(arrays: Mapping[str, np.ndarray]) -> Weights:
    """The largest elements first, so that each array is aligned to its own; the data as a whole to 64 bytes."""
    if not arrays:
        return Weights(b"", {}, 0, 0)
    order = sorted(arrays, key=lambda name: -_unit(arrays[name]))
    rows: dict[str, object] = {}
    offsets, blocks, used = {}, [], 0
    for name in order:
        array = np.ascontiguousarray(arrays[name])
        data = array.tobytes()
        known = _DTYPES.get(array.dtype.name)
        shape = list(arrays[name].shape) if known else [len(data)]
        rows[name] = {"dtype": known or "U8", "shape": shape, "data_offsets": [used, used + len(data)]}
        offsets[name] = used
        blocks.append(data)
        used += len(data)
    data = b"".join(blocks)
    digits = f"{sum_of(1, data):016x}"
    text = json.dumps({"__metadata__": {"pyflow.sum": digits}, **rows}, separators=(",", ":"))
    header = text.encode()
    header += b" " * (-(8 + len(header)) % ALIGNMENT)
    whole = len(header).to_bytes(8, "little") + header
    at = whole.index(digits.encode())
    total = sum_of(sum_of(sum_of(1, whole[:at]), bytes(_DIGITS)), whole[at + _DIGITS :])
    return Weights(whole + data, {name: len(whole) + at for name, at in offsets.items()}, len(whole), total)


def _unit(array: np.ndarray) -> int:
    """What an array must be aligned to; a scalar or not."""
    return int(array.dtype.itemsize)


def sum_of(total: int, data: bytes) -> int:
    """The sum of csrc/aot/state.cpp."""
    padded = data + bytes(-len(data) % 8)
    mask, prime = (1 << 64) - 1, 0x9E3779B97F4A7C15
    for word in np.frombuffer(padded, "<u8").tolist():
        total = (total ^ word) * prime & mask
        total ^= total >> 29
    return total
