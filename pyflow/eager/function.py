"""``pf.function``: a Python function traced to one graph, compiled, and run as one plan."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyflow.dims import Dim
from pyflow.eager.binding import declared, has_value
from pyflow.eager.capture import Capture, TracedGraph, current, opened
from pyflow.eager.entry import Entry, engine
from pyflow.eager.indexing import check_writable
from pyflow.eager.surroundings import assume_surroundings
from pyflow.eager.tensor import Tensor
from pyflow.eager.tracing import SLOT, builder, collect, filled
from pyflow.errors import DTypeError, FailedPreconditionError, InternalError, PyflowError, message, user_origin
from pyflow.graph import Node, Value
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
    arguments: Any
    """Positional and named, with slots for tensors."""
    entry: Entry
    captured: tuple[Tensor, ...]
    started: tuple[Tensor, ...]
    """Those whose gradients it takes."""
    changed: tuple[int, ...]
    """The arguments that it changes in place."""
    written: tuple[Tensor, ...]
    left: tuple[tuple[Tensor, bool], ...]
    """Those whose gradients it sets: to a result, or to None."""
    assumed: tuple[tuple[Callable[[], Any], Any, str], ...]
    """What was the case outside when it was made: how to ask, the answer, what it is about."""
    build: Callable[[Sequence[Any]], Any]

    def serves(self, key: Any, types: tuple[Any, ...], shapes: tuple[tuple[int, ...], ...]) -> bool:
        """Calls of these arguments."""
        return self.key == key and self.types == types and self.shapes in (None, shapes)

    def differs(self) -> str | None:
        """What is not the case any more; None: all is as it was."""
        for probe, answer, what in self.assumed:
            now = probe()
            if now is not answer and (type(now) is not type(answer) or now != answer):
                return what
        return None

    def __call__(self, operands: Sequence[Tensor]) -> Any:
        for number in self.changed:
            check_writable("assign", operands[number])
        given: list[Any] = [*operands, *self.captured, *[tensor._grad for tensor in self.started]]
        targets = [*[operands[number] for number in self.changed], *self.written]
        made = self.entry.call_onto(given, targets)
        results = len(made) - len(targets) - sum(there for _, there in self.left)
        rest = iter(made[results:])
        for tensor, there in self.left:
            tensor._grad = next(rest).detach() if there else None
        for tensor in targets:
            array = next(rest)._array
            if array is not tensor._array:
                np.copyto(tensor._array, array)
            tensor._version.count += 1
        return self.build(made[:results])

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
        if isinstance(python, type) or not callable(python):
            raise DTypeError(message("function", f"expected a function, got {python!r}", user_origin()))
        functools.update_wrapper(self, python, updated=())
        self.__name__ = getattr(python, "__name__", type(python).__name__)
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
        return "\n".join([f"{self.__name__}: {self.traces} traces", *rows])

    def declare(self) -> tuple[list[Value], Any]:
        """Adds the function to the default graph, where tensors from outside are variables: (placeholders of its
        arguments, as they were at its one trace, what it gives of these). What it changes is changed in runs that fetch
        of that. ``pf.aot.compile`` takes functions by this.

        Raises FailedPreconditionError where it was not called before, has several traces, or what it was traced with
        (``training`` of a module) is not so any more.
        """
        if len(self._traces) != 1:
            what = f"expected one trace, which says what its arguments are, found {self.traces}"
            hint = "call it with tensors first" if not self._traces else f"wrap it anew\n{self.explain()}"
            raise FailedPreconditionError(message(self.__name__, what, user_origin(), hint))
        traced = self._traces[0]
        differing = traced.differs()
        if differing is not None:
            what = f"{differing} differs from what it was traced with"
            raise FailedPreconditionError(message(self.__name__, what, user_origin(), "set it back, or wrap it anew"))
        sizes: Any = traced.shapes
        if sizes is None:
            own = self.__name__.strip("<>")
            sizes = [[f"{own}_x{i}_{a}" for a in range(ndim)] for i, (_, ndim) in enumerate(traced.types)]
        pairs = zip(traced.types, sizes, strict=True)
        given = [placeholder(dtype, shape, name=f"x{i}") for i, ((dtype, _), shape) in enumerate(pairs)]
        order = iter(given)
        args, kwargs = (filled(part, order) for part in traced.arguments)
        return given, declared(self._python, args, kwargs)

    def __repr__(self) -> str:
        return f"<pf.function {self.__name__}: {self.traces} traces>"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Of a method: a function of its own for each instance."""
        if instance is None:
            return self
        bound = Function(self._python.__get__(instance, owner), self._max_traces)
        try:
            instance.__dict__[self.__name__] = bound
        except AttributeError:
            return functools.partial(self, instance)
        return bound

    def __reduce__(self) -> tuple[Any, ...]:
        return (Function, (self._python, self._max_traces))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if current() is not None:
            return self._python(*args, **kwargs)
        if has_value((args, kwargs)):
            return declared(self._python, args, kwargs)
        operands: list[Tensor] = []
        key = (collect(args, operands), collect(kwargs, operands))
        shapes = tuple(operand.shape for operand in operands)
        types = tuple((operand.dtype, operand.ndim) for operand in operands)
        try:
            traced = self._known.get((key, types, shapes))
        except TypeError as error:
            what = f"arguments besides tensors are told apart by their hash: {error}"
            raise DTypeError(message(self.__name__, what, user_origin(), "pass tensors and constants")) from None
        if traced is None or traced.differs() is not None:
            with self._lock:
                traced = self._find(args, kwargs, key, types, shapes, operands)
        return traced(operands)

    def _find(self, args: Any, kwargs: Any, key: Any, types: Any, shapes: Any, operands: Sequence[Tensor]) -> Traced:
        serving = [each for each in self._traces if each.serves(key, types, shapes)]
        traced = next((each for each in serving if each.differs() is None), None)
        if traced is None:
            reason = self._reason(key, types, serving)
            if len(self._traces) >= self._max_traces:
                what = f"{len(self._traces)} traces, and another is needed: {reason}"
                hint = f"pass what changes as tensors, or raise max_traces\n{self.explain()}"
                raise FailedPreconditionError(message(self.__name__, what, user_origin(), hint))
            traced = self._trace(args, kwargs, key, types, shapes, operands, reason)
            self._traces.append(traced)
        if len(self._known) > 4096:
            self._known.clear()
        self._known[key, types, shapes] = traced
        return traced

    def _reason(self, key: Any, types: Any, serving: Sequence[Traced]) -> str:
        if not self._traces:
            return "first call"
        if serving:
            return f"{serving[-1].differs()} differs"
        last = self._traces[-1]
        if last.key != key:
            return "Python values, or the structure, of the arguments differ"
        return "dtypes or ranks differ" if last.types != types else "sizes differ, and the trace needs to know them"

    def _trace(
        self, args: Any, kwargs: Any, key: Any, types: Any, shapes: Any, operands: Sequence[Tensor], reason: str
    ) -> Traced:
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
        graph = TracedGraph()
        with graph.as_default():
            given = [
                placeholder(operand.dtype, shape, name=f"x{index}")
                for index, (operand, shape) in enumerate(zip(operands, sizes, strict=True))
            ]
            order = iter(given)
            arguments, named = filled(args, order), filled(kwargs, order)
            capture = Capture(graph)
            capture.given = {id(value): (index, value) for index, value in enumerate(given)}
            assume_surroundings(capture, self._python)
            with opened(capture):
                result = capture.within(self._python(*arguments, **named))
            outputs: list[Value] = []
            nodes: list[Node] = []
            build = builder(result, outputs, nodes)
        written = list(capture.written.values())
        left = list(capture.left.values())
        started = list(capture.started.values())
        made = [*outputs, *[value for _, value in left if value is not None]]
        made += [*capture.changed.values(), *[value for _, value in written]]
        inputs = [*given, *capture.inputs, *[value for _, value in started]]
        entry = Entry(self.__name__, graph, inputs, made, tuple, nodes)
        key, types, shapes, reason = about
        return Traced(
            key,
            types,
            shapes,
            reason,
            (filled(args, itertools.repeat(SLOT)), filled(kwargs, itertools.repeat(SLOT))),
            entry,
            tuple(capture.tensors),
            tuple(tensor for tensor, _ in started),
            tuple(capture.changed),
            tuple(tensor for tensor, _ in written),
            tuple((tensor, value is not None) for tensor, value in left),
            tuple((probe, probe(), what) for probe, what in capture.probes),
            build,
        )


def function(python: Callable[..., Any] | None = None, *, max_traces: int = 16) -> Any:
    """``python``, traced to a graph at its first call, compiled, and run as one plan from then on; a decorator.

    Tensors and arrays among the arguments are inputs of the graph; one trace serves all their sizes. Another trace is
    made for other dtypes, ranks or Python values, those of variables around the function and of modules that it calls
    included (``.traces`` counts, ``.explain()`` tells why). Tensors from outside are read at every call; changes of
    them, and of arguments, in place (``w -= step``) and of gradients (``loss.backward()``) are made at its end; Python
    code runs only in a trace. A graph value has no truth value: use ``pf.cond`` and ``pf.while_loop``. Where a trace
    needs to know sizes, as where arguments of one shape must stay alike in a loop, it serves just those:
    ``.explain()`` shows it. Called with graph values it adds to their graph, where tensors from outside are variables.
    Raises FailedPreconditionError where more than ``max_traces`` were needed.
    """
    if python is None:
        return functools.partial(function, max_traces=max_traces)
    return Function(python, max_traces)
