"""``pf.linalg``: linear algebra, named as in NumPy. Factorisations run on the host, through LAPACK.

Matrices are the last two axes of a value; the axes before them are a batch. dtype: floating or complex; integers are
converted to float64, and float16 and bfloat16 are computed in float32.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.apply import convert
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError, UnimplementedError, message, user_origin
from pyflow.graph import Node, Value
from pyflow.opdef import TensorType, call
from pyflow.ops.elementwise.complex_rules import conjugate
from pyflow.ops.linear.einsum import cross, einsum, inner, kron, outer, tensordot, vecdot
from pyflow.ops.linear.factorisations import (
    adjoint,
    check_matrices,
    check_square,
    cholesky,
    eig,
    eigh,
    eigvals,
    eigvalsh,
    host_op,
    qr,
    same_square,
    scaled,
    solve,
    svd,
    svdvals,
    triangular_solve,
    with_columns,
)
from pyflow.ops.linear.matrices import diagonal, eye, trace
from pyflow.ops.linear.products import matmul
from pyflow.ops.reductions.statistics import norm
from pyflow.ops.sizes import differ

__all__ = [
    "cholesky",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "inner",
    "inv",
    "kron",
    "lstsq",
    "matmul",
    "matrix_power",
    "matrix_rank",
    "multi_dot",
    "norm",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "tensordot",
    "trace",
    "triangular_solve",
    "vecdot",
]


def _inv_vjp(node: Node, gradient: Value) -> tuple[Value]:
    back = adjoint(node.outputs[0])
    return (-matmul(back, matmul(gradient, back)),)


inv = host_op(
    "inv",
    "x:T",
    infer=same_square,
    ref=np.linalg.inv,
    vjp=_inv_vjp,
    onnx="",
    doc="The inverses of square matrices. A run raises InvalidArgumentError where one is singular.",
)


def _per_matrix(x: Value) -> TensorType:
    check_square(x)
    return TensorType(x.dtype, x.dims[:-2])


def _det_vjp(node: Node, gradient: Value) -> tuple[Value]:
    """The cofactors, by way of the singular value decomposition: they exist where the inverse does not."""
    u, s, vh = svd(node.inputs[0], full_matrices=False)
    others = call("cumprod", s, -1, True, False) * call("cumprod", s, -1, True, True)
    turn = conjugate(det(u) * det(vh))
    cofactors = matmul(u * call("cast", call("expand_dims", others, -2), u.dtype), vh)
    return (scaled(gradient * turn, cofactors),)


det = host_op(
    "det",
    "x:T",
    infer=_per_matrix,
    ref=np.linalg.det,
    vjp=_det_vjp,
    onnx="Det",
    doc="The determinants of square matrices.",
)


def _slogdet_infer(x: Value) -> tuple[TensorType, TensorType]:
    sign = _per_matrix(x)
    return sign, TensorType(dtypes.real_dtype(x.dtype), sign.dims)


def _slogdet_vjp(node: Node, sign: Value | None, logarithm: Value | None) -> tuple[Value | None]:
    if sign is not None and sign.dtype.kind == "c":
        raise UnimplementedError(message("slogdet", "the phase of a complex determinant has no gradient", node.origin))
    if logarithm is None:
        return (None,)
    x = node.inputs[0]
    return (scaled(call("cast", logarithm, x.dtype), adjoint(inv(x))),)


slogdet = host_op(
    "slogdet",
    "x:T",
    infer=_slogdet_infer,
    ref=lambda x: tuple(np.linalg.slogdet(x)),
    vjp=_slogdet_vjp,
    multiple=True,
    doc="The signs (phases) of determinants and the logarithms of their magnitudes: 0 and -inf of a singular matrix.",
)


def _pinv_infer(x: Value) -> TensorType:
    check_matrices(x)
    return TensorType(x.dtype, (*x.dims[:-2], x.dims[-1], x.dims[-2]))


def _pinv_vjp(node: Node, gradient: Value) -> tuple[Value]:
    """Golub and Pereyra, "The differentiation of pseudo-inverses" (1973), for matrices of constant rank."""
    x, p = node.inputs[0], node.outputs[0]
    back, ph = adjoint(gradient), adjoint(p)
    inside = matmul(back, p)
    across = matmul(inside, ph)
    rest = matmul(matmul(ph, p), back - matmul(inside, x))
    return (across - matmul(matmul(x, p), across) + rest - adjoint(matmul(p, inside)),)


pinv = host_op(
    "pinv",
    "x:T",
    infer=_pinv_infer,
    ref=np.linalg.pinv,
    vjp=_pinv_vjp,
    square=False,
    doc="The Moore-Penrose pseudo-inverses of matrices; singular values below 1e-15 of the largest count as 0. The "
    "gradient is for a rank that does not change.",
)


def lstsq(a: Any, b: Any, *, name: str | None = None) -> Value:
    """The x of least ``|a @ x - b|`` and, of those, of least ``|x|``.

    a: matrices; b: matrices of as many rows, or one vector. Unlike NumPy's, this is the solution alone.
    """
    return with_columns(lambda right: matmul(pinv(a), right), b, name)


def matrix_rank(x: Any, rtol: float | None = None) -> Value:
    """How many singular values are more than ``rtol`` of the largest: int64.

    rtol: default: the larger of rows and columns times the spacing of the dtype at 1.
    """
    value = convert(x)
    values = svdvals(value)
    top = call("max_or_lowest", values, -1, True)
    if rtol is None:
        larger = dims.maximum(*value.dims[-2:])
        spacing = float(np.finfo(values.dtype.numpy).eps)
        limit = top * (spacing * larger if isinstance(larger, int) else _number(larger, values) * spacing)
    else:
        limit = top * rtol
    result: Value = call("count_nonzero", values > limit, -1)
    return result


def _number(size: Size, like: Value) -> Value:
    result: Value = call("cast", call("sizes", (size,), scalar=True), like.dtype)
    return result


def cond(x: Any, p: Any = None) -> Value:
    """The condition number in the norm ``p`` (see :func:`norm`); default: the largest singular value over the least."""
    if p is None or p in (2, -2):
        values = svdvals(x)
        ends = call("max", values, -1), call("min", values, -1)
        first, second = ends if p != -2 else ends[::-1]
        result: Value = first / second
        return result
    return norm(x, p, (-2, -1)) * norm(inv(x), p, (-2, -1))


def matrix_power(x: Any, n: int) -> Value:
    """Square matrices multiplied ``n`` times with themselves; of the inverses if ``n`` is negative."""
    value = convert(x)
    if value.ndim < 2 or differ(value.dims[-1], value.dims[-2]):
        what = f"expected square matrices, got {value.type}"
        raise InvalidArgumentError(message("matrix_power", what, user_origin()))
    base = inv(value) if n < 0 else value
    if n == 0:
        one: Value = call("broadcast_to", eye(value.dims[-1], dtype=value.dtype), value.dims)
        return one
    result: Value | None = None
    for bit in reversed(bin(abs(n))[2:]):
        if bit == "1":
            result = base if result is None else matmul(result, base)
        base = matmul(base, base)
    assert result is not None
    return result


def multi_dot(values: Sequence[Any]) -> Value:
    """The matrix product of several matrices, in an order that keeps what is between them small; ends may be 1-d."""
    matrices = [convert(value) for value in values]
    if len(matrices) < 2:
        what = f"expected at least 2 matrices, got {len(matrices)}"
        raise InvalidArgumentError(message("multi_dot", what, user_origin()))
    letters = string.ascii_letters
    names = [letters[i : i + 2] for i in range(len(matrices))]
    names[0] = names[0][2 - matrices[0].ndim :]
    names[-1] = names[-1][: matrices[-1].ndim]
    ends = (names[0][0] if matrices[0].ndim == 2 else "") + (names[-1][1] if matrices[-1].ndim == 2 else "")
    return einsum(f"{','.join(names)}->{ends}", *matrices)
