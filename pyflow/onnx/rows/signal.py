"""Signal processing."""

from __future__ import annotations

import math

import pyflow as pf
from pyflow import dims
from pyflow.graph import Value
from pyflow.onnx.node import OnnxNode
from pyflow.onnx.table import onnx_op


@onnx_op("MelWeightMatrix", since=17)
def mel_weight_matrix(node: OnnxNode, bins: Value, length: Value, rate: Value, low: Value, high: Value) -> Value:
    """[length // 2 + 1, bins]: triangles between neighbouring places, spaced evenly on the mel scale."""
    (count,) = node.sizes(pf.reshape(bins, [1]))
    spectrum = pf.add(pf.floor_divide(pf.cast(pf.reshape(length, []), pf.int64), 2), 1)
    (rows,) = node.sizes(pf.reshape(spectrum, [1]))
    edges = [_mel(pf.cast(pf.reshape(edge, []), pf.float64)) for edge in (low, high)]
    total = pf.cast(pf.add(pf.cast(pf.reshape(bins, []), pf.int64), 2), pf.float64)
    step = pf.divide(pf.subtract(edges[1], edges[0]), total)
    mels = pf.add(pf.multiply(pf.cast(pf.arange(dims.add(count, 2)), pf.float64), step), edges[0])
    hertz = pf.multiply(pf.expm1(pf.multiply(mels, math.log(10) / 2595)), 700.0)
    scaled = pf.multiply(hertz, pf.cast(pf.add(pf.cast(pf.reshape(length, []), pf.int64), 1), pf.float64))
    places = pf.floor(pf.divide(scaled, pf.cast(pf.reshape(rate, []), pf.float64)))
    left, centre, right = (places[i : dims.add(count, i)] for i in range(3))
    at = pf.expand_dims(pf.cast(pf.arange(rows), pf.float64), 1)
    rise, fall = pf.subtract(centre, left), pf.subtract(right, centre)
    rising = pf.divide(pf.subtract(at, left), pf.where(pf.equal(rise, 0), 1.0, rise))
    falling = pf.divide(pf.subtract(right, at), pf.where(pf.equal(fall, 0), 1.0, fall))
    up = pf.logical_and(pf.greater_equal(at, left), pf.less_equal(at, centre))
    value = pf.where(up, pf.where(pf.equal(rise, 0), 1.0, rising), 0.0)
    down = pf.logical_and(pf.greater_equal(at, centre), pf.less(at, right))
    return pf.cast(pf.where(down, falling, value), node.dtype("output_datatype"))


def _mel(hertz: Value) -> Value:
    return pf.multiply(pf.log1p(pf.divide(hertz, 700.0)), 2595 / math.log(10))
