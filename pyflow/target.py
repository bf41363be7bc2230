"""What passes ask of the machine they compile for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from pyflow.errors import PyflowError
from pyflow.graph import Node
from pyflow.interpret import evaluate_node
from pyflow.opdef import Lowering
from pyflow.plan import Program, View


class Target(Protocol):
    """A session passes one over its real backends; graph tests pass :class:`RefTarget`."""

    numerics: str
    """``"default"`` or ``"strict"``: strict leaves out every rule that may round otherwise."""
    device: str
    """The backend that was asked for."""
    allow_fallback: bool
    """May nodes that ``device`` does not take go elsewhere?"""

    weight_growth: float
    """How many times as much memory as weights take they may take for the sake of speed."""
    reasons: dict[str, str]
    """Why ops were not placed on ``device``, by op; :meth:`place` fills it."""

    def place(self, node: Node) -> str | None:
        """The backend that runs the node as it is; None if it must be expanded or cannot run."""
        ...

    def supports(self, lowering: Lowering, programs: Sequence[Program], backend: str) -> tuple[bool, str]:
        """Does ``backend`` run this kernel call? If not, why."""
        ...

    def lowering(self, node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...], backend: str) -> Lowering:
        """The step that runs ``node`` on ``backend``, where :meth:`place` put it."""
        ...

    def evaluate(self, node: Node, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...] | None:
        """The node's outputs, with the bits that a run gives; None if it cannot be computed now or fails."""
        ...

    def preferred_format(self, op: str) -> str | None:
        """``"NHWC"`` if the kernels of ``op`` take channels last; None: any."""
        ...

    def shares_memory(self, backend: str) -> bool:
        """Does ``backend`` read and write the memory of ``device``?"""
        ...


@dataclass
class RefTarget:
    """Everything runs on ``ref``, NumPy through OpDef.ref."""

    numerics: str = "default"
    device: str = "ref"
    allow_fallback: bool = False
    nhwc: bool = False
    weight_growth: float = 4.0
    without: frozenset[str] = frozenset()
    """Ops that are to have no kernel: they are expanded."""
    reasons: dict[str, str] = field(default_factory=dict)

    def place(self, node: Node) -> str | None:
        if node.op.host:
            return "host"
        if node.op.ref is not None and node.op.name not in self.without:
            return "ref"
        self.reasons[node.op.name] = "ref: it has no ref" if node.op.ref is None else "ref: it is left out"
        return None

    def supports(self, lowering: Lowering, programs: Sequence[Program], backend: str) -> tuple[bool, str]:
        return True, "ref runs every op"

    def lowering(self, node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...], backend: str) -> Lowering:
        return node.op.lowering(node, inputs, outputs)

    def evaluate(self, node: Node, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...] | None:
        try:
            return evaluate_node(node, arrays)
        except (PyflowError, ArithmeticError, ValueError, IndexError):
            return None

    def preferred_format(self, op: str) -> str | None:
        return "NHWC" if self.nhwc else None

    def shares_memory(self, backend: str) -> bool:
        return True
