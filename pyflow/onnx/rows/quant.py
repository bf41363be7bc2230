"""Quantised numbers."""

from __future__ import annotations

from typing import Any

import pyflow as pf
from pyflow import dtypes
from pyflow.graph import Value
from pyflow.onnx.node import OnnxNode
from pyflow.onnx.rows.nn import settled_conv
from pyflow.onnx.table import onnx_op
from pyflow.onnx.tensors import dtype_of


def _chosen(node: OnnxNode, name: str) -> Any:
    """The dtype of an attribute in which 0 says nothing."""
    return dtype_of(node[name], f"the attribute {name!r}") if node.get(name) else None


@onnx_op("QuantizeLinear")
def quantize_linear(node: OnnxNode, x: Value, scale: Value, zero: Value | None = None) -> Value:
    return pf.quantize_linear(
        x,
        scale,
        _like(zero, scale),
        axis=node.get("axis", 1),
        block_size=node.get("block_size", 0),
        dtype=zero.dtype if zero is not None else _chosen(node, "output_dtype") or dtypes.uint8,
        saturate=bool(node.get("saturate", 1)),
        precision=_chosen(node, "precision"),
    )


def _like(zero: Value | None, scale: Value) -> Value | None:
    """A zero point of one element in the shape of such a scale."""
    single = zero is not None and zero.dims in ((), (1,)) and scale.dims in ((), (1,)) and zero.dims != scale.dims
    return pf.reshape(zero, scale.dims) if single else zero


@onnx_op("DequantizeLinear")
def dequantize_linear(node: OnnxNode, x: Value, scale: Value, zero: Value | None = None) -> Value:
    return pf.dequantize_linear(
        x,
        scale,
        _like(zero, scale),
        axis=node.get("axis", 1),
        block_size=node.get("block_size", 0),
        dtype=_chosen(node, "output_dtype"),
    )


@onnx_op("DynamicQuantizeLinear")
def dynamic_quantize_linear(node: OnnxNode, x: Value) -> tuple[Value, ...]:
    return pf.dynamic_quantize_linear(x)


@onnx_op("MatMulInteger")
def matmul_integer(
    node: OnnxNode, a: Value, b: Value, a_zero: Value | None = None, b_zero: Value | None = None
) -> Value:
    return pf.matmul_integer(a, b, a_zero, b_zero)


@onnx_op("QLinearMatMul")
def qlinear_matmul(node: OnnxNode, *inputs: Value) -> Value:
    return pf.qlinear_matmul(*inputs)


@onnx_op("ConvInteger")
def conv_integer(node: OnnxNode, x: Value, w: Value, x_zero: Value | None = None, w_zero: Value | None = None) -> Value:
    return pf.conv_integer(x, w, x_zero, w_zero, **settled_conv(node, x, w))


@onnx_op("QLinearConv")
def qlinear_conv(node: OnnxNode, *inputs: Any) -> Value:
    """Inputs in the order of the standard, which is that of pyflow's op."""
    return pf.qlinear_conv(*inputs, **settled_conv(node, inputs[0], inputs[3]))
