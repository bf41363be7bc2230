"""Runs plans with NumPy, and checks on the way what a plan promises. Memory is poisoned before it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pyflow import dims
from pyflow.plan import Kind, Plan, Program, Step, View, overwritable

SCALARS = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "neg": np.negative,
    "relu": lambda x: np.maximum(x, 0),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "less": np.less,
    "where": np.where,
    "floordiv": np.floor_divide,
}
REDUCTIONS = {"reduce_sum": np.sum, "reduce_max": np.max}


def run_program(program: Program, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    registers = list(inputs)
    for instr in program.instrs:
        if instr.op == "const":
            itemsize = instr.dtype.itemsize
            registers.append(np.frombuffer(instr.imm.to_bytes(8, "little")[:itemsize], instr.dtype.numpy)[0])
        elif instr.op == "cast":
            registers.append(np.asarray(registers[instr.args[0]]).astype(instr.dtype.numpy))
        else:
            registers.append(SCALARS[instr.op](*(registers[a] for a in instr.args)))
        assert np.asarray(registers[-1]).dtype == instr.dtype.numpy, instr
    return [registers[i] for i in program.outputs]


class Machine:
    """One plan of one entry over its variables' values."""

    def __init__(self, plan: Plan, variables: Mapping[str, np.ndarray]) -> None:
        self.plan = plan
        (self.entry,) = plan.entries
        self.variables = {name: array.copy() for name, array in variables.items()}

    def run(self, feeds: Sequence[np.ndarray]) -> list[np.ndarray]:
        plan, entry = self.plan, self.entry
        self.sizes: dict[str, int] = {}
        for solve in entry.solves:
            number = feeds[solve.input].shape[solve.axis]
            assert (number - solve.shift) % solve.scale == 0
            self.sizes[solve.symbol] = (number - solve.shift) // solve.scale
        for port, array in zip(entry.inputs, feeds, strict=True):
            assert tuple(self.size(d) for d in port.view.dims) == array.shape
        self.late = {s.name: s.max for s in plan.symbols() if s.late}
        for check in entry.checks:
            if not dims.late_in(check.left) and not dims.late_in(check.right):
                assert self.size(check.left) == self.size(check.right), check
        self.memory = self._memory(feeds)
        for prepare in entry.prepares:
            for name in prepare.sources:
                assert plan.buffers[name].kind is Kind.VARIABLE
            self.body(prepare.body, set(prepare.results), main=False)
        self.body(entry.body, set(), main=True)
        outputs = [self.array(port.view).copy() for port in entry.outputs]
        news = {}
        for commit in entry.commits:
            source = plan.buffers[commit.source.buffer]
            moved = source.kind is Kind.VARIABLE and commit.source.buffer != commit.variable
            assert source.kind is not Kind.OUTPUT
            in_place = [c.variable for c in entry.commits if c.source.buffer == c.variable]
            committed = [c.variable for c in entry.commits]
            assert not moved or commit.source.buffer in in_place or commit.source.buffer not in committed
            news[plan.buffers[commit.variable].name] = self.array(commit.source).copy()
        self.variables.update(news)
        return outputs

    def size(self, size: dims.Size) -> int:
        return dims.evaluate(size, self.sizes)

    def _memory(self, feeds: Sequence[np.ndarray]) -> dict[int, np.ndarray]:
        plan = self.plan
        bound = {**self.sizes, **{name: dims.evaluate(limit, self.sizes) for name, limit in self.late.items()}}
        used = {v.buffer for body in plan.bodies for step in body for v in (*step.inputs, *step.outputs)}
        used |= {v.view.buffer for v in (*self.entry.inputs, *self.entry.outputs)}
        used |= {b for c in self.entry.commits for b in (c.variable, c.source.buffer)}
        nbytes = {i: dims.evaluate(plan.buffers[i].elements, bound) * plan.buffers[i].dtype.itemsize for i in used}
        slots: dict[int, np.ndarray] = {}
        for slot in range(plan.slots):
            members = [n for i, n in nbytes.items() if plan.buffers[i].slot == slot]
            slots[slot] = np.full(max(members, default=0), 0xAB, np.uint8)
        constants = iter(plan.constants)
        given = {port.view.buffer: array for port, array in zip(self.entry.inputs, feeds, strict=True)}
        memory: dict[int, np.ndarray] = {}
        self.written: set[int] = set()
        for index, buffer in enumerate(plan.buffers):
            assert (buffer.slot >= 0) == (buffer.kind is Kind.TEMPORARY and index in used)
            source = None
            if buffer.kind is Kind.INPUT:
                source = given[index]
            elif buffer.kind is Kind.CONSTANT:
                source = next(constants)
            elif buffer.kind is Kind.VARIABLE:
                source = self.variables.get(buffer.name)
                assert source is not None or index not in self.entry.reads
            if source is not None:
                memory[index] = np.ascontiguousarray(source).copy().reshape(-1).view(np.uint8)
                self.written.add(index)
            elif buffer.slot >= 0:
                memory[index] = slots[buffer.slot][: nbytes[index]]
            elif index in used:
                memory[index] = np.full(nbytes[index], 0xCD, np.uint8)
        return memory

    def array(self, view: View) -> np.ndarray:
        shape = tuple(self.size(d) for d in view.dims)
        strides = tuple(self.size(s) for s in view.strides)
        offset = self.size(view.offset)
        flat = self.memory[view.buffer].view(view.dtype.numpy)
        if 0 not in shape:
            reach = [(n - 1) * s for n, s in zip(shape, strides, strict=True)]
            low, high = offset + sum(r for r in reach if r < 0), offset + sum(r for r in reach if r > 0)
            assert low >= 0, view
            assert high < flat.size, (view, flat.size)
        else:
            offset = 0
        item = view.dtype.itemsize
        return np.lib.stride_tricks.as_strided(flat[offset:], shape, tuple(s * item for s in strides))

    def body(self, index: int, results: set[int], main: bool) -> None:
        plan = self.plan
        writing = False
        for at, step in enumerate(plan.bodies[index]):
            for view in step.inputs:
                assert plan.buffers[view.buffer].kind is not Kind.OUTPUT, "steps do not read the caller's memory"
                assert view.buffer in self.written, f"{step.kernel} reads buffer {view.buffer} before it is written"
            for view in step.outputs:
                kind = plan.buffers[view.buffer].kind
                assert kind not in (Kind.INPUT, Kind.CONSTANT)
                assert kind is not Kind.PREPARED or view.buffer in results
                if kind is Kind.VARIABLE:
                    assert main
                    writing = True
            if writing:
                assert at > self.entry.last_cancellable
                assert not step.fallible
                assert step.backend != "host"
                assert step.kernel not in ("assert", "print")
            elif main:
                assert at <= self.entry.last_cancellable
            self.step(step)
            self.written.update(view.buffer for view in step.outputs)

    def step(self, step: Step) -> None:
        inputs = [self.array(view) for view in step.inputs]
        if step.defines:
            self.define(step, inputs)
            return
        outputs = [self.array(view) for view in step.outputs]
        for output in outputs:
            for view, source in zip(step.inputs, inputs, strict=True):
                if output.size and source.size and np.shares_memory(output, source):
                    assert view in overwritable(step)
                    assert output.ctypes.data == source.ctypes.data
                    assert (output.shape, output.strides, output.itemsize) == (
                        source.shape,
                        source.strides,
                        source.itemsize,
                    )
        for i, output in enumerate(outputs):
            for other in outputs[:i]:
                assert not output.size or not np.shares_memory(output, other)
        results = self.compute(step, inputs, outputs)
        for output, result, view in zip(outputs, results, step.outputs, strict=True):
            if step.kernel == "elementwise":
                assert all(a.shape == output.shape for a in inputs), step
            assert result.shape == output.shape or result.shape == (), (step, result.shape, output.shape)
            assert result.dtype == view.dtype.numpy
            output[...] = result

    def compute(self, step: Step, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> list[np.ndarray]:
        kernel = step.kernel
        if kernel == "elementwise":
            return [np.asarray(a) for a in run_program(step.programs[0], inputs)]
        if kernel == "copy":
            assert inputs[0].shape == outputs[0].shape
            return [inputs[0].copy()]
        if kernel == "assert":
            assert inputs[0].all()
            return []
        if kernel == "matmul":
            result = np.matmul(inputs[0], inputs[1])
            if step.programs:
                (result,) = run_program(step.programs[0], [result, *inputs[2:]])
            return [result]
        if kernel in REDUCTIONS:
            axes = tuple(
                i for i, (a, b) in enumerate(zip(inputs[0].shape, outputs[0].shape, strict=True)) if b == 1 != a
            )
            return [REDUCTIONS[kernel](inputs[0], axis=axes, keepdims=True)]
        raise AssertionError(f"the machine has no kernel {kernel}")

    def define(self, step: Step, inputs: list[np.ndarray]) -> None:
        assert step.kernel == "nonzero"
        found = np.stack(np.nonzero(inputs[0])).astype(np.int64)
        self.sizes[step.defines[0]] = found.shape[1]
        self.array(step.outputs[0])[...] = found
