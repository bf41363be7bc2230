"""``pf.function``: a Python function traced to one graph, compiled, and run as one plan."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyflow.dims import Dim
from pyflow.eager.capture import Capture, current, opened
from pyflow.eager.entry import Entry, engine
from pyflow.eager.tensor import Tensor
from pyflow.eager.tracing import builder, collect, filled
from pyflow.errors import DTypeError, FailedPreconditionError, InternalError, PyflowError, message, user_origin
from pyflow.graph import Graph, Node, Value
from pyflow.ops.sources import placeholder


@dataclass(frozen=True)
class Traced:
    """One trace of a function, and the calls that it serves."""

    key: Any
    types: tuple[Any, ...]
    """dtype and rank of each tensor among the arguments."""
    shapes: tuple[tuple[int, ...], ...] | None
    """Their sizes, if it serves no others."""
    reason: str
    entry: Entry
    captured: tuple[Tensor, ...]
    written: tuple[Tensor, ...]
    build: Callable[[Sequence[Any]], Any]

    def serves(self, key: Any, types: tuple[Any, ...], shapes: tuple[tuple[int, ...], ...]) -> bool:
        return self.key == key and self.types == types and self.shapes in (None, shapes)

    def __str__(self) -> str:
        shown = [f"{dtype}[{','.join('?' * ndim)}]" for dtype, ndim in self.types]
        if self.shapes is not None:
            pairs = zip(self.types, self.shapes, strict=True)
            shown = [f"{dtype}[{','.join(map(str, shape))}]" for (dtype, _), shape in pairs]
        text = f"({', '.join(shown)}): {self.reason}; {len(self.entry.graph.nodes)} nodes"
        captured = f", {len(self.captured)} tensors from outside" if self.captured else ""
        return text + captured + (f", {len(self.written)} of them written" if self.written else "")


class Function:
    """See :func:`function`."""

    def __init__(self, python: Callable[..., Any], max_traces: int) -> None:
        functools.update_wrapper(self, python)
        self._python = python
        self._max_traces = max_traces
        self._traces: list[Traced] = []
        self._known: dict[Any, Traced] = {}
        self._lock = threading.RLock()

    @property
    def traces(self) -> int:
        """How often the function was traced."""
        return len(self._traces)

    def explain(self) -> str:
        """A line per trace: the arguments that it serves, why it was made, and what it takes from outside."""
        rows = [f"  {number}: {traced}" for number, traced in enumerate(self._traces)]
        return "\n".join([f"{self._python.__name__}: {self.traces} traces", *rows])

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if current() is not None or _has_value((args, kwargs)):
            return self._python(*args, **kwargs)
        operands: list[Tensor] = []
        key = (collect(args, operands), collect(kwargs, operands))
        shapes = tuple(operand.shape for operand in operands)
        types = tuple((operand.dtype, operand.ndim) for operand in operands)
        try:
            traced = self._known.get((key, types, shapes))
        except TypeError as error:
            what = f"arguments besides tensors are told apart by their hash: {error}"
            raise DTypeError(
                message(self._python.__name__, what, user_origin(), "pass tensors and constants")
            ) from None
        if traced is None:
            with self._lock:
                traced = self._find(args, kwargs, key, types, shapes, operands)
        made = traced.entry([*operands, *traced.captured])
        count = len(made) - len(traced.written)
        for tensor, new in zip(traced.written, made[count:], strict=True):
            np.copyto(tensor._array, new._array)
            tensor._version.count += 1
        return traced.build(made[:count])

    def _find(self, args: Any, kwargs: Any, key: Any, types: Any, shapes: Any, operands: Sequence[Tensor]) -> Traced:
        traced = next((each for each in self._traces if each.serves(key, types, shapes)), None)
        if traced is None:
            if len(self._traces) >= self._max_traces:
                what = f"{len(self._traces)} traces, and another is needed: {self._reason(key, types)}"
                hint = f"pass what changes as tensors, or raise max_traces\n{self.explain()}"
                raise FailedPreconditionError(message(self._python.__name__, what, user_origin(), hint))
            traced = self._trace(args, kwargs, key, types, shapes, operands)
            self._traces.append(traced)
        if len(self._known) > 4096:
            self._known.clear()
        self._known[key, types, shapes] = traced
        return traced

    def _reason(self, key: Any, types: Any) -> str:
        if not self._traces:
            return "first call"
        last = self._traces[-1]
        if last.key != key:
            return "Python values, or the structure, of the arguments differ"
        return "dtypes or ranks differ" if last.types != types else "sizes differ, and the trace needs to know them"

    def _trace(self, args: Any, kwargs: Any, key: Any, types: Any, shapes: Any, operands: Sequence[Tensor]) -> Traced:
        reason = self._reason(key, types)
        symbols = [[Dim(f"x{i}.{axis}") for axis in range(ndim)] for i, (_, ndim) in enumerate(types)]
        with engine.lock:
            try:
                return self._traced(args, kwargs, operands, symbols, (key, types, None, reason))
            except InternalError:
                raise
            except PyflowError:
                if not any(shapes):
                    raise
            return self._traced(args, kwargs, operands, shapes, (key, types, shapes, reason))

    def _traced(self, args: Any, kwargs: Any, operands: Sequence[Tensor], sizes: Any, about: Any) -> Traced:
        graph = Graph()
        with graph.as_default():
            given = [
                placeholder(operand.dtype, shape, name=f"x{index}")
                for index, (operand, shape) in enumerate(zip(operands, sizes, strict=True))
            ]
            order = iter(given)
            arguments, named = filled(args, order), filled(kwargs, order)
            capture = Capture(graph)
            with opened(capture):
                result = capture.within(self._python(*arguments, **named))
            outputs: list[Value] = []
            nodes: list[Node] = []
            build = builder(result, outputs, nodes)
        written = list(capture.written.values())
        made = [*outputs, *[value for _, value in written]]
        entry = Entry(self._python.__name__, graph, [*given, *capture.inputs], made, tuple, nodes)
        key, types, shapes, reason = about
        changed = tuple(tensor for tensor, _ in written)
        return Traced(key, types, shapes, reason, entry, tuple(capture.tensors), changed, build)


def _has_value(nested: Any) -> bool:
    if isinstance(nested, (tuple, list)):
        return any(map(_has_value, nested))
    return any(map(_has_value, nested.values())) if isinstance(nested, Mapping) else isinstance(nested, Value)


def function(python: Callable[..., Any] | None = None, *, max_traces: int = 16) -> Any:
    """``python``, traced to a graph at its first call, compiled, and run as one plan from then on; a decorator.

    Tensors and arrays among the arguments are inputs of the graph; one trace serves all their sizes. Another trace is
    made for other dtypes, ranks or Python values (``.traces`` counts, ``.explain()`` tells why). Tensors from outside
    are read at every call, and changes of them in place (``w -= step``) are made at its end; Python code runs only in a
    trace. A graph value has no truth value: use ``pf.cond`` and ``pf.while_loop``. Where a trace needs to know sizes,
    as where arguments of one shape must stay alike in a loop, it serves just those: ``.explain()`` shows it.
    Raises FailedPreconditionError where more than ``max_traces`` were needed.
    """
    if python is None:
        return functools.partial(function, max_traces=max_traces)
    return Function(python, max_traces)
