"""Every environment variable that pyflow reads: name, type, default, what it does. Read at each use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Generic, TypeVar

from pyflow.errors import InvalidArgumentError, message

T = TypeVar("T", int, str)


@dataclass(frozen=True)
class Knob(Generic[T]):
    name: str
    default: T
    doc: str

    def get(self) -> T:
        """The value now; InvalidArgumentError if the text is not of the knob's type."""
        text = os.environ.get(self.name)
        if text is None or text == "":
            return self.default
        try:
            return type(self.default)(text)
        except ValueError:
            kind = type(self.default).__name__
            raise InvalidArgumentError(message(self.name, f"expected {kind}, got {text!r}", None, self.doc)) from None


DEBUG = Knob("PYFLOW_DEBUG", 0, "1 passes and times, 2 changed graphs, 3 plan and memory, 4 kernels, 5 time per step")
DUMP = Knob("PYFLOW_DUMP", "", "a folder: the graph after every pass, and the plan, are written there")
STOP_AFTER = Knob("PYFLOW_STOP_AFTER", "", "the name of a pass: the passes after it that may be left out are")
MAX_REWRITES = Knob(
    "PYFLOW_MAX_REWRITES", -1, "stop rewriting after this many rewrites (-1: no limit); bisects miscompiles"
)
CHECK = Knob("PYFLOW_CHECK", 0, "1: check the graph after every pass, as PYFLOW_DEBUG does")
ISA = Knob("PYFLOW_ISA", "", "portable, avx2 or avx512: the kernels to use instead of the best this CPU has")
THREADS = Knob("PYFLOW_THREADS", 0, "threads of a session that does not say (0: affinity mask and cgroup quota)")
CACHE_DIR = Knob("PYFLOW_CACHE_DIR", "", "a folder in which compiled plans are kept and looked up (not set: off)")

ALL: tuple[Knob, ...] = (DEBUG, DUMP, STOP_AFTER, MAX_REWRITES, CHECK, ISA, THREADS, CACHE_DIR)
