"""merge: the projections of one input to queries, keys and values become one product.

Its left operand is read once, and there is more to share among threads. Queries, keys and values are windows on the
result, which attention reads where they lie. Each element is the chain that it was, so the rule is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyflow.graph import Node, Value
from pyflow.opdef import call
from pyflow.region import Alone, Lasting, Region
from pyflow.rewrite import Rule, again, also_from, rewrite
from pyflow.target import Target

WINDOWS = frozenset({"expand_dims", "reshape", "squeeze", "transpose"})
"""What may stand between a projection and attention."""


@dataclass(frozen=True)
class _Projection:
    """x weights + bias, seen through ``windows``, the last first."""

    x: Value
    weights: Value
    bias: Value | None
    windows: tuple[Node, ...]
    inside: tuple[Node, ...]
    """The product, and the addition if there is one."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (*self.windows, *self.inside)


def _find(value: Value) -> _Projection | None:
    windows = []
    while value.node.op.name in WINDOWS:
        windows.append(value.node)
        value = value.node.inputs[0]
    inside, bias = [value.node], None
    if value.node.op.name == "add":
        product, bias = value.node.inputs
        if product.node.op.name != "matmul":
            product, bias = bias, product
        if bias.ndim != 1 or bias.dims != value.dims[-1:] or product.type != value.type:
            return None
        value = product
        inside.append(value.node)
    if value.node.op.name != "matmul" or value.node.inputs[1].ndim != 2:
        return None
    x, weights = value.node.inputs
    return _Projection(x, weights, bias, tuple(windows), tuple(inside))


def _found(attend: Node) -> dict[int, _Projection]:
    """By operand: the projections of the input that most of q, k and v have in common."""
    found = {index: made for index in range(3) if (made := _find(attend.inputs[index])) is not None}
    if not found:
        return {}

    def alike(index: int) -> list[int]:
        one = found[index]
        return [i for i, other in found.items() if other.x is one.x and (other.bias is None) == (one.bias is None)]

    best = max(map(alike, found), key=len)
    return {index: found[index] for index in best} if len(best) > 1 else {}


class _Merge:
    def __init__(self, region: Region, candidates: dict[Node, dict[int, _Projection]]) -> None:
        self.table = region.table
        self.sites: set[Node] = set()
        lasting = Lasting(region)
        alone = Alone(region)
        for node, found in candidates.items():
            given = [value for each in found.values() for value in (each.weights, each.bias) if value is not None]
            inner = [entry for each in found.values() for entry in each.nodes]
            lasts = all(value in lasting for value in given) and not any(each.x in lasting for each in found.values())
            if lasts and all(entry in alone for entry in inner):
                self.sites.add(node)

    def projections(self, node: Node) -> Value | None:
        found = _found(node) if self.table.was.get(node, node) in self.sites else {}
        if not found:
            return None
        projections = list(found.values())
        also_from(entry for each in projections for entry in each.nodes)
        made = call("matmul", projections[0].x, call("concat", *(each.weights for each in projections), axis=1))
        biases = [each.bias for each in projections if each.bias is not None]
        if biases:
            made = made + call("concat", *biases, axis=0)
        cut = call("split", made, tuple(each.weights.dims[1] for each in projections), made.ndim - 1)
        parts = zip(found.items(), cut, strict=True)
        seen = {index: _through(part, each.windows) for (index, each), part in parts}
        return again(node, *(seen.get(index, value) for index, value in enumerate(node.inputs)))


def _through(value: Value, windows: Sequence[Node]) -> Value:
    for window in reversed(windows):
        value = again(window, value)
    return value


def merge(region: Region, target: Target) -> Region:
    """``region`` with the projections that attention reads as one product where they have one input."""
    attention = (node for node in region.nodes() if node.op.name == "attend")
    candidates = {node: found for node in attention if (found := _found(node))}
    if not candidates:
        return region
    finder = _Merge(region, candidates)
    rule = Rule("projections", ("attend",), finder.projections, why="q, k and v of one input, one product")
    return rewrite(region, (rule,), target.numerics)
