"""Reads expressions: products as factors, polynomials in one value, reductions and the windows around them.

For rules that look for a formula, however it was written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pyflow.graph import Node, Value
from pyflow.ops.common import constant_held

DEEPEST = 8
"""Operations that are looked through."""


def number(value: Value) -> float | None:
    """What a real constant of one element holds."""
    held = constant_held(value)
    if held is None or held.size != 1 or value.dtype.kind not in "biuf":
        return None
    return float(held.array.item())


def is_op(value: Value, *names: str) -> bool:
    return value.node.op.name in names


@dataclass
class Factors:
    """``scale`` times the product of values to their powers; ``inside`` are the nodes that this takes."""

    scale: float = 1.0
    powers: dict[Value, float] = field(default_factory=dict)
    inside: list[Node] = field(default_factory=list)

    def take(self, power: float, *, only: Callable[[Value], bool] = lambda value: True) -> Value | None:
        """The one value of this power for which ``only`` holds; it is taken out. None if there is none or several."""
        found = [value for value, have in self.powers.items() if have == power and only(value)]
        if len(found) != 1:
            return None
        del self.powers[found[0]]
        return found[0]


_ROOTS = {"sqrt": 0.5, "rsqrt": -0.5, "reciprocal": -1.0, "square": 2.0}


def factors_of(value: Value) -> Factors:
    """Products, quotients and roots under ``value``, flattened."""
    result = Factors()

    def visit(value: Value, power: float, depth: int) -> None:
        held = number(value)
        node = value.node
        if held is not None and held > 0:
            result.scale *= held**power
        elif depth < DEEPEST and node.op.name in ("multiply", "divide"):
            result.inside.append(node)
            visit(node.inputs[0], power, depth + 1)
            visit(node.inputs[1], power if node.op.name == "multiply" else -power, depth + 1)
        elif depth < DEEPEST and node.op.name in _ROOTS:
            result.inside.append(node)
            visit(node.inputs[0], power * _ROOTS[node.op.name], depth + 1)
        else:
            result.powers[value] = result.powers.get(value, 0.0) + power

    visit(value, 1.0, 0)
    return result


def polynomial(value: Value, x: Value, inside: list[Node], depth: int = 0) -> dict[int, float] | None:
    """Coefficients by degree if ``value`` is a polynomial in ``x`` with constant coefficients, of degree at most 4."""
    if value is x:
        return {1: 1.0}
    held = number(value)
    if held is not None:
        return {0: held} if held else {}
    node = value.node
    name = node.op.name
    if depth >= DEEPEST or name not in ("add", "subtract", "multiply", "divide", "pow", "square", "negative"):
        return None
    sides = [polynomial(operand, x, inside, depth + 1) for operand in node.inputs]
    if any(side is None for side in sides):
        return None
    inside.append(node)
    left = sides[0] or {}
    right = sides[1] or {} if len(sides) > 1 else {}
    if name in ("add", "subtract"):
        return _plus(left, right, 1.0 if name == "add" else -1.0)
    if name == "negative":
        return _plus({}, left, -1.0)
    if name == "multiply":
        return _times(left, right)
    if name == "square":
        return _times(left, left)
    if set(right) != {0}:
        return None
    if name == "divide":
        return {degree: factor / right[0] for degree, factor in left.items()}
    if right[0] not in (1.0, 2.0, 3.0):
        return None
    result: dict[int, float] | None = left
    for _ in range(int(right[0]) - 1):
        result = None if result is None else _times(result, left)
    return result


def _plus(left: dict[int, float], right: dict[int, float], sign: float) -> dict[int, float]:
    result = dict(left)
    for degree, factor in right.items():
        result[degree] = result.get(degree, 0.0) + sign * factor
    return {degree: factor for degree, factor in result.items() if factor}


def _times(left: dict[int, float], right: dict[int, float]) -> dict[int, float] | None:
    result: dict[int, float] = {}
    for m, a in left.items():
        for n, b in right.items():
            result[m + n] = result.get(m + n, 0.0) + a * b
    return result if max(result, default=0) <= 4 else None


def reduced(value: Value, op: str, inside: list[Node]) -> tuple[Value, tuple[int, ...]] | None:
    """(x, axes) if ``value`` is x reduced by ``op`` over axes that stay with size 1, or are put back after."""
    node = value.node
    if node.op.name in ("expand_dims", "reshape") and is_op(node.inputs[0], op):
        inner = node.inputs[0].node
        wanted = tuple(1 if i in inner.attrs["axis"] else size for i, size in enumerate(inner.inputs[0].dims))
        if inner.attrs["keepdims"] or value.dims != wanted:
            return None
        inside.append(node)
        node = inner
    elif node.op.name != op or not node.attrs["keepdims"]:
        return None
    inside.append(node)
    return node.inputs[0], tuple(node.attrs["axis"])
