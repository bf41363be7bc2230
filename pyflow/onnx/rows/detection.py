"""Boxes of objects."""

from __future__ import annotations

import pyflow as pf
from pyflow import dims
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Value
from pyflow.onnx.node import OnnxNode
from pyflow.onnx.rows.shapes import size_value
from pyflow.onnx.table import onnx_op


def _number(value: Value | None, dtype: pf.DType) -> Value:
    """An optional input of one number; 0 if it is left out."""
    return pf.cast(pf.reshape(value, []), dtype) if value is not None else pf.constant(0, dtype)


def _edges(node: OnnxNode, boxes: Value) -> tuple[list[Value], list[Value]]:
    """(lower edges, upper edges) along both axes: [batch, boxes] each."""
    first, second, third, fourth = (boxes[:, :, i] for i in range(4))
    if node["center_point_box"]:
        middles, halves = (first, second), (pf.divide(third, 2.0), pf.divide(fourth, 2.0))
        pairs = [(pf.subtract(m, h), pf.add(m, h)) for m, h in zip(middles, halves, strict=True)]
    else:
        pairs = [(pf.minimum(a, b), pf.maximum(a, b)) for a, b in ((first, third), (second, fourth))]
    return [low for low, _ in pairs], [high for _, high in pairs]


def _overlaps(node: OnnxNode, boxes: Value, threshold: Value) -> Value:
    """bool[batch, boxes, boxes]: whether two boxes share more of their union than ``threshold``."""
    lows, highs = _edges(node, boxes)
    areas, shared = pf.constant(1.0), pf.constant(1.0)
    for low, high in zip(lows, highs, strict=True):
        areas = pf.multiply(areas, pf.subtract(high, low))
        start = pf.maximum(pf.expand_dims(low, 2), pf.expand_dims(low, 1))
        end = pf.minimum(pf.expand_dims(high, 2), pf.expand_dims(high, 1))
        shared = pf.multiply(shared, pf.maximum(pf.subtract(end, start), 0.0))
    union = pf.subtract(pf.add(pf.expand_dims(areas, 2), pf.expand_dims(areas, 1)), shared)
    safe = pf.where(pf.greater(union, 0), union, 1.0)
    return pf.logical_and(pf.greater(shared, 0), pf.greater(pf.divide(shared, safe), threshold))


@onnx_op("NonMaxSuppression")
def non_max_suppression(
    node: OnnxNode,
    boxes: Value,
    scores: Value,
    most: Value | None = None,
    overlap: Value | None = None,
    least: Value | None = None,
) -> Value:
    """[chosen, 3]: batch, class and box. All batches and classes walk their boxes at once, best score first."""
    if boxes.ndim != 3 or scores.ndim != 3:
        raise InvalidArgumentError(f"expected boxes and scores of 3 axes, got {boxes.type} and {scores.type}")
    batches, classes, count = scores.dims
    rows = dims.mul(batches, classes)
    order = pf.reshape(pf.argsort(scores, 2, descending=True), [rows, count])
    ranked = pf.gather_elements(pf.reshape(scores, [rows, count]), order, 1)
    allowed = pf.greater(ranked, _number(least, pf.float32)) if least is not None else pf.equal(order, order)
    close = _overlaps(node, boxes, _number(overlap, pf.float32))
    batch = pf.floor_divide(pf.arange(rows), size_value(classes))
    limit = _number(most, pf.int64)

    def step(kept: Value, turn: tuple[Value, Value]) -> tuple[Value, Value]:
        box, wanted = turn
        near = pf.gather_nd(close, pf.stack([batch, box], 1))
        free = pf.logical_not(pf.any(pf.logical_and(kept, near), 1))
        room = pf.less(pf.sum(pf.cast(kept, pf.int64), 1), limit)
        taken = pf.logical_and(pf.logical_and(wanted, free), room)
        here = pf.equal(pf.expand_dims(box, 1), pf.arange(count))
        return pf.logical_or(kept, pf.logical_and(here, pf.expand_dims(taken, 1))), taken

    start = pf.broadcast_to(pf.constant(False), [rows, count])
    _, taken = pf.scan(step, start, (pf.transpose(order), pf.transpose(allowed)))
    found = pf.nonzero(pf.transpose(taken))
    row, place = found[0], found[1]
    box = pf.gather_nd(order, pf.stack([row, place], 1))
    width = size_value(classes)
    return pf.stack([pf.floor_divide(row, width), pf.mod(row, width), box], 1)
