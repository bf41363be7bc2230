"""The element types: one row each, read by everyone. ``csrc/include/pyflow/dtype.h`` holds the same table for C."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np

from pyflow.errors import DTypeError, message, user_origin


@dataclass(frozen=True, eq=False, slots=True)
class DType:
    """An element type. There is one instance per type; compare with ``is`` or ``==``."""

    name: str
    code: int
    bits: int
    kind: str
    """``b`` bool, ``i`` signed, ``u`` unsigned, ``f`` float, ``c`` complex, ``O`` an object, whatever it is."""
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
    def is_object(self) -> bool:
        return self.kind == "O"

    @property
    def memory(self) -> DType:
        """What an element is in memory that kernels see: an object is its handle there (pyflow/objects.py)."""
        return int64 if self.is_object else self

    @property
    def is_floating(self) -> bool:
        return self.kind == "f"

    @property
    def is_inexact(self) -> bool:
        """Floating or complex: gradients flow."""
        return self.kind in "fc"

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
    storage_only = bits < 8 or name.startswith("float8") or kind == "O"
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
string = _row("string", 25, 64, "O", np.object_, "int64_t", 8, 3)
variant = _row("variant", 26, 64, "O", np.object_, "int64_t", 0, 3)

ALL: tuple[DType, ...] = tuple(value for value in list(globals().values()) if isinstance(value, DType))
BY_NAME: dict[str, DType] = {dtype.name: dtype for dtype in ALL}
BY_CODE: dict[int, DType] = {dtype.code: dtype for dtype in ALL}
_BY_NUMPY: dict[np.dtype, DType] = {dtype.numpy: dtype for dtype in ALL if dtype is not variant}

_PYTHON = {bool: bool_, int: int64, float: float32, complex: complex64, str: string, bytes: string}


def as_dtype(value: object) -> DType:
    """A DType from a DType, a name, a NumPy dtype or type, or Python's bool, int (int64), float (float32) and complex
    (complex64).

    Raises DTypeError for anything else, naming what is known.
    """
    if isinstance(value, DType):
        return value
    if isinstance(value, str) and value in BY_NAME:
        return BY_NAME[value]
    if isinstance(value, type) and value in _PYTHON:
        return _PYTHON[value]
    try:
        numpy = np.dtype(value)  # type: ignore[call-overload]
        found = string if numpy.kind in "UST" else _BY_NUMPY.get(numpy.newbyteorder("="))
    except TypeError:
        found = None
    if found is None or value is None:
        what = f"{value!r} is no dtype that pyflow knows; it knows {', '.join(BY_NAME)}"
        raise DTypeError(message("dtype", what, user_origin()))
    return found


_COMPUTE = {
    **dict.fromkeys((float16, bfloat16), float32),
    **dict.fromkeys((int8, int16, uint8, uint16), int32),
    uint32: int64,
}


def compute_dtype(dtype: DType) -> DType:
    """The dtype in which arithmetic of ``dtype`` is done where nothing computes in it directly; most are their own.

    Every value of ``dtype`` is one of the result's.
    """
    return _COMPUTE.get(dtype, dtype)


def real_dtype(dtype: DType) -> DType:
    """The dtype of the parts of a complex number; any other dtype is its own."""
    return {complex64: float32, complex128: float64}.get(dtype, dtype)


def complex_dtype(dtype: DType) -> DType:
    """The complex dtype whose parts hold ``dtype``: complex128 for float64 and what NumPy promotes to it."""
    return promote(dtype, complex64)


def is_known(numpy: np.dtype) -> bool:
    """Is there an element type for arrays of this dtype, whatever its byte order?"""
    return numpy.newbyteorder("=") in _BY_NUMPY


def _stand_in(dtype: DType) -> DType:
    """What takes the place of a dtype of ml_dtypes beside one that it has no common dtype with."""
    if dtype.bits < 8 and dtype.is_integer:
        return int8 if dtype.kind == "i" else uint8
    return float32 if dtype is bfloat16 or dtype.storage_only else dtype


def promote(*dtypes: DType) -> DType:
    """NumPy's promotion: the smallest dtype that holds all of them.

    ml_dtypes says what becomes of its own; where it does not, a small integer counts as int8 or uint8 and a small
    float as float32: bfloat16 with float16 or int16 is float32, with int32 float64.
    """
    result = dtypes[0]
    for dtype in dtypes[1:]:
        if dtype is result:
            continue
        if dtype.is_object or result.is_object:
            raise TypeError(f"{result} and {dtype} have no common dtype")
        try:
            common = np.promote_types(result.numpy, dtype.numpy)
        except TypeError:
            common = np.promote_types(_stand_in(result).numpy, _stand_in(dtype).numpy)
        result = as_dtype(common)
    return result


def can_cast_safely(source: DType, target: DType) -> bool:
    """NumPy's ``safe`` rule: no value of ``source`` is changed in ``target``."""
    if source.is_object or target.is_object:
        return source is target
    return bool(np.can_cast(source.numpy, target.numpy, "safe"))


def _to_odd_float32(array: np.ndarray) -> np.ndarray:
    """float64 or integers as float32; what is not exact gets an odd last bit, so that rounding the result to a narrower
    float is as if it were rounded once."""
    if array.dtype.kind in "iu":
        size = np.abs(array.astype(np.int64)).astype(np.uint64) if array.dtype.kind == "i" else array.astype(np.uint64)
        long = size >> np.uint64(53) != 0
        sticky = (size & ~np.uint64(0x7FF)) | np.where(size & np.uint64(0x7FF), np.uint64(0x800), np.uint64(0))
        array = np.where(long, sticky, size).astype(np.float64) * np.where(array < 0, -1.0, 1.0)
    near = array.astype(np.float32)
    exact = (near == array) | np.isnan(array)
    inside = np.where(np.abs(near.astype(np.float64)) > np.abs(array), np.nextafter(near, np.float32(0)), near)
    odd = (inside.view(np.uint32) | np.uint32(1)).view(np.float32)
    result: np.ndarray = np.where(exact, near, odd)
    return result


def _to_integer(array: np.ndarray, dtype: DType) -> np.ndarray:
    """Floats that do not fit become the nearest integer that does, NaN 0; integers keep their low bits."""
    limits = ml_dtypes.iinfo(dtype.numpy)
    low, high = int(limits.min), int(limits.max)
    holder = np.uint64 if dtype is uint64 else np.int64
    if array.dtype.kind == "f":
        wide = array.astype(np.float64)
        above, below = wide >= float(high), wide <= float(low)
        inside = np.where(above | below | np.isnan(wide), 0.0, wide).astype(holder)
        whole = np.where(above, holder(high), np.where(below, holder(low), inside))
        return whole.astype(dtype.numpy)
    if dtype.storage_only:
        bits = array.astype(np.int64) & (2**dtype.bits - 1)
        array = np.where(bits > high, bits - 2**dtype.bits, bits).astype(np.int8)
    return array.astype(dtype.numpy)


def converted(array: np.ndarray, dtype: DType, saturate: bool = False) -> np.ndarray:
    """``array`` in another dtype, the one meaning that casts have everywhere.

    To a float: rounded once, to the nearest, ties to even; what is too large becomes infinity, or NaN where there is
    none; with ``saturate`` the largest finite number where ``dtype`` is a float8. Float to integer: towards 0, the
    nearest that fits, NaN is 0. Integer to integer: the low bits. To bool: is it not 0. Complex to real: the real part.
    """
    source = as_dtype(array.dtype)
    if source is dtype:
        return array
    with np.errstate(all="ignore"):
        if source.kind == "c" and dtype.kind not in "cb":
            array = array.real
        elif source.storage_only or source is bfloat16:
            array = array.astype(np.float32 if source.kind == "f" else np.int32)
        if dtype.kind == "b":
            return np.asarray(array != 0)
        if dtype.is_integer:
            return _to_integer(array, dtype)
        if dtype.kind == "f" and dtype.bits <= 16:
            if array.dtype != np.float16:
                array = _to_odd_float32(array) if array.dtype != np.float32 else array
            if saturate and dtype.bits == 8:
                largest = np.float32(ml_dtypes.finfo(dtype.numpy).max)
                array = np.clip(array.astype(np.float32), -largest, largest)
        return array.astype(dtype.numpy)
