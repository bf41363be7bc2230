"""Whole numbers: bits, shifts, common divisors."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyflow.graph import Value
from pyflow.opdef import BOOL, INTEGERS, Facts, call
from pyflow.ops.common import composed, elementwise, no_gradient

__all__ = [
    "bitwise_and",
    "bitwise_left_shift",
    "bitwise_not",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "gcd",
    "invert",
    "lcm",
    "left_shift",
    "right_shift",
]

BITS = INTEGERS | BOOL


def _row(
    name: str, ref: Any, doc: str, dtypes: Any = BITS, inputs: str = "x, y", facts: Any = None, **rest: Any
) -> Any:
    return elementwise(
        name,
        inputs,
        scalar=name,
        ref=ref,
        vjp=no_gradient,
        dtypes=dtypes,
        facts=Facts(commutative=dtypes) if facts is None else facts,
        doc=doc,
        **rest,
    )


bitwise_and = _row("bitwise_and", np.bitwise_and, "The bits that both ``x`` and ``y`` have.", onnx="BitwiseAnd")
bitwise_or = _row("bitwise_or", np.bitwise_or, "The bits that ``x`` or ``y`` has.", onnx="BitwiseOr")
bitwise_xor = _row("bitwise_xor", np.bitwise_xor, "The bits that one of ``x`` and ``y`` has.", onnx="BitwiseXor")
bitwise_not = _row(
    "bitwise_not",
    np.bitwise_not,
    "The bits that ``x`` has not: ``-x - 1`` of a signed integer, the negation of a bool.",
    inputs="x",
    facts=Facts(involution=BITS),
    onnx="BitwiseNot",
)
invert = bitwise_not
left_shift = _row(
    "left_shift",
    np.left_shift,
    "``x`` with its bits moved up by ``y`` places: ``x * 2**y``, which wraps. All bits are lost to a ``y`` that is "
    "negative or at least the number of bits.",
    dtypes=INTEGERS,
    facts=Facts(),
)
right_shift = _row(
    "right_shift",
    np.right_shift,
    "``x`` with its bits moved down by ``y`` places: ``x // 2**y``. All bits are lost to a ``y`` that is negative or "
    "at least the number of bits.",
    dtypes=INTEGERS,
    facts=Facts(),
)
bitwise_left_shift, bitwise_right_shift = left_shift, right_shift

gcd = _row(
    "gcd",
    np.gcd,
    "The greatest common divisor of ``|x|`` and ``|y|``; that of 0 and ``y`` is ``|y|``.",
    dtypes=INTEGERS,
)


def _lcm_expand(x: Value, y: Value) -> Value:
    divisor = gcd(x, y)
    shares = call("floor_divide", x, call("where", divisor == 0, 1, divisor))
    result: Value = call("abs", shares * y)
    return result


lcm = composed(
    "lcm",
    "x, y",
    ref=np.lcm,
    expand=_lcm_expand,
    vjp=no_gradient,
    dtypes=INTEGERS,
    doc="The least common multiple of ``|x|`` and ``|y|``; 0 if one is. It wraps.",
)
