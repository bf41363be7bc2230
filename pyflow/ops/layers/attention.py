"""Attention and rotary position embedding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.apply import convert
from pyflow.dims import Size
from pyflow.dtypes import DType
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import BOOLEAN, DTYPE, FLOAT, FLOATS, INT, INTEGERS, SIZE, call, choice
from pyflow.ops.arrays.indexing import gather, iota
from pyflow.ops.arrays.shape import expand_dims, reshape, transpose
from pyflow.ops.common import ndim_of, transposed
from pyflow.ops.composite import GIVEN, as_number, composite, optional, present
from pyflow.ops.internal.attend import LOWEST, softmax_of_seen, unless_hidden
from pyflow.ops.sizes import differ

__all__ = ["attention", "multi_head_attention", "rotary_embedding", "scaled_dot_product_attention"]

SHOWN = ("none", "products", "capped", "biased", "weights")


def _check(q: Value, k: Value, v: Value) -> dict[str, Any]:
    if not q.ndim == k.ndim == v.ndim == 4:
        raise InvalidArgumentError(f"expected q, k and v [B, heads, length, size]; got {q.type}, {k.type}, {v.type}")
    if differ(q.dims[3], k.dims[3]) or differ(k.dims[2], v.dims[2]) or differ(k.dims[1], v.dims[1]):
        raise InvalidArgumentError(f"q: {q.type}, k: {k.type} and v: {v.type} do not fit each other")
    heads, shared = q.dims[1], k.dims[1]
    if isinstance(heads, int) and isinstance(shared, int) and (not shared or heads % shared):
        raise InvalidArgumentError(f"{heads} heads of q: {q.type} do not share the {shared} of k: {k.type}")
    return {}


def _allowed(
    q: Value, k: Value, lengths: Value | None, is_causal: bool, offset: Size, left: int, right: int
) -> Value | None:
    """Which keys a query may see by position: bool, broadcasts to [B, 1, L, S]; None: all."""
    ahead: Any = as_number(offset)
    if lengths is not None:
        ahead = reshape(call("cast", lengths, dtypes.int64), (-1, 1, 1, 1)) - as_number(q.dims[2])
    keys = iota(k.dims[2])
    rules = []
    if is_causal or left >= 0 or right >= 0:
        queries = reshape(iota(q.dims[2]), (-1, 1)) + ahead
        if is_causal:
            rules.append(keys <= queries)
        if left >= 0:
            rules.append(queries - keys <= left)
        if right >= 0:
            rules.append(keys - queries <= right)
    if lengths is not None:
        rules.append(keys < reshape(call("cast", lengths, dtypes.int64), (-1, 1, 1, 1)))
    allowed = None
    for rule in rules:
        allowed = rule if allowed is None else call("logical_and", allowed, rule)
    return allowed


def _whole(mask: Value, size: Size) -> Value:
    """``mask`` for ``size`` keys: those that it is short of are masked."""
    short = dims.add(size, dims.mul(mask.dims[-1], -1))
    if mask.dims[-1] == 1 or short == 0:
        return mask
    fill = call("constant", np.asarray(False if mask.dtype is dtypes.bool_ else LOWEST, mask.dtype.numpy))
    after = (*(0,) * (mask.ndim - 1), dims.maximum(short, 0))
    result: Value = call("pad", mask, fill, (0,) * mask.ndim, after)
    return result


def _bias(mask: Value | None, allowed: Value | None, dtype: DType) -> Value | None:
    """What is added to the products: the mask, and minus infinity where a key is not allowed."""
    if mask is not None:
        mask = call("cast", unless_hidden(mask, None, dtype) if mask.dtype is dtypes.bool_ else mask, dtype)
    return mask if allowed is None else unless_hidden(allowed, mask, dtype)


def _attended(
    q: Value, k: Value, v: Value, mask: Value | None, allowed: Value | None, scale: float, **causal: Any
) -> Value:
    """The attention alone: heads that share keys and values are an axis of their own."""
    batch, heads, length, size = q.dims
    as_it_is = allowed is None and (mask is None or mask.dtype is dtypes.bool_)
    bias = mask if as_it_is else _bias(mask, allowed, q.dtype)
    shared = k.dims[1]
    grouped = shared != heads
    if grouped:
        share = dims.floordiv(heads, shared)
        q = reshape(q, (batch, shared, share, length, size))
        k, v = expand_dims(k, 2), expand_dims(v, 2)
        if bias is not None and bias.ndim > 2:
            apart = (1, 1) if bias.dims[-3] == 1 else (shared, share)
            bias = reshape(bias, (*bias.dims[:-3], *apart, *bias.dims[-2:]))
    given, more = present(bias=bias)
    y: Value = call("attend", q, k, v, *more, given=given, scale=scale, nothing="unseen", **causal)
    return reshape(y, (batch, heads, length, v.dims[-1])) if grouped else y


def _expand(
    q: Value,
    k: Value,
    v: Value,
    *more: Value,
    given: Sequence[str],
    scale: float,
    softcap: float,
    is_causal: bool,
    offset: Size,
    left: int,
    right: int,
    precision: DType,
    shown: str,
) -> tuple[Value, ...]:
    mask, lengths = optional(given, more, "mask", "lengths")
    batch, heads, length, _ = q.dims
    size, grouped = k.dims[2], k.dims[1] != q.dims[1]
    mask = None if mask is None else _whole(mask, size)
    if softcap == 0 and precision is q.dtype and shown == "none":
        by_place = lengths is None and left < 0 and right < 0
        allowed = None if by_place else _allowed(q, k, lengths, is_causal, offset, left, right)
        causal = {"is_causal": by_place and is_causal, "offset": offset if by_place and is_causal else 0}
        return (_attended(q, k, v, mask, allowed, scale, **causal),)
    if grouped:
        share = dims.floordiv(heads, k.dims[1])
        q5 = reshape(q * scale, (batch, k.dims[1], share, length, q.dims[3]))
        products = call("matmul", q5, expand_dims(transposed(k), 2))
        products = reshape(products, (batch, heads, length, size))
    else:
        products = call("matmul", q * scale, transposed(k))
    capped = call("tanh", products / softcap) * softcap if softcap > 0 else products
    bias = _bias(mask, _allowed(q, k, lengths, is_causal, offset, left, right), q.dtype)
    biased = capped if bias is None else capped + bias
    wide = call("cast", biased, precision)
    weights = call("softmax", wide, -1) if bias is None else softmax_of_seen(wide, bias)
    weights = call("cast", weights, q.dtype)
    if grouped:
        w5 = reshape(weights, (batch, k.dims[1], dims.floordiv(heads, k.dims[1]), length, size))
        y = reshape(call("matmul", w5, expand_dims(v, 2)), (batch, heads, length, v.dims[3]))
    else:
        y = call("matmul", weights, v)
    look = {"products": products, "capped": capped, "biased": biased, "weights": weights}.get(shown)
    return (y,) if look is None else (y, look)


def _softmax_rows(x: np.ndarray, bias: np.ndarray) -> np.ndarray:
    nothing = np.isneginf(bias.max(-1, keepdims=True))
    powers = np.exp(x - np.where(nothing, 0, x.max(-1, keepdims=True)))
    return np.where(nothing, 0, powers / powers.sum(-1, keepdims=True))


def _ref(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    *more: np.ndarray,
    given: Sequence[str],
    scale: float,
    softcap: float,
    is_causal: bool,
    offset: int,
    left: int,
    right: int,
    precision: DType,
    shown: str,
) -> tuple[np.ndarray, ...]:
    mask, lengths = optional(given, more, "mask", "lengths")
    (b, h, n, _), s = q.shape, k.shape[2]
    k, v = (array.repeat(h // k.shape[1], 1) for array in (k, v))
    products = np.einsum("bhle,bhse->bhls", q, k) * q.dtype.type(scale)
    capped = softcap * np.tanh(products / softcap) if softcap > 0 else products
    bias = np.zeros((b, h, n, s))
    if mask is not None:
        wide = np.where(mask, 0.0, LOWEST) if mask.dtype == np.bool_ else mask
        room = np.full((*wide.shape[:-1], s), LOWEST)
        room[..., : wide.shape[-1]] = wide
        bias = bias + (wide if wide.shape[-1] == 1 else room)
    for i, j, m in np.ndindex(b, n, s):
        at = j + (offset if lengths is None else int(lengths[i]) - n)
        seen = not (is_causal and m > at) and not (0 <= left < at - m) and not (0 <= right < m - at)
        if not seen or (lengths is not None and m >= lengths[i]):
            bias[i, :, j, m] = LOWEST
    biased = capped + bias
    weights = _softmax_rows(np.asarray(biased, np.float64), bias)
    y = np.einsum("bhls,bhse->bhle", weights, v)
    look = {"products": products, "capped": capped, "biased": biased, "weights": weights}.get(shown)
    return tuple(np.asarray(array).astype(q.dtype) for array in ((y,) if look is None else (y, look)))


_attention = composite(
    "attention",
    "q:T, k:T, v:T, *more:*",
    attrs={
        "given": GIVEN,
        "scale": FLOAT,
        "softcap": FLOAT,
        "is_causal": BOOLEAN,
        "offset": SIZE,
        "left": INT,
        "right": INT,
        "precision": DTYPE,
        "shown": choice(*SHOWN),
    },
    defaults={"softcap": 0.0, "is_causal": False, "offset": 0, "left": -1, "right": -1, "shown": "none"},
    canonical=lambda q, k, v, *more, **attrs: _check(q, k, v),
    expand=_expand,
    ref=_ref,
    multiple=True,
    onnx="Attention",
    doc="softmax(q k^T * scale + bias) v; see :func:`pyflow.attention`.",
)


def _heads(x: Value, count: int, what: str) -> Value:
    """[B, length, heads * size] as [B, heads, length, size]."""
    hidden = x.dims[2]
    if count < 1 or (isinstance(hidden, int) and hidden % count):
        raise InvalidArgumentError(message("attention", f"{what}: {x.type} has not {count} heads", user_origin()))
    apart = reshape(x, (x.dims[0], x.dims[1], count, dims.floordiv(hidden, count)))
    return transpose(apart, (0, 2, 1, 3))


def _joined(x: Value) -> Value:
    """[B, heads, length, size] as [B, length, heads * size]."""
    return reshape(transpose(x, (0, 2, 1, 3)), (x.dims[0], x.dims[2], dims.mul(x.dims[1], x.dims[3])))


def attention(
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    past_key: Any = None,
    past_value: Any = None,
    lengths: Any = None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
    softcap: float = 0.0,
    q_heads: int | None = None,
    kv_heads: int | None = None,
    left_window: int = -1,
    right_window: int = -1,
    precision: Any = None,
    shown: str = "none",
) -> tuple[Value, Value, Value] | tuple[Value, Value, Value, Value]:
    """Scaled dot-product attention, as ONNX defines it: ``(y, key, value)``, the last two with the past before them.

    q: floating [B, heads, L, E]; k, v: [B, kv heads, S, E], fewer heads are shared by groups of q's; or all three
        [B, length, heads * size] with ``q_heads`` and ``kv_heads``, and y likewise.
    mask: broadcasts to [B, heads, L, S]: bool (True: may be seen) or floating (added); what it is short of S is masked.
    past_key, past_value: [B, kv heads, P, E], put before k and v. lengths: [B], how many keys count.
    is_causal: a query sees the keys up to its own place, counted after what is past (with ``lengths``: from their end).
    scale: default ``1 / sqrt(E)``. softcap: above 0, ``tanh(products / softcap) * softcap``. left_window,
        right_window: how many keys before and after its place a query sees; -1: all. A query that sees nothing gives 0.
    precision: the dtype of the softmax. shown: "products", "capped", "biased" or "weights" are a fourth result.
    """
    values = [convert(entry) for entry in (q, k, v)]
    flat = values[0].ndim == 3
    if flat:
        if q_heads is None or kv_heads is None:
            raise InvalidArgumentError(message("attention", "q of 3 axes needs q_heads and kv_heads", user_origin()))
        counts = (q_heads, kv_heads, kv_heads)
        values = [_heads(value, count, name) for value, count, name in zip(values, counts, "qkv", strict=True)]
    query, key, value = values
    offset: Size = 0
    if (past_key is None) != (past_value is None):
        raise InvalidArgumentError(message("attention", "past_key and past_value come together", user_origin()))
    if past_key is not None:
        before = convert(past_key)
        if before.ndim != 4:
            raise InvalidArgumentError(
                message("attention", f"expected 4 axes, got past_key: {before.type}", user_origin())
            )
        offset = before.dims[2]
        key, value = call("concat", before, key, axis=2), call("concat", past_value, value, axis=2)
    given, more = present(mask=mask, lengths=lengths)
    size = query.dims[-1]
    if scale is None and not isinstance(size, int):
        what = f"expected a head size that is known, got {query.type}"
        raise InvalidArgumentError(message("attention", what, user_origin(), "pass scale="))
    factor = 1 / math.sqrt(max(int(size), 1)) if scale is None else scale
    made = _attention(
        query,
        key,
        value,
        *more,
        given=given,
        scale=factor,
        softcap=softcap,
        is_causal=is_causal,
        offset=offset,
        left=left_window,
        right=right_window,
        precision=query.dtype if precision is None else precision,
        shown=shown,
    )
    y = _joined(made[0]) if flat else made[0]
    return (y, key, value, *made[1:])


def scaled_dot_product_attention(
    q: Any,
    k: Any,
    v: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Value:
    """``softmax(q k^T * scale + mask) v``, as torch.nn.functional.scaled_dot_product_attention.

    q: floating [..., L, E]; k, v: [..., S, E]. attn_mask: bool (True: may be seen) or floating, broadcasts to
    [..., L, S]. is_causal: query i sees the keys 0 to i. dropout_p: must be 0. enable_gqa: k and v may have fewer heads
    (axis -3), shared by groups of q's. Raises InvalidArgumentError for a head size that is not known without scale.
    """
    values = [convert(entry) for entry in (q, k, v)]
    if dropout_p:
        what = f"expected dropout_p of 0, got {dropout_p}"
        hint = "compose softmax, pf.dropout and matmul"
        raise InvalidArgumentError(message("scaled_dot_product_attention", what, user_origin(), hint))
    if any(value.ndim < 2 for value in values):
        what = f"expected at least 2 axes, got {', '.join(str(value.type) for value in values)}"
        raise InvalidArgumentError(message("scaled_dot_product_attention", what, user_origin()))
    lead = values[0].dims[:-2]
    mask = None if attn_mask is None else convert(attn_mask)
    if len(lead) != 2:
        batch = dims.product(lead)
        values = [reshape(value, (batch, 1, *value.dims[-2:])) for value in values]
        if mask is not None and mask.ndim > 2:
            mask = reshape(call("broadcast_to", mask, (*lead, *mask.dims[-2:])), (batch, 1, *mask.dims[-2:]))
    y = attention(values[0], values[1], values[2], mask, is_causal=is_causal, scale=scale)[0]
    return y if len(lead) == 2 else reshape(y, (*lead, *y.dims[-2:]))


def multi_head_attention(
    x: Any,
    in_weight: Any,
    in_bias: Any,
    out_weight: Any,
    out_bias: Any,
    num_heads: int,
    *,
    key: Any = None,
    value: Any = None,
    mask: Any = None,
    is_causal: bool = False,
) -> Value:
    """Self- or cross-attention between projections, with weights as torch.nn.MultiheadAttention keeps them.

    x: floating [B, L, D]; key, value: [B, S, D], default: x (and the key). in_weight: [3D, D], in_bias: [3D] or None;
    out_weight: [D, D], out_bias: [D] or None. mask, is_causal: as for :func:`pyflow.attention`. Returns [B, L, D].
    """
    query = convert(x)
    keys = query if key is None else convert(key)
    values = keys if value is None else convert(value)
    weights = call("split", in_weight, 3, 0)
    biases = (None,) * 3 if in_bias is None else call("split", in_bias, 3, 0)

    def projected(entry: Value, weight: Any, bias: Any) -> Value:
        y: Value = call("matmul", entry, transpose(weight, (1, 0)))
        return y if bias is None else y + bias

    parts = [projected(*row) for row in zip((query, keys, values), weights, biases, strict=True)]
    y = attention(parts[0], parts[1], parts[2], mask, is_causal=is_causal, q_heads=num_heads, kv_heads=num_heads)[0]
    return projected(y, convert(out_weight), None if out_bias is None else convert(out_bias))


def _rotary_expand(
    x: Value, cos: Value, sin: Value, *more: Value, given: Sequence[str], interleaved: bool, rotary_dim: int
) -> Value:
    (positions,) = optional(given, more, "positions")
    if positions is not None:
        cos, sin = (gather(table, positions, 0) for table in (cos, sin))
    cos, sin = (expand_dims(table, 1) if table.ndim == 3 else table for table in (cos, sin))
    whole = x.dims[3]
    count = rotary_dim or whole
    turned, rest = (x, None) if count == whole else (x[..., :count], x[..., count:])
    half = dims.floordiv(count, 2)
    if interleaved:
        pairs = reshape(turned, (*x.dims[:3], half, 2))
        left, right = pairs[..., 0], pairs[..., 1]
    else:
        left, right = call("split", turned, (half, half), 3)
    real, imaginary = left * cos - right * sin, left * sin + right * cos
    if interleaved:
        made = reshape(call("stack", real, imaginary, axis=4), turned.dims)
    else:
        made = call("concat", real, imaginary, axis=3)
    result: Value = made if rest is None else call("concat", made, rest, axis=3)
    return result


def _rotary_ref(
    x: np.ndarray,
    cos: np.ndarray,
    sin: np.ndarray,
    *more: np.ndarray,
    given: Sequence[str],
    interleaved: bool,
    rotary_dim: int,
) -> np.ndarray:
    (positions,) = optional(given, more, "positions")
    result = x.copy()
    half = (rotary_dim or x.shape[3]) // 2
    for b, h, n in np.ndindex(*x.shape[:3]):
        at = (n,) if positions is None and cos.ndim == 2 else (b, n) if positions is None else (positions[b, n],)
        first = np.arange(half) * 2 if interleaved else np.arange(half)
        second = first + (1 if interleaved else half)
        turned = (x[b, h, n, first] + 1j * x[b, h, n, second]) * (cos[at] + 1j * sin[at])
        result[b, h, n, first], result[b, h, n, second] = turned.real, turned.imag
    return result


_rotary = composite(
    "rotary_embedding",
    "x:T, cos:T, sin:T, *more:I",
    attrs={"given": GIVEN, "interleaved": BOOLEAN, "rotary_dim": INT},
    kinds={"T": FLOATS, "I": INTEGERS},
    expand=_rotary_expand,
    ref=_rotary_ref,
    onnx="RotaryEmbedding",
    doc="Pairs of elements turned by the angle of their position; see :func:`pyflow.rotary_embedding`.",
)


def rotary_embedding(
    x: Any,
    cos: Any,
    sin: Any,
    position_ids: Any = None,
    interleaved: bool = False,
    rotary_dim: int = 0,
    num_heads: int = 0,
    *,
    name: str | None = None,
) -> Value:
    """``x`` with pairs of elements turned by the angle of their position (Su et al. 2021), as ONNX defines it.

    x: floating [B, heads, L, E], or [B, L, heads * E] with ``num_heads``. cos, sin: [positions, R/2] with
        ``position_ids`` (integers [B, L]), else [B, L, R/2] (or [L, R/2]), where R = ``rotary_dim``, 0: all of E.
    interleaved: a pair is elements 2i and 2i + 1, else i and i + R/2.
    """
    value = convert(x)
    flat = value.ndim == 3
    if value.ndim not in (3, 4) or rotary_dim % 2 or (flat and num_heads < 1) or ndim_of(cos) != ndim_of(sin):
        what = f"expected x of 4 axes, or of 3 with num_heads, and an even rotary_dim; got {value.type}"
        raise InvalidArgumentError(message("rotary_embedding", what, user_origin()))
    given, more = present(positions=position_ids)
    apart = _heads(value, num_heads, "x") if flat else value
    y: Value = _rotary(apart, cos, sin, *more, given=given, interleaved=interleaved, rotary_dim=rotary_dim, name=name)
    return _joined(y) if flat else y
