"""Attention."""

from __future__ import annotations

import pyflow as pf
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Value
from pyflow.onnx.node import OnnxNode
from pyflow.onnx.table import onnx_op
from pyflow.onnx.tensors import dtype_of

_SHOWN = ("products", "capped", "biased", "weights")


@onnx_op("Attention", since=23)
def attention(
    node: OnnxNode,
    q: Value,
    k: Value,
    v: Value,
    mask: Value | None = None,
    past_key: Value | None = None,
    past_value: Value | None = None,
    lengths: Value | None = None,
) -> tuple[Value, ...]:
    mode, precision = node["qk_matmul_output_mode"], node.get("softmax_precision")
    if not 0 <= mode < len(_SHOWN):
        raise InvalidArgumentError(f"expected a qk_matmul_output_mode from 0 to 3, got {mode}")
    return pf.attention(
        q,
        k,
        v,
        mask,
        past_key,
        past_value,
        lengths,
        is_causal=bool(node["is_causal"]),
        scale=node.get("scale"),
        softcap=node["softcap"],
        q_heads=node.get("q_num_heads"),
        kv_heads=node.get("kv_num_heads"),
        left_window=node.get("left_window_size", -1),
        right_window=node.get("right_window_size", -1),
        precision=dtype_of(precision, "the attribute 'softmax_precision'") if precision else None,
        shown=_SHOWN[mode] if node.wants(3) else "none",
    )


@onnx_op("RotaryEmbedding", since=23)
def rotary_embedding(node: OnnxNode, x: Value, cos: Value, sin: Value, places: Value | None = None) -> Value:
    return pf.rotary_embedding(
        x,
        cos,
        sin,
        places,
        interleaved=bool(node["interleaved"]),
        rotary_dim=node["rotary_embedding_dim"],
        num_heads=node.get("num_heads") or 0,
    )
