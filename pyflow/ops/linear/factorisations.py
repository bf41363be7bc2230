"""Solutions of linear equations and factorisations of matrices, through LAPACK on the host: part of ``pf.linalg``.

Gradients follow Giles, "An extended collection of matrix derivative results" (2008); those of factorisations do not
exist where singular or eigenvalues coincide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.apply import convert
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError, UnimplementedError, message
from pyflow.graph import Node, Value
from pyflow.opdef import BOOLEAN, COMPLEX, FLOATS, TensorType, call, choice, define
from pyflow.ops.common import no_gradient, sum_to
from pyflow.ops.elementwise.complex_rules import conjugate
from pyflow.ops.linear.matrices import eye, tril, triu
from pyflow.ops.linear.products import matmul
from pyflow.ops.sizes import Check, differ, equal_check

KINDS = {"T": FLOATS | COMPLEX}


def lapack(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with LAPACK's complaints as InvalidArgumentError, and results that are arrays."""

    def ref(*arrays: np.ndarray, **attrs: Any) -> Any:
        try:
            made = function(*arrays, **attrs)
        except np.linalg.LinAlgError as error:
            raise InvalidArgumentError(f"{error}") from None
        return tuple(np.asarray(part) for part in made) if isinstance(made, tuple) else np.asarray(made)

    return ref


def check_matrices(x: Value, what: str = "x") -> None:
    if x.ndim < 2:
        raise InvalidArgumentError(f"expected matrices (at least 2 axes), got {what}: {x.type}")


def check_square(x: Value, what: str = "x") -> None:
    check_matrices(x, what)
    if differ(x.dims[-1], x.dims[-2]):
        raise InvalidArgumentError(f"expected square matrices, got {what}: {x.type}")


def square_checks(node: Node) -> list[Check]:
    x = node.inputs[0]
    return equal_check(x.dims[-2], x.dims[-1], f"{node.op.name} of {x.type}: rows and columns")


def adjoint(x: Value) -> Value:
    """Transposed and, if complex, conjugated."""
    last = x.ndim - 1
    result: Value = conjugate(call("transpose", x, (*range(last - 1), last, last - 1)))
    return result


def scaled(scalars: Value, matrices: Value) -> Value:
    """Each matrix times its scalar."""
    result: Value = call("expand_dims", scalars, (-1, -2)) * matrices
    return result


def host_op(name: str, inputs: str, *, ref: Any, square: bool = True, **rest: Any) -> Any:
    """Defines an op of ``pf.linalg`` that runs ``ref`` on the host. square: x, the first input, must be that."""
    return define(
        f"linalg_{name}",
        inputs,
        kinds=KINDS,
        checks=rest.pop("checks", square_checks if square else None),
        ref=lapack(ref),
        host=True,
        **rest,
    )


def _solve_infer(a: Value, b: Value, **attrs: Any) -> TensorType:
    check_square(a, "a")
    check_matrices(b, "b")
    if differ(a.dims[-1], b.dims[-2]):
        raise InvalidArgumentError(f"a: {a.type} and b: {b.type} differ in their numbers of rows")
    try:
        batch = dims.broadcast_shapes(a.dims[:-2], b.dims[:-2])
    except ValueError:
        raise InvalidArgumentError(f"leading axes do not broadcast: a: {a.type} and b: {b.type}") from None
    return TensorType(b.dtype, (*batch, *b.dims[-2:]))


def _solve_checks(node: Node) -> list[Check]:
    a, b = node.inputs
    return square_checks(node) + equal_check(a.dims[-1], b.dims[-2], f"solve of a: {a.type} and b: {b.type}: rows")


def _solve_vjp(node: Node, gradient: Value) -> tuple[Value, Value]:
    a, b = node.inputs
    by_b = _solve(adjoint(a), gradient)
    by_a = -matmul(by_b, adjoint(node.outputs[0]))
    return sum_to(by_a, a), sum_to(by_b, b)


_solve = host_op(
    "solve",
    "a:T, b:T",
    infer=_solve_infer,
    checks=_solve_checks,
    ref=np.linalg.solve,
    vjp=_solve_vjp,
    doc="The matrices x with ``a @ x = b``.",
)


def with_columns(function: Callable[[Value], Value], b: Any, name: str | None) -> Value:
    """``function`` of a right-hand side; a 1-d one is a column."""
    right = convert(b)
    if right.ndim != 1:
        return function(right)
    result: Value = call("squeeze", function(call("expand_dims", right, 1)), -1, name=name)
    return result


def solve(a: Any, b: Any, *, name: str | None = None) -> Value:
    """The x with ``a @ x = b``.

    a: square matrices; b: matrices of as many rows, or one vector. Leading axes broadcast. A run raises
    InvalidArgumentError where a matrix is singular.
    """
    return with_columns(lambda right: _solve(a, right, name=name), b, name)


def _triangle_ref(a: np.ndarray, b: np.ndarray, lower: bool, unit: bool) -> np.ndarray:
    kept = np.tril(a) if lower else np.triu(a)
    if unit:
        places = np.arange(a.shape[-1])
        kept[..., places, places] = 1
    result: np.ndarray = np.linalg.solve(kept, b)
    return result


def _triangle_vjp(node: Node, gradient: Value) -> tuple[Value, Value]:
    (a, b), lower, unit = node.inputs, node.attrs["lower"], node.attrs["unit"]
    by_b = _triangular_solve(adjoint(a), gradient, not lower, unit)
    whole = -matmul(by_b, adjoint(node.outputs[0]))
    by_a = tril(whole, -1 if unit else 0) if lower else triu(whole, 1 if unit else 0)
    return sum_to(by_a, a), sum_to(by_b, b)


_triangular_solve = host_op(
    "triangular_solve",
    "a:T, b:T",
    attrs={"lower": BOOLEAN, "unit": BOOLEAN},
    defaults={"lower": True, "unit": False},
    infer=_solve_infer,
    checks=_solve_checks,
    ref=_triangle_ref,
    vjp=_triangle_vjp,
    doc="The matrices x with ``t @ x = b``, t a triangle of ``a``.",
)


def triangular_solve(a: Any, b: Any, lower: bool = True, unit: bool = False, *, name: str | None = None) -> Value:
    """The x with ``t @ x = b``, t being the lower (or upper) triangle of ``a``; with ``unit``, with 1 on its diagonal.

    a, b: as for :func:`solve`. A run raises InvalidArgumentError where the triangle is singular.
    """
    return with_columns(lambda right: _triangular_solve(a, right, lower, unit, name=name), b, name)


def same_square(x: Value, **attrs: Any) -> TensorType:
    check_square(x)
    return x.type


def _cholesky_vjp(node: Node, gradient: Value) -> tuple[Value]:
    factor = node.outputs[0]
    inner_part = tril(matmul(adjoint(factor), gradient))
    inner_part = inner_part - call(
        "cast", eye(factor.dims[-1], dtype=dtypes.real_dtype(factor.dtype)), factor.dtype
    ) * (inner_part * 0.5)
    left = _triangular_solve(adjoint(factor), inner_part, False)
    whole = adjoint(_triangular_solve(adjoint(factor), adjoint(left), False))
    return ((whole + adjoint(whole)) * 0.5,)


cholesky = host_op(
    "cholesky",
    "x:T",
    infer=same_square,
    ref=np.linalg.cholesky,
    vjp=_cholesky_vjp,
    doc="The lower triangles l with ``l @ l.T = x`` (if complex, the conjugate of ``l.T``) of symmetric, positive "
    "definite matrices, of which the lower triangles are read. A run raises InvalidArgumentError for one that is not.",
)


def _qr_infer(x: Value, *, mode: str) -> tuple[TensorType, TensorType]:
    check_matrices(x)
    rows, columns = x.dims[-2:]
    inside = rows if mode == "complete" else dims.minimum(rows, columns)
    batch = x.dims[:-2]
    return TensorType(x.dtype, (*batch, rows, inside)), TensorType(x.dtype, (*batch, inside, columns))


def _zeros_of(value: Value, gradient: Value | None) -> Value:
    if gradient is not None:
        return gradient
    zeros: Value = call("broadcast_to", call("constant", np.zeros((), value.dtype.numpy)), value.dims)
    return zeros


def _qr_vjp(node: Node, *gradients: Value | None) -> tuple[Value]:
    q, r = node.outputs
    if differ(q.dims[-1], r.dims[-1]) or differ(
        q.dims[-2] if node.attrs["mode"] == "complete" else q.dims[-1], q.dims[-1]
    ):
        raise UnimplementedError(
            message(
                "qr",
                f"the gradient is for reduced factors of at least as many rows as columns; got {q.type}",
                node.origin,
            )
        )
    by_q, by_r = (_zeros_of(value, gradient) for value, gradient in zip(node.outputs, gradients, strict=True))
    mixed = matmul(r, adjoint(by_r)) - matmul(adjoint(by_q), q)
    below = tril(mixed, -1)
    diagonals = tril(mixed) - below
    hermitian = below + adjoint(below) + (diagonals + adjoint(diagonals)) * 0.5
    left = by_q + matmul(q, hermitian)
    return (adjoint(_triangular_solve(r, adjoint(left), False)),)


_qr = host_op(
    "qr",
    "x:T",
    attrs={"mode": choice("reduced", "complete")},
    defaults={"mode": "reduced"},
    infer=_qr_infer,
    ref=lambda x, mode: tuple(np.linalg.qr(x, mode)),
    vjp=_qr_vjp,
    square=False,
    multiple=True,
    doc="Orthonormal columns q and upper triangles r with ``q @ r = x``.",
)


def qr(x: Any, mode: str = "reduced", *, name: str | None = None) -> tuple[Value, Value]:
    """Orthonormal columns q and upper triangles r with ``q @ r = x``.

    mode: ``"reduced"``: q has as many columns as x has rows or columns, whichever is less; ``"complete"``: q is square.
    The gradient is that of reduced factors of matrices with at least as many rows as columns.
    """
    q, r = _qr(x, mode, name=name)
    return q, r


def _svd_infer(x: Value, *, full_matrices: bool) -> tuple[TensorType, TensorType, TensorType]:
    check_matrices(x)
    (rows, columns), batch = x.dims[-2:], x.dims[:-2]
    least = dims.minimum(rows, columns)
    across: Size = rows if full_matrices else least
    down: Size = columns if full_matrices else least
    return (
        TensorType(x.dtype, (*batch, rows, across)),
        TensorType(dtypes.real_dtype(x.dtype), (*batch, least)),
        TensorType(x.dtype, (*batch, down, columns)),
    )


def _gaps(values: Value) -> Value:
    """1 / (values[j] - values[i]) at [i, j], 0 on the diagonal."""
    apart = call("expand_dims", values, -2) - call("expand_dims", values, -1)
    same = eye(values.dims[-1], dtype=dtypes.bool_)
    result: Value = call("where", same, 0, 1 / call("where", same, 1, apart))
    return result


def _svd_vjp(node: Node, by_u: Value | None, by_s: Value | None, by_vh: Value | None) -> tuple[Value]:
    u, s, vh = node.outputs
    x = node.inputs[0]
    if node.attrs["full_matrices"] and x.dims[-1] != x.dims[-2]:
        if by_u is not None or by_vh is not None:
            what = f"the gradient by U and Vh is for full_matrices=False, unless matrices are square; got {x.type}"
            raise UnimplementedError(message("svd", what, node.origin))
        u, s, vh = svd(x, full_matrices=False)
    if x.dtype.kind == "c" and (by_u is not None or by_vh is not None):
        what = "the gradient of complex matrices is that by the singular values alone"
        raise UnimplementedError(message("svd", what, node.origin))
    total = u * call("cast", call("expand_dims", _zeros_of(s, by_s), -2), u.dtype)
    if by_u is None and by_vh is None:
        return (matmul(total, vh),)
    gaps, row, column = _gaps(call("square", s)), call("expand_dims", s, -2), call("expand_dims", s, -1)
    result = matmul(total, vh)
    if by_u is not None:
        mixed = matmul(adjoint(u), by_u)
        inside = matmul(u, gaps * (mixed - adjoint(mixed))) * row
        outside = (by_u - matmul(u, mixed)) / row
        result = result + matmul(inside + outside, vh)
    if by_vh is not None:
        by_v, v = adjoint(by_vh), adjoint(vh)
        mixed = matmul(vh, by_v)
        inside = column * matmul(gaps * (mixed - adjoint(mixed)), vh)
        outside = adjoint(by_v - matmul(v, mixed)) / column
        result = result + matmul(u, inside + outside)
    return (result,)


svd_op = host_op(
    "svd",
    "x:T",
    attrs={"full_matrices": BOOLEAN},
    defaults={"full_matrices": True},
    infer=_svd_infer,
    ref=lambda x, full_matrices: tuple(np.linalg.svd(x, full_matrices)),
    vjp=_svd_vjp,
    square=False,
    multiple=True,
    doc="The singular value decomposition ``x = u @ diag(s) @ vh``.",
)


def svd(x: Any, full_matrices: bool = True, compute_uv: bool = True, *, name: str | None = None) -> Any:
    """The singular value decomposition: u, s and vh with ``x = u @ diag(s) @ vh``; s falls.

    full_matrices: u and vh are square; else they have as many columns, and rows, as there are singular values.
    compute_uv: False: s alone.
    """
    return svd_op(x, full_matrices, name=name) if compute_uv else svdvals(x, name=name)


def _svdvals_infer(x: Value) -> TensorType:
    check_matrices(x)
    return TensorType(dtypes.real_dtype(x.dtype), (*x.dims[:-2], dims.minimum(*x.dims[-2:])))


def _svdvals_vjp(node: Node, gradient: Value) -> tuple[Value]:
    u, _, vh = svd_op(node.inputs[0], False)
    return (matmul(u * call("cast", call("expand_dims", gradient, -2), u.dtype), vh),)


svdvals = host_op(
    "svdvals",
    "x:T",
    infer=_svdvals_infer,
    ref=lambda x: np.linalg.svd(x, compute_uv=False),
    vjp=_svdvals_vjp,
    square=False,
    doc="The singular values of matrices, falling.",
)


def _eigh_infer(x: Value) -> tuple[TensorType, TensorType]:
    check_square(x)
    return TensorType(dtypes.real_dtype(x.dtype), x.dims[:-1]), x.type


def _eigh_vjp(node: Node, by_w: Value | None, by_v: Value | None) -> tuple[Value]:
    w, v = node.outputs
    inside = call("cast", call("expand_dims", _zeros_of(w, by_w), -2), v.dtype)
    total = matmul(v * inside, adjoint(v))
    if by_v is not None:
        mixed = call("cast", _gaps(w), v.dtype) * matmul(adjoint(v), by_v)
        total = total + matmul(matmul(v, mixed), adjoint(v))
    return ((total + adjoint(total)) * 0.5,)


eigh = host_op(
    "eigh",
    "x:T",
    infer=_eigh_infer,
    ref=lambda x: tuple(np.linalg.eigh(x)),
    vjp=_eigh_vjp,
    multiple=True,
    doc="The eigenvalues, rising, and in columns the eigenvectors of symmetric (Hermitian) matrices, of which the "
    "lower triangles are read. The gradient is symmetric.",
)


def eigvalsh(x: Any, *, name: str | None = None) -> Value:
    """The eigenvalues, rising, of symmetric (Hermitian) matrices, of which the lower triangles are read."""
    result: Value = eigh(x, name=name)[0]
    return result


def _eig_infer(x: Value) -> tuple[TensorType, TensorType]:
    check_square(x)
    dtype = dtypes.complex_dtype(x.dtype)
    return TensorType(dtype, x.dims[:-1]), TensorType(dtype, x.dims)


def _eig_ref(x: np.ndarray) -> tuple[np.ndarray, ...]:
    dtype = np.result_type(x.dtype, np.complex64)
    return tuple(part.astype(dtype) for part in np.linalg.eig(x))


eig = host_op(
    "eig",
    "x:T",
    infer=_eig_infer,
    ref=_eig_ref,
    vjp=no_gradient,
    multiple=True,
    doc="The eigenvalues and in columns the eigenvectors of square matrices, always complex. No gradient flows.",
)


def eigvals(x: Any, *, name: str | None = None) -> Value:
    """The eigenvalues of square matrices, always complex. No gradient flows."""
    result: Value = eig(x, name=name)[0]
    return result
