"""Multi-head attention, with PyTorch's weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import pyflow as pf
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.nn import init
from pyflow.nn.linear import Linear, empty, positive
from pyflow.nn.module import Module

__all__ = ["MultiHeadAttention", "MultiheadAttention"]


class MultiheadAttention(Module):
    """``concat(softmax(q_h k_h^T / sqrt(size)) v_h) W + b`` over heads h of the projected query, key and value.

    embed_dim: the size of queries and results, a multiple of num_heads. kdim, vdim: of keys and values, if they differ.
    dropout: of the weights, while training. batch_first: [N, L, E] instead of [L, N, E].
    Weights: in_proj_weight [3 * E, E], or with kdim or vdim q_proj_weight, k_proj_weight and v_proj_weight;
    in_proj_bias [3 * E]; out_proj. A. Vaswani et al., 2017.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        dtype: Any = None,
    ) -> None:
        positive(self, embed_dim=embed_dim, num_heads=num_heads)
        if embed_dim % num_heads:
            what = f"embed_dim {embed_dim} is no multiple of num_heads {num_heads}"
            raise InvalidArgumentError(message("MultiheadAttention", what, user_origin()))
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.dropout = float(dropout)
        self.batch_first = batch_first
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        joined = self.kdim == self.vdim == embed_dim
        apart = {"q_proj_weight": embed_dim, "k_proj_weight": self.kdim, "v_proj_weight": self.vdim}
        self.register_parameter("in_proj_weight", empty(3 * embed_dim, embed_dim, dtype=dtype) if joined else None)
        for name, size in apart.items():
            self.register_parameter(name, None if joined else empty(embed_dim, size, dtype=dtype))
        self.register_parameter("in_proj_bias", empty(3 * embed_dim, dtype=dtype) if bias else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the projections anew (Xavier, even); biases are 0."""
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        for bias in (self.in_proj_bias, self.out_proj.bias):
            if bias is not None:
                init.zeros_(bias)

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Any, Any]:
        """(result [L, N, E], weights [N, L, S] or None).

        query: [L, N, E]; key: [S, N, kdim]; value: [S, N, vdim]; N first with ``batch_first``; or all without N.
        key_padding_mask: [N, S], attn_mask: [L, S] or [N * heads, L, S]: bool, True where a key may NOT be seen, or
        floating, added. need_weights: False gives None and is quicker. average_attn_weights: False gives those of each
        head, [N, heads, L, S]. is_causal: query i sees the keys 0 to i.
        """
        alone = len(query.shape) == 2
        if alone:
            query, key, value = (pf.expand_dims(x, 0) for x in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else pf.expand_dims(key_padding_mask, 0)
        elif len(query.shape) == 3 and not self.batch_first:
            same = key is query and value is query
            query = pf.transpose(query, (1, 0, 2))
            key, value = (query, query) if same else (pf.transpose(x, (1, 0, 2)) for x in (key, value))
        self._check(query, key, value)
        q, k, v = (self._heads(x) for x in self._projected(query, key, value))
        mask = self._mask(q, k, key_padding_mask, attn_mask, is_causal)
        drops = self.training and self.dropout > 0
        if need_weights or drops:
            scores = pf.matmul(q * (1 / math.sqrt(q.shape[-1])), pf.transpose(k, (0, 1, 3, 2)))
            weights = pf.softmax(scores if mask is None else scores + mask, -1)
            weights = pf.dropout(weights, self.dropout) if drops else weights
            made = pf.matmul(weights, v)
        else:
            weights, made = None, pf.scaled_dot_product_attention(q, k, v, mask)
        joined = pf.transpose(made, (0, 2, 1, 3))
        result = self.out_proj(pf.reshape(joined, (joined.shape[0], joined.shape[1], self.embed_dim)))
        if not need_weights:
            weights = None
        elif average_attn_weights:
            weights = pf.mean(weights, 1)
        if alone:
            return pf.squeeze(result, 0), None if weights is None else pf.squeeze(weights, 0)
        return result if self.batch_first else pf.transpose(result, (1, 0, 2)), weights

    def _check(self, query: Any, key: Any, value: Any) -> None:
        wanted = (self.embed_dim, self.kdim, self.vdim)
        for name, x, size in zip(("query", "key", "value"), (query, key, value), wanted, strict=True):
            given = x.shape[-1] if len(x.shape) == 3 else None
            if len(x.shape) != 3 or (isinstance(given, int) and given != size):
                order = f"[N, L, {size}]" if self.batch_first else f"[L, N, {size}]"
                what = f"expected {name} {order} or [L, {size}], got {x.type}"
                raise InvalidArgumentError(message("MultiheadAttention", what, user_origin()))

    def _projected(self, query: Any, key: Any, value: Any) -> tuple[Any, ...]:
        size, bias = self.embed_dim, self.in_proj_bias
        if self.in_proj_weight is not None and key is query and value is query:
            return tuple(pf.split(pf.linear(query, self.in_proj_weight, bias), 3, axis=-1))
        if self.in_proj_weight is not None:
            weights = [self.in_proj_weight[i * size : (i + 1) * size] for i in range(3)]
        else:
            weights = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        biases = [None if bias is None else bias[i * size : (i + 1) * size] for i in range(3)]
        return tuple(pf.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))

    def _heads(self, x: Any) -> Any:
        """[N, L, E] as [N, heads, L, size]."""
        apart = pf.reshape(x, (x.shape[0], x.shape[1], self.num_heads, self.embed_dim // self.num_heads))
        return pf.transpose(apart, (0, 2, 1, 3))

    def _mask(self, q: Any, k: Any, padding: Any, mask: Any, is_causal: bool) -> Any:
        """What is added to the products, or None: broadcasts to [N, heads, L, S]."""
        parts = []
        if mask is not None:
            ndim = len(mask.shape)
            if ndim not in (2, 3):
                what = f"expected attn_mask [L, S] or [N * {self.num_heads}, L, S], got {mask.type}"
                raise InvalidArgumentError(message("MultiheadAttention", what, user_origin()))
            parts.append(pf.reshape(mask, (-1, self.num_heads, *mask.shape[1:])) if ndim == 3 else mask)
        if padding is not None:
            parts.append(pf.expand_dims(padding, (1, 2)))
        if is_causal:
            rows, columns = (pf.cumsum(pf.ones_like(x[0, 0, :, 0]), 0) for x in (q, k))
            parts.append(pf.expand_dims(columns, 0) > pf.expand_dims(rows, 1))
        zero, lowest = np.zeros((), q.dtype.numpy), np.asarray(-np.inf, q.dtype.numpy)
        added = [pf.where(each, lowest, zero) if each.dtype is pf.bool_ else pf.cast(each, q.dtype) for each in parts]
        total: Any = added[0] if added else None
        for each in added[1:]:
            total = total + each
        return total

    def extra_repr(self) -> str:
        return f"{self.embed_dim}, {self.num_heads}" + (", batch_first=True" if self.batch_first else "")


MultiHeadAttention = MultiheadAttention
