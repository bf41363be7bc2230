"""Casts from every dtype to every other."""

from __future__ import annotations

from typing import Any

from pyflow.apply import convert
from pyflow.dtypes import DType, as_dtype, converted, string
from pyflow.graph import Node, Value
from pyflow.opdef import DTYPE, EVERY, FUNCTIONS, TensorType, call, define
from pyflow.ops.common import in_range
from pyflow.ops.elementwise import complex_rules
from pyflow.ops.elementwise.complex_rules import is_complex

__all__ = ["cast"]


def _cast_content(x: Value, dtype: DType) -> Any:
    if x.content is None or not dtype.is_integer:
        return None
    entries = x.content if isinstance(x.content, tuple) else (x.content,)
    kept = tuple(in_range(entry, dtype) for entry in entries)
    if any(entry is None for entry in kept):
        return None
    return kept if isinstance(x.content, tuple) else kept[0]


def _cast_vjp(node: Node, gradient: Value) -> tuple[Value | None]:
    source = node.inputs[0].dtype
    flows = all(dtype.kind in "fc" for dtype in (source, gradient.dtype))
    return (call("cast", gradient, source) if flows else None,)


def _cast_parts(x: Value, dtype: DType) -> Value | None:
    return complex_rules.cast(x, dtype) if is_complex(x) or dtype.kind == "c" else None


def cast_settings(saturate: bool) -> dict[str, Any]:
    """What all casts share."""
    return {
        "attrs": {"dtype": DTYPE},
        "kinds": {"T": EVERY},
        "infer": lambda x, dtype: TensorType(dtype, x.dims),
        "ref": lambda x, dtype: converted(x, dtype, saturate),
        "vjp": _cast_vjp,
        "expand": _cast_parts,
        "view": lambda node, inputs: inputs if node.inputs[0].dtype is node.types[0].dtype else None,
    }


_cast = define(
    "cast",
    "x:T",
    **cast_settings(saturate=False),
    content=_cast_content,
    scalar="cast",
    onnx="Cast",
    doc="""``x`` in another ``dtype``, see :func:`pyflow.cast`.""",
)

_cast_saturated = define(
    "cast_saturated",
    "x:T",
    **cast_settings(saturate=True),
    scalar="cast_saturated",
    doc="""``x`` in a float8 ``dtype``; what is too large, infinity too, becomes the largest finite number.""",
)


def cast(x: Any, dtype: Any, saturate: bool = False, *, name: str | None = None) -> Value:
    """``x`` in another ``dtype``: any shape, any dtype to any.

    To a floating dtype: rounded once, to the nearest, halves to even. What is too large becomes infinity; NaN where
    the dtype has none; the largest number where it has neither (float4). With ``saturate``, as in ONNX Cast, it becomes
    the largest finite number in every float8.
    Floating to integer: truncated; what does not fit becomes the nearest integer that does, NaN 0.
    Integer to integer: the low bits, so that numbers wrap. To bool: ``x != 0``. Complex to real: the real part.
    Text to numbers and numbers to text: as ``pf.strings.to_number`` and ``pf.strings.as_string`` do.
    The gradient flows between floating and complex dtypes only.
    """
    wanted = as_dtype(dtype)
    x = convert(x)
    if wanted is string and x.dtype is not string:
        return call("string_from_number", x, name=name)  # type: ignore[no-any-return]
    if wanted is not string and x.dtype is string:
        return call("string_to_number", x, wanted, name=name)  # type: ignore[no-any-return]
    result: Value = (
        _cast(x, wanted, name=name) if not saturates(wanted, saturate) else _cast_saturated(x, wanted, name=name)
    )
    return result


FUNCTIONS["cast"] = cast


def saturates(dtype: DType, saturate: bool) -> bool:
    """Does saturation make a difference in ``dtype``?"""
    return saturate and dtype.is_floating and dtype.bits == 8
