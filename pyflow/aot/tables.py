"""The constant tables of a generated program: steps, kernels, variables, buffers."""

from __future__ import annotations

import math
from collections.abc import Iterable

from pyflow.aot import loops
from pyflow.aot.kernels import FAMILY_OF, ISAS, row_of
from pyflow.aot.program import Program, all_steps
from pyflow.aot.sizes import number
from pyflow.dtypes import DType
from pyflow.plan import Buffer, Instr, Kind, Step
from pyflow.plan import Program as Scalar
from pyflow.runtime.backends import built_isas


def quoted(text: str) -> str:
    """A C string."""
    plain = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "?": "\\?"}
    parts = [plain.get(c, c if " " <= c <= "~" else "".join(f"\\{b:03o}" for b in c.encode())) for c in text]
    return f'"{"".join(parts)}"'


def array(kind: str, name: str, rows: Iterable[str]) -> list[str]:
    """``constexpr kind name[] = {...};`` in lines of bounded length; nothing if there is no row."""
    rows = list(rows)
    if not rows:
        return []
    one = f"constexpr {kind} {name}[] = {{{', '.join(rows)}}};"
    if len(one) <= 120:
        return [one]
    lines, line = [f"constexpr {kind} {name}[] = {{"], "   "
    for row in rows:
        if len(line) + len(row) + 2 > 118 and line.strip():
            lines.append(line)
            line = "   "
        line += f" {row},"
    return [*lines, line, "};"]


def _or_null(name: str, rows: object) -> str:
    return name if rows else "nullptr"


def _dtype(dtype: DType) -> str:
    return f"PF_DTYPE_{dtype.name}"


def _float(value: float) -> str:
    if math.isnan(value):
        return '__builtin_nan("")' if math.copysign(1, value) > 0 else '-__builtin_nan("")'
    if math.isinf(value):
        return "__builtin_inf()" if value > 0 else "-__builtin_inf()"
    return repr(value) if float(repr(value)) == value else value.hex()


def comment(step: Step) -> str:
    """What a step is and where it comes from, on one line."""
    origin = f"   {step.origin}" if step.origin else ""
    return f"// {step.kernel}{origin}".replace("\n", " ").replace("\\", "/")


def _instr(instr: Instr) -> str:
    args = ", ".join(map(str, instr.args)) or "0"
    return f"{{{quoted(instr.op)}, {_dtype(instr.dtype)}, {len(instr.args)}, {{{args}}}, {instr.imm:#x}}}"


def scalar_tables(program: Program, looped: bool) -> list[str]:
    """Every distinct program of the steps."""
    epilogues = {scalar for step in all_steps(program.plan) if step.kernel != "elementwise" for scalar in step.programs}
    lines: list[str] = []
    for scalar, index in program.loops.items():
        instrs = [_instr(instr) for instr in scalar.instrs]
        dtypes = [*scalar.inputs, *(instr.dtype for instr in scalar.instrs)]
        if not looped or scalar in epilogues:
            lines += array("pf_instr", f"kInstrs{index}", instrs)
        if looped:
            read = f"kInstrs{index}" if instrs and scalar in epilogues else "nullptr"
            lines.append(loops.table(program, scalar, read))
        lines += array("int32_t", f"kResults{index}", map(str, scalar.outputs))
        lines += array("int32_t", f"kDtypes{index}", map(_dtype, dtypes))
    return [*lines, ""] if lines else []


def _scalar_program(program: Program, scalar: Scalar, looped: bool) -> str:
    index, count = program.loops[scalar], len(scalar.instrs)
    instrs = f"&kLoops{index}.head" if looped else _or_null(f"kInstrs{index}", count)
    counts = f"{len(scalar.inputs)}, {count}, {len(scalar.outputs)}"
    return f"{{{counts}, {instrs}, kResults{index}, kDtypes{index}}}"


def step_table(program: Program, step: Step, index: int, looped: bool) -> list[str]:
    """What is known of a step before sizes are."""
    name = str(index)
    operands = [f"{{{_dtype(v.dtype)}, {len(v.dims)}}}" for v in (*step.inputs, *step.outputs)]
    lines = [comment(step)]
    lines += array("pf_operand", f"kOperands{name}", operands)
    lines += array("int32_t", f"kBuffers{name}", (str(v.buffer) for v in (*step.inputs, *step.outputs)))
    ints = [number(size) if isinstance(size, int) else "PF_UNKNOWN" for size in step.ints]
    lines += array("int64_t", f"kInts{name}", ints)
    lines += array("double", f"kFloats{name}", map(_float, step.floats))
    programs = (_scalar_program(program, scalar, looped) for scalar in step.programs)
    lines += array("pf_program", f"kPrograms{name}", programs)
    ops = _or_null(f"kOperands{name}", operands)
    fields = [
        quoted(step.kernel),
        quoted(step.text),
        quoted(step.origin),
        str(len(step.inputs)),
        str(len(step.outputs)),
        str(len(ints)),
        str(len(step.floats)),
        str(len(step.programs)),
        str(len(step.defines)),
        ops,
        f"{ops} + {len(step.inputs)}" if operands else "nullptr",
        _or_null(f"kInts{name}", ints),
        _or_null(f"kFloats{name}", step.floats),
        _or_null(f"kPrograms{name}", step.programs),
    ]
    kernel = program.kernels[step.kernel, row_of(step, program.narrow)]
    lines.append(f"constexpr Step kStep{name} = {{")
    lines.append(f"    {{{', '.join(fields)}}},")
    lines.append(f"    {kernel}, {index}, {_or_null(f'kBuffers{name}', operands)}}};")
    return lines


def kernel_accessors(program: Program) -> list[str]:
    """Declarations of the rows and families that the program uses."""
    rows = sorted(row for _, row in program.kernels if row is not None)
    families = sorted({FAMILY_OF[kernel] for kernel, row in program.kernels if row is None})
    lines = []
    for isa in built_isas():
        lines.append(f"namespace {isa} {{")
        lines += [f"extern const pf_kernel {row};" for row in rows]
        lines += [f"const pf_kernel* {family}_kernels(int32_t* count);" for family in families]
        lines.append(f"}}  // namespace {isa}")
    return lines


def kernel_table(program: Program) -> list[str]:
    rows = []
    built = built_isas()
    for kernel, row in program.kernels:
        names = [f"pf::{isa}::{FAMILY_OF[kernel]}_kernels" if row is None else f"&pf::{isa}::{row}" for isa in ISAS]
        places = ", ".join(name if isa in built else "nullptr" for isa, name in zip(ISAS, names, strict=True))
        rows.append(
            f"{{{quoted(kernel)}, {{}}, {{{places}}}}}" if row is None else f"{{{quoted(kernel)}, {{{places}}}, {{}}}}"
        )
    return array("Kernel", "kKernels", rows)


def variable_tables(program: Program, offsets: dict[str, int]) -> list[str]:
    lines, rows = [], []
    for index, variable in enumerate(program.variables):
        sizes = [str(size) for size in variable.dims]
        lines += array("int64_t", f"kVariableDims{index}", sizes)
        at = offsets.get(f"variable/{variable.name}", -1)
        count = math.prod(variable.dims) * variable.dtype.itemsize  # type: ignore[attr-defined]
        dtype = _dtype(variable.dtype)  # type: ignore[arg-type]
        where = _or_null(f"kVariableDims{index}", sizes)
        rows.append(f"{{{quoted(variable.name)}, {dtype}, {len(sizes)}, {where}, {count}, {at}}}")
    return lines + array("Variable", "kVariables", rows)


def buffer_table(program: Program, offsets: dict[str, int]) -> list[str]:
    def row(index: int, buffer: Buffer) -> str:
        at = program.place[index]
        size = int(buffer.elements) * buffer.dtype.itemsize if isinstance(buffer.elements, int) else 0
        if buffer.kind is Kind.CONSTANT:
            return f"{{Place::Constant, {offsets[f'constant/{at}']}, {size}}}"
        if buffer.kind is Kind.VARIABLE:
            return f"{{Place::Variable, {at}, {size}}}"
        if buffer.kind is Kind.PREPARED:
            return f"{{Place::Prepared, {at}, {size}}}"
        return "{Place::Run, 0, 0}"

    return array("Buffer", "kBuffers", (row(i, buffer) for i, buffer in enumerate(program.plan.buffers)))


def prepared_table(program: Program) -> list[str]:
    sizes = [b for b in program.plan.buffers if b.kind is Kind.PREPARED]
    return array("int64_t", "kPrepared", (str(int(b.elements) * b.dtype.itemsize) for b in sizes))  # type: ignore[arg-type]
