"""Calls of op functions traced to graphs: what is an operand, what belongs to the key, and the trace itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyflow import apply as applying
from pyflow import dtypes
from pyflow.apply import is_operand
from pyflow.attrs import attr_key
from pyflow.dims import Dim
from pyflow.dtypes import DType
from pyflow.eager.entry import NOWHERE, Entry, first
from pyflow.eager.tensor import Tensor
from pyflow.errors import DTypeError, message, user_origin
from pyflow.graph import Graph, Node, Value
from pyflow.opdef import OpDef
from pyflow.ops.sources import constant, placeholder


class _Slot:
    """Stands for an operand in a key and in a call's arguments."""

    def __repr__(self) -> str:
        return "<operand>"


SLOT = _Slot()


class Array(Tensor):
    """An array beside tensors: an operand, or, where the function takes none there, itself."""


def collect(value: Any, operands: list[Tensor]) -> Any:
    """The key of an argument; tensors and arrays in it are put on ``operands``."""
    kind = type(value)
    if kind is Tensor:
        operands.append(value)
        return SLOT
    if value is None or kind is str or kind is DType:
        return value
    if kind is int or kind is bool or kind is float or kind is complex:
        return (kind, attr_key(value) if kind is not complex else (attr_key(value.real), attr_key(value.imag)))
    if kind is tuple or kind is list:
        return (kind, *[collect(entry, operands) for entry in value])
    if isinstance(value, Tensor):
        operands.append(value)
        return SLOT
    if isinstance(value, (np.ndarray, np.generic)) and dtypes.is_known(value.dtype):
        operands.append(Array._of(np.asarray(value), dtypes.as_dtype(value.dtype)))
        return SLOT
    if kind is slice:
        return (slice, *[collect(part, operands) for part in (value.start, value.stop, value.step)])
    if isinstance(value, Mapping):
        return (kind, *[(name, collect(entry, operands)) for name, entry in value.items()])
    if isinstance(value, (tuple, list)):
        return (kind, *[collect(entry, operands) for entry in value])
    if is_operand(value):
        raise _mixed(value)
    return value


def filled(value: Any, operands: Iterator[Any]) -> Any:
    """An argument with ``operands`` in place of its tensors and arrays, or slots, in the order of :func:`collect`."""
    if isinstance(value, (Tensor, _Slot)):
        return next(operands)
    if isinstance(value, (np.ndarray, np.generic)):
        return next(operands) if dtypes.is_known(value.dtype) else value
    if isinstance(value, slice):
        return slice(*[filled(part, operands) for part in (value.start, value.stop, value.step)])
    if isinstance(value, Mapping):
        return {name: filled(entry, operands) for name, entry in value.items()}
    if isinstance(value, (tuple, list)):
        entries = [filled(entry, operands) for entry in value]
        return type(value)(*entries) if hasattr(value, "_fields") else type(value)(entries)
    return value


def _mixed(value: Any) -> DTypeError:
    shown = f"{value.name}: {value.type}" if hasattr(value, "type") else repr(value)
    what = f"the graph value {shown} and a tensor are operands of one call"
    return DTypeError(
        message("eager", what, user_origin(), "feed x.numpy() to a placeholder, or make it a pf.constant of the graph")
    )


def name_of(function: Callable[..., Any]) -> str:
    return function.op.name if isinstance(function, Applied) else getattr(function, "__name__", "call")


class Applied:
    """An op as a function of its inputs and attributes."""

    __slots__ = ("op",)

    def __init__(self, op: OpDef) -> None:
        self.op = op

    @staticmethod
    def of(op: OpDef) -> Applied:
        """The same one each time."""
        found = _applied.get(op.name)
        return found if found is not None else _applied.setdefault(op.name, Applied(op))

    def __call__(self, inputs: Sequence[Any], attrs: Mapping[str, Any]) -> Any:
        return applying.apply(self.op, inputs, attrs)


_applied: dict[str, Applied] = {}


@dataclass(frozen=True)
class Call:
    """A call without its operands, to be traced."""

    function: Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    kinds: Sequence[type[Tensor]]
    """Of the operands: tensors or arrays."""

    @classmethod
    def of(
        cls, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], operands: Sequence[Tensor]
    ) -> Call:
        slots = itertools.repeat(SLOT)
        named = {name: filled(value, slots) for name, value in kwargs.items() if name != "name"}
        return cls(function, [filled(value, slots) for value in args], named, [type(each) for each in operands])

    def trace(
        self, operands: Sequence[Tensor], shapes: Sequence[tuple[int, ...]], held: Sequence[Any]
    ) -> tuple[Graph, list[Value], Any]:
        """The call on placeholders of these shapes (negative sizes are symbols), and on constants where ``held`` says
        so: its graph, placeholders and result."""
        graph = Graph()
        with graph.as_default(), graph.attributed_to(NOWHERE):
            symbols = {size: Dim(f"n{-size}", min=2) for shape in shapes for size in shape if size < 0}
            inputs = [
                placeholder(operand._dtype, [symbols.get(size, size) for size in shape], name=f"x{index}")
                for index, (operand, shape) in enumerate(zip(operands, shapes, strict=True))
            ]
            given: list[Any] = list(inputs)
            for index, content in enumerate(held):
                if content is not None:
                    array = operands[index]._array
                    given[index] = array if self.kinds[index] is Array else constant(array)
            order = iter(given)
            given = [filled(value, order) for value in self.args]
            named = {name: filled(value, order) for name, value in self.kwargs.items()}
            return graph, inputs, self.function(*given, **named)

    def entry(self, operands: Sequence[Tensor], shapes: Sequence[tuple[int, ...]], held: Sequence[Any]) -> Entry:
        """The entry of the call at these shapes."""
        graph, inputs, result = self.trace(operands, shapes, held)
        outputs: list[Value] = []
        nodes: list[Node] = []
        build = builder(result, outputs, nodes)
        made = Entry(name_of(self.function), graph, inputs, outputs, build, nodes)
        if any(size < 0 for shape in shapes for size in shape):
            made.at_sizes = lambda given: self.entry(given, [each.shape for each in given], held)
        return made


def builder(result: Any, outputs: list[Value], nodes: list[Node]) -> Callable[[Sequence[Any]], Any]:
    """Reads the structure of a traced result; from the tensors of its values the function makes it anew."""
    if isinstance(result, Value):
        place = len(outputs)
        outputs.append(result)
        return (lambda made: made[place]) if place else first
    if isinstance(result, Node):
        nodes.append(result)
        return lambda made: None
    if isinstance(result, (tuple, list)):
        parts = [builder(entry, outputs, nodes) for entry in result]
        kind: Any = type(result)
        if hasattr(result, "_fields"):
            return lambda made: kind(*[part(made) for part in parts])
        return lambda made: kind([part(made) for part in parts])
    if isinstance(result, Mapping):
        named = {name: builder(entry, outputs, nodes) for name, entry in result.items()}
        return lambda made: {name: part(made) for name, part in named.items()}
    return lambda made: result
