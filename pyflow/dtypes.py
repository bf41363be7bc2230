"""The element types: one row each, read by everyone. ``csrc/include/pyflow/dtype.h`` holds the same table for C."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np


@dataclass(frozen=True, eq=False, slots=True)
class DType:
    """An element type. There is one instance per type; compare with ``is`` or ``==``."""

    name: str
    code: int
    bits: int
    kind: str
    """``b`` bool, ``i`` signed, ``u`` unsigned, ``f`` float, ``c`` complex."""
    numpy: np.dtype
    c: str
    onnx: int
    dlpack: int
    """DLPack type code; the bits are ``bits``."""
    storage_only: bool = False
    """Kept, cast and (de)quantised, not computed with."""

    @property
    def itemsize(self) -> int:
        """Bytes of one element in memory (sub-byte types take one)."""
        return max(1, self.bits // 8)

    @property
    def is_floating(self) -> bool:
        return self.kind == "f"

    @property
    def is_integer(self) -> bool:
        return self.kind in "iu"

    def __repr__(self) -> str:
        return f"pf.{self.name}"

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        return self.name if self.name != "bool" else "bool_"


def _row(name: str, code: int, bits: int, kind: str, numpy: object, c: str, onnx: int, dlpack: int) -> DType:
    storage_only = bits < 8 or name.startswith("float8")
    return DType(name, code, bits, kind, np.dtype(numpy), c, onnx, dlpack, storage_only)  # type: ignore[call-overload]


bool_ = _row("bool", 0, 8, "b", np.bool_, "bool", 9, 6)
int8 = _row("int8", 1, 8, "i", np.int8, "int8_t", 3, 0)
int16 = _row("int16", 2, 16, "i", np.int16, "int16_t", 5, 0)
int32 = _row("int32", 3, 32, "i", np.int32, "int32_t", 6, 0)
int64 = _row("int64", 4, 64, "i", np.int64, "int64_t", 7, 0)
uint8 = _row("uint8", 5, 8, "u", np.uint8, "uint8_t", 2, 1)
uint16 = _row("uint16", 6, 16, "u", np.uint16, "uint16_t", 4, 1)
uint32 = _row("uint32", 7, 32, "u", np.uint32, "uint32_t", 12, 1)
uint64 = _row("uint64", 8, 64, "u", np.uint64, "uint64_t", 13, 1)
float16 = _row("float16", 9, 16, "f", np.float16, "uint16_t", 10, 2)
bfloat16 = _row("bfloat16", 10, 16, "f", ml_dtypes.bfloat16, "uint16_t", 16, 4)
float32 = _row("float32", 11, 32, "f", np.float32, "float", 1, 2)
float64 = _row("float64", 12, 64, "f", np.float64, "double", 11, 2)
complex64 = _row("complex64", 13, 64, "c", np.complex64, "float[2]", 14, 5)
complex128 = _row("complex128", 14, 128, "c", np.complex128, "double[2]", 15, 5)
float8_e4m3fn = _row("float8_e4m3fn", 15, 8, "f", ml_dtypes.float8_e4m3fn, "uint8_t", 17, 10)
float8_e4m3fnuz = _row("float8_e4m3fnuz", 16, 8, "f", ml_dtypes.float8_e4m3fnuz, "uint8_t", 18, 11)
float8_e5m2 = _row("float8_e5m2", 17, 8, "f", ml_dtypes.float8_e5m2, "uint8_t", 19, 12)
float8_e5m2fnuz = _row("float8_e5m2fnuz", 18, 8, "f", ml_dtypes.float8_e5m2fnuz, "uint8_t", 20, 13)
float8_e8m0fnu = _row("float8_e8m0fnu", 19, 8, "f", ml_dtypes.float8_e8m0fnu, "uint8_t", 24, 14)
float4_e2m1fn = _row("float4_e2m1fn", 20, 4, "f", ml_dtypes.float4_e2m1fn, "uint8_t", 23, 17)
int4 = _row("int4", 21, 4, "i", ml_dtypes.int4, "int8_t", 22, 0)
uint4 = _row("uint4", 22, 4, "u", ml_dtypes.uint4, "uint8_t", 21, 1)
int2 = _row("int2", 23, 2, "i", ml_dtypes.int2, "int8_t", 26, 0)
uint2 = _row("uint2", 24, 2, "u", ml_dtypes.uint2, "uint8_t", 25, 1)

ALL: tuple[DType, ...] = tuple(value for value in list(globals().values()) if isinstance(value, DType))
BY_NAME: dict[str, DType] = {dtype.name: dtype for dtype in ALL}
BY_CODE: dict[int, DType] = {dtype.code: dtype for dtype in ALL}
_BY_NUMPY: dict[np.dtype, DType] = {dtype.numpy: dtype for dtype in ALL}

COMPUTED: tuple[DType, ...] = (float32, float64, int32, int64, bool_)
"""What ops and kernels take today; the other rows are known, not computed with yet."""

_PYTHON = {bool: bool_, int: int64, float: float32}


def as_dtype(value: object) -> DType:
    """A DType from a DType, a name, a NumPy dtype or type, or Python's bool, int (int64) and float (float32).

    Raises TypeError for anything else, naming what is known.
    """
    if isinstance(value, DType):
        return value
    if isinstance(value, str) and value in BY_NAME:
        return BY_NAME[value]
    if isinstance(value, type) and value in _PYTHON:
        return _PYTHON[value]
    try:
        found = _BY_NUMPY.get(np.dtype(value).newbyteorder("="))  # type: ignore[call-overload]
    except TypeError:
        found = None
    if found is None:
        raise TypeError(f"{value!r} is no dtype that pyflow knows; it knows {', '.join(BY_NAME)}")
    return found


def promote(*dtypes: DType) -> DType:
    """NumPy's promotion: the smallest dtype that holds all of them."""
    result = dtypes[0]
    for dtype in dtypes[1:]:
        if dtype is not result:
            result = as_dtype(np.promote_types(result.numpy, dtype.numpy))
    return result


def can_cast_safely(source: DType, target: DType) -> bool:
    """NumPy's ``safe`` rule: no value of ``source`` is changed in ``target``."""
    return bool(np.can_cast(source.numpy, target.numpy, "safe"))
