"""A compiled fetch: region → plan → native model, and the callable that runs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pyflow import _core
from pyflow.errors import Origin, PyflowError, ResourceExhaustedError, message, user_origin
from pyflow.graph import Graph, Node, Value
from pyflow.opdef import TensorType
from pyflow.passes.pipeline import Compiled, Record, compile_region
from pyflow.plan import Kind, Plan
from pyflow.region import Region, Table, capture
from pyflow.runtime import plan_key
from pyflow.runtime.feeds import coerce
from pyflow.runtime.fetches import Fetches
from pyflow.runtime.handles import ObjectRun
from pyflow.runtime.plan_folder import Entry, PlanFolder, log
from pyflow.runtime.reference import Held, has_objects
from pyflow.runtime.settle import model_of, settle
from pyflow.runtime.state import State
from pyflow.runtime.target import BackendTarget


@dataclass(frozen=True)
class About:
    """How a plan came to be."""

    plan: Plan
    """As the passes made it; its constants only where the run needs them all."""
    records: tuple[Record, ...]
    notes: tuple[str, ...]


@dataclass
class Executable:
    """One entry of a session's plan cache."""

    fetches: Fetches
    feeds: list[Value]
    run: Any
    """The native callable: arrays in, a tuple of arrays out."""
    reads: frozenset[str]
    """The variables that must have a value."""
    compile_again: Callable[[], Compiled]
    keys: tuple[Any, ...] = ()
    """What the cache key's identities stand for; kept alive with it."""
    kept_in: str = ""
    """The file that the plan came from; "" if it was compiled."""
    is_by_name: bool = False
    """Feeds and fetches are stand-ins: the graph they are of was not read."""
    _about: About | None = None

    @property
    def about(self) -> About:
        if self._about is None:
            self._about = _about(self.compile_again())
        return self._about

    @property
    def steps(self) -> list[Any]:
        plan = self.about.plan
        return list(plan.bodies[plan.entries[0].body])

    def whole_plan(self) -> Plan:
        """The plan as the passes made it, with its constants, for any ISA."""
        return self.compile_again().plan


def _about(compiled: Compiled) -> About:
    notes = tuple(dict.fromkeys(compiled.region.table.notes))
    return About(replace(compiled.plan, constants=()), compiled.records, notes)


@dataclass(frozen=True)
class Binding:
    """What the plans of a session are compiled for and bound to."""

    target: BackendTarget
    state: State
    threads: Any
    stop_after: str | None = None
    folder: PlanFolder | None = None
    """Where compiled plans are kept."""


def compile_fetches(graph: Graph, fetches: Fetches, feeds: Sequence[Value], binding: Binding) -> Executable:
    """What computes ``fetches`` of ``graph``: from the folder if it is there, else compiled."""
    held: list[Held] = []
    target = binding.target.holding(held)
    folder = binding.folder if binding.folder is not None and plan_key.may_keep(target) else None
    region = capture(graph, fetches.targets, feeds)
    for name in (*region.variables, *(name for name, _ in region.commits)):
        binding.state.declare(name, graph.variables[name].type)

    def compiled(region: Region | None = None) -> Compiled:
        return compile_region(
            region or capture(graph, fetches.targets, feeds),
            target,
            stop_after=binding.stop_after,
            input_names=[_label(value) for value in feeds],
            output_names=[value.name for value in fetches.values],
        )

    key = ""
    if folder is not None:
        content = named_content(graph, fetches, feeds) or plan_key.content_of(region)
        key = plan_key.key(target, binding.stop_after, content) if content is not None else ""
        entry = folder.get(key) if key else None
        found = restored(entry, fetches, feeds, binding, compiled) if entry is not None else None
        if found is not None:
            return found
    made = compiled(region)
    plan = settle(made.plan, binding.threads, located) or made.plan
    model = model_of(plan)
    run: Any = _core.Callable(model, 0, binding.state.native, binding.threads, _coercer(feeds, held), located)
    reads = [plan.buffers[index].name for index in plan.entries[0].reads]
    if folder is not None and key and not held and all(step.backend == "cpu" for body in plan.bodies for step in body):
        about = {
            "feeds": [[value.dtype.name, [s if isinstance(s, int) else str(s) for s in value.dims]] for value in feeds],
            "fetches": [value.dtype.name for value in fetches.values],
            "reads": reads,
            "variables": bool(region.variables or region.commits),
        }
        folder.put(key, about, plan.to_bytes(), [np.asarray(array) for array in plan.constants])
    for file in graph.files:
        file.release()
    if any(v.dtype.is_object for v in (*feeds, *fetches.values)) or any(map(has_objects, held)):
        run = ObjectRun(run, feeds, fetches.values)
    return Executable(fetches, list(feeds), run, frozenset(reads), compiled, _about=_about(made))


def restored(
    entry: Entry, fetches: Fetches, feeds: Sequence[Value], binding: Binding, compiled: Callable[[], Compiled]
) -> Executable | None:
    """What a file of the folder holds, bound; None if it is no plan that runs here."""
    try:
        model = _core.Model(entry.plan, list(entry.arrays))
    except PyflowError as error:
        log.warning("plan cache: %s cannot be used, the plan is compiled: %s", entry.path, error)
        return None
    run = _core.Callable(model, 0, binding.state.native, binding.threads, _coercer(feeds, []), located)
    return Executable(fetches, list(feeds), run, frozenset(entry.about["reads"]), compiled, kept_in=entry.path)


def named_content(graph: Graph, fetches: Fetches, feeds: Sequence[Value]) -> list[str] | None:
    """What tells a plan of a graph that is a model file from all others: the file's content, and names in it."""
    source = graph.source
    if source is None or fetches.nodes or fetches.variables or source.names is None:
        return None
    known = {id(value): name for name, value in reversed(source.names.items())}
    names = [[known.get(id(value)) for value in values] for values in (fetches.values, feeds)]
    if not all(name is not None and graph.aliases.get(name) is source.names[name] for row in names for name in row):
        return None
    return content_by_name(source.content, *names)


def content_by_name(content: str, fetches: Sequence[Any], feeds: Sequence[Any]) -> list[str]:
    return ["model", content, json.dumps([list(fetches), list(feeds)])]


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
    call = _core.Callable(model_of(plan), 0, State().native, _core.Threads(1))
    results: tuple[np.ndarray, ...] = call(*(np.ascontiguousarray(array).reshape(array.shape) for array in arrays))
    return tuple(results)
