"""Tables that tell what a plan does and what memory it takes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pyflow.plan import Plan, Step, View
from pyflow.runtime.reference import HOST, IN_PYTHON

if TYPE_CHECKING:
    from pyflow.runtime.executable import Executable


@dataclass(frozen=True)
class ExplainRow:
    """One step of the plan."""

    phase: str
    """``run``, or ``prepare`` for what is computed once and kept."""
    kernel: str
    backend: str
    result: str
    origin: str
    note: str
    depth: int = 0
    """In how many bodies of control flow it stands."""


@dataclass(frozen=True)
class Explanation:
    """What a run does, step by step; ``print`` it."""

    rows: tuple[ExplainRow, ...]
    passes: tuple[str, ...]
    commits: tuple[str, ...]
    notes: tuple[str, ...]
    """What was not done, and why."""

    def __str__(self) -> str:
        table = Table(
            "",
            "kernel",
            "on",
            "result",
            "from",
            "why",
            title=f"{sum(bool(row.backend) for row in self.rows)} steps",
            title_justify="left",
        )
        index = 0
        for row in self.rows:
            mark = "prepare" if row.phase != "run" else "" if row.depth else str(index)
            index += not row.depth
            kernel = "  " * row.depth + row.kernel
            table.add_row(mark, *map(escape, (kernel, row.backend, row.result, row.origin, row.note)))
        lines = [render(table)]
        if self.commits:
            lines.append(textwrap.fill("writes: " + "; ".join(self.commits), 120, subsequent_indent="    "))
        lines += [textwrap.fill(note, 120, subsequent_indent="    ") for note in self.notes]
        lines.append(textwrap.fill("passes: " + ", ".join(self.passes), 120, subsequent_indent="    "))
        return "\n".join(lines)


def render(table: Table, width: int = 120) -> str:
    """The table as text of at most ``width`` columns."""
    text = StringIO()
    Console(file=text, width=width, color_system=None).print(table)
    return text.getvalue().rstrip()


def _shown(view: View) -> str:
    return f"{view.dtype}[{','.join(map(str, view.dims))}]"


BODIES = {"if": ("then:", "else:"), "while": ("as long as:", "do:")}
"""What the bodies of a step are, for who reads."""


def _note(step: Step) -> str:
    if step.backend in IN_PYTHON:
        return "runs in Python" if step.backend == HOST else ""
    if not step.programs:
        return step.text
    names = [instr.op for instr in step.programs[0].instrs if instr.op != "const"]
    joined = " ".join(names)
    kind = "fused" if step.kernel == "elementwise" else "epilogue"
    return f"{kind}: {joined}" if names else ""


def _rows(plan: Plan, body: int, phase: str, depth: int = 0) -> list[ExplainRow]:
    rows = []
    for step in plan.bodies[body]:
        result = ", ".join(map(_shown, step.outputs)) or "-"
        rows.append(ExplainRow(phase, step.kernel, step.backend, result, step.origin, _note(step), depth))
        for word, inner in zip(BODIES.get(step.kernel, ()), step.bodies, strict=False):
            rows.append(ExplainRow(phase, word, "", "", "", "" if plan.bodies[inner] else "nothing to do", depth + 1))
            rows += _rows(plan, inner, phase, depth + 2)
    return rows


def explain_plan(executable: Executable) -> Explanation:
    """The plan of ``executable`` as rows."""
    plan = executable.about.plan
    entry = plan.entries[0]
    rows = [row for prepare in entry.prepares for row in _rows(plan, prepare.body, "prepare")]
    rows += _rows(plan, entry.body, "run")
    commits = tuple(
        f"{plan.buffers[c.variable].name} ({'in place' if c.source.buffer == c.variable else 'at the end'})"
        for c in entry.commits
    )
    passes = tuple(str(record) for record in executable.about.records)
    notes = executable.about.notes
    if executable.kept_in:
        notes = (*notes, f"the plan was not compiled: it was found in {executable.kept_in}")
    return Explanation(tuple(rows), passes, commits, notes)


@dataclass(frozen=True)
class MemoryPlan:
    """Memory of a run at given sizes, in bytes."""

    peak: int
    """The arena: temporaries and scratch."""
    scratch: int
    buffers: tuple[Mapping[str, Any], ...]
    late: tuple[str, ...] = ()
    """The steps, with their lines, whose results' sizes only the run tells: they take memory beside the arena then."""

    @classmethod
    def of(cls, native: Mapping[str, Any], plan: Plan) -> MemoryPlan:
        rows: Sequence[Mapping[str, Any]] = native["buffers"]
        late = {row["buffer"] for row in rows if row["late"]}
        steps = [
            f"{step.kernel} ({step.origin})" if step.origin else step.kernel
            for body in plan.bodies
            for step in body
            if any(view.buffer in late for view in step.outputs)
        ]
        return cls(int(native["peak"]), int(native["scratch"]), tuple(rows), tuple(steps))

    def __str__(self) -> str:
        table = Table(
            "buffer",
            "kind",
            "bytes",
            "slot",
            "offset",
            title=f"arena: {self.peak:,} bytes, of them scratch {self.scratch:,}",
            title_justify="left",
        )
        for row in self.buffers:
            table.add_row(
                escape(str(row["name"])), str(row["kind"]), f"{row['bytes']:,}", str(row["slot"]), str(row["offset"])
            )
        return render(table)
