"""What eager calls run on: the process's default State, one gang of threads, and plans compiled for them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pyflow import _core
from pyflow.graph import Graph, Node, Value, get_default_graph
from pyflow.knobs import THREADS
from pyflow.ops.state import GENERATOR
from pyflow.runtime import fetches as fetching
from pyflow.runtime.executable import compile_fetches
from pyflow.runtime.state import State
from pyflow.runtime.target import BackendTarget


class Engine:
    """Compiles small graphs and keeps what they share. Safe to use from many threads."""

    def __init__(self) -> None:
        self.state = State()
        self.lock = threading.RLock()
        """Held while graphs are traced and compiled."""
        self._target = BackendTarget("cpu", "strict")
        self._threads: Any = None

    def compile(self, graph: Graph, outputs: Sequence[Value | Node], feeds: Sequence[Value]) -> Callable[..., Any]:
        """A function from the arrays of ``feeds`` to a tuple of those of the distinct values among ``outputs``."""
        with self.lock:
            if self._threads is None:
                self._threads = _core.Threads(THREADS.get())
            wanted = fetching.resolve(graph, tuple(outputs))
            made = compile_fetches(graph, wanted, feeds, self._target, self.state, self._threads)
            if GENERATOR in made.reads and not self.state.has(GENERATOR):
                self.seed(get_default_graph().seed)
            return made.run  # type: ignore[no-any-return]

    def seed(self, seed: int | None) -> None:
        """Starts the generator anew; None: from the operating system."""
        key = int.from_bytes(os.urandom(8), "little") if seed is None else seed
        self.state.set(GENERATOR, np.array([np.int64(np.uint64(key & (2**64 - 1))), 0], np.int64))
