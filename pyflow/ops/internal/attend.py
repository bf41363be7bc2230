"""The core of attention: what :func:`pyflow.attention` is composed of, and what is recognised in imported graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dims, views
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Node, Value
from pyflow.opdef import BOOL, BOOLEAN, FLOAT, FLOATS, INTS, SIZE, Lowering, TensorType, call
from pyflow.ops.arrays.indexing import iota
from pyflow.ops.arrays.shape import reshape, transpose
from pyflow.ops.composite import GIVEN, as_number, composite, optional
from pyflow.ops.sizes import Check, broadcast_check, differ, equal_check
from pyflow.plan import View

LOWEST = float("-inf")


def swapped(value: Value) -> Value:
    """The last two axes exchanged."""
    last = value.ndim - 1
    result: Value = transpose(value, (*range(last - 1), last, last - 1))
    return result


def _infer(q: Value, k: Value, v: Value, *more: Value, order: tuple[int, ...], **_: Any) -> TensorType:
    if not 2 <= q.ndim == k.ndim == v.ndim or any(bias.ndim > q.ndim for bias in more):
        raise InvalidArgumentError(f"expected q, k and v of one rank, at least 2; got {q.type}, {k.type}, {v.type}")
    if differ(q.dims[-1], k.dims[-1]) or differ(k.dims[-2], v.dims[-2]):
        raise InvalidArgumentError(f"q: {q.type}, k: {k.type} and v: {v.type} do not fit each other")
    batch = dims.broadcast_shapes(*(value.dims[:-2] for value in (q, k, v)))
    shape = (*batch, q.dims[-2], v.dims[-1])
    return TensorType(q.dtype, tuple(shape[axis] for axis in order) if order else shape)


def _checks(node: Node) -> list[Check]:
    q, k, v, *more = node.inputs
    what = f"attention of q: {q.type}, k: {k.type} and v: {v.type}"
    checks = equal_check(q.dims[-1], k.dims[-1], f"{what}: sizes of q and k")
    checks += equal_check(k.dims[-2], v.dims[-2], f"{what}: lengths of k and v")
    for bias in more:
        wanted = (*dims.broadcast_shapes(*(x.dims[:-2] for x in (q, k, v))), q.dims[-2], k.dims[-2])
        for have, want in zip(bias.dims, wanted[len(wanted) - bias.ndim :], strict=True):
            checks += broadcast_check(have, want, f"{what}: the mask {bias.type} does not broadcast to the products")
    return checks


def _added(q: Value, k: Value, bias: Value | None, is_causal: bool, offset: Size) -> Value | None:
    """What is added to the products, of the dtype of q."""
    zero = call("constant", 0.0, q.dtype)
    if bias is not None and not bias.dtype.is_floating:
        bias = call("where", bias, zero, LOWEST)
    if not is_causal:
        return bias
    seen = iota(k.dims[-2]) <= reshape(iota(q.dims[-2]), (-1, 1)) + as_number(offset)
    result: Value = call("where", seen, zero if bias is None else bias, LOWEST)
    return result


def _expand(
    q: Value,
    k: Value,
    v: Value,
    *more: Value,
    given: Sequence[str],
    scale: float,
    is_causal: bool,
    offset: Size,
    unseen_is_zero: bool,
    order: tuple[int, ...],
) -> Value:
    (bias,) = optional(given, more, "bias")
    bias = _added(q, k, bias, is_causal, offset)
    scores = call("matmul", q * scale, swapped(k))
    scores = scores if bias is None else scores + bias
    if bias is None or not unseen_is_zero:
        weights = call("softmax", scores, -1)
    else:
        nothing = call("max", bias, (bias.ndim - 1,), True) == LOWEST
        weights = call("where", nothing, 0, call("softmax", call("where", nothing, 0, scores), -1))
    y: Value = call("matmul", weights, v)
    return transpose(y, order) if order else y


def _ref(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    *more: np.ndarray,
    given: Sequence[str],
    scale: float,
    is_causal: bool,
    offset: int,
    unseen_is_zero: bool,
    order: tuple[int, ...],
) -> np.ndarray:
    (bias,) = optional(given, more, "bias")
    scores = np.matmul(q.astype(np.float64) * scale, k.swapaxes(-1, -2))
    added = np.zeros(scores.shape[-2:]) if bias is None else bias
    added = np.where(added, 0.0, LOWEST) if added.dtype == np.bool_ else added
    if is_causal:
        queries, keys = (np.arange(size) for size in scores.shape[-2:])
        added = np.where(keys <= queries[:, None] + offset, added, LOWEST)
    scores = scores + added
    powers = np.exp(scores - scores.max(-1, keepdims=True, initial=LOWEST))
    weights = powers / powers.sum(-1, keepdims=True)
    if unseen_is_zero:
        weights = np.where(np.isneginf(added.max(-1, keepdims=True, initial=LOWEST)), 0, weights)
    result: np.ndarray = np.matmul(weights, v).astype(q.dtype)
    return result.transpose(order) if order else result


def _lower(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
    attrs, order = node.attrs, node.attrs["order"]
    y = views.permute(outputs[0], tuple(map(order.index, range(len(order))))) if order else outputs[0]
    batch, length = y.dims[:-2], inputs[1].dims[-2]
    shapes = [(*batch, *view.dims[-2:]) for view in inputs[:3]] + [(*batch, y.dims[-2], length)]
    given = tuple(map(views.broadcast_to, inputs, shapes))
    ints = (int(attrs["is_causal"]), attrs["offset"], int(attrs["unseen_is_zero"]))
    return Lowering("attend", given, (y,), ints, (attrs["scale"],))


attend = composite(
    "attend",
    "q:T, k:T, v:T, *more:B",
    attrs={
        "given": GIVEN,
        "scale": FLOAT,
        "is_causal": BOOLEAN,
        "offset": SIZE,
        "unseen_is_zero": BOOLEAN,
        "order": INTS,
    },
    defaults={"given": (), "scale": 1.0, "is_causal": False, "offset": 0, "unseen_is_zero": False, "order": ()},
    kinds={"T": FLOATS, "B": FLOATS | BOOL},
    infer=_infer,
    checks=_checks,
    expand=_expand,
    ref=_ref,
    lower=_lower,
    doc="""softmax(q k^T * scale + bias) v: q [..., M, D], k [..., N, D], v [..., N, E] to [..., M, E].

    bias, if given: added, or bool (False: minus infinity); broadcasts to [..., M, N]. is_causal: query i sees keys 0 to
    i + offset. A query whose bias is minus infinity for all keys gives 0 with ``unseen_is_zero``, else NaN. order: the
    axes of the result, () as they are.
    """,
)
