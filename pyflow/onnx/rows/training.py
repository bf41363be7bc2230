"""Steps of optimizers, and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyflow as pf
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Value
from pyflow.onnx.node import OnnxNode, present
from pyflow.onnx.table import onnx_op

DOMAIN = "ai.onnx.preview.training"
Step = Callable[..., Sequence[Value]]


def _each(kinds: int, step: Step) -> Callable[..., list[Value]]:
    """Of several tensors: inputs and outputs are grouped by kind, ``step`` sees one tensor's at a time."""

    def row(node: OnnxNode, rate: Value, count: Value, *values: Value) -> list[Value]:
        given = present(values)
        number, rest = divmod(len(given), kinds)
        if rest:
            raise InvalidArgumentError(f"expected {kinds} values per tensor, got {len(given)} in all")
        made = [step(node, rate, count, *given[i::number]) for i in range(number)]
        return [results[kind] for kind in range(kinds - 1) for results in made]

    return row


def _regularised(node: OnnxNode, x: Value, gradient: Value) -> Value:
    return pf.add(pf.multiply(x, node["norm_coefficient"]), gradient)


def _adagrad(node: OnnxNode, rate: Value, count: Value, x: Value, gradient: Value, total: Value) -> Sequence[Value]:
    settled = pf.cast(rate, x.dtype) / (pf.cast(count, x.dtype) * node["decay_factor"] + 1.0)
    slope = _regularised(node, x, gradient)
    total = total + pf.square(slope)
    return x - settled * slope / (pf.sqrt(total) + node["epsilon"]), total


def _adam(
    node: OnnxNode, rate: Value, count: Value, x: Value, gradient: Value, first: Value, second: Value
) -> Sequence[Value]:
    alpha, beta = node["alpha"], node["beta"]
    slope = _regularised(node, x, gradient)
    first = first * alpha + slope * (1 - alpha)
    second = second * beta + pf.square(slope) * (1 - beta)
    turn = pf.cast(pf.maximum(count, 1), pf.float64)
    corrected = pf.cast(rate, pf.float64) * pf.sqrt(1.0 - pf.pow(pf.constant(beta, pf.float64), turn))
    corrected = corrected / (1.0 - pf.pow(pf.constant(alpha, pf.float64), turn))
    settled = pf.cast(pf.where(pf.greater(count, 0), corrected, pf.cast(rate, pf.float64)), x.dtype)
    moved = x - settled * (first / (pf.sqrt(second) + node["epsilon"]))
    return moved * (1 - node["norm_coefficient_post"]), first, second


def _momentum(node: OnnxNode, rate: Value, count: Value, x: Value, gradient: Value, speed: Value) -> Sequence[Value]:
    mode = node["mode"]
    if mode not in ("standard", "nesterov"):
        raise InvalidArgumentError(f"expected the mode standard or nesterov, got {mode!r}")
    slope = _regularised(node, x, gradient)
    part = pf.where(pf.greater(count, 0), pf.constant(node["beta"], x.dtype), pf.constant(1.0, x.dtype))
    speed = speed * node["alpha"] + part * slope
    way = speed if mode == "standard" else slope + speed * node["alpha"]
    return x - pf.cast(rate, x.dtype) * way, speed


onnx_op("Adagrad", domain=DOMAIN)(_each(3, _adagrad))
onnx_op("Adam", domain=DOMAIN)(_each(4, _adam))
onnx_op("Momentum", domain=DOMAIN)(_each(3, _momentum))


@onnx_op("Gradient", domain=DOMAIN)
def gradient(node: OnnxNode, *values: Value) -> list[Value]:
    """Of the sum of ``y`` by each of ``xs``; both are names in the graph."""
    points = [node.find(name) for name in node["xs"]]
    found = pf.gradients(node.find(node["y"]), points)
    return [pf.zeros_like(x) if slope is None else slope for x, slope in zip(points, found, strict=True)]
