"""unify: sizes that a run must find equal are one size from here on.

What ops check of sizes (the columns of one matrix, the rows of another) holds in every run that goes on, so a symbol
that is checked against a number or another symbol becomes that. The checks themselves stay with the region. What a
body of control flow checks holds only where that is run, so bodies stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pyflow import dims
from pyflow.dims import Dim, Size
from pyflow.graph import Node, Value, building
from pyflow.ops.internal.fused import check_message
from pyflow.ops.sizes import equated
from pyflow.region import Region
from pyflow.rewrite import rebuilt
from pyflow.target import Target


def unify(region: Region, target: Target) -> Region:
    """``region`` in which symbols of its inputs that are checked to be equal have one name; itself if it has bodies,
    which mention the symbols too."""
    given = _given(region)
    nodes = region.nodes()
    if not given or any(node.op.flow is not None for node in nodes):
        return region
    equal, checks = _equalities(region, nodes, given)
    return _renamed(region, nodes, equal, checks) if equal else region


def _given(region: Region) -> dict[str, Dim]:
    """The symbols that the sizes of inputs tell, those with a hint first."""
    found: dict[str, Dim] = {}
    for value in region.inputs:
        for size in value.dims:
            if _name(size) is not None:
                found.setdefault(str(size), size)  # type: ignore[arg-type]
    return dict(sorted(found.items(), key=lambda item: dims.hint_of(item[1]) is None))


def _name(size: Size) -> str | None:
    """The symbol, where a size is one."""
    solved = dims.solve(size)
    return solved[0] if solved is not None and solved[1:] == (1, 0) and not dims.late_in(size) else None


def _equalities(
    region: Region, nodes: Sequence[Node], given: Mapping[str, Dim]
) -> tuple[dict[str, Size], tuple[tuple[Size, Size, str], ...]]:
    """What stands for which symbol, and the checks that say so."""
    order = {name: place for place, name in enumerate(given)}
    equal: dict[str, Size] = {}
    checks: list[tuple[Size, Size, str]] = []
    for node in nodes:
        for left, right, what in node.op.checks(node) if node.op.checks is not None else ():
            sides = [dims.substitute(side, equal) for side in (left, right)]
            known = [side for side in sides if isinstance(side, int) or _name(side) in order]
            names = sorted((name for name in map(_name, sides) if name in order), key=lambda name: order[name])
            if len(known) < 2 or sides[0] == sides[1] or not names:
                continue
            goes = names[-1]
            stays = next(side for side in sides if side != given[goes])
            equal = {name: dims.substitute(size, {goes: stays}) for name, size in equal.items()}
            equal[goes] = stays
            checks.append((left, right, check_message(region, node, what)))
    return equal, tuple(checks)


def _with_names(entry: Any, equal: Mapping[str, Size]) -> Any:
    """A size, or an attribute with sizes in it, by its new names."""
    if isinstance(entry, Dim):
        return dims.substitute(entry, equal)
    return tuple([_with_names(each, equal) for each in entry]) if type(entry) is tuple else entry


def _renamed(region: Region, nodes: Sequence[Node], equal: Mapping[str, Size], checks: tuple[Any, ...]) -> Region:
    table = region.table
    made: dict[Value, Value] = {}
    copies: dict[Node, Node] = {}
    with building(table):
        for value in region.inputs:
            table.current = table.origins.get(value.node, ())
            sizes = _with_names(value.dims, equal)
            made[value] = value if sizes == value.dims else equated(value, sizes)
        for node in nodes:
            if node.op.name == "input":
                continue
            inputs = tuple(made[value] for value in node.inputs)
            attrs = {name: _with_names(entry, equal) for name, entry in node.attrs.items()}
            if all(attrs[name] is entry or attrs[name] == entry for name, entry in node.attrs.items()):
                copies[node] = rebuilt(table, node, inputs)
            else:
                table.current = table.origins.get(node, ())
                copies[node] = table.make(node.op, inputs, attrs)
            made.update(zip(node.outputs, copies[node].outputs, strict=True))
    table.current = ()
    table.notes += [f"sizes: {name} is {size}" for name, size in equal.items()]
    return replace(
        region,
        outputs=tuple(made[value] for value in region.outputs),
        commits=tuple((name, made[value]) for name, value in region.commits),
        effects=tuple(copies[node] for node in region.effects),
        checks=(*region.checks, *checks),
    )
