"""Diagonals and triangles of matrices: the last two axes, or two that are named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pyflow import dims, dtypes, views
from pyflow.apply import convert
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Node, Value
from pyflow.opdef import EVERY, INT, SIZE, TensorType, call, define
from pyflow.ops.arrays.indexing import arange
from pyflow.ops.arrays.shape import transpose
from pyflow.ops.common import normalise_axis
from pyflow.plan import View

__all__ = ["diag", "diag_indices", "diagonal", "eye", "trace", "tri", "tril", "triu"]


def eye(n: Any, m: Any = None, k: Any = 0, dtype: Any = dtypes.float32, *, name: str | None = None) -> Value:
    """The ``n`` by ``m`` (default: ``n``) matrix with 1 on a diagonal and 0 elsewhere.

    k: the diagonal: 0 the main one, positive above, negative below; an int or a 0-d integer value.
    """
    ones = _offsets(n, n if m is None else m) == k
    result: Value = call("cast", ones, dtype, name=name)
    return result


def tri(n: Any, m: Any = None, k: Any = 0, dtype: Any = dtypes.float32, *, name: str | None = None) -> Value:
    """The ``n`` by ``m`` (default: ``n``) matrix with 1 on and below diagonal ``k`` and 0 above it."""
    ones = call("less_equal", _offsets(n, n if m is None else m), k)
    result: Value = call("cast", ones, dtype, name=name)
    return result


def _offsets(rows: Any, columns: Any) -> Value:
    """Of every place of a matrix, the diagonal it is on."""
    result: Value = call("expand_dims", arange(columns), 0) - call("expand_dims", arange(rows), 1)
    return result


def _matrix(x: Any, what: str) -> Value:
    value = convert(x)
    if value.ndim < 2:
        raise InvalidArgumentError(message(what, f"expected at least 2 axes, got {value.type}", user_origin()))
    return value


def tril(x: Any, k: Any = 0, *, name: str | None = None) -> Value:
    """``x`` on and below diagonal ``k`` of its last two axes, and 0 above it. k: an int or a 0-d integer value."""
    value = _matrix(x, "tril")
    kept = call("less_equal", _offsets(*value.dims[-2:]), k)
    result: Value = call("where", kept, value, call("cast", 0, value.dtype), name=name)
    return result


def triu(x: Any, k: Any = 0, *, name: str | None = None) -> Value:
    """``x`` on and above diagonal ``k`` of its last two axes, and 0 below it. k: an int or a 0-d integer value."""
    value = _matrix(x, "triu")
    kept = call("greater_equal", _offsets(*value.dims[-2:]), k)
    result: Value = call("where", kept, value, call("cast", 0, value.dtype), name=name)
    return result


def _diagonal_canonical(x: Value, *, offset: int, axis1: int, axis2: int) -> Mapping[str, Any]:
    if x.ndim < 2:
        raise InvalidArgumentError(f"expected at least 2 axes, got x: {x.type}")
    first, second = (normalise_axis(axis, x.ndim, f"x: {x.type}") for axis in (axis1, axis2))
    if first == second:
        raise InvalidArgumentError(f"axis1 and axis2 are both axis {first} of x: {x.type}")
    return {"axis1": first, "axis2": second}


def _length(rows: Size, columns: Size, offset: int) -> Size:
    low, high = dims.minimum(max(-offset, 0), rows), dims.minimum(max(offset, 0), columns)
    return dims.minimum(dims.add(rows, dims.mul(low, -1)), dims.add(columns, dims.mul(high, -1)))


def _diagonal_infer(x: Value, *, offset: int, axis1: int, axis2: int) -> TensorType:
    others = tuple(size for axis, size in enumerate(x.dims) if axis not in (axis1, axis2))
    return TensorType(x.dtype, (*others, _length(x.dims[axis1], x.dims[axis2], offset)))


def _diagonal_view(node: Node, inputs: tuple[View, ...]) -> tuple[View, ...]:
    attrs = node.attrs
    return (views.diagonal(inputs[0], attrs["axis1"], attrs["axis2"], attrs["offset"]),)


def _diagonal_vjp(node: Node, gradient: Value) -> tuple[Value]:
    x, attrs = node.inputs[0], node.attrs
    axes = (attrs["axis1"], attrs["axis2"])
    others = [axis for axis in range(x.ndim) if axis not in axes]
    embedded = _embed(gradient, attrs["offset"], x.dims[axes[0]], x.dims[axes[1]])
    return (transpose(embedded, np.argsort([*others, *axes]).tolist()),)


diagonal = define(
    "diagonal",
    "x:T",
    attrs={"offset": INT, "axis1": INT, "axis2": INT},
    defaults={"offset": 0, "axis1": 0, "axis2": 1},
    kinds={"T": EVERY},
    canonical=_diagonal_canonical,
    infer=_diagonal_infer,
    ref=lambda x, offset, axis1, axis2: np.diagonal(x, offset, axis1, axis2),
    view=_diagonal_view,
    vjp=_diagonal_vjp,
    doc="""The elements whose place along ``axis2`` is ``offset`` more than along ``axis1``: the other axes, then those.

    Raises InvalidArgumentError if an axis is out of range, or both are one.""",
)


def _embed_infer(x: Value, *, offset: int, rows: Size, columns: Size) -> TensorType:
    return TensorType(x.dtype, (*x.dims[:-1], rows, columns))


def _embed_expand(x: Value, *, offset: int, rows: Size, columns: Size) -> Value:
    lead = max(-offset, 0)
    after = dims.add(rows, dims.mul(dims.add(x.dims[-1], lead), -1))
    paddings: list[tuple[Size, Size]] = [(0, 0)] * (x.ndim - 1)
    along_rows = call("pad", x, call("cast", 0, x.dtype), *zip(*paddings, (lead, after), strict=True))
    filled = call("expand_dims", along_rows, x.ndim)
    result: Value = call("where", _offsets(rows, columns) == offset, filled, call("cast", 0, x.dtype))
    return result


def _embed_ref(x: np.ndarray, *, offset: int, rows: int, columns: int) -> np.ndarray:
    result = np.zeros((*x.shape[:-1], rows, columns), x.dtype)
    for place in range(x.shape[-1]):
        result[..., place + max(-offset, 0), place + max(offset, 0)] = x[..., place]
    return result


_embed = define(
    "diagonal_matrix",
    "x:T",
    attrs={"offset": INT, "rows": SIZE, "columns": SIZE},
    kinds={"T": EVERY},
    infer=_embed_infer,
    ref=_embed_ref,
    expand=_embed_expand,
    vjp=lambda node, gradient: (diagonal(gradient, node.attrs["offset"], -2, -1),),
    doc="Matrices of ``rows`` by ``columns`` with the last axis of ``x`` on diagonal ``offset`` and 0 elsewhere.",
)


def diag(x: Any, k: int = 0, *, name: str | None = None) -> Value:
    """Of a 1-d ``x`` the square matrix with it on diagonal ``k``; of anything else its diagonal ``k``."""
    value = convert(x)
    if value.ndim != 1:
        result: Value = diagonal(value, k, name=name)
        return result
    size = dims.add(value.dims[0], abs(k))
    result = _embed(value, k, size, size, name=name)
    return result


def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, *, name: str | None = None) -> Value:
    """The sum of a :func:`diagonal`."""
    result: Value = call("sum", diagonal(x, offset, axis1, axis2), -1, name=name)
    return result


def diag_indices(n: Any, ndim: int = 2) -> tuple[Value, ...]:
    """The indices of the main diagonal of a value of ``ndim`` axes of size ``n``: a 1-d int64 value per axis."""
    return (arange(n),) * ndim
