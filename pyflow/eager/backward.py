"""Reverse mode over records: from the newest call to the oldest, each when all that follows it is done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from pyflow.eager.capture import Capture, current
from pyflow.eager.tape import _Setting, enable_grad, failed, mode
from pyflow.eager.tensor import Tensor, is_window, tensor
from pyflow.errors import DTypeError, FailedPreconditionError, InvalidArgumentError, message, user_origin
from pyflow.gradients import gradients
from pyflow.graph import Value
from pyflow.opdef import call
from pyflow.runtime.eager import native


def run_hooks(hooks: Sequence[Callable[[Tensor], Tensor | None]], gradient: Tensor) -> Tensor:
    """The gradient after ``hooks``: what they give takes its place, unless it is None."""
    for hook in tuple(hooks):
        changed = hook(gradient)
        gradient = gradient if changed is None else changed
    return gradient


def _check_finite(record: Any, parts: Sequence[Tensor | None]) -> None:
    for index, part in enumerate(parts):
        if part is not None and part.dtype.is_inexact and np.isnan(part.numpy().astype(np.complex128)).any():
            what = f"the gradient by input {index}, {record.given[index].type}, has a NaN"
            raise failed(record, what, "look at the values it is made of")


def _seed(op: str, value: Tensor, gradient: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise DTypeError(message(op, f"expected a tensor, got {value!r}", user_origin()))
    if not value.requires_grad:
        what = f"{value.type} depends on nothing that requires a gradient"
        raise FailedPreconditionError(message(op, what, user_origin(), "set x.requires_grad = True before the calls"))
    if gradient is None:
        if value.size != 1 or not value.dtype.is_floating:
            what = f"expected one real number to start from, got {value.type}"
            raise InvalidArgumentError(message(op, what, user_origin(), "pass gradient=, or reduce it with pf.sum"))
        return Tensor._of(np.ones(value.shape, value.dtype.numpy), value.dtype)
    seed = gradient if isinstance(gradient, Tensor) else tensor(gradient, value.dtype)
    if seed.shape != value.shape or seed.dtype is not value.dtype:
        raise InvalidArgumentError(message(op, f"expected a gradient {value.type}, got {seed.type}", user_origin()))
    return seed


def _walked(
    op: str, outputs: Sequence[Any], gradients: Sequence[Any], retain: bool, create: bool, wanted: Sequence[Tensor] = ()
) -> tuple[list[tuple[Tensor, Tensor]], dict[tuple[int, int], Tensor]]:
    """What arrives at leaves, and, by record and output, at those of ``wanted`` that are none."""
    before = mode.recording
    mode.recording = create
    try:
        seeds = [_seed(op, value, gradient) for value, gradient in zip(outputs, gradients, strict=True)]
        return native.walk(outputs, seeds, retain or create, wanted, _check_finite)  # type: ignore[no-any-return]
    finally:
        mode.recording = before


def backward(value: Tensor, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
    """Adds the gradient of ``value`` to ``.grad`` of every leaf that it depends on."""
    leaves, _ = _walked("backward", [value], [gradient], retain_graph, create_graph)
    given: set[int] = {id(gradient)}
    for leaf, arrived in leaves:
        found = run_hooks(leaf._hooks or (), arrived)
        if leaf._grad is not None:
            with _Setting(recording=create_graph):
                found = call("add", leaf._grad, found)
        elif id(found) in given or is_window(found._array):
            found = Tensor._of(found._array.copy(), found._dtype) if not create_graph else found
        given.add(id(found))
        leaf._grad = found


def grad_of(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool = False,
    create_graph: bool = False,
) -> list[Tensor | None]:
    """The gradient of ``sum(outputs)`` by each of ``inputs``, tensors that it was computed from; None where it does not
    depend on one. ``.grad`` stays as it is. create_graph: the result can be differentiated again."""
    ys = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    xs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    given = list(grad_outputs) if isinstance(grad_outputs, (list, tuple)) else [grad_outputs] * len(ys)
    if len(given) != len(ys):
        what = f"{len(ys)} outputs but {len(given)} gradients"
        raise InvalidArgumentError(message("grad_of", what, user_origin()))
    for x in xs:
        if not isinstance(x, Tensor) or not x.requires_grad:
            shown = x.type if isinstance(x, Tensor) else repr(x)
            what = f"expected tensors that require a gradient, got {shown}"
            raise InvalidArgumentError(message("grad_of", what, user_origin(), "set x.requires_grad before the calls"))
    leaves, between = _walked("grad_of", ys, given, retain_graph, create_graph, xs)
    arrived = {id(leaf): gradient for leaf, gradient in leaves}
    found = [arrived.get(id(x)) if x._record is None else between.get((id(x._record), x._index)) for x in xs]
    pairs = zip(xs, found, strict=True)
    return [run_hooks(x._hooks or (), g) if g is not None and x._record is None else g for x, g in pairs]


class _Nesting(threading.local):
    """How many functions made by ``grad`` this thread is in: the gradients of the inner ones are differentiable."""

    depth = 0

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.depth -= 1


_nesting = _Nesting()


def grad(function: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """A function that gives the gradient of ``function``, which gives one real number, by its arguments ``argnums``.

    Its arguments are taken as tensors of their own, so that what they were computed from gets no gradient; an argument
    on which the result does not depend has the gradient 0. It can be applied to its own result.
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    def gradient(*args: Any, **kwargs: Any) -> Any:
        capture = current()
        if capture is not None:
            inside = list(args)
            for number in numbers:
                inside[number] = call("identity", capture.within(inside[number]))
            sources = [inside[number] for number in numbers]
            slopes = _in_graph(capture, function(*inside, **kwargs), sources, None)
            pairs = zip(sources, slopes, strict=True)
            shown = [call("multiply", x, 0) if g is None else g for x, g in pairs]
            return shown[0] if isinstance(argnums, int) else tuple(shown)
        recorded = mode.recording
        create = recorded and _nesting.depth > 0
        with enable_grad(), _nesting:
            given = list(args)
            for number in numbers:
                source = given[number] if isinstance(given[number], Tensor) else tensor(given[number])
                create = create or (source.requires_grad and recorded)
                given[number] = call("identity", source) if source.requires_grad else source.detach()
                given[number].requires_grad = True
            sources = [given[number] for number in numbers]
            result = function(*given, **kwargs)
            depends = not isinstance(result, Tensor) or result.requires_grad
            found = grad_of(result, sources, create_graph=create) if depends else [None] * len(sources)
        results = zip(sources, found, strict=True)
        shown = [Tensor._of(np.zeros(x.shape, x.dtype.numpy), x.dtype) if g is None else g for x, g in results]
        return shown[0] if isinstance(argnums, int) else tuple(shown)

    return gradient


class _Tapes(threading.local):
    open = 0
    """How many this thread is inside of: gradients that are taken there are recorded too."""


_tapes = _Tapes()


class GradientTape:
    """Records calls for gradients, as in TensorFlow: what requires a gradient is watched, :meth:`watch` adds others.

    persistent: ``gradient`` may be asked for more than once.
    """

    def __init__(self, persistent: bool = False) -> None:
        self._persistent = persistent
        self._watched: list[Tensor] = []
        self._setting = enable_grad()
        self._is_used = False

    def watch(self, tensors: Any) -> None:
        """Gradients by these floating tensors can be asked for, from here to the end of the block."""
        for each in tensors if isinstance(tensors, (list, tuple)) else [tensors]:
            if isinstance(each, Value):
                continue
            if not isinstance(each, Tensor):
                raise DTypeError(message("watch", f"expected a tensor, got {each!r}", user_origin()))
            if not each.requires_grad:
                each.requires_grad = True
                self._watched.append(each)

    def gradient(self, target: Any, sources: Any, output_gradients: Any = None) -> Any:
        """The gradient of ``target`` (tensors; several are summed) by ``sources``, in the structure of ``sources``: a
        tensor, or a list, tuple or dict of them. None where there is no way from one to the other."""
        if self._is_used and not self._persistent:
            what = "the tape is used up: it gives one gradient"
            hint = "make it GradientTape(persistent=True)"
            raise FailedPreconditionError(message("gradient", what, user_origin(), hint))
        self._is_used = True
        capture = current()
        if capture is not None:
            return _in_graph(capture, target, sources, output_gradients)
        flat = list(sources.values() if isinstance(sources, dict) else _listed(sources))
        watched = [x for x in flat if isinstance(x, Tensor) and not x.requires_grad and _was(self._watched, x)]
        for each in watched:
            each._requires_grad = True
        targets = _listed(target)
        try:
            known = [t for t in targets if isinstance(t, Tensor) and t.requires_grad]
            asked = [x for x in flat if isinstance(x, Tensor) and x.requires_grad]
            given: Any = None
            if output_gradients is not None:
                chosen = zip(targets, _listed(output_gradients), strict=True)
                given = [g for t, g in chosen if any(t is k for k in known)]
            else:
                given = [np.ones(t.shape, t.dtype.numpy) for t in known]
            create = _tapes.open > self._is_open or (self._is_open and self._persistent)
            found = iter(grad_of(known, asked, given, self._persistent or create, create))
            results = [next(found) if any(x is a for a in asked) else None for x in flat]
        finally:
            for each in watched:
                each._requires_grad = False
        if isinstance(sources, dict):
            return dict(zip(sources, results, strict=True))
        if not isinstance(sources, (list, tuple)):
            return results[0]
        return type(sources)(results)

    _is_open = False

    def __enter__(self) -> GradientTape:
        self._setting.__enter__()
        self._is_open = True
        _tapes.open += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._setting.__exit__(kind, error, trace)
        self._is_open = False
        _tapes.open -= 1
        for each in self._watched:
            each._requires_grad = False


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _in_graph(capture: Capture, target: Any, sources: Any, given: Any) -> Any:
    """The gradient of graph values, in the structure of ``sources``."""
    flat = list(sources.values() if isinstance(sources, dict) else _listed(sources))
    found = gradients(_listed(capture.within(target)), capture.within(flat), capture.within(given))
    if isinstance(sources, dict):
        return dict(zip(sources, found, strict=True))
    return type(sources)(found) if isinstance(sources, (list, tuple)) else found[0]


def backward_of_value(value: Any, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
    """Inside of a function that is traced: adds the gradient of this value to ``.grad`` of the tensors from outside
    that require one. In a declared graph use ``pf.gradients`` or ``optimizer.minimize``."""
    capture = current()
    if capture is None:
        what = f"{value.name}: {value.type} is a graph value: it is known when the graph is run"
        hint = "use pf.gradients(loss, variables) or optimizer.minimize(loss); or trace the step with pf.function"
        raise FailedPreconditionError(message("backward", what, user_origin(), hint))
    leaves = capture.leaves()
    if not leaves:
        what = f"{value.name}: {value.type} depends on no tensor from outside that requires a gradient"
        raise FailedPreconditionError(message("backward", what, user_origin(), "use pf.gradients by other values"))
    if gradient is None and (value.dims or not value.dtype.is_floating):
        what = f"expected one real number to start from, got {value.type}"
        raise InvalidArgumentError(message("backward", what, user_origin(), "pass gradient=, or reduce it with pf.sum"))
    versions = [(leaf, version) for leaf in leaves for version in capture.versions_of(leaf)]
    found = gradients([value], [version for _, version in versions], capture.within(gradient))
    totals: dict[int, tuple[Tensor, Any]] = {}
    for (leaf, _), part in zip(versions, found, strict=True):
        if part is not None:
            before = totals.get(id(leaf))
            totals[id(leaf)] = (leaf, part if before is None else call("add", before[1], part))
    for leaf, part in totals.values():
        arrived: Any = run_hooks(leaf._hooks or (), part if create_graph else call("stop_gradient", part))
        known = capture.gradient_of(leaf)
        capture.leave_gradient(leaf, arrived if known is None else call("add", known, arrived))


def _was(watched: Sequence[Tensor], x: Tensor) -> bool:
    return any(x is each for each in watched)
