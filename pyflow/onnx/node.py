"""What a row of the table sees of an ONNX node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pyflow.dims import Size
from pyflow.dtypes import DType
from pyflow.errors import InvalidArgumentError, UnimplementedError
from pyflow.graph import Value
from pyflow.onnx.tensors import dtype_of
from pyflow.ops.common import constant_array
from pyflow.ops.sizes import as_sizes


@dataclass
class OnnxNode:
    """A node: its attributes with the standard's defaults, and what is known of its inputs."""

    domain: str
    op_type: str
    name: str
    version: int
    """Of the domain's operator set that the model, or the function around the node, imports."""
    since: int
    """The version at which the op last changed before that."""
    inputs: tuple[Value | None, ...]
    outputs: tuple[str, ...]
    """Names; empty for one that is left out."""
    attrs: Mapping[str, Any]
    known: Callable[[Value], np.ndarray | None] = constant_array
    variants: dict[Value, Any] = field(default_factory=dict)
    body: Callable[[str], Callable[..., tuple[Any, ...]]] = field(default=lambda name: _no_body(name))
    """Of a graph attribute: the function that adds its nodes, from the body's inputs to its outputs."""

    find: Callable[[str], Value] = field(default=lambda name: _no_body(name))
    """The value of a name that the node sees."""

    def __getitem__(self, name: str) -> Any:
        """The attribute's value or default; InvalidArgumentError where the model gives none."""
        if name in self.attrs:
            return self.attrs[name]
        raise InvalidArgumentError(f"the attribute {name!r} is missing")

    def get(self, name: str, default: Any = None) -> Any:
        return self.attrs.get(name, default)

    def dtype(self, name: str) -> DType:
        """The dtype that an integer attribute names."""
        return dtype_of(self[name], f"the attribute {name!r}")

    def wants(self, index: int) -> bool:
        """Whether the model names that output."""
        return index < len(self.outputs) and bool(self.outputs[index])

    def holds(self, value: Value) -> Any:
        """The Sequence or Optional of variants.py that a variant is known to be, or None."""
        return self.variants.get(value)

    def holding(self, value: Value, held: Any) -> Value:
        """``value``, of which ``held`` is known from here on."""
        if held is not None:
            self.variants[value] = held
        return value

    def content(self, value: Value) -> tuple[Size, ...] | None:
        """What a value of sizes is known to hold, as a tuple; None where only a run can tell."""
        array = self.known(value)
        if array is not None:
            return tuple(int(entry) for entry in np.ravel(array))
        found = value.content
        return found if found is None or isinstance(found, tuple) else (found,)

    def sizes(self, value: Value, low: int = 0) -> tuple[Size, ...]:
        """The sizes in a 1-d value; those that only a run can tell are new symbols of at least ``low``."""
        found = self.content(value)
        if found is not None:
            return found
        try:
            return as_sizes(value, low)
        except TypeError as error:
            raise UnimplementedError(str(error)) from None

    def constant(self, value: Value | None, what: str) -> Any:
        """The array that ``value`` is in every run, None for None; UnimplementedError where only a run can tell."""
        if value is None:
            return None
        array = self.known(value)
        if array is None:
            raise UnimplementedError(f"{what} is not constant: {value.type}")
        return array

    def ints(self, value: Value | None, what: str) -> list[int] | None:
        """The integers of a constant input."""
        array = self.constant(value, what)
        return None if array is None else [int(entry) for entry in np.ravel(array)]


def _no_body(name: str) -> Any:
    raise InvalidArgumentError(f"the graph attribute {name!r} is missing")


def present(inputs: Sequence[Value | None]) -> list[Value]:
    """All of ``inputs``, none of which may be left out."""
    if any(value is None for value in inputs):
        raise InvalidArgumentError("an input in the middle is left out")
    return list(inputs)  # type: ignore[arg-type]
