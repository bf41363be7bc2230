"""What passes ask of the real backends: what they run, what a constant node gives, which layout they like."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np

from pyflow import _core, views
from pyflow.dims import Dim
from pyflow.errors import NotFoundError, message, user_origin
from pyflow.graph import Node
from pyflow.opdef import Lowering
from pyflow.plan import Instr, Program, View
from pyflow.runtime import backends, reference

_ELEMENTWISE = "elementwise"


class BackendTarget:
    """The backend named ``device``, with the host's cpu beside it."""

    def __init__(
        self,
        device: str = "cpu",
        numerics: str = "default",
        allow_fallback: bool = False,
        weight_growth: float = 4.0,
    ) -> None:
        known = _core.backends()
        if device not in known:
            known = backends.list_backends()  # looks for packages that offer some, which takes its time
        if device not in known:
            raise NotFoundError(
                message(
                    "session",
                    f"there is no backend {device!r}",
                    user_origin(),
                    f"known: {', '.join(known)}; pf.load_backend(path) loads more",
                )
            )
        self.device = device
        self.numerics = numerics
        self.allow_fallback = allow_fallback
        self.weight_growth = weight_growth
        self._answers: dict[object, tuple[bool, str]] = {}
        self._places: dict[object, str | None] = {}
        self.held: list[reference.Held] = []
        """What steps that run in Python stand for; they run as long as it is kept."""
        self.reasons: dict[str, str] = {}
        """Why ops were not placed on ``device``, by op."""

    def holding(self, held: list[reference.Held]) -> BackendTarget:
        """The same target; what its steps that run in Python stand for goes to ``held``."""
        other = copy(self)
        other.held = held
        return other

    def place(self, node: Node) -> str | None:
        """The backend that runs ``node``; None if it must be expanded or cannot run."""
        if node.op.host:
            return reference.HOST
        if node.op.flow is not None:
            return None
        if node.op.name == "transfer":
            return str(node.attrs["to"])
        if self.device == reference.REF:
            return reference.REF if node.op.ref is not None else None
        types = [value.type for value in node.inputs]
        operands = tuple([(type.dtype, type.ndim if node.op.scalar else type.dims) for type in types])
        key = (node.op.name, operands, node.key)
        if key not in self._places:
            self._places[key] = self._choose(node)
        return self._places[key]

    def _choose(self, node: Node) -> str | None:
        lowering, programs = _lowering_of(node)
        ok, why = self.supports(lowering, programs, self.device)
        if ok:
            return self.device
        self.reasons[node.op.name] = f"{self.device}: {why}"
        if self.allow_fallback and self.device != "cpu" and self.supports(lowering, programs, "cpu")[0]:
            return "cpu"
        return None

    def supports(self, lowering: Lowering, programs: Sequence[Program], backend: str) -> tuple[bool, str]:
        """Does ``backend`` run this step? If not, why."""
        ints = tuple(None if isinstance(value, Dim) else value for value in lowering.ints)
        operands = tuple((view.dtype.code, len(view.dims)) for view in lowering.inputs)
        results = tuple((view.dtype.code, len(view.dims)) for view in lowering.outputs)
        key = (backend, lowering.kernel, operands, results, ints, lowering.floats, tuple(programs), lowering.defines)
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = _core.supports(
                backend,
                lowering.kernel,
                list(operands),
                list(results),
                list(ints),
                list(lowering.floats),
                [_encoded(program) for program in programs],
                len(lowering.defines),
            )
        return answer

    def lowering(self, node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...], backend: str) -> Lowering:
        """The step that runs ``node`` on ``backend``."""
        if backend not in reference.IN_PYTHON:
            return node.op.lowering(node, inputs, outputs)
        lowering, held = reference.hold(node, inputs, outputs)
        self.held.append(held)
        return lowering

    def evaluate(self, node: Node, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...] | None:
        """What the real kernels make of constant operands; None if the node cannot run alone."""
        from pyflow.runtime.executable import run_node

        in_python = node.op.host or any(value.dtype.is_object for value in (*node.inputs, *node.outputs))
        if in_python or _is_window(node):
            return reference.try_now(node, arrays)
        return run_node(node, arrays, self)

    def preferred_format(self, op: str) -> str | None:
        """The data format that the kernels of ``op`` are fastest in."""
        return "NHWC" if self.device == "cpu" else None

    def shares_memory(self, backend: str) -> bool:
        """Is ``backend``'s memory ordinary host memory?"""
        return backends.shares_memory(backend)


def _encoded(program: Program) -> tuple[list[int], list[tuple[str, int, list[int], int]], list[int]]:
    return (
        [dtype.code for dtype in program.inputs],
        [(instr.op, instr.dtype.code, list(instr.args), instr.imm) for instr in program.instrs],
        list(program.outputs),
    )


def _is_window(node: Node) -> bool:
    """Is its result its operand's memory, seen otherwise, so that whoever moves it gives the kernels' bits?"""
    if node.op.view is None:
        return False
    return node.op.view(node, tuple(views.contiguous(0, v.dtype, v.dims) for v in node.inputs)) is not None


def _lowering_of(node: Node) -> tuple[Lowering, tuple[Program, ...]]:
    """The step that ``node`` would be by itself."""
    inputs = tuple(views.contiguous(0, value.dtype, value.dims) for value in node.inputs)
    outputs = tuple(views.contiguous(0, value.dtype, value.dims) for value in node.outputs)
    if not node.op.scalar:
        return node.op.lowering(node, inputs, outputs), ()
    dtypes = tuple(value.dtype.memory for value in node.inputs)
    instr = Instr(node.op.scalar, node.outputs[0].dtype.memory, tuple(range(len(dtypes))))
    broadcast = tuple(views.broadcast_to(view, node.outputs[0].dims) for view in inputs)
    return Lowering(_ELEMENTWISE, broadcast, outputs), (Program(dtypes, (instr,), (len(dtypes),)),)
