"""What sequences and optionals hold, as far as the model tells: pyflow's variants do not say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onnx import TypeProto

from pyflow.dims import Size, late_in
from pyflow.dtypes import DType
from pyflow.onnx.tensors import dtype_of


@dataclass(frozen=True)
class Element:
    """A tensor: its dtype and sizes, None for one that a run tells; no sizes where not even the rank is known."""

    dtype: DType
    shape: tuple[Size | None, ...] | None

    @staticmethod
    def of(type: Any) -> Element:
        """Of a value's type; sizes that a step of the run finds are unknown."""
        sizes = (size if isinstance(size, int) or not late_in(size) else None for size in type.dims)
        return Element(type.dtype, tuple(sizes))

    def common(self, other: Element) -> Element | None:
        """What both are; None if they are of different types."""
        if self.dtype is not other.dtype:
            return None
        if self.shape is None or other.shape is None or len(self.shape) != len(other.shape):
            return Element(self.dtype, None)
        sizes = zip(self.shape, other.shape, strict=True)
        return Element(self.dtype, tuple(size if size == same else None for size, same in sizes))


@dataclass(frozen=True)
class Sequence:
    """A sequence of tensors; ``element`` is None where nothing is known of them."""

    element: Element | None
    empty: bool = False
    """It has no elements, so that the first one tells what they are."""

    def with_one(self, element: Element) -> Sequence:
        """After one more element was put in."""
        if self.empty or self.element is None:
            return Sequence(element)
        return Sequence(self.element.common(element))


@dataclass(frozen=True)
class Optional:
    """An optional tensor or sequence; None where neither is known."""

    held: Element | Sequence | None


Held = Sequence | Optional


def held_by(type: TypeProto) -> Held | Element | None:
    """What a value of a declared type holds; of a tensor, its type."""
    kind = type.WhichOneof("value")
    if kind == "sequence_type":
        inside = held_by(type.sequence_type.elem_type)
        return Sequence(inside if isinstance(inside, Element) else None)
    if kind == "optional_type":
        inside = held_by(type.optional_type.elem_type)
        return Optional(inside if isinstance(inside, Element | Sequence) else None)
    if kind != "tensor_type" or not type.tensor_type.elem_type:
        return None
    tensor = type.tensor_type
    sizes = tuple(int(dim.dim_value) if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
    return Element(dtype_of(tensor.elem_type, "an element"), sizes if tensor.HasField("shape") else None)
