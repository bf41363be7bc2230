"""Sequences and optional values."""

from __future__ import annotations

import pyflow as pf
from pyflow.dims import Size
from pyflow.dtypes import DType, variant
from pyflow.errors import UnimplementedError
from pyflow.graph import Value
from pyflow.onnx.node import OnnxNode, present
from pyflow.onnx.table import onnx_op
from pyflow.onnx.variants import Element, Optional, Sequence, held_by


def _sequence(node: OnnxNode, value: Value) -> Sequence:
    held = node.holds(value)
    return held if isinstance(held, Sequence) else Sequence(None)


def _element(element: Element | None, what: str) -> tuple[DType, tuple[Size | None, ...]]:
    """(dtype, sizes) of what is taken out."""
    if element is None or element.shape is None:
        raise UnimplementedError(f"type and rank of {what} are not known before the run")
    return element.dtype, element.shape


@onnx_op("SequenceConstruct")
def sequence_construct(node: OnnxNode, *values: Value) -> Value:
    held = Sequence(None, empty=True)
    for value in present(values):
        held = held.with_one(Element.of(value.type))
    return node.holding(pf.sequence_construct(*values), held)


@onnx_op("SequenceEmpty")
def sequence_empty(node: OnnxNode) -> Value:
    dtype = node.dtype("dtype") if node.get("dtype") is not None else pf.float32
    return node.holding(pf.sequence_empty(dtype), Sequence(Element(dtype, None), empty=True))


@onnx_op("SequenceInsert")
def sequence_insert(node: OnnxNode, sequence: Value, x: Value, position: Value | None = None) -> Value:
    result = pf.sequence_insert(sequence, x, None if position is None else pf.reshape(position, []))
    return node.holding(result, _sequence(node, sequence).with_one(Element.of(x.type)))


@onnx_op("SequenceErase")
def sequence_erase(node: OnnxNode, sequence: Value, position: Value | None = None) -> Value:
    place = -1 if position is None else pf.reshape(position, [])
    return node.holding(pf.sequence_erase(sequence, place), Sequence(_sequence(node, sequence).element))


@onnx_op("SequenceLength")
def sequence_length(node: OnnxNode, sequence: Value) -> Value:
    return pf.sequence_length(sequence)


@onnx_op("SequenceAt")
def sequence_at(node: OnnxNode, sequence: Value, position: Value) -> Value:
    dtype, shape = _element(_sequence(node, sequence).element, "the element")
    return pf.sequence_at(sequence, pf.reshape(position, []), dtype, shape)


@onnx_op("SplitToSequence")
def split_to_sequence(node: OnnxNode, x: Value, split: Value | None = None) -> Value:
    keep = bool(node["keepdims"]) or split is not None
    axis = node["axis"] % max(x.ndim, 1)
    result = pf.split_to_sequence(x, split, node["axis"], keep)
    whole = Element.of(x.type).shape or ()
    return node.holding(result, Sequence(Element(x.dtype, (*whole[:axis], *[None] * keep, *whole[axis + 1 :]))))


@onnx_op("ConcatFromSequence")
def concat_from_sequence(node: OnnxNode, sequence: Value) -> Value:
    dtype, shape = _element(_sequence(node, sequence).element, "the elements")
    return pf.concat_from_sequence(sequence, node["axis"], bool(node["new_axis"]), dtype, shape)


@onnx_op("Optional")
def optional(node: OnnxNode, x: Value | None = None) -> Value:
    if x is None:
        kind = node.get("type")
        held = None if kind is None else held_by(kind)
        return node.holding(pf.optional(), held if isinstance(held, Optional) else Optional(held))
    return node.holding(pf.optional(x), Optional(_sequence(node, x) if x.dtype is variant else Element.of(x.type)))


@onnx_op("OptionalHasElement")
def optional_has_element(node: OnnxNode, x: Value | None = None) -> Value:
    return pf.constant(False) if x is None else pf.optional_has_element(x)


@onnx_op("OptionalGetElement")
def optional_get_element(node: OnnxNode, x: Value) -> Value:
    held = node.holds(x) if x.dtype is variant else None
    if not isinstance(held, Optional):
        return node.holding(pf.identity(x), held)
    if isinstance(held.held, Sequence):
        return node.holding(pf.optional_get_element(x, variant), held.held)
    dtype, shape = _element(held.held, "what the optional holds")
    return pf.optional_get_element(x, dtype, shape)
