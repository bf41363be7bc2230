"""What is emitted, gathered from a plan: buffers, variables and entries in the terms of the generated program."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pyflow import dims
from pyflow.aot.kernels import FAMILY_OF, all_narrow, row_of
from pyflow.aot.sizes import Names, Sizes
from pyflow.dims import Size, Symbol
from pyflow.errors import InvalidArgumentError, UnimplementedError, message
from pyflow.plan import Entry, Kind, Plan, Port, Step
from pyflow.plan import Program as Scalar

CONTROL = frozenset({"if", "while", "call"})
RESERVED = (
    "state",
    "status",
    "options",
    "weights",
    "state_bytes",
    "state_init",
    "state_reset",
    "state_get",
    "state_set",
)
"""What every generated header has, after the model's name."""


@dataclass(frozen=True)
class Variable:
    name: str
    dtype: object
    dims: tuple[int, ...]
    value: np.ndarray | None


@dataclass
class Argument:
    """An input or output of an entry, as its C function has it."""

    name: str
    port: Port
    origin: str
    direct: bool = True
    """Steps read or write the caller's memory."""
    late: bool = False


@dataclass
class Function:
    """An entry: its C function, the sizes that it is given and computes, its arguments."""

    name: str
    entry: Entry
    sizes: Sizes
    given: list[Symbol]
    inputs: list[Argument]
    outputs: list[Argument]


@dataclass
class Program:
    name: str
    plan: Plan
    functions: list[Function]
    variables: list[Variable]
    bounds: Mapping[str, Size]
    """Of late sizes that have none of their own."""
    steps: dict[tuple[int, int], int] = field(default_factory=dict)
    """The number of each kernel step, by body and place in it."""
    loops: dict[Scalar, int] = field(default_factory=dict)
    """The number of each loop: equal programs share one."""
    kernels: dict[tuple[str, str | None], int] = field(default_factory=dict)
    """By name and row."""
    narrow: bool = False
    """Of all steps (kernels.py)."""
    place: list[int] = field(default_factory=list)
    """By buffer: its number among those of its kind."""
    names: Names = field(default_factory=lambda: Names(prefixed=True))
    """Of functions."""
    labels: Names = field(default_factory=lambda: Names(prefixed=True))
    """Of types and tables."""

    def variable_of(self, buffer: int) -> int:
        return self.place[buffer]


def describe(
    plan: Plan,
    name: str,
    variables: Mapping[str, Variable],
    origins: Mapping[str, Mapping[str, str]],
    bounds: Mapping[str, Size],
) -> Program:
    """``origins``: by entry, then by port. Raises for what cannot be compiled, all of it listed."""
    _refuse(plan, bounds)
    place, counts = [], dict.fromkeys(Kind, 0)
    for buffer in plan.buffers:
        place.append(counts[buffer.kind])
        counts[buffer.kind] += 1
    held = [variables[buffer.name] for buffer in plan.buffers if buffer.kind is Kind.VARIABLE]
    program = Program(name, plan, [], held, bounds, place=place, narrow=all_narrow(all_steps(plan)))
    for body, steps in enumerate(plan.bodies):
        for index, step in enumerate(steps):
            if step.kernel not in CONTROL:
                program.steps[body, index] = len(program.steps)
                for scalar in step.programs:
                    program.loops.setdefault(scalar, len(program.loops))
                row = row_of(step, program.narrow)
                program.kernels.setdefault((step.kernel, row), len(program.kernels))
    for taken in RESERVED:
        program.names.give(taken)
    for entry in plan.entries:
        function = program.names.give(entry.name)
        program.names.give(f"{function}_arena_bytes")
        program.functions.append(_function(plan, name, entry, function, origins[entry.name], bounds))
    return program


def _function(
    plan: Plan, plan_name: str, entry: Entry, name: str, origins: Mapping[str, str], bounds: Mapping[str, Size]
) -> Function:
    names = Names(owner=plan_name)
    sizes = Sizes(Names(owner=plan_name), bounds)
    given: dict[str, Symbol] = {}
    for solve in entry.solves:
        size = entry.inputs[solve.input].view.dims[solve.axis]
        given.setdefault(solve.symbol, next(s for s in dims.symbols_of(size) if s.name == solve.symbol))
    for symbol in given.values():
        names.reserve(sizes.symbol(symbol))
    inputs = [Argument(names.give(port.name), port, origins.get(port.name, "")) for port in entry.inputs]
    seen: set[int] = set()
    outputs = []
    for port in entry.outputs:
        buffer = port.view.buffer
        direct = plan.buffers[buffer].kind is Kind.OUTPUT and buffer not in seen
        seen.add(buffer)
        late = any(dims.late_in(size) for size in port.view.dims)
        outputs.append(Argument(names.give(port.name), port, origins.get(port.name, ""), direct, late))
    return Function(name, entry, sizes, list(given.values()), inputs, outputs)


def reachable(plan: Plan, body: int) -> list[int]:
    """``body`` and every body that it reaches, each once, callees after callers."""
    result = [body]
    for each in result:
        for step in plan.bodies[each]:
            result += [callee for callee in dict.fromkeys(step.bodies) if callee not in result]
    return result


def late_buffers(plan: Plan, bounds: Mapping[str, Size]) -> set[int]:
    """Buffers whose size only a run tells and nothing bounds."""
    return {
        index
        for index, buffer in enumerate(plan.buffers)
        if any(symbol.late and bound_of(symbol, bounds) is None for symbol in dims.symbols_of(buffer.elements))
    }


def bound_of(symbol: Symbol, bounds: Mapping[str, Size]) -> Size | None:
    return bounds.get(symbol.name, symbol.max)


def most(size: Size, bounds: Mapping[str, Size]) -> Size:
    """``size`` where every late size is as large as it may be."""
    late = {s.name: bound_of(s, bounds) for s in dims.symbols_of(size) if s.late}
    return dims.substitute(size, {name: bound for name, bound in late.items() if bound is not None})


def elements_of(plan: Plan, buffer: int, bounds: Mapping[str, Size]) -> Size:
    """The most elements that a buffer holds."""
    return most(plan.buffers[buffer].elements, bounds)


def room_of(argument: Argument, bounds: Mapping[str, Size]) -> Size:
    """The most elements that an input or output has."""
    return dims.product(most(size, bounds) for size in argument.port.view.dims)


def all_steps(plan: Plan) -> Iterator[Step]:
    for body in plan.bodies:
        yield from body


def _refuse(plan: Plan, bounds: Mapping[str, Size]) -> None:
    lost = [step for step in all_steps(plan) if step.kernel not in FAMILY_OF and step.kernel not in CONTROL]
    _refuse_steps(lost, "no kernel in libpyflow_kernels.a", "compute these values outside and feed them")
    late = late_buffers(plan, bounds)
    growing = [step for step in all_steps(plan) if any(view.buffer in late for view in step.outputs)]
    names = sorted({s.name for b in late for s in dims.symbols_of(plan.buffers[b].elements) if s.late})
    hint = f"pass max_sizes={{{', '.join(f'{name!r}: ...' for name in names)}}}"
    _refuse_steps(growing, "results of a size that only the run tells and nothing bounds", hint)
    for entry in plan.entries:
        for port in (*entry.inputs, *entry.outputs):
            if port.view.dtype.is_object:
                what = f"{port.name!r} of entry {entry.name!r} is {port.view.dtype}, which C has no type for"
                raise UnimplementedError(message("aot", what))


def _refuse_steps(steps: Sequence[Step], what: str, hint: str) -> None:
    if not steps:
        return
    rows = "\n".join(f"    {step.kernel}   ({step.origin})" for step in steps)
    count = f"{len(steps)} steps have" if len(steps) > 1 else "1 step has"
    raise UnimplementedError(message("aot", f"{count} {what}:\n{rows}", None, hint))


def checked_name(name: str) -> str:
    """``name`` if names in C may begin with it."""
    if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
        what = f"expected a name of letters, digits and _ that begins with a letter, got {name!r}"
        raise InvalidArgumentError(message("aot", what))
    return name
