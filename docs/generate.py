"""Writes the pages that are tables of definitions: ops.md and knobs.md.   python docs/generate.py"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pyflow as pf
from pyflow import _core, knobs, ops
from pyflow.opdef import OPS, OpDef
from pyflow.ops.common import no_gradient

OPS_PAGE = """\
# The ops

Written by `docs/generate.py` from the definitions in `pyflow/ops/`. *T* stands for the dtypes that inputs share;
*computed by* is the row of `scalar_ops.def` (fused into loops), the kernel, *window* (strides only, no step), *join*
(parts are written in place) or the composition that stands where there is no kernel. *gradient*: whether one flows.

| op | ONNX | dtypes | computed by | gradient | |
|---|---|---|---|---|---|
{rows}

Ops that only passes make: {internal}.
"""

KNOBS_PAGE = """\
# The knobs

Environment variables, read at each use. Written by `docs/generate.py` from `pyflow/knobs.py`.

| variable | default | |
|---|---|---|
{rows}
"""

WORDS = {
    frozenset({"float32", "float64"}): "floats",
    frozenset({"int32", "int64"}): "integers",
    frozenset({"float32", "float64", "int32", "int64"}): "numeric",
    frozenset({"float32", "float64", "int32", "int64", "bool"}): "any",
}


def dtypes_of(op: OpDef) -> str:
    kinds = dict.fromkeys(entry.kind for entry in op.inputs)
    words = []
    for kind in kinds:
        names = frozenset(str(dtype) for dtype in op.kinds.get(kind, ()))
        words.append(WORDS.get(names) or ", ".join(sorted(names)) or ("any" if kind == "*" else kind))
    return "; ".join(dict.fromkeys(words))


def computed_by(op: OpDef, kernels: frozenset[str]) -> str:
    ways = []
    if op.scalar:
        ways.append(f"`{op.scalar}`")
    if op.view is not None:
        ways.append("window")
    if op.parts is not None:
        ways.append("join")
    if not op.scalar and (op.name in kernels or op.lower is not None):
        ways.append("kernel")
    if op.expand is not None:
        ways.append("composed")
    return ", ".join(ways) or ("state" if op.effect in ("read", "write", "update") else "host" if op.host else "")


def gradient_of(op: OpDef) -> str:
    return "" if (op.vjp or op.expand) is None or op.vjp is no_gradient else "yes"


def is_internal(op: OpDef) -> bool:
    return inspect.unwrap(op.infer).__module__.rpartition(".")[2] in ops.INTERNAL


def in_tree(op: OpDef) -> bool:
    """Not one that a user, or a test, defined."""
    return inspect.unwrap(op.infer).__module__.startswith("pyflow.")


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def ops_page() -> str:
    kernels = frozenset(_core.kernel_names())
    rows = []
    listed = sorted((op for op in OPS.values() if in_tree(op)), key=lambda op: op.name)
    for op in listed:
        if is_internal(op):
            continue
        function = getattr(pf, op.name, None)
        text = (inspect.getdoc(function) if function is not None else op.doc) or op.doc
        first = re.sub(r":func:`([^`]+)`", r"`\1`", text.strip().split("\n\n")[0].replace("\n", " ").replace("``", "`"))
        name = f"`{op.name}`"
        rows.append(
            f"| {name} | {op.onnx} | {dtypes_of(op)} | {computed_by(op, kernels)} | {gradient_of(op)} | {cell(first)} |"
        )
    internal = ", ".join(f"`{op.name}`" for op in listed if is_internal(op))
    return OPS_PAGE.format(rows="\n".join(rows), internal=internal)


def knobs_page() -> str:
    rows = [
        f"| `{knob.name}` | {f'`{knob.default}`' if knob.default != '' else ''} | {cell(knob.doc)} |"
        for knob in knobs.ALL
    ]
    return KNOBS_PAGE.format(rows="\n".join(rows))


def pages() -> dict[str, str]:
    """The text of each generated page, by file name."""
    return {"ops.md": ops_page(), "knobs.md": knobs_page()}


if __name__ == "__main__":
    for name, text in pages().items():
        (Path(__file__).parent / name).write_text(text)
