"""Activations and losses."""

from __future__ import annotations

import pyflow as pf
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Value
from pyflow.onnx.node import OnnxNode
from pyflow.onnx.table import onnx_op


@onnx_op("PRelu", since=1, older=True)
@onnx_op("PRelu", since=6, older=True)
def prelu_1(node: OnnxNode, x: Value, slope: Value) -> Value:
    """One slope, or one per channel."""
    if slope.ndim == 1 and slope.dims != (1,) and x.ndim > 1:
        slope = pf.reshape(slope, [-1, *[1] * (x.ndim - 2)])
    return pf.prelu(x, slope)


@onnx_op("PRelu", since=7)
def prelu(node: OnnxNode, x: Value, slope: Value) -> Value:
    return pf.prelu(x, slope)


@onnx_op("LeakyRelu")
def leaky_relu(node: OnnxNode, x: Value) -> Value:
    return pf.leaky_relu(x, node["alpha"])


@onnx_op("Elu")
def elu(node: OnnxNode, x: Value) -> Value:
    return pf.elu(x, node["alpha"])


@onnx_op("Selu")
def selu(node: OnnxNode, x: Value) -> Value:
    return pf.selu(x, node["alpha"], node["gamma"])


@onnx_op("Celu")
def celu(node: OnnxNode, x: Value) -> Value:
    return pf.celu(x, node["alpha"])


@onnx_op("Swish")
def swish(node: OnnxNode, x: Value) -> Value:
    return pf.swish(x, node["alpha"])


@onnx_op("ThresholdedRelu")
def thresholded_relu(node: OnnxNode, x: Value) -> Value:
    return pf.thresholded_relu(x, node["alpha"])


@onnx_op("Shrink")
def shrink(node: OnnxNode, x: Value) -> Value:
    """Integers as they are, moved by a whole number."""
    if x.dtype.is_floating:
        return pf.shrink(x, node["lambd"], node["bias"])
    wide = pf.shrink(pf.cast(x, pf.float64), node["lambd"], node["bias"])
    return pf.cast(wide, x.dtype)


@onnx_op("HardSigmoid")
def hard_sigmoid(node: OnnxNode, x: Value) -> Value:
    return pf.clip(pf.add(pf.multiply(x, node["alpha"]), node["beta"]), 0.0, 1.0)


@onnx_op("Gelu")
def gelu(node: OnnxNode, x: Value) -> Value:
    return pf.gelu(x, approximate=node["approximate"])


@onnx_op("NegativeLogLikelihoodLoss")
def nll_loss(node: OnnxNode, x: Value, target: Value, weight: Value | None = None) -> Value:
    return pf.nll_loss(x, target, weight, node.get("ignore_index"), _reduction(node))


@onnx_op("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(node: OnnxNode, x: Value, target: Value, weight: Value | None = None) -> tuple[Value, Value]:
    logs = pf.log_softmax(x, 1)
    return pf.nll_loss(logs, target, weight, node.get("ignore_index"), _reduction(node)), logs


def _reduction(node: OnnxNode) -> str:
    if node["reduction"] not in ("none", "mean", "sum"):
        raise InvalidArgumentError(f"expected the reduction none, mean or sum, got {node['reduction']!r}")
    return str(node["reduction"])
