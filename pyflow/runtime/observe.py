"""Looking at a run step by step: the timeline, and the search for the first NaN."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pyflow.dtypes import as_dtype
from pyflow.errors import FailedPreconditionError, message


class Seen(NamedTuple):
    """One step that has run. The arrays are windows on the run's memory: right only during the call."""

    step: int
    kernel: str
    origin: str
    inputs: Sequence[np.ndarray]
    outputs: Sequence[np.ndarray]
    begin: int
    """Nanoseconds of a monotonic clock, as ``end``."""
    end: int


@dataclass(frozen=True)
class TraceEvent:
    """One step: times in nanoseconds of a monotonic clock."""

    step: int
    kernel: str
    origin: str
    begin: int
    end: int
    shapes: tuple[str, ...]


@dataclass
class Trace:
    """What ``RunOptions(trace=True)`` records."""

    events: list[TraceEvent] = field(default_factory=list)

    def __call__(self, seen: Seen) -> None:
        shapes = tuple(f"{array.dtype}{list(array.shape)}" for array in (*seen.inputs, *seen.outputs))
        self.events.append(TraceEvent(seen.step, seen.kernel, seen.origin, seen.begin, seen.end, shapes))

    def to_json(self) -> str:
        """The Trace Event format, which Perfetto and chrome://tracing open."""
        start = min((event.begin for event in self.events), default=0)
        return json.dumps(
            {
                "traceEvents": [
                    {
                        "name": event.kernel,
                        "ph": "X",
                        "ts": (event.begin - start) / 1e3,
                        "dur": (event.end - event.begin) / 1e3,
                        "pid": 1,
                        "tid": 1,
                        "args": {"origin": event.origin, "operands": ", ".join(event.shapes), "step": event.step},
                    }
                    for event in self.events
                ],
                "displayTimeUnit": "ns",
            }
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes :meth:`to_json` to ``path``."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.to_json())


def print_time(seen: Seen) -> None:
    """A line per step on stderr: what PYFLOW_DEBUG=5 shows."""
    shapes = ", ".join(f"{array.dtype}{list(array.shape)}" for array in seen.outputs)
    print(
        f"{seen.step:4d} {(seen.end - seen.begin) / 1e3:10.1f} us  {seen.kernel:<20} {shapes}  {seen.origin}",
        file=sys.stderr,
    )


class NumericsCheck:
    """Stops a run at the first step whose floating outputs hold NaN or inf."""

    def __call__(self, seen: Seen) -> None:
        for array in seen.outputs:
            if not as_dtype(array.dtype).is_inexact or np.isfinite(array).all():
                continue
            nans, infs = int(np.isnan(array).sum()), int(np.isinf(array).sum())
            raise FailedPreconditionError(
                message(
                    seen.kernel,
                    f"the first step with a result that is not finite: {nans} NaN and {infs} inf of {array.size} in "
                    f"{array.dtype}{list(array.shape)}   ({seen.origin})",
                    None,
                    "its inputs were " + ("; ".join(statistics(entry) for entry in seen.inputs) or "none"),
                )
            )


def statistics(array: np.ndarray) -> str:
    """dtype, shape and range of an array in one line."""
    head = f"{array.dtype}{list(array.shape)}"
    dtype = as_dtype(array.dtype)
    if array.size == 0 or dtype.kind not in "iuf":
        return head
    array = array.astype(np.float64) if dtype.is_floating else array
    finite = array[np.isfinite(array)]
    if not finite.size:
        return f"{head} with no finite entry"
    return (
        f"{head} min {finite.min():.6g} max {finite.max():.6g} mean {finite.mean(dtype=np.float64):.6g} "
        f"not finite {array.size - finite.size}"
    )
