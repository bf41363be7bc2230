"""A compiled fetch: region → plan → native model, and the callable that runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pyflow import _core
from pyflow.errors import Origin, PyflowError, ResourceExhaustedError, message, user_origin
from pyflow.graph import Graph, Node, Value
from pyflow.opdef import TensorType
from pyflow.passes.pipeline import Compiled, compile_region
from pyflow.plan import Kind
from pyflow.region import Region, Table, capture
from pyflow.runtime.feeds import coerce
from pyflow.runtime.fetches import Fetches
from pyflow.runtime.handles import ObjectRun
from pyflow.runtime.reference import Held, has_objects
from pyflow.runtime.state import State
from pyflow.runtime.target import BackendTarget


@dataclass
class Executable:
    """One entry of a session's plan cache."""

    fetches: Fetches
    feeds: list[Value]
    compiled: Compiled
    model: Any
    run: Any
    """The native callable: arrays in, a tuple of arrays out."""
    keys: tuple[Any, ...] = ()
    """What the cache key's identities stand for; kept alive with it."""
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    steps: list[Any] = field(default_factory=list)


def compile_fetches(
    graph: Graph,
    fetches: Fetches,
    feeds: Sequence[Value],
    target: BackendTarget,
    state: State,
    threads: Any,
    stop_after: str | None = None,
) -> Executable:
    """Compiles what ``fetches`` need of ``graph``, bound to ``state``."""
    region = capture(graph, fetches.targets, feeds)
    for name in region.variables:
        state.declare(name, graph.variables[name].type)
    for name, _ in region.commits:
        state.declare(name, graph.variables[name].type)
    held: list[Held] = []
    target.held = held
    compiled = compile_region(
        region,
        target,
        stop_after=stop_after,
        input_names=[_label(value) for value in feeds],
        output_names=[value.name for value in fetches.values],
    )
    plan = compiled.plan
    model = _core.Model(plan.to_bytes(), list(plan.constants))
    run: Any = _core.Callable(model, 0, state.native, threads, _coercer(feeds, held), located)
    if any(v.dtype.is_object for v in (*feeds, *fetches.values)) or any(map(has_objects, held)):
        run = ObjectRun(run, feeds, fetches.values)
    entry = plan.entries[0]
    return Executable(
        fetches,
        list(feeds),
        compiled,
        model,
        run,
        reads=frozenset(plan.buffers[index].name for index in entry.reads),
        writes=frozenset(plan.buffers[commit.variable].name for commit in entry.commits),
        steps=list(plan.bodies[entry.body]),
    )


def located(error: Exception) -> Exception | None:
    """``error`` with the line that asked for the run, if it is about no step; NumPy's lack of memory as ours."""
    text = str(error)
    if isinstance(error, MemoryError) and not isinstance(error, PyflowError):
        return ResourceExhaustedError(message("run", text, user_origin(), "use smaller sizes, see memory_plan()"))
    if not isinstance(error, PyflowError) or text.startswith("["):
        return None
    return type(error)(message("run", text, user_origin()))


def _label(value: Value) -> str:
    return value.node.name if len(value.node.outputs) == 1 else value.name


def _coercer(feeds: Sequence[Value], held: list[Held]) -> Callable[[int, Any], np.ndarray]:
    """Brings a feed to its dtype and layout; it also keeps ``held``, what the plan's steps stand for."""

    def function(index: int, given: Any, held: list[Held] = held) -> np.ndarray:
        return coerce(feeds[index], given)

    return function


def run_node(node: Node, arrays: Sequence[np.ndarray], target: BackendTarget) -> tuple[np.ndarray, ...] | None:
    """One node on constant operands, through a plan of its own; None if it holds more than arrays can tell."""
    table = Table()
    table.current = (Origin("", 0, node.op.name),)
    inputs = tuple(
        table.input(f"feed:{i}", TensorType(value.dtype, array.shape))
        for i, (value, array) in enumerate(zip(node.inputs, arrays, strict=True))
    )
    copy = table.make(node.op, inputs, node.attrs)
    region = Region(table, inputs, copy.outputs)
    plan = compile_region(region, target, stop_after="infer").plan
    if any(buffer.kind is Kind.VARIABLE for buffer in plan.buffers):
        return None
    call = _core.Callable(_core.Model(plan.to_bytes(), list(plan.constants)), 0, State().native, _core.Threads(1))
    results: tuple[np.ndarray, ...] = call(*(np.ascontiguousarray(array).reshape(array.shape) for array in arrays))
    return tuple(results)
