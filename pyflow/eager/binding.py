"""Tensors in a declared graph: functions of tensors called with graph values. Each tensor is a variable there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pyflow.eager.capture import Capture, check_written, current, opened
from pyflow.eager.tensor import Tensor
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Graph, Value, get_default_graph
from pyflow.opdef import call
from pyflow.ops.state import Variable, group


class Binding(Capture):
    """One call of such a function. A tensor is one variable of the graph, whose initial value is what the tensor held
    when the graph first saw it; from then on each has its own value. Changes in place are assignments."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self._effects: list[Value] = []

    def declare(self, tensor: Tensor, name: str) -> Variable:
        """The variable of ``tensor``, which has ``name`` if this is the first time that the graph sees it."""
        found = self.graph.bound.get(id(tensor))
        if found is None:
            start = np.array(tensor._array)
            start.flags.writeable = False
            with self.graph.as_default():
                made = Variable(start, name=name, trainable=tensor.requires_grad)
            found = self.graph.bound[id(tensor)] = (tensor, made)
        return found[1]

    def value_of(self, tensor: Tensor) -> Value:
        return self.declare(tensor, "captured").value()

    def versions_of(self, tensor: Tensor) -> list[Value]:
        """All reads so far: gradients by a variable are by these."""
        variable = self.declare(tensor, "captured")
        return [n.outputs[0] for n in self.graph.nodes if n.op.effect == "read" and n.attrs["variable"] is variable]

    def write(self, tensor: Tensor, value: Value) -> None:
        check_written(self.graph, tensor, value)
        self._effects.append(self.declare(tensor, "captured").assign(value))

    def gradient_of(self, tensor: Tensor) -> Value | None:
        return self._gradients.get(id(tensor))

    def leaves(self) -> list[Tensor]:
        return [tensor for tensor, _ in self.graph.bound.values() if tensor.requires_grad]

    def settled(self, nested: Any) -> Any:
        """What the function gave; a run that fetches of it makes the function's changes too. For None: the op of
        these."""
        if not self._effects:
            return nested
        if nested is None:
            with self.graph.as_default():
                return group(*self._effects)
        if isinstance(nested, Value):
            with self.graph.as_default(), self.graph.control_dependencies(self._effects):
                return call("identity", nested)
        if isinstance(nested, Mapping):
            return {name: self.settled(entry) for name, entry in nested.items()}
        if isinstance(nested, (tuple, list)):
            entries = [self.settled(entry) for entry in nested]
            return type(nested)(*entries) if hasattr(nested, "_fields") else type(nested)(entries)
        return nested


def has_value(nested: Any) -> bool:
    """Is there a graph value among these arguments?"""
    if isinstance(nested, (tuple, list)):
        return any(map(has_value, nested))
    return any(map(has_value, nested.values())) if isinstance(nested, Mapping) else isinstance(nested, Value)


def _root(graph: Graph) -> Graph:
    while graph.outer is not None:
        graph = graph.outer
    return graph


def _foreign(nested: Any, graph: Graph) -> Value | None:
    """A value of another graph among these."""
    if isinstance(nested, Value):
        return nested if nested.graph is not None and _root(nested.graph) is not graph else None
    parts: Sequence[Any] = ()
    if isinstance(nested, (tuple, list, Mapping)):
        parts = list(nested.values()) if isinstance(nested, Mapping) else nested
    return next((found for part in parts if (found := _foreign(part, graph)) is not None), None)


def declared(
    python: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    names: Callable[[Binding], None] | None = None,
) -> Any:
    """``python(*args, **kwargs)`` in the default graph, with variables for tensors; ``names`` declares some of them."""
    if current() is not None:
        return python(*args, **kwargs)
    graph = _root(get_default_graph())
    foreign = _foreign((args, kwargs), graph)
    if foreign is not None:
        what = (
            f"{foreign.name}: {foreign.type} ({foreign.node.origin}) belongs to another graph, or to a trace that ended"
        )
        hint = "use it inside `with graph.as_default():` of its graph; return from a pf.function what is used outside"
        raise InvalidArgumentError(message(getattr(python, "__name__", "call"), what, user_origin(), hint))
    binding = Binding(graph)
    if names is not None:
        names(binding)
    with opened(binding):
        result = binding.within(python(*args, **kwargs))
    return binding.settled(result) if graph is get_default_graph() else result
