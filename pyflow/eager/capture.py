"""Tensors inside of a function that is being traced: they stand for inputs of its graph, and changes for outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pyflow import dtypes
from pyflow.eager.tape import mode
from pyflow.eager.tensor import Tensor
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Graph, Node, Value, building
from pyflow.opdef import call
from pyflow.ops.sources import placeholder


class TracedGraph(Graph):
    """Where a traced function's ops go. Through those of ``no_grad`` no gradient flows, as in eager calls."""

    def __init__(self) -> None:
        super().__init__()
        self._still: dict[Value, Value] = {}
        self._unrecorded: set[Node] = set()

    def add(self, *args: Any) -> Node:
        node = super().add(*args)
        if not mode.recording and node.inputs:
            self._unrecorded.add(node)
        return node

    def adopt(self, value: Value) -> Value:
        value = super().adopt(value)
        if mode.recording or not value.dtype.is_inexact or value.node in self._unrecorded:
            return value
        if value not in self._still:
            self._still[value] = value  # what stop_gradient itself takes
            with building(self):
                self._still[value] = call("stop_gradient", value)
        return self._still[value]


class Capture:
    """What one trace takes from outside.

    tensors, inputs: the tensors, and the placeholders that stand for them. written: the tensors that the function
    changes, and the values that they take. The gradients (``x.grad``) that it leaves are in ``left``, those that it
    starts from in ``started``. probes: what it takes to be the case outside; see :meth:`assume`.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.tensors: list[Tensor] = []
        self.inputs: list[Value] = []
        self.written: dict[int, tuple[Tensor, Value]] = {}
        self.started: dict[int, tuple[Tensor, Value]] = {}
        self.left: dict[int, tuple[Tensor, Value | None]] = {}
        self.given: dict[int, tuple[int, Value]] = {}
        """By id: what stands for an argument, and the number of that."""
        self.changed: dict[int, Value] = {}
        """By number: what arguments that the function changes in place become."""
        self.probes: list[tuple[Callable[[], Any], str]] = []
        self.shared: dict[Any, Any] = {}
        """What layers above keep during the trace."""
        self._versions: dict[int, list[Value]] = {}
        self._gradients: dict[int, Value | None] = {}

    def value_of(self, tensor: Tensor) -> Value:
        """What ``tensor`` is at this place of the function."""
        return self.versions_of(tensor)[-1]

    def versions_of(self, tensor: Tensor) -> list[Value]:
        """What ``tensor`` has been so far."""
        if id(tensor) not in self._versions:
            with self.graph.as_default():
                made = placeholder(tensor.dtype, tensor.shape, name="captured")
            self.tensors.append(tensor)
            self.inputs.append(made)
            self._versions[id(tensor)] = [made]
        return self._versions[id(tensor)]

    def leaves(self) -> list[Tensor]:
        """The tensors so far to which backward gives gradients."""
        return [tensor for tensor in self.tensors if tensor.requires_grad]

    def write(self, tensor: Tensor, value: Value) -> None:
        """From here on ``tensor`` is ``value``, also when the function has run."""
        check_written(self.graph, tensor, value)
        if tensor.requires_grad:
            with self.graph.as_default():
                value = call("stop_gradient", value)
        self.versions_of(tensor).append(value)
        self.written[id(tensor)] = (tensor, value)

    def become(self, value: Value, new: Value) -> Value:
        """``value`` was changed in place to ``new``, which is given back; an argument changes outside too."""
        if id(value) not in self.given:
            return new
        if new.dims != value.dims or not (new.dtype is value.dtype or dtypes.can_cast_safely(new.dtype, value.dtype)):
            what = f"{new.type} cannot be written to {value.name}: {value.type}, an argument that is changed in place"
            raise InvalidArgumentError(message("assign", what, user_origin(), "make another: x = x + y"))
        if new.graph is not self.graph:
            what = f"{value.name}: {value.type}, an argument, is changed inside of a branch or loop"
            raise InvalidArgumentError(
                message("assign", what, user_origin(), "return the value, and assign it outside")
            )
        number = self.given[id(value)][0]
        made: Value = call("cast", new, value.dtype)
        self.given[id(made)] = (number, made)
        self.changed[number] = made
        return made

    def gradient_of(self, tensor: Tensor) -> Value | None:
        """``tensor.grad`` at this place of the function."""
        if id(tensor) not in self._gradients:
            outside = tensor._grad
            found: Value | None = None
            if outside is not None:
                with self.graph.as_default():
                    found = placeholder(outside.dtype, outside.shape, name="gradient")
                self.started[id(tensor)] = (tensor, found)
            self._gradients[id(tensor)] = found
            self.assume(lambda: tensor._grad is None, "whether tensors from outside have a gradient at its start")
        return self._gradients[id(tensor)]

    def leave_gradient(self, tensor: Tensor, value: Value | None) -> None:
        """Sets ``tensor.grad``, here and when the function has run."""
        self._gradients[id(tensor)] = value
        self.left[id(tensor)] = (tensor, value)

    def assume(self, probe: Callable[[], Any], what: str) -> None:
        """The trace serves calls before which ``probe`` gives what it gives after the trace; ``what`` says of what."""
        self.probes.append((probe, what))

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


def check_written(graph: Graph, tensor: Tensor, value: Value) -> None:
    """Raises InvalidArgumentError where ``tensor`` cannot become ``value`` in ``graph``."""
    if value.dtype is not tensor.dtype or value.dims != tensor.shape:
        what = f"{value.type} does not fit x: {tensor.type}"
        raise InvalidArgumentError(message("assign", what, user_origin()))
    if value.graph is not graph:
        what = f"x: {tensor.type} is changed inside of a branch or loop"
        raise InvalidArgumentError(message("assign", what, user_origin(), "return the value, and assign it outside"))


def current() -> Capture | None:
    """That of the function which this thread is tracing."""
    return mode.capture  # type: ignore[no-any-return]


class opened:
    """A context in which tensors go to ``capture``, on this thread; None: to none."""

    def __init__(self, capture: Capture | None) -> None:
        self._capture = capture
        self._before: Capture | None = None

    def __enter__(self) -> None:
        self._before, mode.capture = mode.capture, self._capture

    def __exit__(self, *error: object) -> None:
        mode.capture = self._before
