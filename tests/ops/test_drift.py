"""Alarms: what every op definition must have, checked over the registry and over the rows of ``cases``."""

from __future__ import annotations

import inspect

import pytest
from cases import CASES
from cases.case import Case
from test_ops import GRADIENTS, build

import pyflow as pf
from pyflow import _core, ops, views
from pyflow.graph import Graph, Node
from pyflow.opdef import OPS, OpDef
from pyflow.ops.common import no_gradient

KERNELS = frozenset(_core.kernel_names())
IN_PROGRAMS = {"cast", "const", *(name for name, *_ in _core.scalar_ops())}


def _made_by_passes(op: OpDef) -> bool:
    return inspect.unwrap(op.infer).__module__.removeprefix("pyflow.ops.") in ops.INTERNAL


PURE = [op for op in OPS.values() if op.ref is not None and not op.effect and not _made_by_passes(op)]


def _nodes(cases: list[Case]) -> list[Node]:
    result: list[Node] = []
    for case in cases:
        graph = Graph()
        with graph.as_default():
            build(case, graph, False, case.inputs)
        result += graph.nodes
    return result


@pytest.fixture(scope="module")
def nodes() -> list[Node]:
    """Every node of every row."""
    return _nodes(CASES)


def _lists(names: list[str]) -> str:
    return "\n    ".join(["", *sorted(names)])


def test_every_op_has_a_ref() -> None:
    """But for effects, control flow, whose bodies are run, and what a run is given."""
    given = [op for op in OPS.values() if op.ref is None and op.inputs and not _made_by_passes(op)]
    missing = [op.name for op in given if not op.effect and op.flow is None]
    assert not missing, _lists(missing)


def test_every_op_can_be_computed() -> None:
    """By a kernel, a scalar row, as a view, or composed of ops that can."""
    missing = [
        op.name
        for op in PURE
        if not (op.scalar or op.view or op.expand or op.parts or op.host or op.name == "constant")
        and op.lower is None
        and op.name not in KERNELS
    ]
    assert not missing, _lists(missing)


def test_every_scalar_is_a_row_of_scalar_ops() -> None:
    missing = [f"{op.name}: {op.scalar}" for op in OPS.values() if op.scalar and op.scalar not in IN_PROGRAMS]
    assert not missing, _lists(missing)


def test_every_kernel_that_a_row_asks_for_exists(nodes: list[Node]) -> None:
    missing: set[str] = set()
    seen: set[str] = set()
    for node in nodes:
        op = node.op
        if op not in PURE or op.scalar or op.parts or op.host or op.name == "constant":
            continue
        inputs = tuple(views.contiguous(i, v.dtype, v.dims) for i, v in enumerate(node.inputs))
        outputs = tuple(views.contiguous(-1 - i, v.dtype, v.dims) for i, v in enumerate(node.outputs))
        if op.view is not None and op.view(node, inputs) is not None:
            continue
        if op.lower is None and op.name not in KERNELS and op.expand is not None:
            continue
        seen.add(kernel := op.lowering(node, inputs, outputs).kernel)
        if kernel not in KERNELS:
            missing.add(f"{op.name}: {kernel}")
    assert not missing, _lists(list(missing))
    assert len(seen) > 10


def test_every_op_is_in_a_row(nodes: list[Node]) -> None:
    used = {node.op for node in nodes}
    missing = [op.name for op in PURE if op not in used]
    assert not missing, _lists(missing)


def test_every_public_op_says_whether_it_has_a_gradient() -> None:
    """``vjp=no_gradient`` where there is none, that of ``expand`` where it has none of its own; ops that only gradients
    are made of may have neither."""
    missing = [op.name for op in PURE if (op.vjp or op.expand) is None and op.inputs and op.name in ops.NAMES]
    assert not missing, _lists(missing)


def test_every_gradient_is_checked_by_finite_differences() -> None:
    checked = {node.op for node in _nodes(GRADIENTS)}
    takes_floats = [
        op for op in PURE if any(dtype.is_floating for kind in op.inputs for dtype in op.kinds.get(kind.kind, ()))
    ]
    missing = [op.name for op in takes_floats if op.vjp not in (None, no_gradient) and op not in checked]
    assert not missing, _lists(missing)


def test_every_function_is_documented() -> None:
    missing = [name for name in ops.NAMES if len(inspect.getdoc(getattr(pf, name)) or "") < 20]
    assert not missing, _lists(missing)


def test_every_name_is_exported_once() -> None:
    assert len(set(ops.NAMES)) == len(ops.NAMES)
