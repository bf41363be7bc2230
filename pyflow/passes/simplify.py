"""simplify: algebra that OpDef facts state, windows that change nothing, casts and choices that are settled.

Rules read OpDef data; an op is named only where the rule is about that op's own attributes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyflow import dims, dtypes, views
from pyflow.dims import Size
from pyflow.dtypes import DType
from pyflow.graph import Node, Value
from pyflow.opdef import call
from pyflow.ops.common import constant_array, constant_held
from pyflow.plan import View
from pyflow.region import Region
from pyflow.rewrite import Rule, again, rewrite, shown
from pyflow.target import Target

LONGEST_CHAIN = 16
"""Windows on windows that are looked through."""


def splat(value: Value) -> float | int | bool | None:
    """The number that every element of ``value`` is, if known: a window on equal elements has equal elements."""
    for _ in range(LONGEST_CHAIN):
        held = constant_held(value)
        if held is not None:
            if not 0 < held.size <= 1024:
                return None
            first = held.array.item(0)
            alike = held.size == 1 or (first == held.array.item(-1) and (held.array == first).all())
            return first if alike else None
        if value.node.op.view is None or len(value.node.inputs) != 1 or value.node.inputs[0].dtype is not value.dtype:
            return None
        value = value.node.inputs[0]
    return None


def is_bits(number: float | int | bool | None, wanted: float) -> bool:
    """Equal, and of the same sign where both are zero."""
    return number is not None and number == wanted and bool(np.signbit(number) == np.signbit(wanted))


def _fits(dropped: Value, kept: Sequence[Size]) -> bool:
    """Certain that ``dropped`` broadcasts to ``kept``: nothing is left to check when sizes are bound."""
    lead = len(kept) - dropped.ndim
    return lead >= 0 and all(have == 1 or have == want for have, want in zip(dropped.dims, kept[lead:], strict=True))


def _sides(node: Node) -> tuple[tuple[int, int], ...]:
    """Which operand may be the other one's element, and which: both ways round if the op is commutative."""
    return ((0, 1), (1, 0)) if node.types[0].dtype in node.op.facts.commutative else ((0, 1),)


def _is_element(
    number: float | int | bool | None, other: Value, facts: Sequence[tuple[float, frozenset[DType]]]
) -> bool:
    """Is it one of the numbers of which ``facts`` say something for the dtype of ``other``?"""
    if number is None:
        return False
    return any(other.dtype in exact and is_bits(number, wanted) for wanted, exact in facts)


def _identity_element(node: Node) -> Value | None:
    if len(node.inputs) != 2:
        return None
    for kept, dropped in _sides(node):
        value, other = node.inputs[kept], node.inputs[dropped]
        settles = _is_element(splat(other), value, node.op.facts.identity)
        if settles and value.type == node.types[0] and _fits(other, value.dims):
            return value
    return None


def _absorbing_element(node: Node) -> Value | None:
    if len(node.inputs) != 2:
        return None
    shape = node.types[0].dims
    for dropped, kept in _sides(node):
        value, other = node.inputs[kept], node.inputs[dropped]
        settles = _is_element(splat(value), value, node.op.facts.absorbing)
        if settles and _fits(other, shape) and _fits(value, shape):
            return widened(value, shape)
    return None


def widened(value: Value, shape: tuple[Size, ...]) -> Value:
    """``value`` broadcast to ``shape``; itself if it has it."""
    if value.dims == shape:
        return value
    result: Value = call("broadcast_to", value, shape)
    return result


def _undone(node: Node) -> Value | None:
    if len(node.inputs) != 1 or node.inputs[0].dtype not in node.op.facts.involution:
        return None
    inner = node.inputs[0].node
    return inner.inputs[0] if inner.op is node.op and inner.attrs == node.attrs else None


def _repeated(node: Node) -> Value | None:
    if not node.inputs or node.inputs[0].dtype not in node.op.facts.idempotent:
        return None
    first = node.inputs[0]
    if len(node.inputs) == 2:
        return first if first is node.inputs[1] else None
    return first if first.node.op is node.op and first.node.attrs == node.attrs else None


def _ordered(node: Node) -> Value | None:
    if len(node.inputs) != 2 or node.inputs[0].dtype not in node.op.facts.commutative:
        return None
    first, second = node.inputs
    if _rank(first) <= _rank(second):
        return None
    return again(node, second, first)


def _rank(value: Value) -> tuple[bool, int, int]:
    return (constant_held(value) is not None, value.node.position, value.index)


def _windows_below(node: Node) -> list[Value]:
    """The operands that ``node`` is a window on, nearest first: one step per window that needs no check."""
    chain: list[Value] = []
    while node.op.view is not None and len(node.inputs) == 1 and len(node.outputs) == 1 and len(chain) < LONGEST_CHAIN:
        if node.op.checks is not None and node.op.checks(node):
            break
        chain.append(node.inputs[0])
        node = node.inputs[0].node
    return chain


def _seen_through(windows: Sequence[Node], view: View) -> View | None:
    """What ``windows``, innermost last, show of ``view``."""
    for node in reversed(windows):
        assert node.op.view is not None
        made = node.op.view(node, (view,))
        if made is None:
            return None
        view = made[0]
    return view


def _window(node: Node) -> Value | None:
    """A chain of windows that shows its base as it is, or as one reshape or one transpose would."""
    chain = _windows_below(node)
    nodes = [node, *(value.node for value in chain)]
    for depth in range(len(chain), 0, -1):
        base = chain[depth - 1]
        start = views.contiguous(0, base.dtype, base.dims)
        view = _seen_through(nodes[:depth], start)
        if view is None or view.offset != 0 or base.dtype is not node.types[0].dtype:
            continue
        if _same_window(view, start):
            return base
        if depth == 1:
            continue
        if views.is_contiguous(view) and view.dims == node.types[0].dims and _all_of(view, start):
            return shown("reshape", base, shape=view.dims)
        axes = _permutation(view, start)
        if axes is not None:
            return shown("transpose", base, axes=tuple(axes))
        rearranged = _rearranged(view, start) if depth > 2 else None
        if rearranged is not None:
            return shown("transpose", shown("reshape", base, shape=tuple(rearranged[0])), axes=tuple(rearranged[1]))
    return None


def _rearranged(view: View, start: View) -> tuple[tuple[Size, ...], tuple[int, ...]] | None:
    """(dims, axes) if ``view`` is a transpose by axes of a reshape to dims of row-major ``start``."""
    if not all(isinstance(stride, int) for stride in view.strides) or not _all_of(view, start):
        return None
    order = sorted(range(len(view.dims)), key=lambda axis: (-int(view.strides[axis]), view.dims[axis] == 1))
    shape = tuple(view.dims[axis] for axis in order)
    if tuple(view.strides[axis] for axis in order) != views.contiguous(0, view.dtype, shape).strides:
        return None
    return shape, tuple(order.index(axis) for axis in range(len(order)))


def _same_window(left: View, right: View) -> bool:
    return left.dims == right.dims and all(
        a == b or size == 1 for a, b, size in zip(left.strides, right.strides, left.dims, strict=True)
    )


def _all_of(view: View, start: View) -> bool:
    return dims.product(view.dims) == dims.product(start.dims)


def _permutation(view: View, start: View) -> tuple[int, ...] | None:
    """The axes of ``start`` that ``view`` shows in another order; None if it is not just that."""
    if len(view.dims) != len(start.dims) or len(set(start.strides)) < len(start.strides):
        return None
    places = {stride: axis for axis, stride in enumerate(start.strides)}
    axes = [places.get(stride, -1) for stride in view.strides]
    if sorted(axes) != list(range(len(axes))) or any(view.dims[i] != start.dims[a] for i, a in enumerate(axes)):
        return None
    return tuple(axes)


def _cast(node: Node) -> Value | None:
    value = node.inputs[0]
    wanted = node.types[0].dtype
    if value.dtype is wanted:
        return value
    inner = value.node
    if inner.op is node.op:
        source = inner.inputs[0]
        if dtypes.can_cast_safely(source.dtype, value.dtype):
            return again(node, source)
    return None


def _kept_wide(node: Node) -> Value | None:
    """float32 -> float16 -> float32 between element-wise ops that were widened: what is in between is not rounded."""
    inner = node.inputs[0].node
    if inner.op.name != "narrowed" or not inner.types[0].dtype.is_floating:
        return None
    source = inner.inputs[0]
    return source if source.dtype is node.types[0].dtype and source.node.op.scalar else None


def _where(node: Node) -> Value | None:
    condition, yes, no = node.inputs
    chosen = splat(condition)
    if chosen is None and yes is not no:
        return None
    value, other = (yes, no) if chosen or yes is no else (no, yes)
    shape = node.types[0].dims
    if not _fits(condition, shape) or not _fits(other, shape) or not _fits(value, shape):
        return None
    return widened(value, shape)


def _gathered_one(node: Node) -> Value | None:
    """gather of one known place: a window."""
    x, indices = node.inputs
    held, axis = constant_array(indices), node.attrs["axis"]
    size = x.dims[axis]
    if held is None or held.ndim or not isinstance(size, int) or not -size <= int(held) < size:
        return None
    starts = [0] * x.ndim
    starts[axis] = int(held) % size
    sizes = (*x.dims[:axis], 1, *x.dims[axis + 1 :])
    result: Value = call("reshape", call("slice", x, starts, sizes, (1,) * x.ndim), node.types[0].dims)
    return result


def _sum_to(node: Node) -> Value | None:
    return node.inputs[0] if node.inputs[0].dims == node.types[0].dims else None


def _reduce_nothing(node: Node) -> Value | None:
    return node.inputs[0] if node.attrs["axis"] == () and node.inputs[0].type == node.types[0] else None


def _join_of_one(node: Node) -> Value | None:
    """What is laid side by side with nothing but empty pieces is the value."""
    if len(node.inputs) != 1 or node.inputs[0].type != node.types[0]:
        return None
    return node.inputs[0]


SIMPLIFY_RULES: tuple[Rule, ...] = (
    Rule("identity_element", lambda op: op.facts.identity, _identity_element, why="Facts.identity: x + 0, x * 1"),
    Rule(
        "absorbing_element", lambda op: op.facts.absorbing, _absorbing_element, why="Facts.absorbing: x * 0 of integers"
    ),
    Rule("involution", lambda op: op.facts.involution, _undone, why="Facts.involution: -(-x)"),
    Rule("idempotent", lambda op: op.facts.idempotent, _repeated, why="Facts.idempotent: abs(abs(x)), maximum(x, x)"),
    Rule(
        "commutative",
        lambda op: op.facts.commutative,
        _ordered,
        why="Facts.commutative: one order of operands, constants last, so that equals meet",
    ),
    Rule("window", lambda op: op.view is not None, _window, why="a chain of windows is one window, or none"),
    Rule("cast", ("cast",), _cast, why="to the same dtype, or through a wider one"),
    Rule(
        "kept_wide",
        ("cast",),
        _kept_wide,
        exact=False,
        why="what a chain of float16 or bfloat16 ops has in between stays in float32",
    ),
    Rule("where", ("where",), _where, why="the condition is known, or the choice makes no difference"),
    Rule("gathered_one", ("gather",), _gathered_one, why="one known place is a window"),
    Rule("sum_to", ("sum_to",), _sum_to, why="nothing was broadcast"),
    Rule("reduce_nothing", ("sum", "mean", "max", "min", "prod"), _reduce_nothing, why="over no axis"),
    Rule("join_of_one", lambda op: op.parts is not None, _join_of_one, why="a join of one value is the value"),
)


def simplify(region: Region, target: Target) -> Region:
    """``region`` by the rules above, until none fires."""
    return rewrite(region, SIMPLIFY_RULES, target.numerics)
