"""Tensors inside of a function that is being traced: they stand for inputs of its graph, and changes for outputs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from pyflow.eager.tensor import Tensor
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Graph, Value
from pyflow.ops.sources import placeholder


class Capture:
    """What one trace takes from outside. ``values``: by tensor, what it stands for; ``written``: the tensors that the
    function changes, and the values that they take."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.tensors: list[Tensor] = []
        self.inputs: list[Value] = []
        self._now: dict[int, Value] = {}
        self.written: dict[int, tuple[Tensor, Value]] = {}

    def value_of(self, tensor: Tensor) -> Value:
        """What ``tensor`` is at this place of the function."""
        if id(tensor) not in self._now:
            with self.graph.as_default():
                made = placeholder(tensor.dtype, tensor.shape, name="captured")
            self.tensors.append(tensor)
            self.inputs.append(made)
            self._now[id(tensor)] = made
        return self._now[id(tensor)]

    def write(self, tensor: Tensor, value: Value) -> None:
        """From here on ``tensor`` is ``value``, also when the function has run."""
        if value.dtype is not tensor.dtype or value.dims != tensor.shape:
            what = f"{value.type} does not fit x: {tensor.type}"
            raise InvalidArgumentError(message("assign", what, user_origin()))
        if value.graph is not self.graph:
            what = f"x: {tensor.type} is changed inside of a branch or loop"
            raise InvalidArgumentError(
                message("assign", what, user_origin(), "return the value, and assign it outside")
            )
        self.value_of(tensor)
        self._now[id(tensor)] = value
        self.written[id(tensor)] = (tensor, value)

    def within(self, nested: Any) -> Any:
        """``nested`` arguments with values for the tensors in them."""
        if isinstance(nested, Tensor):
            return self.value_of(nested)
        if isinstance(nested, Mapping):
            return {name: self.within(entry) for name, entry in nested.items()}
        if isinstance(nested, (tuple, list)):
            entries = [self.within(entry) for entry in nested]
            return type(nested)(*entries) if hasattr(nested, "_fields") else type(nested)(entries)
        return nested


OPEN: list[Capture] = []
"""Of all threads; empty most of the time, which is quick to see."""


class _Own(threading.local):
    capture: Capture | None = None


_own = _Own()


def current() -> Capture | None:
    """That of the function which this thread is tracing."""
    return _own.capture if OPEN else None


class opened:
    """A context in which tensors go to ``capture``, on this thread; None: to none."""

    def __init__(self, capture: Capture | None) -> None:
        self._capture = capture
        self._before: Capture | None = None

    def __enter__(self) -> None:
        self._before, _own.capture = _own.capture, self._capture
        if self._capture is not None:
            OPEN.append(self._capture)

    def __exit__(self, *error: object) -> None:
        _own.capture = self._before
        if self._capture is not None:
            OPEN.remove(self._capture)
