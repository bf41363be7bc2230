"""place: a backend for every node; what no backend takes is widened or expanded, and what cannot be is reported, all
at once.

Windows (what ``view`` makes of operands), joins (``parts``), constants and inputs need no kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pyflow import views
from pyflow.dtypes import DType, compute_dtype, converted
from pyflow.errors import Origin, UnimplementedError
from pyflow.graph import Node, Value, building, current_builder
from pyflow.interpret import widens
from pyflow.opdef import OpDef, call
from pyflow.ops.common import constant_held
from pyflow.ops.sizes import with_checks
from pyflow.region import Region, Table
from pyflow.rewrite import Rule, also_from, constant_of, rebuilt, rewrite
from pyflow.target import Target

NO_STEP = frozenset({"input", "constant", "group"})
"""Ops that are no step of a plan, whatever the backend."""


FOLDED = 1024
"""Constants of at most this many elements are widened at once; larger ones when a plan is prepared."""


def needs_kernel(node: Node) -> bool:
    return _may_need_kernel(node.op) and (node.op.view is None or not _is_window(node))


def _may_need_kernel(op: OpDef) -> bool:
    if op.name in NO_STEP or op.parts is not None or (op.flow is not None and op.flow.kernel):
        return False
    return op.view is None or op.expand is not None


def _is_window(node: Node) -> bool:
    """Is it nothing but a view of its operands, where they lie in order?"""
    assert node.op.view is not None
    operands = tuple(views.contiguous(0, value.dtype, value.dims) for value in node.inputs)
    return node.op.view(node, operands) is not None


def place(region: Region, target: Target) -> Region:
    """``region`` in which every node that needs a kernel has one.

    Raises UnimplementedError listing every node that has neither a kernel on the target nor an ``expand``.
    """
    rules = (
        Rule(
            "widen", _may_need_kernel, _widener(target), why="no kernel takes its narrow dtype, one takes the wider one"
        ),
        Rule(
            "expand",
            lambda op: op.expand is not None and _may_need_kernel(op),
            _expander(target),
            why="no kernel takes it whole",
        ),
    )
    expanded = rewrite(region, rules, target.numerics)
    _refuse_unplaced(expanded, target)
    return _with_transfers(expanded, target)


def _widener(target: Target) -> Callable[[Node], tuple[Value, ...] | None]:
    """cast -> op -> cast back for what has no kernel as it is, but one in the wider dtypes.

    A narrow floating op that is composed of others is widened whole too, so that it is rounded once.
    """

    def apply(node: Node) -> tuple[Value, ...] | None:
        if not needs_kernel(node) or node.op.bodies(node) or target.place(node) is not None:
            return None
        table = current_builder()
        assert isinstance(table, Table)
        inputs = tuple(_widened(value) for value in node.inputs)
        attrs = {
            name: compute_dtype(value) if isinstance(value, DType) else value for name, value in node.attrs.items()
        }
        if all(new is old for new, old in zip(inputs, node.inputs, strict=True)) and attrs == node.attrs:
            return None
        wide = table.make(node.op, inputs, attrs)
        composed = (
            node.op.expand is not None and widens(node) and any(value.dtype.is_floating for value in wide.outputs)
        )
        if target.place(wide) is None and not composed:
            return None
        pairs = zip(wide.outputs, node.types, strict=True)
        return tuple(new if new.dtype is old.dtype else call("narrowed", new, old.dtype) for new, old in pairs)

    return apply


def _widened(value: Value) -> Value:
    wide = compute_dtype(value.dtype)
    if wide is value.dtype:
        return value
    held = constant_held(value)
    if held is not None and held.size <= FOLDED:
        return constant_of(converted(held.array, wide))
    result: Value = call("cast", value, wide)
    return result


def _expander(target: Target) -> Callable[[Node], tuple[Value, ...] | None]:
    def apply(node: Node) -> tuple[Value, ...] | None:
        assert node.op.expand is not None
        if not needs_kernel(node) or target.place(node) is not None:
            return None
        also_from([node])
        made = node.op.expand(*with_checks(node), **node.attrs)
        if made is None:
            return None
        return made if isinstance(made, tuple) else (made,)

    return apply


def _refuse_unplaced(region: Region, target: Target) -> None:
    lost = [node for node in region.nodes() if needs_kernel(node) and target.place(node) is None]
    if not lost:
        return
    rows = []
    for node in lost:
        origin = next(iter(region.table.origins.get(node, ())), Origin("", 0))
        operands = ", ".join(str(value.type) for value in node.inputs)
        results = ", ".join(map(str, node.types)) or "nothing"
        reason = target.reasons.get(node.op.name, f"{target.device} has no kernel for it")
        rows.append(f"    {node.op.name}({operands}) -> {results}  {origin.name}   ({origin}): {reason}")
    count = f"{len(lost)} nodes have" if len(lost) > 1 else "1 node has"
    hint = "choose another device" if target.allow_fallback else "choose another device, or pass allow_fallback=True"
    raise UnimplementedError(
        f"[place] {count} no kernel on {target.device!r} and cannot be composed of other ops:\n"
        + "\n".join(rows)
        + f"\n    {hint}"
    )


def _with_transfers(region: Region, target: Target) -> Region:
    """Values cross into another backend's memory through ``transfer`` nodes; the region's own are on the host."""
    if target.shares_memory(target.device) and not target.allow_fallback:
        return region
    home = "cpu"
    table = region.table
    made: dict[Value, tuple[Value, str]] = {}

    def here(value: Value, backend: str) -> Value:
        new, place = made[value]
        if place == backend or (target.shares_memory(place) and target.shares_memory(backend)):
            return new
        table.current = table.origins.get(value.node, ())
        moved: Value = call("transfer", new, backend)
        return moved

    with building(table):
        for node in region.nodes():
            if needs_kernel(node):
                backend = target.place(node) or home
            elif node.inputs and node.op.flow is None:
                backend = made[node.inputs[0]][1]
            else:
                backend = home
            backend = home if backend == "host" else backend
            new = rebuilt(table, node, tuple(here(value, backend) for value in node.inputs))
            made.update({value: (copy, backend) for value, copy in zip(node.outputs, new.outputs, strict=True)})
        outputs = tuple(here(value, home) for value in region.outputs)
        commits = tuple((name, here(value, home)) for name, value in region.commits)
        effects = tuple(
            rebuilt(table, node, tuple(here(value, home) for value in node.inputs)) for node in region.effects
        )
    table.current = ()
    same = (
        all(new is old for new, old in zip(outputs, region.outputs, strict=True))
        and all(new[1] is old[1] for new, old in zip(commits, region.commits, strict=True))
        and all(new is old for new, old in zip(effects, region.effects, strict=True))
    )
    return region if same else replace(region, outputs=outputs, commits=commits, effects=effects)
