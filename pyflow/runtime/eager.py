"""What eager calls run on: the process's default State, one gang of threads, and plans compiled for them."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import _core
from pyflow.graph import Graph, Node, Value, get_default_graph
from pyflow.knobs import THREADS
from pyflow.ops.state import GENERATOR
from pyflow.plan import overwritable
from pyflow.runtime import fetches as fetching
from pyflow.runtime.executable import Binding, Executable, compile_fetches
from pyflow.runtime.state import State
from pyflow.runtime.target import BackendTarget

native = _core.eager
"""What eager calls are made of in C++: see csrc/python/eager.h."""


class Engine:
    """Compiles small graphs and keeps what they share. Safe to use from many threads."""

    def __init__(self) -> None:
        self.state = State()
        self.lock = threading.RLock()
        """Held while graphs are traced and compiled."""
        self._target = BackendTarget("cpu", "strict")
        self._threads: Any = None

    def compile(self, graph: Graph, outputs: Sequence[Value | Node], feeds: Sequence[Value]) -> Executable:
        """Its ``run`` takes the arrays of ``feeds`` and gives a tuple of those of the distinct values among
        ``outputs``."""
        with self.lock:
            if self._threads is None:
                self._threads = _core.Threads(THREADS.get())
            wanted = fetching.resolve(graph, tuple(outputs))
            made = compile_fetches(graph, wanted, feeds, Binding(self._target, self.state, self._threads))
            if GENERATOR in made.reads and not self.state.has(GENERATOR):
                self.seed(get_default_graph().seed)
            return made

    def seed(self, seed: int | None) -> None:
        """Starts the generator anew; None: from the operating system."""
        key = int.from_bytes(os.urandom(8), "little") if seed is None else seed
        self.state.set(GENERATOR, np.array([np.int64(np.uint64(key & (2**64 - 1))), 0], np.int64))


def written_over(made: Executable) -> dict[int, int]:
    """By output of a plan: an input of its dtype and size over whose memory it may be written, because what writes it
    reads that input last, element by element, and nothing fails from there on."""
    entry = made.about.plan.entries[0]
    steps = made.steps
    found: dict[int, int] = {}
    for place, output in enumerate(entry.outputs):
        writers = [i for i, step in enumerate(steps) if any(v.buffer == output.view.buffer for v in step.outputs)]
        if len(writers) != 1 or any(step.bodies or step.fallible for step in steps[writers[0] :]):
            continue
        step = steps[writers[0]]
        later = {view.buffer for other in steps[writers[0] + 1 :] for view in (*other.inputs, *other.outputs)}
        for index, port in enumerate(entry.inputs):
            view = port.view
            mine = [each for each in overwritable(step) if each.buffer == view.buffer]
            read = [each for each in step.inputs if each.buffer == view.buffer]
            kept = {each.view.buffer for other, each in enumerate(entry.outputs) if other != place}
            if not mine or len(mine) != len(read) or {view.buffer, output.view.buffer} & (later | kept):
                continue
            target = next(each for each in step.outputs if each.buffer == output.view.buffer)
            alike = all(each == target._replace(buffer=view.buffer) for each in mine)
            if alike and output.view._replace(buffer=view.buffer) == view and index not in found.values():
                found[place] = index
                break
    return found
