"""Traces Python functions into bodies, and adds the node that runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from pyflow.apply import apply, convert, is_operand
from pyflow.body import Body, close
from pyflow.dims import Dim
from pyflow.dtypes import DType
from pyflow.errors import DTypeError, InvalidArgumentError, message, user_origin
from pyflow.flow.structure import Structure, flatten
from pyflow.graph import Value, building, get_default_graph
from pyflow.opdef import OPS
from pyflow.ops.sizes import named_by


class Traced:
    """One body: what its function gave, not yet converted."""

    def __init__(self, op: str, label: str, function: Callable[..., Any]) -> None:
        if not callable(function):
            refuse(op, f"expected a function as {label}, got {function!r}")
        self.op = op
        self.label = label
        self.function = function
        self.body = Body(get_default_graph(), f"{op}/{label}")
        self.leaves: list[Any] = []
        self.structure = Structure(None)

    def run(self, *args: Any) -> Traced:
        """Calls the function, with ``args``, once."""
        with building(self.body):
            self.leaves, self.structure = flatten(self.function(*args))
        return self

    def settle(self, wanted: Sequence[DType | None]) -> list[Value]:
        """The results as values of the body; Python numbers take the wanted dtypes."""
        with building(self.body):
            for index, (leaf, dtype) in enumerate(zip(self.leaves, wanted, strict=True)):
                value = self.body.adopt(convert(leaf, dtype if is_weak(leaf) else None))
                if dtype is not None and value.dtype is not dtype:
                    what = f"{self.label} gives {value.type} as result {index}; expected {dtype}"
                    refuse(self.op, what, "cast it with pf.cast", DTypeError)
                self.body.outputs.append(value)
        return self.body.outputs


def renamed(body: Body, index: int, axes: Sequence[int], symbols: Sequence[Dim]) -> None:
    """Gives result ``index`` of ``body`` sizes of late ``symbols`` along ``axes``: those that it has when it runs."""
    with building(body):
        body.outputs[index] = named_by(body.outputs[index], axes, symbols)


def is_weak(leaf: Any) -> bool:
    """A Python number, which takes the dtype of what it meets."""
    return isinstance(leaf, (bool, int, float)) and not isinstance(leaf, np.generic)


def dtype_of(leaf: Any) -> DType | None:
    """The dtype of a result before it is converted; None for a Python number."""
    if is_weak(leaf):
        return None
    return leaf.dtype if is_operand(leaf) and hasattr(leaf, "dtype") else None


def refuse(op: str, what: str, hint: str = "", kind: type[Exception] = InvalidArgumentError) -> NoReturn:
    """Raises ``kind`` with the user's line."""
    raise kind(message(op, what, user_origin(), hint))


def add_node(
    op: str, bodies: Mapping[str, Body], inputs: Sequence[Value], attrs: Mapping[str, Any], name: str | None
) -> tuple[Value, ...]:
    """The results of a new node that runs ``bodies`` on ``inputs`` and what they capture."""
    graph = get_default_graph()
    with building(graph):
        captured = close(list(bodies.values()), lambda variable: variable.value())
        results: tuple[Value, ...] = apply(OPS[op], [*inputs, *captured], {**attrs, **bodies}, name=name)
    before = [node for body in bodies.values() for node in body.outside]
    node = graph.nodes[-1]
    node.after = tuple(dict.fromkeys((*node.after, *(graph.own(before) if isinstance(graph, Body) else before))))
    return results
