"""A compiled plan in one file, with its constants and the values of its variables: what libpyflow loads."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pyflow import container
from pyflow.entries import join
from pyflow.errors import UnimplementedError, message, user_origin
from pyflow.graph import Graph, Value
from pyflow.plan import Kind, Plan, Port
from pyflow.runtime.executable import Executable
from pyflow.runtime.state import State

KIND = "plan"
WITHOUT_PYTHON = frozenset({"cpu"})
"""The backends that libpyflow has."""


def joined(graph: Graph, executables: Mapping[str, Executable]) -> Plan:
    """One plan with an entry of each name. Inputs and outputs bear the names by which the graph knows them.

    Raises UnimplementedError listing every step that needs Python.
    """
    names = {value: name for name, value in graph.aliases.items()}
    plan = join([_entry(name, executable, names) for name, executable in executables.items()])
    lost = [step for body in plan.bodies for step in body if step.backend not in WITHOUT_PYTHON]
    if lost:
        rows = "\n".join(f"    {step.kernel} on {step.backend}   ({step.origin})" for step in lost)
        count = f"{len(lost)} steps run" if len(lost) > 1 else "1 step runs"
        what = f"{count} in Python or on a backend that is not saved:\n{rows}"
        raise UnimplementedError(message("plan", what, user_origin(), "compute these values outside and feed them"))
    return plan


def _entry(name: str, executable: Executable, names: Mapping[Value, str]) -> Plan:
    plan = executable.whole_plan()

    def renamed(ports: Sequence[Port], values: Sequence[Value]) -> tuple[Port, ...]:
        return tuple(replace(port, name=_name(value, names)) for port, value in zip(ports, values, strict=True))

    (entry,) = plan.entries
    inputs = renamed(entry.inputs, executable.feeds)
    outputs = renamed(entry.outputs, executable.fetches.values)
    return replace(plan, entries=(replace(entry, name=name, inputs=inputs, outputs=outputs),))


def _name(value: Value, names: Mapping[Value, str]) -> str:
    """The graph's own name for a value, else its op's."""
    return names.get(value) or (value.node.name if len(value.node.outputs) == 1 else value.name)


def save_plan(plan: Plan, graph: Graph, state: State, path: str | os.PathLike[str]) -> None:
    """Writes ``plan`` to ``path``, atomically, with its constants and what its variables hold."""
    arrays = {"plan": np.frombuffer(plan.to_bytes(), np.uint8)}
    for index, array in enumerate(plan.constants):
        arrays[f"constant/{index}"] = np.asarray(array)
    texts = {}
    for name in names_of(plan):
        texts[f"variable/{name}"] = str(graph.variables[name].type)
        if state.has(name):
            arrays[f"variable/{name}"] = state.get(name)
    container.write(path, KIND, arrays, texts)
    for file in graph.files:
        file.release()


def names_of(plan: Plan) -> Sequence[str]:
    """Its variables."""
    return [buffer.name for buffer in plan.buffers if buffer.kind is Kind.VARIABLE]
