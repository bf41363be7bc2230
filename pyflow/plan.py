"""The plan: what passes make and what a session, libpyflow and an ahead-of-time build all execute.

Frozen data, no behaviour but ``moved`` to other buffers and :meth:`Plan.to_bytes`. Python decides, C++ executes: the
bytes hold structure; constants and variables cross as buffers, by reference. ``csrc/core/plan.cpp`` reads the bytes and
validates every index, size and expression. Little-endian; ``str`` is u32 length + UTF-8; ``list`` is u32 count + items;
a size is a u32 index into the plan's table of size expressions. No library is used because the reader must be
freestanding C++ that trusts nothing; docs/plan_format.md says what the format promises.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, TypeAlias

from pyflow import dims
from pyflow.dims import Dim, Size, Symbol
from pyflow.dtypes import DType
from pyflow.errors import InvalidArgumentError, message

MAGIC = b"PYFLPLAN"
VERSION = 3


Place: TypeAlias = Mapping[int, int] | Sequence[int]
"""New indices of buffers by old ones."""


class Kind(IntEnum):
    """Where a buffer's memory comes from."""

    INPUT = 0  # the caller's array, never written
    OUTPUT = 1  # the caller's array, written
    CONSTANT = 2  # crosses beside the plan, by reference, in the order of the plan's constants
    VARIABLE = 3  # the State's, by name
    PREPARED = 4  # computed by prepare steps, kept beside the State
    TEMPORARY = 5  # a slot of the context's arena


@dataclass(frozen=True, slots=True)
class Buffer:
    kind: Kind
    dtype: DType
    elements: Size
    """A late size in it means that a TEMPORARY buffer gets its memory while the plan runs, before the step that
    writes it; where late sizes have upper bounds, it is made of these instead."""
    name: str = ""
    slot: int = -1
    """For TEMPORARY: buffers of one slot share memory. -1: memory of its own, as before the memory pass."""
    backend: str = "cpu"
    """Whose memory."""


class View(NamedTuple):
    """A strided window on a buffer: dims, strides and offset count elements."""

    buffer: int
    dtype: DType
    dims: tuple[Size, ...]
    strides: tuple[Size, ...]
    offset: Size = 0

    def moved(self, place: Place) -> View:
        """The same window on the buffer that ``place`` gives for its own."""
        return View(place[self.buffer], self.dtype, self.dims, self.strides, self.offset)


@dataclass(frozen=True, slots=True)
class Instr:
    """One scalar function; ``op`` is a row of scalar_ops.def, ``const`` (imm: the bits of the value) or ``cast``."""

    op: str
    dtype: DType
    args: tuple[int, ...] = ()
    imm: int = 0


@dataclass(frozen=True, slots=True)
class Program:
    """Registers 0..len(inputs)-1 are the inputs; instruction i writes register len(inputs)+i."""

    inputs: tuple[DType, ...]
    instrs: tuple[Instr, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel call. ``if``, ``while`` and ``call`` are run by the executor: they name bodies of the plan.

    call:  bodies = (body,)
    if:    inputs[0] = condition (bool, 0-d); bodies = (then, else)
    while: inputs[0] = condition (bool, 0-d), computed by bodies[0] before each turn; bodies = (condition, turn)
    """

    kernel: str
    backend: str = "cpu"
    inputs: tuple[View, ...] = ()
    outputs: tuple[View, ...] = ()
    ints: tuple[Size, ...] = ()
    floats: tuple[float, ...] = ()
    programs: tuple[Program, ...] = ()
    bodies: tuple[int, ...] = ()
    defines: tuple[str, ...] = ()
    """Late symbols that this step gives their values."""
    fallible: bool = False
    text: str = ""
    origin: str = ""

    def moved(self, place: Place) -> Step:
        """The same step on the buffers that ``place`` gives for its own."""
        return Step(
            self.kernel,
            self.backend,
            tuple([view.moved(place) for view in self.inputs]),
            tuple([view.moved(place) for view in self.outputs]),
            self.ints,
            self.floats,
            self.programs,
            self.bodies,
            self.defines,
            self.fallible,
            self.text,
            self.origin,
        )


SHORT = 1024
"""A convolution sums so many products in registers: kDepth of gemm.h. Where there are more, sums go through the output,
and what its epilogue reads besides must lie elsewhere for that."""


def overwritable(step: Step) -> tuple[View, ...]:
    """The inputs over which the step may write an output, element by element."""
    if step.kernel == "elementwise":
        return step.inputs
    short = step.kernel == "conv2d_packed" and step.inputs[1].dims[-2] in range(SHORT + 1)
    if (short or step.kernel in ("matmul", "matmul_packed")) and step.programs:
        factors = {view.buffer for view in step.inputs[:2]}
        return tuple(view for view in step.inputs[2:] if view.buffer not in factors)
    return step.inputs[:1] if step.kernel == "put_row" else ()


@dataclass(frozen=True, slots=True)
class Port:
    """A named input or output of an entry."""

    name: str
    view: View


@dataclass(frozen=True, slots=True)
class Check:
    """Two sizes that must be equal at binding; the message says what they are."""

    left: Size
    right: Size
    message: str


@dataclass(frozen=True, slots=True)
class Solve:
    """input ``input``'s dim ``axis`` = scale * symbol + shift: how a fed size tells a symbol."""

    symbol: str
    input: int
    axis: int
    scale: int
    shift: int


@dataclass(frozen=True, slots=True)
class Commit:
    """After the last step, the variable takes the value of ``source`` (nothing to copy if that is its own buffer)."""

    variable: int
    source: View


@dataclass(frozen=True, slots=True)
class Prepare:
    """``body`` computes the PREPARED buffers ``results``; it runs when a variable of ``sources`` has been written
    since, once if there are none."""

    body: int
    sources: tuple[int, ...]
    results: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A named set of inputs and outputs over one State."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    """A view of an OUTPUT buffer, or of another buffer where a dim is late: the caller copies it out."""
    solves: tuple[Solve, ...]
    checks: tuple[Check, ...]
    commits: tuple[Commit, ...]
    reads: tuple[int, ...]
    """VARIABLE buffers that must hold a value before the run."""
    prepares: tuple[Prepare, ...]
    body: int
    last_cancellable: int
    """Steps of the body after this index are neither cancelled nor timed out: they write variables in place."""


@dataclass(frozen=True, slots=True)
class Plan:
    buffers: tuple[Buffer, ...]
    bodies: tuple[tuple[Step, ...], ...]
    entries: tuple[Entry, ...]
    slots: int = 0
    numerics: str = "default"
    constants: tuple[object, ...] = field(default=(), compare=False)
    """numpy arrays, one per CONSTANT buffer in order; not in the bytes."""

    def symbols(self) -> tuple[Symbol, ...]:
        """Every symbol in any size of the plan, in first-use order."""
        return tuple(_Writer(self).symbols)

    def to_bytes(self) -> bytes:
        """Magic, u32 version, u32 CRC-32 of what follows, then the sections in the order written here."""
        body = _Writer(self).bytes()
        return MAGIC + struct.pack("<II", VERSION, zlib.crc32(body)) + body


class SizeOp(IntEnum):
    """One row of the table of sizes: op, then two operands (i64 each)."""

    CONST = 0  # a = value
    SYMBOL = 1  # a = index of the symbol
    ADD = 2  # a, b = earlier rows, here and below
    MUL = 3
    FLOORDIV = 4
    MOD = 5
    MAX = 6
    MIN = 7
    BROADCAST = 8
    UNLESS_ONE = 9


def _counted(form: str, numbers: Sequence[float]) -> bytes:
    """How many numbers, and each as the letter of :mod:`struct` says."""
    return struct.pack(f"<I{len(numbers)}{form}", len(numbers), *numbers)


class _Writer:
    def __init__(self, plan: Plan) -> None:
        self.rows: list[tuple[int, int, int]] = []
        self.known: dict[object, int] = {}
        self.symbols: list[Symbol] = []
        self.symbol_index: dict[str, int] = {}
        self.written: dict[object, bytes] = {}
        """What was written of texts and of places of views: most come again."""
        self.out = bytearray()
        self.plan = plan
        self.late: dict[str, Symbol] | None = None
        self._plan(plan)

    def bytes(self) -> bytes:
        head = bytearray()
        tail, self.out = self.out, head
        bounds = [self._row_of(symbol.max) if symbol.max is not None else -1 for symbol in self.symbols]
        self._u32(len(self.symbols))
        for symbol, bound in zip(self.symbols, bounds, strict=True):
            self._str(symbol.name)
            head += struct.pack("<qi?", symbol.min, bound, symbol.late)
        self._u32(len(self.rows))
        for row in self.rows:
            if any(not -(2**63) <= entry < 2**63 for entry in row):
                raise InvalidArgumentError(
                    message("plan", f"a size has the factor {max(row[1:], key=abs)}, beyond 64 bits")
                )
            head += struct.pack("<Bqq", *row)
        return bytes(head + tail)

    def _plan(self, plan: Plan) -> None:
        self._u32(plan.slots)
        self._str(plan.numerics)
        self._list(plan.buffers, self._buffer)
        self._list(plan.bodies, lambda body: self._list(body, self._step))
        self._list(plan.entries, self._entry)

    def _buffer(self, buffer: Buffer) -> None:
        self.out += struct.pack("<BBI", buffer.kind, buffer.dtype.code, self._row_of(buffer.elements))
        self._str(buffer.name)
        self.out += struct.pack("<i", buffer.slot)
        self._str(buffer.backend)

    def _step(self, step: Step) -> None:
        self._str(step.kernel)
        self._str(step.backend)
        self._list(step.inputs, self._view)
        self._list(step.outputs, self._view)
        self.out += _counted("I", [self._row_of(size) for size in step.ints]) + _counted("d", step.floats)
        self._list(step.programs, self._program)
        self._numbers(step.bodies)
        self._list(step.defines, self._defined)
        self._pack("<?", step.fallible)
        self._str(step.text)
        self._str(step.origin)

    def _defined(self, name: str) -> None:
        if name not in self.symbol_index:
            self._symbol(self._late().get(name) or Symbol(name, -(2**63), late=True))
        self._u32(self.symbol_index[name])

    def _late(self) -> dict[str, Symbol]:
        """The late symbols in the sizes of steps and entries, by name: a step may define one before any names it."""
        if self.late is None:
            steps = [step for body in self.plan.bodies for step in body]
            views = [view for step in steps for view in (*step.inputs, *step.outputs)]
            sizes = [size for view in views for size in (*view.dims, *view.strides, view.offset)]
            sizes += [size for step in steps for size in step.ints]
            for entry in self.plan.entries:
                sizes += [size for port in entry.outputs for size in port.view.dims]
                sizes += [size for check in entry.checks for size in (check.left, check.right)]
            self.late = {symbol.name: symbol for size in sizes for symbol in dims.symbols_of(size) if symbol.late}
        return self.late

    def _program(self, program: Program) -> None:
        self._list(program.inputs, lambda dtype: self._pack("<B", dtype.code))
        self._list(program.instrs, self._instr)
        self._numbers(program.outputs)

    def _instr(self, instr: Instr) -> None:
        self._str(instr.op)
        count = len(instr.args)
        self._pack(f"<BI{count}IQ", instr.dtype.code, count, *instr.args, instr.imm)

    def _view(self, view: View) -> None:
        place = view[2:]
        written = self.written.get(place)
        if written is None:
            rows = [[self._row_of(size) for size in sizes] for sizes in (view.dims, view.strides)]
            written = b"".join([_counted("I", each) for each in rows]) + struct.pack("<I", self._row_of(view.offset))
            self.written[place] = written
        self.out += struct.pack("<IB", view.buffer, view.dtype.code) + written

    def _port(self, port: Port) -> None:
        self._str(port.name)
        self._view(port.view)

    def _entry(self, entry: Entry) -> None:
        self._str(entry.name)
        self._list(entry.inputs, self._port)
        self._list(entry.outputs, self._port)
        for solve in entry.solves:
            self._symbol(next(s for s in dims.symbols_of(entry.inputs[solve.input].view.dims[solve.axis])))
        self._list(
            entry.solves,
            lambda s: self._pack("<IIIqq", self.symbol_index[s.symbol], s.input, s.axis, s.scale, s.shift),
        )
        self._list(entry.checks, self._check)
        self._list(entry.commits, self._commit)
        self._numbers(entry.reads)
        self._list(entry.prepares, self._prepare)
        self._u32(entry.body)
        self._pack("<i", entry.last_cancellable)

    def _check(self, check: Check) -> None:
        self._size(check.left)
        self._size(check.right)
        self._str(check.message)

    def _commit(self, commit: Commit) -> None:
        self._u32(commit.variable)
        self._view(commit.source)

    def _prepare(self, prepare: Prepare) -> None:
        self._u32(prepare.body)
        self._numbers(prepare.sources)
        self._numbers(prepare.results)

    def _pack(self, form: str, *values: object) -> None:
        self.out += struct.pack(form, *values)

    def _u32(self, value: int) -> None:
        self.out += struct.pack("<I", value)

    def _str(self, text: str) -> None:
        written = self.written.get(text)
        if written is None:
            data = text.encode()
            written = self.written[text] = struct.pack("<I", len(data)) + data
        self.out += written

    def _list(self, items: Sequence, write: Callable[..., None]) -> None:
        self._u32(len(items))
        for item in items:
            write(item)

    def _numbers(self, numbers: Sequence[int]) -> None:
        self.out += _counted("I", numbers)

    def _size(self, size: Size) -> None:
        self._u32(self._row_of(size))

    def _row_of(self, size: Size) -> int:
        found = self.known.get(size)
        if found is None:
            found = self.known[size] = self._dim(size) if isinstance(size, Dim) else self._row(SizeOp.CONST, size, 0)
        return found

    def _row(self, op: SizeOp, a: int, b: int) -> int:
        key = (op, a, b)
        if key not in self.known:
            self.rows.append((int(op), a, b))
            self.known[key] = len(self.rows) - 1
        return self.known[key]

    def _dim(self, size: Dim) -> int:
        total = -1
        for atoms, factor in size.terms:
            part = self._row_of(factor) if factor != 1 or not atoms else -1
            for atom in atoms:
                if isinstance(atom, Symbol):
                    row = self._row(SizeOp.SYMBOL, self._symbol(atom), 0)
                else:
                    row = self._row(SizeOp[atom.function.upper()], *(self._row_of(arg) for arg in atom.args))
                part = row if part < 0 else self._row(SizeOp.MUL, part, row)
            total = part if total < 0 else self._row(SizeOp.ADD, total, part)
        return total

    def _symbol(self, symbol: Symbol) -> int:
        if symbol.name not in self.symbol_index:
            if isinstance(symbol.max, Dim):
                self._row_of(symbol.max)
            self.symbol_index[symbol.name] = len(self.symbols)
            self.symbols.append(symbol)
        return self.symbol_index[symbol.name]
