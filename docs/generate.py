"""Writes the pages that are tables of definitions: ops.md, knobs.md and dtypes.md.   python docs/generate.py"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pyflow as pf
from pyflow import _core, dtypes, knobs, ops
from pyflow.dtypes import DType
from pyflow.eager import COMPOSED
from pyflow.opdef import ANY, BOOL, COMPLEX, EVERY, FLOATS, INTEGERS, NUMERIC, OPS, STORED, OpDef
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

## Functions of ops

What is composed of the ops above when it is called, and other names of functions. Gradients flow as through the ops.

| function | where | |
|---|---|---|
{functions}
"""

KNOBS_PAGE = """\
# The knobs

Environment variables, read at each use. Written by `docs/generate.py` from `pyflow/knobs.py`.

| variable | default | |
|---|---|---|
{rows}
"""

DTYPES_PAGE = """\
# The dtypes

Written by `docs/generate.py` from `pyflow/dtypes.py`. Every dtype is a name of the package: `pf.float16`; `pf.bool` is
`pf.bool_`. *moves* means: fed, fetched, stored in variables and files, reshaped, sliced, gathered, joined, chosen.

| dtype | bits | in NumPy | ONNX | DLPack | what it can do |
|---|---|---|---|---|---|
{rows}

Sub-byte elements take a byte each in memory. Names of ml_dtypes are NumPy dtypes of that package.

## Narrow dtypes

Where no kernel computes in a dtype directly, the place pass puts a cast before and after: float16 and bfloat16 are
computed in float32, int8, int16, uint8 and uint16 in int32, uint32 in int64. [numerics.md](numerics.md) says what that
means for the result.

## Casts

`pf.cast` goes from every dtype to every other.

| from | to | |
|---|---|---|
| any real | floating | rounded once, to the nearest, ties to even; too large is infinity, or what stands for it |
| floating | float8, `saturate=True` | as ONNX Cast: too large, infinity too, is the largest finite number |
| floating | integer | towards 0; what does not fit is the nearest integer that does; NaN is 0 |
| integer | integer | the low bits: numbers wrap |
| any | bool | is it not 0; NaN is not |
| complex | real | the real part |

A dtype without infinities has NaN for what is too large (all float8 but float8_e5m2), or its largest number (float4).
float8_e8m0fnu has NaN for 0 and negative numbers too, and rounds halves up, as in ml_dtypes.

## Promotion

Operands of different dtypes meet in NumPy's `promote_types`; ml_dtypes says what becomes of its own. Where it does not,
a small integer counts as int8 or uint8, a small float as float32. Python numbers take the dtype of the other operand
unless their kind is higher: `int8 + 1` is int8, `int8 + 1.5` float64, `float16 + 1.5` float16.

| |{names}|
|---|{line}|
{matrix}

## Complex numbers

A complex number is its real part, then its imaginary part: `pf.real`, `pf.imag` and `pf.view_as_real` are views.
Arithmetic is composed of real ops on the parts; division is Smith's. Gradients follow PyTorch: the gradient of a real
loss L by z = x + iy is ∂L/∂x + i ∂L/∂y, so that a step against it lowers L, and an analytic function f passes
g · conj(f'(z)) on.
"""

SETS = {
    "floats": FLOATS,
    "integers": INTEGERS,
    "numeric": NUMERIC,
    "any": ANY,
    "complex": COMPLEX,
    "stored": STORED,
    "every": EVERY,
}
"""The longest match first is how a set of dtypes is named."""


def words_of(dtypes: frozenset[DType]) -> str:
    """A set of dtypes in as few words as there are."""
    left, words = dtypes, []
    for word, known in sorted(SETS.items(), key=lambda entry: -len(entry[1])):
        if left and known <= left:
            words.append(word)
            left -= known
    return ", ".join([*words, *sorted(map(str, left))])


def dtypes_of(op: OpDef) -> str:
    kinds = dict.fromkeys(entry.kind for entry in op.inputs)
    words = []
    for kind in kinds:
        words.append(words_of(op.kinds.get(kind, frozenset())) or ("each its own" if kind == "*" else kind))
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
    return inspect.unwrap(op.infer).__module__.removeprefix("pyflow.ops.") in ops.INTERNAL


def in_tree(op: OpDef) -> bool:
    """Not one that a user, or a test, defined."""
    return inspect.unwrap(op.infer).__module__.startswith("pyflow.")


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def first_paragraph(text: str) -> str:
    line = text.strip().split("\n\n")[0].replace("\n", " ").replace("``", "`")
    return re.sub(r":func:`(?:pyflow\.)?([^`]+)`", r"`\1`", line)


def function_rows() -> list[str]:
    """The public functions that are no op: alphabetical, those of namespaces by their whole name."""
    listed = {name: getattr(pf, name) for name in (*ops.NAMES, *COMPOSED) if name not in OPS}
    for namespace in (pf.fft, pf.linalg, pf.strings):
        short = namespace.__name__.rpartition(".")[2]
        listed.update({f"{short}.{name}": getattr(namespace, name) for name in namespace.__all__})
    rows = []
    for name, function in sorted(listed.items()):
        plain = inspect.unwrap(function)
        own = name.rpartition(".")[2] == plain.__name__
        text = first_paragraph(inspect.getdoc(function) or "") if own else f"`{plain.__name__}` under another name."
        where = (inspect.getmodule(plain) or pf).__name__.removeprefix("pyflow.").removeprefix("ops.")
        rows.append(f"| `{name}` | {'' if where in ('opdef', 'composite') else where} | {cell(text)} |")
    return rows


def ops_page() -> str:
    kernels = frozenset(_core.kernel_names())
    rows = []
    listed = sorted((op for op in OPS.values() if in_tree(op)), key=lambda op: op.name)
    for op in listed:
        if is_internal(op):
            continue
        function = getattr(pf, op.name, None)
        text = (inspect.getdoc(function) if function is not None else op.doc) or op.doc
        first = first_paragraph(text)
        name = f"`{op.name}`"
        rows.append(
            f"| {name} | {op.onnx} | {dtypes_of(op)} | {computed_by(op, kernels)} | {gradient_of(op)} | {cell(first)} |"
        )
    internal = ", ".join(f"`{op.name}`" for op in listed if is_internal(op))
    return OPS_PAGE.format(rows="\n".join(rows), internal=internal, functions="\n".join(function_rows()))


def knobs_page() -> str:
    rows = [
        f"| `{knob.name}` | {f'`{knob.default}`' if knob.default != '' else ''} | {cell(knob.doc)} |"
        for knob in knobs.ALL
    ]
    return KNOBS_PAGE.format(rows="\n".join(rows))


def abilities(dtype: DType) -> str:
    if dtype.is_object:
        return "moves" + (", compared, text ops" if dtype is dtypes.string else "")
    if dtype in STORED:
        return "moves, cast, quantised"
    if dtype in COMPLEX:
        return "moves, cast, element-wise ops, sums, means, products, matmul, gradients"
    if dtype in BOOL:
        return "moves, cast, logic, comparisons, extremes"
    wide = dtypes.compute_dtype(dtype)
    how = "" if wide is dtype else f", computed in {wide}"
    return ("all ops of floats" if dtype in FLOATS else "all ops of integers") + how


def dtypes_page() -> str:
    rows = [
        f"| `{dtype}` | {dtype.bits} | `{dtype.numpy.name}` | {dtype.onnx} | {dtype.dlpack} | {abilities(dtype)} |"
        for dtype in dtypes.ALL
    ]
    shown = sorted(ANY | COMPLEX, key=lambda dtype: dtype.code)
    matrix = [
        f"| `{left}` | " + " | ".join(str(dtypes.promote(left, right)) for right in shown) + " |" for left in shown
    ]
    names = " | ".join(f"`{dtype}`" for dtype in shown)
    line = "|".join("---" for _ in shown)
    return DTYPES_PAGE.format(rows="\n".join(rows), names=f" {names} ", line=line, matrix="\n".join(matrix))


def pages() -> dict[str, str]:
    """The text of each generated page, by file name."""
    return {"ops.md": ops_page(), "knobs.md": knobs_page(), "dtypes.md": dtypes_page()}


if __name__ == "__main__":
    for name, text in pages().items():
        (Path(__file__).parent / name).write_text(text)
