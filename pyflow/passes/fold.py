"""fold: nodes whose operands are all constants are computed now, with the kernels that a run would use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.dims import Dim, Size
from pyflow.errors import InternalError, PyflowError
from pyflow.graph import Node, Value
from pyflow.opdef import OpDef
from pyflow.ops.common import constant_held
from pyflow.region import Lasting, Region
from pyflow.rewrite import Rule, constant_of, rewrite
from pyflow.target import Target

BUDGET = 1 << 20
"""Bytes of a folded result; more only if the operands, each counted once, hold as much."""
PACKS = ("matmul", "conv2d")
"""Ops whose second operand is packed if it lasts: see pyflow/passes/pack.py."""
GROWTH = 4
"""How many times as many bytes as the constants that it starts from all results above BUDGET may take."""


def _has_unknown_size(attr: Any) -> bool:
    return isinstance(attr, Dim) or (isinstance(attr, tuple) and any(map(_has_unknown_size, attr)))


def _folder(target: Target, allowance: int) -> Callable[[Node], tuple[Value, ...] | None]:
    left = allowance

    def apply(node: Node) -> tuple[Value, ...] | None:
        nonlocal left
        if any([constant_held(value) is None for value in node.inputs]):
            return None
        if any(map(_has_unknown_size, node.attrs.values())):
            return None
        if any(type.dtype is dtypes.variant for type in node.types):
            return None
        size: Size = 0
        for type in node.types:
            size = dims.add(size, dims.mul(dims.product(type.dims), type.dtype.itemsize))
        given = _bytes_of(value.node for value in node.inputs)
        if not isinstance(size, int) or (size > given and (size > BUDGET or node.op.view is not None)):
            return None
        if size > BUDGET and size > left:
            return None
        try:
            results = target.evaluate(node, [value.node.attrs["value"].array for value in node.inputs])
        except InternalError:
            raise
        except (PyflowError, MemoryError):
            return None
        if results is None:
            return None
        if size > BUDGET:
            left -= size
        return tuple(constant_of(_own(result)) for result in results)

    return apply


def _may_fold(op: OpDef) -> bool:
    return op.ref is not None and not op.effect and op.name != "constant"


def _own(array: np.ndarray) -> np.ndarray:
    """Row-major, and its memory its own: neither a window on an operand nor something that may be reused."""
    return np.array(array, order="C") if array.base is not None or not array.flags.c_contiguous else array


def _bytes_of(constants: Iterable[Node]) -> int:
    """Each counted once."""
    return sum(held.nbytes for held in {node.attrs["value"] for node in constants})


def _left_to_packing(region: Region) -> set[Node]:
    """Windows on constants that only what packs its weights reads: packing reads them as they lie."""
    windows = [
        node
        for node in region.nodes()
        if node.op.view is not None
        and len(node.inputs) == len(node.outputs) == 1
        and constant_held(node.inputs[0]) is not None
    ]
    if not windows:
        return set()
    users, roots, lasting = region.users(), set(region.roots()), Lasting(region)
    return {
        node
        for node in windows
        if node.outputs[0] not in roots
        and all(
            user.op.name in PACKS and user.inputs[1] is node.outputs[0] and user.inputs[0] not in lasting
            for user in users[node.outputs[0]]
        )
    }


def fold(region: Region, target: Target) -> Region:
    """``region`` with constant subgraphs as constants. A node that fails is left for the run to report."""
    allowance = GROWTH * _bytes_of(node for node in region.nodes() if node.op.name == "constant")
    left = _left_to_packing(region)
    folder = _folder(target, allowance)
    rule = Rule(
        "fold", _may_fold, lambda node: None if node in left else folder(node), why="its operands are constants"
    )
    return rewrite(region, (rule,), target.numerics)
