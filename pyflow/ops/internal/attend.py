"""The core of attention: what :func:`pyflow.attention` is composed of, and what is recognised in imported graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dims, views
from pyflow.dims import Size
from pyflow.dtypes import DType
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Node, Value
from pyflow.opdef import BOOL, BOOLEAN, FLOAT, FLOATS, INTS, SIZE, Lowering, TensorType, call, choice
from pyflow.ops.arrays.indexing import iota
from pyflow.ops.arrays.shape import reshape, transpose
from pyflow.ops.common import transposed
from pyflow.ops.composite import GIVEN, as_number, composite, optional
from pyflow.ops.sizes import Check, differ, equal_check
from pyflow.plan import View

LOWEST = float("-inf")


def unless_hidden(seen: Value, bias: Value | None, dtype: DType) -> Value:
    """What is added to scores of ``dtype``: ``bias``, or 0, and minus infinity where ``seen`` is false."""
    kept = call("constant", 0.0, dtype) if bias is None else bias
    result: Value = call("where", seen, kept, LOWEST)
    return result


def softmax_of_seen(scores: Value, bias: Value) -> Value:
    """Softmax along the last axis; 0 in rows whose ``bias``, which is in the scores, is minus infinity throughout."""
    unseen = call("max", bias, (bias.ndim - 1,), True) == LOWEST
    result: Value = call("where", unseen, 0, call("softmax", call("where", unseen, 0, scores), -1))
    return result


def _scores(q: Value, k: Value, *bias: Value) -> tuple[Size, ...]:
    """The dims of the products and what is added."""
    batch = dims.broadcast_shapes(q.dims[:-2], k.dims[:-2])
    return dims.broadcast_shapes((*batch, q.dims[-2], k.dims[-2]), *(value.dims for value in bias))


def _infer(q: Value, k: Value, v: Value, *more: Value, order: tuple[int, ...], **_: Any) -> TensorType:
    if not 2 <= q.ndim == k.ndim == v.ndim or any(bias.ndim > q.ndim for bias in more):
        raise InvalidArgumentError(f"expected q, k and v of one rank, at least 2; got {q.type}, {k.type}, {v.type}")
    *batch, length, size = _scores(q, k, *more)
    if differ(q.dims[-1], k.dims[-1]) or differ(size, v.dims[-2]):
        raise InvalidArgumentError(f"q: {q.type}, k: {k.type} and v: {v.type} do not fit each other")
    shape = (*dims.broadcast_shapes(tuple(batch), v.dims[:-2]), length, v.dims[-1])
    return TensorType(q.dtype, tuple(shape[axis] for axis in order) if order else shape)


def _checks(node: Node) -> list[Check]:
    q, k, v, *more = node.inputs
    what = f"attention of q: {q.type}, k: {k.type} and v: {v.type}"
    checks = equal_check(q.dims[-1], k.dims[-1], f"{what}: sizes of q and k")
    size = _scores(q, k, *more)[-1]
    return checks + equal_check(size, v.dims[-2], f"{what}: lengths of k and v")


def _added(q: Value, k: Value, bias: Value | None, is_causal: bool, offset: Size) -> Value | None:
    """What is added to the products, of the dtype of q."""
    if bias is not None and not bias.dtype.is_floating:
        bias = unless_hidden(bias, None, q.dtype)
    if not is_causal:
        return bias
    seen = iota(k.dims[-2]) <= reshape(iota(q.dims[-2]), (-1, 1)) + as_number(offset)
    return unless_hidden(seen, bias, q.dtype)


def _expand(
    q: Value,
    k: Value,
    v: Value,
    *more: Value,
    given: Sequence[str],
    scale: float,
    is_causal: bool,
    offset: Size,
    nothing: str,
    order: tuple[int, ...],
) -> Value:
    (bias,) = optional(given, more, "bias")
    bias = _added(q, k, bias, is_causal, offset)
    scores = call("matmul", q * scale, transposed(k))
    scores = scores if bias is None else scores + bias
    if bias is None or nothing != "unseen":
        weights = call("softmax", scores, -1)
        weights = call("where", call("isnan", weights), 0, weights) if nothing == "zero" else weights
    else:
        weights = softmax_of_seen(scores, bias)
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
    nothing: str,
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
    if nothing == "unseen":
        weights = np.where(np.isneginf(added.max(-1, keepdims=True, initial=LOWEST)), 0, weights)
    weights = np.where(np.isnan(weights), 0, weights) if nothing == "zero" else weights
    result: np.ndarray = np.matmul(weights, v).astype(q.dtype)
    return result.transpose(order) if order else result


def _lower(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
    attrs, order = node.attrs, node.attrs["order"]
    y = views.permute(outputs[0], tuple(map(order.index, range(len(order))))) if order else outputs[0]
    batch, length, size = y.dims[:-2], y.dims[-2], inputs[2].dims[-2]
    ends = [(length, inputs[0].dims[-1]), (size, inputs[1].dims[-1]), inputs[2].dims[-2:], (length, size)]
    shapes = [(*batch, *end) for end in ends[: len(inputs)]]
    given = tuple(map(views.broadcast_to, inputs, shapes))
    nothing = node.op.attrs["nothing"].encode(attrs["nothing"])[0]
    ints = (int(attrs["is_causal"]), attrs["offset"], *nothing)
    return Lowering("attend", given, (y,), ints, (attrs["scale"],))


attend = composite(
    "attend",
    "q:T, k:T, v:T, *more:B",
    attrs={
        "given": GIVEN,
        "scale": FLOAT,
        "is_causal": BOOLEAN,
        "offset": SIZE,
        "nothing": choice("nan", "unseen", "zero"),
        "order": INTS,
    },
    defaults={"given": (), "scale": 1.0, "is_causal": False, "offset": 0, "nothing": "nan", "order": ()},
    kinds={"T": FLOATS, "B": FLOATS | BOOL},
    infer=_infer,
    checks=_checks,
    expand=_expand,
    ref=_ref,
    lower=_lower,
    doc="""softmax(q k^T * scale + bias) v: q [..., M, D], k [..., N, D], v [..., N, E] to [..., M, E].

    bias, if given: added, or bool (False: minus infinity); broadcasts to [..., M, N]. is_causal: query i sees keys 0 to
    i + offset. nothing: what a query without weights gives: "nan", as softmax; "unseen", 0 if its bias is minus
    infinity for all keys; "zero", 0 wherever softmax gives NaN. order: the axes of the result, () as they are.
    """,
)
