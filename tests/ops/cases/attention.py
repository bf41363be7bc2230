"""Rows of attention and rotary position embedding."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyflow as pf
from cases.case import FLOATS, Case, bools, integers, normal, referred, uniform
from pyflow.ops.internal.attend import attend

F64 = np.float64


def _plain(q: np.ndarray, k: np.ndarray, v: np.ndarray, **_: Any) -> np.ndarray:
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True) @ v


def _with_past(q: Any, k: Any, v: Any, past_key: Any, past_value: Any) -> Any:
    return pf.attention(q, k, v, past_key=past_key, past_value=past_value, is_causal=True, scale=0.5, shown="weights")


def _with_lengths(q: Any, k: Any, v: Any, lengths: Any) -> Any:
    return pf.attention(q, k, v, lengths=lengths, is_causal=True, scale=0.5)[0]


_Q, _K, _V = normal(2, 4, 3, 6, dtype=F64), normal(2, 4, 5, 6, dtype=F64), normal(2, 4, 5, 7, dtype=F64)
_SHARED = normal(2, 2, 5, 6, dtype=F64), normal(2, 2, 5, 7, dtype=F64)
_MASK = bools(2, 1, 3, 5)
_MASK[0, 0, 1] = False

CASES = [
    *(
        Case(
            pf.scaled_dot_product_attention,
            (normal(2, 3, 4, 6, dtype=d), normal(2, 3, 5, 6, dtype=d), normal(2, 3, 5, 7, dtype=d)),
            {},
            _plain,
            rtol=1e-4 if d == np.float32 else 1e-11,
            atol=1e-5 if d == np.float32 else 1e-12,
            symbolic=False,
        )
        for d in FLOATS
    ),
    Case(
        pf.scaled_dot_product_attention,
        (normal(4, 6, dtype=F64), normal(5, 6, dtype=F64), normal(5, 7, dtype=F64)),
        {},
        _plain,
        rtol=1e-11,
        symbolic=False,
        label="matrices",
    ),
    referred(pf.attention, _Q, _K, _V, scale=0.4, softcap=2.0, is_causal=True, shown="capped"),
    referred(pf.attention, _Q, _K, _V, _MASK, scale=0.4, shown="biased", _gradient=False),
    referred(pf.attention, _Q, _K, _V, normal(3, 5, dtype=F64), scale=0.4, is_causal=True),
    referred(pf.attention, _Q, _K, _V, normal(3, 4, dtype=F64), scale=0.4, left_window=1, right_window=2),
    referred(pf.attention, _Q, *_SHARED, scale=0.4, shown="products"),
    referred(_with_past, _Q, *_SHARED, normal(2, 2, 4, 6, dtype=F64), normal(2, 2, 4, 7, dtype=F64)),
    referred(_with_lengths, _Q, *_SHARED, np.array([3, 5])),
    referred(
        pf.attention,
        normal(2, 3, 12, dtype=F64),
        normal(2, 5, 6, dtype=F64),
        normal(2, 5, 8, dtype=F64),
        q_heads=4,
        kv_heads=2,
        scale=0.5,
    ),
    referred(
        pf.multi_head_attention,
        normal(2, 3, 8, dtype=F64),
        normal(24, 8, dtype=F64),
        normal(24, dtype=F64),
        normal(8, 8, dtype=F64),
        normal(8, dtype=F64),
        num_heads=2,
        _symbolic=False,
    ),
    referred(pf.attention, _Q, *_SHARED, bools(2, 4, 3, 5), scale=0.4, is_causal=True, _gradient=False),
    referred(attend, _Q, _K, _V, normal(4, 1, 5, dtype=F64), given=("bias",), scale=0.4, order=(0, 2, 1, 3)),
    referred(attend, _Q, _K, _V, _MASK, given=("bias",), is_causal=True, offset=1, nothing="unseen", _gradient=False),
    *(
        referred(pf.rotary_embedding, normal(2, 3, 4, 8, dtype=F64), *tables, interleaved=turn, rotary_dim=count)
        for turn in (False, True)
        for count, tables in (
            (0, (uniform(-1, 1, 2, 4, 4, dtype=F64), uniform(-1, 1, 2, 4, 4, dtype=F64, seed=1))),
            (6, (uniform(-1, 1, 9, 3, dtype=F64), uniform(-1, 1, 9, 3, dtype=F64, seed=1), integers(0, 9, 2, 4))),
        )
    ),
    referred(
        pf.rotary_embedding,
        normal(2, 4, 24, dtype=F64),
        uniform(-1, 1, 4, 4, dtype=F64),
        uniform(-1, 1, 4, 4, dtype=F64, seed=1),
        num_heads=3,
    ),
]
