"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dims, views
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Node, Value
from pyflow.opdef import COMPLEX, FUNCTIONS, NUMERIC, Lowering, TensorType, call, define
from pyflow.ops.common import ndim_of, quiet, sum_to, transposed
from pyflow.ops.elementwise import complex_rules
from pyflow.ops.elementwise.complex_rules import conjugate, in_parts
from pyflow.ops.sizes import differ, equal_check
from pyflow.plan import View

__all__ = ["matmul"]


def _infer(x: Value, y: Value) -> TensorType:
    if x.ndim < 2 or y.ndim < 2:
        raise InvalidArgumentError(f"expected matrices (at least 2 axes), got x: {x.type} and y: {y.type}")
    if differ(x.dims[-1], y.dims[-2]):
        raise InvalidArgumentError(
            f"x: {x.type} has {x.dims[-1]} columns, y: {y.type} has {y.dims[-2]} rows; expected equal numbers"
        )
    try:
        batch = dims.broadcast_shapes(x.dims[:-2], y.dims[:-2])
    except ValueError:
        raise InvalidArgumentError(f"leading axes do not broadcast: x: {x.type} and y: {y.type}") from None
    return TensorType(x.dtype, (*batch, x.dims[-2], y.dims[-1]))


def _checks(node: Node) -> Sequence[tuple[Size, Size, str]]:
    x, y = node.inputs
    return equal_check(x.dims[-1], y.dims[-2], f"matmul of x: {x.type} and y: {y.type}: columns of x, rows of y")


def _rows(value: Value) -> Value:
    """All but the last axis as one."""
    result: Value = call("reshape", value, (dims.product(value.dims[:-1]), value.dims[-1]))
    return result


def _vjp(node: Node, gradient: Value) -> tuple[Value, Value]:
    x, y = node.inputs
    left, right = conjugate(x), conjugate(y)
    by_x = sum_to(call("matmul", gradient, transposed(right)), x)
    if y.ndim == 2 and x.ndim > 2:
        return by_x, call("matmul", transposed(_rows(left)), _rows(gradient))
    return by_x, sum_to(call("matmul", transposed(left), gradient), y)


def _lower(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
    batch = outputs[0].dims[:-2]
    x, y = (views.broadcast_to(view, (*batch, *view.dims[-2:])) for view in inputs[:2])
    return Lowering("matmul", (x, y, *inputs[2:]), outputs)


_matmul = define(
    "matmul",
    "x:T, y:T",
    kinds={"T": NUMERIC | COMPLEX},
    infer=_infer,
    checks=_checks,
    ref=quiet(np.matmul),
    expand=in_parts(complex_rules.matmul),
    vjp=_vjp,
    lower=_lower,
    epilogue=True,
    onnx="MatMul",
)


def matmul(x: Any, y: Any, *, name: str | None = None) -> Value:
    """The matrix product, NumPy's ``x @ y``.

    x: ``[..., M, K]``, y: ``[..., K, N]``, numeric or complex, of one dtype; the axes before the last two broadcast.
    The result is ``[..., M, N]`` of their dtype; integers wrap. A 1-d ``x`` is one row, a 1-d ``y`` one column, and
    that axis is not in the result. An element is summed in one chain over K. Raises InvalidArgumentError if K differs
    or an operand is 0-d.
    """
    row, column = ndim_of(x), ndim_of(y)
    if not row or not column:
        which = "x" if not row else "y"
        what = f"{which} is 0-d; expected at least 1 axis"
        raise InvalidArgumentError(message("matmul", what, user_origin(), "use *"))
    left = call("expand_dims", x, 0) if row == 1 else x
    right = call("expand_dims", y, 1) if column == 1 else y
    result: Value = _matmul(left, right, name=name if row > 1 and column > 1 else None)
    if column == 1:
        result = call("squeeze", result, -1, name=name if row > 1 else None)
    if row == 1:
        result = call("squeeze", result, -1 if column == 1 else -2, name=name)
    return result


FUNCTIONS["matmul"] = matmul
