"""Comparisons, logic, tests for special values, and the choice per element."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyflow.dtypes import string
from pyflow.graph import Node, Value
from pyflow.opdef import ANY, BOOL, EVERY, FLOATS, Facts, TensorType, broadcast_dims, call, define
from pyflow.ops.common import elementwise, no_gradient, quiet, sum_to, zeros_where
from pyflow.ops.elementwise import complex_rules

__all__ = [
    "equal",
    "greater",
    "greater_equal",
    "isfinite",
    "isinf",
    "isnan",
    "less",
    "less_equal",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "not_equal",
    "where",
]


COMPARED = ANY | {string}
"""What is equal or not; texts have no order."""


def _compare(name: str, sign: str, onnx: str = "", symmetric: bool = False, joined: str = "") -> Any:
    return elementwise(
        name,
        "x, y",
        scalar=name,
        ref=getattr(np, name),
        vjp=no_gradient,
        dtypes=COMPARED if symmetric else ANY,
        predicate=True,
        in_complex=complex_rules.both(name, joined) if joined else None,
        facts=Facts(commutative=COMPARED if symmetric else frozenset()),
        onnx=onnx,
        doc=f"``x {sign} y``; {'True' if sign == '!=' else 'False'} where either is NaN.",
    )


equal = _compare("equal", "==", "Equal", symmetric=True, joined="logical_and")
not_equal = _compare("not_equal", "!=", symmetric=True, joined="logical_or")
less = _compare("less", "<", "Less")
less_equal = _compare("less_equal", "<=", "LessOrEqual")
greater = _compare("greater", ">", "Greater")
greater_equal = _compare("greater_equal", ">=", "GreaterOrEqual")


def _logical(name: str, doc: str, facts: Facts, onnx: str) -> Any:
    return elementwise(
        name,
        "x" if name == "logical_not" else "x, y",
        scalar=name,
        ref=getattr(np, name),
        vjp=no_gradient,
        dtypes=BOOL,
        predicate=True,
        facts=facts,
        onnx=onnx,
        doc=doc + " Raises DTypeError for other dtypes: compare with 0 first.",
    )


logical_and = _logical(
    "logical_and",
    "True where both ``x`` and ``y`` are.",
    Facts(commutative=BOOL, identity=((1, BOOL),), absorbing=((0, BOOL),), idempotent=BOOL),
    "And",
)
logical_or = _logical(
    "logical_or",
    "True where ``x`` or ``y`` is, or both.",
    Facts(commutative=BOOL, identity=((0, BOOL),), absorbing=((1, BOOL),), idempotent=BOOL),
    "Or",
)
logical_xor = _logical(
    "logical_xor",
    "True where exactly one of ``x`` and ``y`` is.",
    Facts(commutative=BOOL, identity=((0, BOOL),)),
    "Xor",
)
logical_not = _logical("logical_not", "True where ``x`` is False.", Facts(involution=BOOL), "Not")


def _special(name: str, doc: str, joined: str, onnx: str = "") -> Any:
    return elementwise(
        name,
        "x",
        scalar=name,
        ref=getattr(np, name),
        vjp=no_gradient,
        dtypes=FLOATS,
        predicate=True,
        in_complex=complex_rules.both(name, joined),
        onnx=onnx,
        doc=doc,
    )


isnan = _special("isnan", "True where ``x`` is not a number.", "logical_or", "IsNaN")
isinf = _special("isinf", "True where ``x`` is plus or minus infinity.", "logical_or", "IsInf")
isfinite = _special("isfinite", "True where ``x`` is neither NaN nor infinite.", "logical_and")


def _where_vjp(node: Node, gradient: Value) -> tuple[None, Value, Value]:
    condition, x, y = node.inputs
    return None, sum_to(call("where", condition, gradient, 0), x), sum_to(zeros_where(condition, gradient), y)


where = define(
    "where",
    "condition:bool, x:T, y:T",
    kinds={"T": EVERY},
    infer=lambda condition, x, y: TensorType(x.dtype, broadcast_dims(condition, x, y)),
    ref=quiet(np.where),
    vjp=_where_vjp,
    scalar="where",
    onnx="Where",
    doc="""``x`` where ``condition`` holds, else ``y``.

    condition: bool. x, y: of one dtype, any, which is the result's. All three broadcast together. What is
    not chosen does not matter, NaN included; its gradient is 0.""",
)
