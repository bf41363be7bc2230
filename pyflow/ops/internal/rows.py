"""``put_row``: how loops write what each turn gives. Made by passes and gradients, never by users."""

from __future__ import annotations

import numpy as np

from pyflow.errors import InvalidArgumentError
from pyflow.graph import Value
from pyflow.opdef import EVERY, TensorType, call, define


def _infer(rows: Value, index: Value, row: Value) -> TensorType:
    if rows.ndim == 0 or index.ndim or row.ndim != rows.ndim - 1:
        raise InvalidArgumentError(f"expected rows, a 0-d index and a row; got {rows.type}, {index.type}, {row.type}")
    return rows.type


def _ref(rows: np.ndarray, index: np.ndarray, row: np.ndarray) -> np.ndarray:
    result = rows.copy()
    result[int(index)] = row
    return result


def _expand(rows: Value, index: Value, row: Value) -> Value:
    count = call("iota", rows.dims[0], index.dtype)
    here = call("reshape", call("equal", count, index), (rows.dims[0], *(1,) * row.ndim))
    result: Value = call("where", here, row, rows)
    return result


def _vjp(node: object, gradient: Value) -> tuple[Value | None, ...]:
    _, index, row = node.inputs  # type: ignore[attr-defined]
    nothing = call("broadcast_to", call("constant", 0, row.dtype), row.dims)
    return put_row(gradient, index, nothing), None, call("gather", gradient, index)


put_row = define(
    "put_row",
    "rows:T, index:int64, row:T",
    kinds={"T": EVERY},
    infer=_infer,
    ref=_ref,
    expand=_expand,
    vjp=_vjp,
    doc="``rows`` with ``row`` in the place of row ``index``, which is one of them.",
)
