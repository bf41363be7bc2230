"""Recurrent layers."""

from __future__ import annotations

from typing import Any

import pyflow as pf
from pyflow.graph import Value
from pyflow.onnx.node import OnnxNode
from pyflow.onnx.table import onnx_op


def _settings(node: OnnxNode) -> dict[str, Any]:
    """What the layers share. ``output_sequence`` of old versions says only which outputs are asked for."""
    return {
        "direction": node["direction"],
        "activations": node.get("activations") or (),
        "activation_alpha": node.get("activation_alpha") or (),
        "activation_beta": node.get("activation_beta") or (),
        "clip": node.get("clip"),
        "layout": node.get("layout", 0),
    }


@onnx_op("RNN", since=7)
def rnn(node: OnnxNode, x: Value, w: Value, r: Value, *rest: Value | None) -> tuple[Value, ...]:
    return pf.rnn(x, w, r, *rest, **_settings(node))


@onnx_op("GRU", since=7)
def gru(node: OnnxNode, x: Value, w: Value, r: Value, *rest: Value | None) -> tuple[Value, ...]:
    return pf.gru(x, w, r, *rest, linear_before_reset=bool(node["linear_before_reset"]), **_settings(node))


@onnx_op("LSTM", since=7)
def lstm(node: OnnxNode, x: Value, w: Value, r: Value, *rest: Value | None) -> tuple[Value, ...]:
    return pf.lstm(x, w, r, *rest, input_forget=bool(node["input_forget"]), **_settings(node))
