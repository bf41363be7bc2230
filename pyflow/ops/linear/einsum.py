"""Sums of products over named axes: einsum, and the products that are cases of it."""

from __future__ import annotations

import itertools
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyflow import dims
from pyflow.apply import convert
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Node, Value
from pyflow.opdef import COMPLEX, NUMERIC, TEXT, TensorType, call, define
from pyflow.ops.common import axis_of, normalise_axis
from pyflow.ops.linear.matrices import diagonal
from pyflow.ops.linear.products import matmul
from pyflow.ops.sizes import Check, broadcast_check, differ

__all__ = [
    "addmm",
    "bmm",
    "cross",
    "dot",
    "einsum",
    "inner",
    "kron",
    "linear",
    "matvec",
    "outer",
    "tensordot",
    "vdot",
    "vecdot",
]

Labels = tuple[str, ...]


@dataclass(frozen=True)
class _Term:
    """A value whose axes have names. An axis that ``...`` stands for is called ``...1`` if it is the last but one."""

    value: Value
    labels: Labels


def _labels_of(text: str, ndim: int | None, what: str) -> Labels:
    """The names of the axes of a subscript; ``ndim`` None: of the result, whose ``...`` stays one entry."""
    before, dots, after = text.partition("...")
    if "." in before + after or any(letter not in string.ascii_letters for letter in before + after):
        raise InvalidArgumentError(f"expected letters and at most one ... in subscript {text!r} of {what}")
    if ndim is None:
        return (*before, *(["..."] if dots else []), *after)
    hidden = ndim - len(before) - len(after)
    if hidden < 0 or (hidden and not dots):
        raise InvalidArgumentError(f"subscript {text!r} names {len(before + after)} axes of {what}, which has {ndim}")
    return (*before, *(f"...{place}" for place in reversed(range(hidden))), *after)


def _parsed(equation: str, values: Sequence[Value]) -> tuple[list[Labels], Labels]:
    """The names of each operand's axes and of the result's."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    subscripts = left.split(",")
    if len(subscripts) != len(values):
        raise InvalidArgumentError(f"equation {equation!r} has {len(subscripts)} operands, got {len(values)}")
    named = [
        _labels_of(text, x.ndim, f"operand {i}: {x.type}")
        for i, (text, x) in enumerate(zip(subscripts, values, strict=True))
    ]
    hidden = sorted(
        {label for labels in named for label in labels if len(label) > 1}, key=lambda label: -int(label[3:])
    )
    if arrow:
        given = _labels_of(right, None, "the result")
        result = tuple(itertools.chain.from_iterable(hidden if label == "..." else [label] for label in given))
    else:
        counts: dict[str, int] = {}
        for label in left.replace("...", "").replace(",", ""):
            counts[label] = counts.get(label, 0) + 1
        result = (*hidden, *sorted(label for label, count in counts.items() if count == 1))
    known = set(itertools.chain.from_iterable(named))
    if len(set(result)) < len(result) or not set(result) <= known:
        raise InvalidArgumentError(f"equation {equation!r}: the result names an axis twice, or one that no operand has")
    return named, result


def _sizes(named: Sequence[Labels], values: Sequence[Value], equation: str) -> dict[str, Size]:
    sizes: dict[str, Size] = {}
    for labels, value in zip(named, values, strict=True):
        for label, size in zip(labels, value.dims, strict=True):
            try:
                sizes[label] = dims.broadcast(sizes.get(label, 1), size)
            except ValueError:
                what = f"axis {label} has sizes {sizes[label]} and {size} that do not broadcast"
                raise InvalidArgumentError(f"equation {equation!r}: {what}") from None
    return sizes


def _infer(*xs: Value, equation: str) -> TensorType:
    if not xs:
        raise InvalidArgumentError("expected at least one operand")
    named, result = _parsed(equation, xs)
    sizes = _sizes(named, xs, equation)
    return TensorType(xs[0].dtype, tuple(sizes[label] for label in result))


def _checks(node: Node) -> list[Check]:
    equation = node.attrs["equation"]
    named, _ = _parsed(equation, node.inputs)
    sizes = _sizes(named, node.inputs, equation)
    return [
        check
        for labels, x in zip(named, node.inputs, strict=True)
        for label, size in zip(labels, x.dims, strict=True)
        for check in broadcast_check(size, sizes[label], f"einsum {equation!r}: axis {label} of {x.type}")
    ]


def _apart(term: _Term) -> _Term:
    """Without names that stand twice: the diagonal is taken."""
    value, labels = term.value, list(term.labels)
    for label in dict.fromkeys(term.labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            value = diagonal(value, 0, first, second)
            labels = [name for place, name in enumerate(labels) if place not in (first, second)] + [label]
    return _Term(value, tuple(labels))


def _summed(term: _Term, kept: set[str]) -> _Term:
    """Summed over the names that nobody needs."""
    gone = [place for place, label in enumerate(term.labels) if label not in kept]
    if not gone:
        return term
    total = call("cast", call("sum", term.value, gone), term.value.dtype)
    return _Term(total, tuple(label for label in term.labels if label in kept))


def _arranged(term: _Term, order: Sequence[str]) -> Value:
    """The value with axes in this order; a name that it has not is an axis of size 1."""
    present = [label for label in order if label in term.labels]
    value = term.value
    if tuple(present) != term.labels:
        value = call("transpose", value, [term.labels.index(label) for label in present])
    missing = [place for place, label in enumerate(order) if label not in term.labels]
    result: Value = call("expand_dims", value, missing) if missing else value
    return result


def _contracted(left: _Term, right: _Term, kept: set[str], sizes: Mapping[str, Size]) -> _Term:
    """The product of two terms, summed over the names that both have and nobody else needs."""
    shared = [label for label in left.labels if label in right.labels]
    inner = [label for label in shared if label not in kept]
    batch = [label for label in shared if label in kept]
    rows = [label for label in left.labels if label not in shared]
    columns = [label for label in right.labels if label not in shared]
    if not inner:
        order = [*batch, *rows, *columns]
        return _Term(_arranged(left, order) * _arranged(right, order), tuple(order))

    def matrix(term: _Term, first: Sequence[str], second: Sequence[str]) -> Value:
        order = [*batch, *first, *second]
        value = _arranged(term, order)
        wanted = [sizes[label] for label in order]
        if tuple(wanted) != value.dims:
            value = call("broadcast_to", value, wanted)
        outer = [sizes[label] for label in batch]
        flat = [dims.product(sizes[label] for label in group) for group in (first, second)]
        result: Value = call("reshape", value, [*outer, *flat])
        return result

    product = matmul(matrix(left, rows, inner), matrix(right, inner, columns))
    labels = (*batch, *rows, *columns)
    return _Term(call("reshape", product, [sizes[label] for label in labels]), labels)


def _cost(left: _Term, right: _Term, kept: set[str], sizes: Mapping[str, Size]) -> tuple[float, float]:
    """Elements of the product less those of the factors, then multiplications: what is unknown counts as 64."""

    def count(labels: set[str]) -> float:
        return float(np.prod([float(dims.hint_of(sizes[label], 64) or 1) for label in labels]))

    a, b = set(left.labels), set(right.labels)
    return count((a | b) & kept) - count(a) - count(b), count(a | b)


def _expand(*xs: Value, equation: str) -> Value:
    named, result = _parsed(equation, xs)
    sizes = _sizes(named, xs, equation)
    terms = [_apart(_Term(x, labels)) for x, labels in zip(xs, named, strict=True)]

    def needed(others: Sequence[_Term]) -> set[str]:
        return set(result).union(*(term.labels for term in others))

    while True:
        terms = [_summed(term, needed([*terms[:i], *terms[i + 1 :]])) for i, term in enumerate(terms)]
        if len(terms) == 1:
            break

        def rest(pair: tuple[int, int]) -> list[_Term]:
            return [term for place, term in enumerate(terms) if place not in pair]  # noqa: B023

        pairs = itertools.combinations(range(len(terms)), 2)
        best = min(pairs, key=lambda pair: _cost(terms[pair[0]], terms[pair[1]], needed(rest(pair)), sizes))
        others = rest(best)
        terms = [*others, _contracted(terms[best[0]], terms[best[1]], needed(others), sizes)]
    value = _arranged(terms[0], result)
    wanted = tuple(sizes[label] for label in result)
    finished: Value = value if value.dims == wanted else call("broadcast_to", value, wanted)
    return finished


_einsum = define(
    "einsum",
    "*xs:T",
    attrs={"equation": TEXT},
    kinds={"T": NUMERIC | COMPLEX},
    infer=_infer,
    checks=_checks,
    ref=lambda *xs, equation: np.asarray(np.einsum(equation, *xs), xs[0].dtype),
    expand=_expand,
    onnx="Einsum",
    doc="""Sums of products over axes that have names; see :func:`pyflow.einsum`.""",
)


def einsum(equation: str, *xs: Any, name: str | None = None) -> Value:
    """The sum of products that the equation says, Einstein's convention.

    equation: a letter for each axis of each operand, operands parted by commas: ``"bij,bjk->bik"``. The result has the
    axes behind ``->``; without it, those that are named once, in alphabetical order. Products are summed over the
    other names. A name that stands twice in one operand takes its diagonal. ``...`` stands for any number of axes
    that broadcast; they are the first of the result where it is not said.

    xs: numeric, of one dtype, which is the result's; integers wrap. Axes of one name have one size or 1. Several
    operands are multiplied two at a time, in an order that keeps what is between them small. Raises
    InvalidArgumentError for an equation that cannot be read or does not fit.
    """
    result: Value = _einsum(*xs, equation=equation, name=name)
    return result


def tensordot(x: Any, y: Any, axes: Any = 2, *, name: str | None = None) -> Value:
    """The products of ``x`` and ``y``, summed over pairs of axes; the result has the others of ``x``, then of ``y``.

    axes: how many: the last ones of ``x`` with the first ones of ``y``; or the axes of ``x`` and, in their order, those
    of ``y``.
    """
    left, right = convert(x), convert(y)
    if isinstance(axes, int):
        pairs = [(left.ndim - axes + i, i) for i in range(axes)]
    else:
        both = [[entry] if isinstance(entry, int) else list(entry) for entry in axes]
        if len(both) != 2 or len(both[0]) != len(both[1]):
            what = f"expected as many axes of x as of y, got {axes!r}"
            raise InvalidArgumentError(message("tensordot", what, user_origin()))
        pairs = list(zip(*both, strict=True))
    letters = string.ascii_letters
    first, second = list(letters[: left.ndim]), list(letters[left.ndim : left.ndim + right.ndim])
    for a, b in pairs:
        i, j = normalise_axis(a, left.ndim, f"x: {left.type}"), normalise_axis(b, right.ndim, f"y: {right.type}")
        if differ(left.dims[i], right.dims[j]):
            what = f"axis {i} of x: {left.type} and axis {j} of y: {right.type} differ"
            raise InvalidArgumentError(message("tensordot", what, user_origin()))
        second[j] = first[i]
    kept = "".join(letter for letter in [*first, *second] if (letter in first) != (letter in second))
    return einsum(f"{''.join(first)},{''.join(second)}->{kept}", left, right, name=name)


def outer(x: Any, y: Any, *, name: str | None = None) -> Value:
    """Every element of ``x`` times every one of ``y``: a matrix; both are flattened first."""
    left, right = call("reshape", x, (-1, 1)), call("reshape", y, (1, -1))
    result: Value = call("multiply", left, right, name=name)
    return result


def inner(x: Any, y: Any, *, name: str | None = None) -> Value:
    """The products summed over the last axes of both."""
    left, right = convert(x), convert(y)
    if not left.ndim or not right.ndim:
        result: Value = call("multiply", left, right, name=name)
        return result
    return tensordot(left, right, (-1, -1), name=name)


def dot(x: Any, y: Any, *, name: str | None = None) -> Value:
    """The products summed over the last axis of ``x`` and the last but one of ``y`` (of a 1-d ``y``: its only one).

    If either is 0-d, their product: NumPy's ``dot``.
    """
    left, right = convert(x), convert(y)
    if not left.ndim or not right.ndim:
        result: Value = call("multiply", left, right, name=name)
        return result
    return tensordot(left, right, (-1, -1 if right.ndim == 1 else -2), name=name)


def _conjugate(x: Value) -> Value:
    result: Value = call("conj", x) if x.dtype.kind == "c" else x
    return result


def vdot(x: Any, y: Any, *, name: str | None = None) -> Value:
    """The sum of the products of the flattened ``x`` (its conjugate) and ``y``: 0-d."""
    left, right = (call("reshape", value, (-1,)) for value in (x, y))
    return matmul(_conjugate(left), right, name=name)


def vecdot(x: Any, y: Any, axis: int = -1, *, name: str | None = None) -> Value:
    """The sum of the products of ``x`` (its conjugate) and ``y`` along ``axis``; the other axes broadcast."""
    result: Value = call("sum", _conjugate(convert(x)) * convert(y), axis, name=name)
    return result


def matvec(x: Any, y: Any, *, name: str | None = None) -> Value:
    """Matrices times vectors: ``x`` ``[..., M, K]``, ``y`` ``[..., K]``; the result is ``[..., M]``."""
    column = call("expand_dims", y, -1)
    result: Value = call("squeeze", matmul(x, column), -1, name=name)
    return result


def bmm(x: Any, y: Any, *, name: str | None = None) -> Value:
    """:func:`matmul` of batches of matrices: ``[B, M, K]`` and ``[B, K, N]``."""
    return matmul(x, y, name=name)


def addmm(x: Any, a: Any, b: Any, beta: float = 1.0, alpha: float = 1.0, *, name: str | None = None) -> Value:
    """``beta * x + alpha * (a @ b)``."""
    product = matmul(a, b)
    product = product if alpha == 1 else product * alpha
    if beta == 0:
        return product
    value = convert(x)
    result: Value = call("add", value if beta == 1 else value * beta, product, name=name)
    return result


def linear(x: Any, weight: Any, bias: Any = None, *, name: str | None = None) -> Value:
    """``x @ weight.T + bias``, as torch.nn.functional.linear.

    x: [..., I]; weight: [O, I]; bias: [O] or None. Raises InvalidArgumentError for other shapes.
    """
    value, rows = convert(x), convert(weight)
    if rows.ndim != 2 or not value.ndim or differ(value.dims[-1], rows.dims[1]):
        wanted = f"expected x [..., {rows.dims[1]}]" if rows.ndim == 2 else "expected a weight [O, I]"
        what = f"{wanted} for weight: {rows.type}, got x: {value.type}"
        raise InvalidArgumentError(message("linear", what, user_origin()))
    product = matmul(value, call("transpose", rows, (1, 0)), name=None if bias is not None else name)
    if bias is None:
        return product
    result: Value = call("add", product, bias, name=name)
    return result


def kron(x: Any, y: Any, *, name: str | None = None) -> Value:
    """The Kronecker product: each element of ``x`` replaced by it times ``y``."""
    left, right = convert(x), convert(y)
    ndim = max(left.ndim, right.ndim)
    sizes = [(*(1,) * (ndim - value.ndim), *value.dims) for value in (left, right)]
    apart = [
        [size for entry in own for size in ((entry, 1) if first else (1, entry))]
        for first, own in zip((True, False), sizes, strict=True)
    ]
    product = call("reshape", left, apart[0]) * call("reshape", right, apart[1])
    result: Value = call("reshape", product, [dims.mul(a, b) for a, b in zip(*sizes, strict=True)], name=name)
    return result


def cross(x: Any, y: Any, axis: int = -1, *, name: str | None = None) -> Value:
    """The vector product along ``axis``, which has size 3; the other axes broadcast."""
    left, right = convert(x), convert(y)
    parts = []
    for value in (left, right):
        place = axis_of("cross", axis, value)
        if value.dims[place] != 3:
            what = f"expected axis {axis} of size 3, got {value.type}"
            raise InvalidArgumentError(message("cross", what, user_origin()))
        parts.append([call("squeeze", part, place) for part in call("split", value, 3, place)])
    (a, b, c), (d, e, f) = parts
    rows = [b * f - c * e, c * d - a * f, a * e - b * d]
    result: Value = call("stack", *rows, axis=axis, name=name)
    return result
