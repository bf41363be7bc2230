"""The first half of schedule: every value of a region gets a view, every node that computes a draft of a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pyflow import dims, views
from pyflow.dims import Dim, Size
from pyflow.errors import UnimplementedError, message
from pyflow.graph import Node, Value
from pyflow.objects import constant_handles
from pyflow.opdef import Constant, Lowering, TensorType
from pyflow.ops.internal.fused import check_message, lead
from pyflow.plan import Buffer, Check, Kind, Step, View
from pyflow.region import Region
from pyflow.stored import StoredConstant
from pyflow.target import Target

TAKE = "take"
"""The second step of a node that runs in Python and defines sizes without a bound: it takes what the first computed."""

UNKNOWN = 64
"""The guess for a size of which nothing is known, where a choice needs a number."""


@dataclass(eq=False)
class Draft:
    """A step on its way into the plan."""

    step: Step
    node: Node | None
    sources: frozenset[str] | None
    """The variables that it depends on, if it depends on nothing else that may differ from run to run."""
    effect: bool = False
    reads: tuple[int, ...] = ()
    writes: tuple[int, ...] = ()
    late: frozenset[str] = frozenset()
    """The late symbols that its bodies mention and do not define."""
    defines: tuple[str, ...] = ()
    """Those that its step or its bodies define."""
    needs: tuple[Draft, ...] = ()
    """Checks that come before it."""

    @property
    def barrier(self) -> bool:
        """May it fail, or be seen outside? Then it comes before the first write of a variable."""
        return self.effect or self.step.fallible or bool(self.defines)


@dataclass(frozen=True)
class Part:
    """A body of control flow in the plan, and what its steps touch."""

    body: int
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    late: frozenset[str]
    fallible: bool
    effect: bool


class Lowered:
    """Buffers, views and drafts of a region. What is computed has a TEMPORARY buffer, or a window on one."""

    def __init__(self, region: Region, target: Target, lower_flow: Callable[[Lowered, Node], None]) -> None:
        self.buffers: list[Buffer] = []
        self.constants: list[Any] = []
        self.checks = dict.fromkeys(Check(*each) for each in region.checks)
        self.variables: dict[str, int] = {}
        self.names: dict[int, int] = {}
        """What TEMPORARY buffers became: other ones, OUTPUT or VARIABLE ones."""
        self.bodies: list[tuple[Step, ...]] = []
        """Steps of control flow's bodies, before renaming; those that a body's steps name come before it."""
        self.inner_nodes: list[Node] = []
        """The nodes of all bodies."""
        self._sources: dict[int, frozenset[str] | None] = {}
        self._extents: dict[tuple[Size, ...], tuple[Size, tuple[Size, ...]]] = {}
        self._hints: dict[Size, int] = {}
        self._held: dict[Any, int] = {}
        self._start(region, target, lower_flow)
        self._inputs()
        self._run()

    def inside(self, body: Region, given: Sequence[View]) -> Lowered:
        """A body of control flow that is lowered into the same plan; ``given`` are the views of its inputs."""
        inner = object.__new__(Lowered)
        inner.__dict__.update(self.__dict__)
        inner._start(body, self.target, self.lower_flow)
        inner.view.update(zip(body.inputs, given, strict=True))
        inner.is_inside = True
        self.inner_nodes += inner.nodes
        inner._run()
        return inner

    def _start(self, region: Region, target: Target, lower_flow: Callable[[Lowered, Node], None]) -> None:
        self.region = region
        self.target = target
        self.lower_flow = lower_flow
        self.is_inside = False
        self.drafts: list[Draft] = []
        self._needs: list[Draft] = []
        self.view: dict[Value, View] = {}
        self.writers: dict[int, list[Draft]] = {}
        self.written = {name for name, _ in region.commits}
        self.nodes = region.nodes()
        self._windows: dict[Value, tuple[Node, int]] = {}
        self._find_windows()

    def _run(self) -> None:
        for node in self.nodes:
            self._lower(node)

    def add_buffer(self, kind: Kind, type: TensorType, name: str = "", backend: str = "cpu") -> int:
        elements = self._extent(type.dims)[0]
        elements = dims.upper(elements) if isinstance(elements, Dim) else elements
        memory = "cpu" if backend == "cpu" or self.target.shares_memory(backend) else backend
        self.buffers.append(Buffer(kind, type.dtype.memory, elements, name, backend=memory))
        return len(self.buffers) - 1

    def _extent(self, shape: tuple[Size, ...]) -> tuple[Size, tuple[Size, ...]]:
        """Number of elements and row-major strides."""
        if shape not in self._extents:
            self._extents[shape] = (dims.product(shape), views.contiguous_strides(shape))
        return self._extents[shape]

    def contiguous(self, buffer: int, type: TensorType) -> View:
        """All of a buffer, as a value of ``type``."""
        return View(buffer, type.dtype.memory, type.dims, self._extent(type.dims)[1])

    def variable(self, name: str, type: TensorType) -> int:
        """The buffer of a variable."""
        if name not in self.variables:
            self.variables[name] = self.add_buffer(Kind.VARIABLE, type, name)
        return self.variables[name]

    def bytes_of(self, buffer: int) -> int:
        """At the hints."""
        size = self.buffers[buffer].elements
        if size not in self._hints:
            self._hints[size] = dims.hint_of(size, UNKNOWN) or 0
        return self._hints[size] * self.buffers[buffer].dtype.itemsize

    def is_whole(self, view: View) -> bool:
        """Is the view all of its buffer, in row-major order, of a size that the feeds tell?"""
        elements = self.buffers[view.buffer].elements
        whole = view.offset == 0 and dims.product(view.dims) == elements and views.is_contiguous(view)
        return whole and not dims.late_in(elements)

    def is_late(self, draft: Draft) -> bool:
        """Does the step wait for late sizes, so that it may fail for want of memory or for sizes that do not fit?"""
        return bool(self.late_names(draft))

    def late_names(self, draft: Draft) -> frozenset[str]:
        """The late symbols in the step's sizes and in those of the buffers that it writes."""
        step = draft.step
        sizes: list[Size] = [*step.ints, *(self.buffers[buffer].elements for buffer in draft.writes)]
        for view in (*step.inputs, *step.outputs):
            sizes += [*view.dims, *view.strides, view.offset]
        return draft.late.union(name for size in sizes for name in dims.late_names(size))

    def copy(self, source: View, target: View, origin: str, node: Node | None = None) -> Draft:
        """A draft that copies within a memory; it is added."""
        step = self.copy_step(source, target, origin)
        known = not any(isinstance(size, Dim) for size in target.dims)
        return self._add(step, node, self._sources.get(source.buffer) if known else None)

    def copy_step(self, source: View, target: View, origin: str) -> Step:
        """A step that copies within a memory."""
        return Step("copy", self._owner(source), (source,), (target,), origin=origin)

    def temporary_copy(self, source: View, origin: str) -> View:
        """A contiguous copy in a buffer of its own, in the same memory."""
        type = TensorType(source.dtype, source.dims)
        target = self.contiguous(self.add_buffer(Kind.TEMPORARY, type, backend=self._owner(source)), type)
        self.copy(source, target, origin)
        return target

    def _owner(self, view: View) -> str:
        """The backend that copies within the memory that ``view`` is in."""
        memory = self.buffers[view.buffer].backend
        return self.target.device if memory == "cpu" and self.target.shares_memory(self.target.device) else memory

    def sources_of(self, buffer: int) -> frozenset[str] | None:
        """The variables that a buffer depends on; None if on something that may differ from run to run."""
        return self._sources.get(buffer)

    def origin(self, node: Node) -> str:
        return " + ".join(dict.fromkeys(str(origin) for origin in self.region.table.origins.get(node, ())))

    def _inputs(self) -> None:
        names = {value: name for name, value in self.region.variables.items()}
        needed = set(self.nodes)
        for value in self.region.inputs:
            name = names.get(value)
            if name is None:
                self._leaf(value, self.add_buffer(Kind.INPUT, value.type), None)
            elif value.node in needed:
                self._leaf(value, self.variable(name, value.type), None if name in self.written else frozenset({name}))

    def _leaf(self, value: Value, buffer: int, sources: frozenset[str] | None) -> None:
        self.view[value] = self.contiguous(buffer, value.type)
        self._sources[buffer] = sources

    def _find_windows(self) -> None:
        """Which values are written straight into the result that they become a part of."""
        uses: dict[Value, int] = {}
        given = set(self.region.inputs)
        for value in self.region.roots():
            uses[value] = uses.get(value, 0) + 1
        for node in self.nodes:
            for value in node.inputs:
                uses[value] = uses.get(value, 0) + 1
        for node in self.nodes:
            if node.op.parts is None or _is_late(node.types):
                continue
            for index, value in enumerate(node.inputs):
                maker = value.node.op
                computed = maker.view is None and maker.flow is None and value not in given
                computed = computed and not maker.host and maker.name != "transfer"
                if uses[value] == 1 and computed and len(value.node.outputs) == 1 and maker.name != "constant":
                    self._windows[value] = (node, index)

    def _backend(self, node: Node) -> str:
        asked = lead(node) if node.op.name == "fused" else node
        backend = self.target.place(asked)
        if backend is None:
            why = self.target.reasons.get(asked.op.name, "")
            origin = self.region.table.origins.get(node, ())
            raise UnimplementedError(
                message(node.op.name, f"{self.target.device} does not run it: {why}", origin[0] if origin else None)
            )
        return backend

    def _destination(self, value: Value, backend: str) -> View:
        """Where the step that computes ``value`` writes."""
        window = self._windows.get(value)
        if window is not None:
            node, index = window
            whole = node.outputs[0]
            if whole not in self.view:
                self.view[whole] = self._destination(whole, backend)
            assert node.op.parts is not None
            part = node.op.parts(node, self.view[whole])[index]
            if self.buffers[part.buffer].backend == ("cpu" if self.target.shares_memory(backend) else backend):
                return part
            del self._windows[value]
        return self.contiguous(self.add_buffer(Kind.TEMPORARY, value.type, backend=backend), value.type)

    def _lower(self, node: Node) -> None:
        if node.outputs and node.outputs[0] in self.view and node.op.parts is None:
            return
        if node.op.checks is not None:
            for left, right, what in node.op.checks(node):
                check = Check(left, right, check_message(self.region, node, what))
                if self.is_inside and (dims.late_in(left) or dims.late_in(right)):
                    self._check_here(check)
                else:
                    self.checks[check] = None
        if node.op.name == "constant":
            value = node.outputs[0]
            key = node.attrs["value"]
            if key in self._held:
                self._leaf(value, self._held[key], frozenset())
                return
            self.constants.append(_native(key, value))
            self._held[key] = self.add_buffer(Kind.CONSTANT, value.type)
            self._leaf(value, self._held[key], frozenset())
            return
        if node.op.flow is not None:
            self.lower_flow(self, node)
            return
        inputs = tuple(self.view[value] for value in node.inputs)
        if node.op.view is not None:
            windows = node.op.view(node, inputs)
            if windows is not None:
                self.view.update(zip(node.outputs, windows, strict=True))
                return
        if node.op.parts is not None:
            self._lower_parts(node, inputs)
            return
        if node.op.name == "transfer" and not views.is_contiguous(inputs[0]):
            inputs = (self.temporary_copy(inputs[0], self.origin(node)),)
        # What would be a window if its operand lay in order is a copy within the operand's memory.
        backend = self._backend(node) if node.op.view is None else self._owner(inputs[0])
        outputs = []
        for value in node.outputs:
            self.view[value] = self._destination(value, backend)
            outputs.append(self.view[value])
        lowering = self.target.lowering(node, inputs, tuple(outputs), backend)
        step = Step(
            lowering.kernel,
            backend,
            lowering.inputs,
            lowering.outputs,
            lowering.ints,
            lowering.floats,
            lowering.programs,
            defines=lowering.defines,
            fallible=node.op.is_fallible(node),
            text=lowering.text,
            origin=self.origin(node),
        )
        own = {name for view in outputs for size in view.dims for name in dims.late_names(dims.upper(size))}
        if own.isdisjoint(step.defines):
            self._add(step, node, self._sources_of(node, lowering), bool(node.op.effect))
            return
        self._add(replace(step, outputs=()), node, None, bool(node.op.effect))
        take = Step(TAKE, backend, (), step.outputs, fallible=True, text=step.text, origin=step.origin)
        self._add(take, node, None)

    def _lower_parts(self, node: Node, inputs: Sequence[View]) -> None:
        value = node.outputs[0]
        if value not in self.view:
            self.view[value] = self._destination(value, self._owner(inputs[0]))
        assert node.op.parts is not None
        for source, part, window in zip(node.inputs, node.op.parts(node, self.view[value]), inputs, strict=True):
            if source not in self._windows:
                self.copy(window, part, self.origin(node), node)

    def _check_here(self, check: Check) -> None:
        """In a body, sizes that may change from turn to turn are compared each time, before the step they are for."""
        step = Step("check_sizes", ints=(check.left, check.right), fallible=True, text=check.message)
        self._needs.append(Draft(step, None, None))
        self.drafts.append(self._needs[-1])

    def _taken_needs(self) -> tuple[Draft, ...]:
        needs, self._needs = tuple(self._needs), []
        return needs

    def add_flow(self, step: Step, node: Node, parts: Sequence[Part], state: Sequence[View] = ()) -> None:
        """A step that runs bodies; ``state`` is what it takes from turn to turn."""
        reads = dict.fromkeys(view.buffer for view in (*step.inputs, *state))
        writes: dict[int, None] = {}
        for part in parts:
            reads.update(dict.fromkeys(part.reads))
            writes.update(dict.fromkeys(part.writes))
        late = frozenset[str]().union(*(part.late for part in parts)).difference(node.defines)
        effect = any(part.effect for part in parts)
        draft = Draft(step, node, None, effect, tuple(reads), tuple(writes), late, node.defines)
        self.drafts.append(draft)
        for buffer in writes:
            self._sources[buffer] = None
            self.writers.setdefault(buffer, []).append(draft)

    def _add(self, step: Step, node: Node | None, sources: frozenset[str] | None, effect: bool = False) -> Draft:
        reads = tuple(dict.fromkeys(view.buffer for view in step.inputs))
        writes = tuple(dict.fromkeys(view.buffer for view in step.outputs))
        draft = Draft(step, node, sources, effect, reads, writes, defines=step.defines, needs=self._taken_needs())
        self.drafts.append(draft)
        for buffer in writes:
            others = self.writers.setdefault(buffer, [])
            known = self._sources.get(buffer, frozenset())
            self._sources[buffer] = None if known is None or sources is None else known | sources
            others.append(draft)
        return draft

    def _sources_of(self, node: Node, lowering: Lowering) -> frozenset[str] | None:
        """None too for what is better computed anew: results much larger than what they are computed from."""
        if self.is_inside or node.op.effect or node.op.host or _has_symbols(node):
            return None
        union: frozenset[str] = frozenset()
        for view in lowering.inputs:
            more = self._sources[view.buffer]
            if more is None:
                return None
            union |= more
        made = sum(self.bytes_of(view.buffer) for view in lowering.outputs)
        given = sum(self.bytes_of(buffer) for buffer in {view.buffer for view in lowering.inputs})
        return union if made <= max(65536, 4 * given) else None


def _is_late(types: Iterable[TensorType]) -> bool:
    return any(dims.late_in(size) for type in types for size in type.dims)


def _has_symbols(node: Node) -> bool:
    def found(entry: Any) -> bool:
        return isinstance(entry, Dim) or (isinstance(entry, tuple) and any(map(found, entry)))

    return any(found(type.dims) for type in node.types) or any(map(found, node.attrs.values()))


def settled(buffer: int, names: dict[int, int]) -> int:
    """What ``buffer`` became in the end."""
    while buffer in names:
        buffer = names[buffer]
    return buffer


def _native(held: Constant, value: Value) -> Any:
    """What crosses beside the plan for a constant: a row-major array, or what numpy makes one of when it is needed."""
    if isinstance(held, StoredConstant):
        return held
    array = constant_handles(held.array) if value.dtype.is_object else held.array
    return array if array.flags.c_contiguous else np.array(array, order="C")
