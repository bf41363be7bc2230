"""Normalisation."""

from __future__ import annotations

import pyflow as pf
from pyflow.graph import Value
from pyflow.onnx.node import OnnxNode
from pyflow.onnx.table import onnx_op
from pyflow.ops.common import normalise_axis


@onnx_op("BatchNormalization")
def batch_norm(
    node: OnnxNode, x: Value, scale: Value, bias: Value, mean: Value, variance: Value
) -> Value | tuple[Value, ...]:
    if not node.get("training_mode", 0):
        return pf.batch_norm(x, scale, bias, mean, variance, axis=1, epsilon=node["epsilon"])
    axes = [axis for axis in range(x.ndim) if axis != 1]
    own_mean, own_variance = pf.mean(x, axes), pf.var(x, axes)
    y = pf.batch_norm(x, scale, bias, own_mean, own_variance, axis=1, epsilon=node["epsilon"])
    keep = node["momentum"]

    def moved(old: Value, new: Value) -> Value:
        return pf.add(pf.multiply(old, keep), pf.multiply(pf.cast(new, old.dtype), 1 - keep))

    return y, moved(mean, own_mean), moved(variance, own_variance)


@onnx_op("InstanceNormalization")
def instance_norm(node: OnnxNode, x: Value, scale: Value, bias: Value) -> Value:
    return pf.instance_norm(x, scale, bias, node["epsilon"])


@onnx_op("GroupNormalization", since=18)
def group_norm_18(node: OnnxNode, x: Value, scale: Value, bias: Value) -> Value:
    """Scale and bias are those of groups."""
    groups = node["num_groups"]
    apart = pf.reshape(x, [x.dims[0], groups, -1])
    normal = pf.instance_norm(apart, scale, bias, node["epsilon"])
    return pf.reshape(normal, x.dims)


@onnx_op("GroupNormalization", since=21)
def group_norm(node: OnnxNode, x: Value, scale: Value, bias: Value) -> Value:
    wide = pf.cast(x, node.dtype("stash_type"))
    normal = pf.group_norm(
        wide, node["num_groups"], pf.cast(scale, wide.dtype), pf.cast(bias, wide.dtype), node["epsilon"]
    )
    return pf.cast(normal, x.dtype)


@onnx_op("LayerNormalization")
def layer_norm(node: OnnxNode, x: Value, scale: Value, bias: Value | None = None) -> Value | tuple[Value, ...]:
    """Mean and inverse deviation are computed in ``stash_type``."""
    axis = normalise_axis(node["axis"], x.ndim)
    stash = node.dtype("stash_type")
    whole = x.dims[axis:]
    plain = not (node.wants(1) or node.wants(2)) and (x.dtype is stash or x.dtype is pf.float64)
    if plain and scale.dims == whole and (bias is None or bias.dims == whole):
        return pf.layer_norm(x, scale, pf.zeros_like(scale) if bias is None else bias, axis, node["epsilon"])
    axes = list(range(axis, x.ndim))
    wide = pf.cast(x, stash)
    mean = pf.mean(wide, axes, True)
    centred = pf.subtract(wide, mean)
    inverse = pf.reciprocal(pf.sqrt(pf.add(pf.mean(pf.square(centred), axes, True), node["epsilon"])))
    y = pf.multiply(pf.cast(pf.multiply(centred, inverse), x.dtype), scale)
    return (y if bias is None else pf.add(y, bias)), mean, inverse


@onnx_op("RMSNormalization")
def rms_norm(node: OnnxNode, x: Value, scale: Value) -> Value:
    """Computed in ``stash_type``, scaled in the dtype of ``scale``."""
    axis = normalise_axis(node["axis"], x.ndim)
    wide = pf.cast(x, node.dtype("stash_type"))
    if wide.dtype is scale.dtype and scale.dims == x.dims[axis:]:
        return pf.rms_norm(wide, scale, axis, node["epsilon"])
    normal = pf.rms_norm(wide, None, axis, node["epsilon"])
    return pf.multiply(pf.cast(normal, scale.dtype), scale)


@onnx_op("LpNormalization")
def lp_normalization(node: OnnxNode, x: Value) -> Value:
    return pf.lp_normalize(x, float(node["p"]), [node["axis"]])


@onnx_op("LRN")
def lrn(node: OnnxNode, x: Value) -> Value:
    return pf.local_response_norm(x, node["size"], node["alpha"], node["beta"], node["bias"])
