"""The pipeline: every pass, in order, and the runner that times, checks, dumps and names them in errors."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyflow import dims, knobs
from pyflow.check import check, write_graph
from pyflow.errors import InternalError, InvalidArgumentError, PyflowError, message
from pyflow.passes.attend import attend
from pyflow.passes.expand import expand
from pyflow.passes.flow import flow
from pyflow.passes.fold import fold
from pyflow.passes.fuse import fuse
from pyflow.passes.infer import infer
from pyflow.passes.layout import layout
from pyflow.passes.memory import memory
from pyflow.passes.merge import merge
from pyflow.passes.pack import pack
from pyflow.passes.place import place
from pyflow.passes.pool import pool
from pyflow.passes.recognise import recognise
from pyflow.passes.schedule import schedule
from pyflow.passes.simplify import simplify
from pyflow.passes.unify import unify
from pyflow.plan import Plan
from pyflow.printer import dump, dump_plan
from pyflow.region import Region
from pyflow.rewrite import with_bodies
from pyflow.target import Target


@dataclass(frozen=True)
class Pass:
    """One row: region to region, but for schedule (region to plan) and memory (plan to plan)."""

    name: str
    function: Callable[..., Any]
    reason: str
    required: bool = False
    """Runs even after the pass at which the pipeline is told to stop."""
    inside: bool = True
    """Runs on the bodies of control flow too."""


PIPELINE: tuple[Pass, ...] = (
    Pass("unify", unify, "equal sizes are one symbol, before all that compares types", inside=False),
    Pass("infer", infer, "types and symbolic values: all later passes may trust types"),
    Pass("simplify", simplify, "algebra from OpDef facts, before fold: x*1 needs no arithmetic"),
    Pass("fold", fold, "constant subgraphs, before place: folded weights need no device"),
    Pass("flow", flow, "bodies of what is needed, after fold: branches are settled; before recognise: inside of them"),
    Pass("recognise", recognise, "primitive subgraphs to composites, before place decides which composites expand"),
    Pass("attend", attend, "softmax between products to attention, after recognise: softmax and scales are settled"),
    Pass("place", place, "a backend per node, before layout: formats are the backend's", required=True),
    Pass("merge", merge, "projections to one product, after place: attention is one node; before pack takes weights"),
    Pass("pack", pack, "weights that last, before layout: they are packed as they lie, in any format"),
    Pass("layout", layout, "channels last, before fuse: transposes that cancel must not split a group"),
    Pass("simplify_again", simplify, "expand and layout leave identities behind"),
    Pass("expand", expand, "blocks of mobile networks as one, before fuse: what follows the last joins the call"),
    Pass("pool", pool, "maxima where a convolution makes them, before fuse: bias and activation join the call"),
    Pass("fuse", fuse, "groups to fused nodes, last of the graph passes: it sees what will run", required=True),
    Pass("schedule", schedule, "graph to plan: low peak memory among legal orders", required=True),
    Pass("memory", memory, "lifetimes to slots: in place where the last reader is the writer", required=True),
)


@dataclass(frozen=True)
class Record:
    """What one pass did."""

    name: str
    seconds: float
    nodes: int
    """After it; for a plan, its steps."""
    changed: bool
    rewrites: dict[str, int]
    """How often each rule fired."""
    skipped: bool = False

    def __str__(self) -> str:
        fired = ", ".join(f"{rule} x{count}" for rule, count in self.rewrites.items())
        note = "skipped" if self.skipped else (fired or "changed") if self.changed else "unchanged"
        return f"{self.name} {self.seconds * 1e3:.2f} ms ({note})"


@dataclass(frozen=True)
class Compiled:
    plan: Plan
    records: tuple[Record, ...]
    region: Region
    """What was scheduled."""
    stages: tuple[tuple[str, Region], ...] = ()
    """The region after each pass, if they were asked for; the first is the captured one."""


_numbers = itertools.count(1)


def compile_region(
    region: Region,
    target: Target,
    *,
    stop_after: str | None = None,
    keep_stages: bool = False,
    **options: Any,
) -> Compiled:
    """Runs the pipeline. ``options`` go to schedule (the names of inputs and outputs).

    ``stop_after`` (default: the knob PYFLOW_STOP_AFTER): passes after it that may be left out are. Errors that a pass
    means for the user pass through; anything else becomes an InternalError that names the pass and the file to which
    the graph was written.
    """
    last = knobs.STOP_AFTER.get() if stop_after is None else stop_after
    names = [row.name for row in PIPELINE]
    if last and last not in names:
        raise InvalidArgumentError(
            message("pipeline", f"there is no pass {last!r}", None, f"passes: {', '.join(names)}")
        )
    end = names.index(last) if last else len(names)
    watch = _Watch()
    records: list[Record] = []
    stages: list[tuple[str, Region]] = [("capture", region)] if keep_stages else []
    if watch.checked:
        check(region, "capture")
    plan: Plan | None = None
    for index, row in enumerate(PIPELINE):
        if index > end and not row.required:
            records.append(Record(row.name, 0.0, 0, False, {}, skipped=True))
            continue
        before = dict(region.table.rewrites)
        started = time.perf_counter()
        made: Region | Plan
        try:
            if row.function is schedule:
                made = schedule(region, target, **options)
            elif plan is not None:
                made = row.function(plan)
            else:
                made = _everywhere(row.function, region, target) if row.inside else row.function(region, target)
        except Exception as error:
            raise _explained(error, row.name, region) from error
        seconds = time.perf_counter() - started
        fired = {rule: n - before.get(rule, 0) for rule, n in region.table.rewrites.items() if n > before.get(rule, 0)}
        if isinstance(made, Plan):
            size = sum(map(len, made.bodies))
            records.append(Record(row.name, seconds, size, made is not plan, fired))
            plan = made
        else:
            if watch.checked and made is not region:
                check(made, row.name)
            records.append(
                Record(row.name, seconds, len(made.nodes()) if watch.debug else 0, made is not region, fired)
            )
            region = made
            if keep_stages:
                stages.append((row.name, region))
        watch.see(index, records[-1], made)
    assert plan is not None
    return Compiled(plan, tuple(records), region, tuple(stages))


def _everywhere(function: Callable[[Region, Target], Region], region: Region, target: Target) -> Region:
    """What a pass makes of a region, and of the bodies in what it made."""
    return with_bodies(function(region, target), lambda body: _everywhere(function, body, target))


class _Watch:
    """The debug ladder and the dump folder, as the knobs say when the compile starts."""

    def __init__(self) -> None:
        self.debug = knobs.DEBUG.get()
        self.checked = self.debug >= 1 or knobs.CHECK.get() >= 1
        self.folder = knobs.DUMP.get()
        self.number = next(_numbers)
        if self.folder:
            os.makedirs(self.folder, exist_ok=True)

    def see(self, index: int, record: Record, made: Region | Plan) -> None:
        is_plan = isinstance(made, Plan)
        if self.debug >= 1:
            unit = "steps" if is_plan else "nodes"
            rules = ", ".join(f"{rule} x{count}" for rule, count in record.rewrites.items())
            note = rules if record.changed else "(unchanged)"
            print(f"{record.name:<15}{record.seconds * 1e3:8.2f} ms {record.nodes:5d} {unit}  {note}", file=sys.stderr)
        show = record.changed and self.debug >= (3 if is_plan else 2)
        if show or self.folder:
            text = dump_plan(made) if isinstance(made, Plan) else dump(made)
            if show:
                print(text, file=sys.stderr)
            if self.folder:
                path = os.path.join(self.folder, f"{self.number:03d}_{index:02d}_{record.name}.txt")
                with open(path, "w") as file:
                    file.write(text)


def _explained(error: Exception, name: str, region: Region) -> Exception:
    if isinstance(error, PyflowError) and not isinstance(error, InternalError):
        return error
    if isinstance(error, dims.TooLarge):
        return InvalidArgumentError(message(f"pass {name}", str(error)))
    path = write_graph(region, name, knobs.DUMP.get())
    what = str(error) if isinstance(error, InternalError) else f"{type(error).__name__}: {error}"
    return InternalError(
        message(
            f"pass {name}", what, None, f"this is a bug in pyflow: please report it with the graph, which is in {path}"
        )
    )
