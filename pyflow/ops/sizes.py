"""Sizes as values: what a shape argument may be, what can be told of two sizes, the ops that give sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pyflow import dims, dtypes, views
from pyflow.apply import is_operand
from pyflow.dims import Dim, Size
from pyflow.errors import InvalidArgumentError, PyflowError, message, user_origin
from pyflow.graph import Graph, Node, Value, current_builder
from pyflow.interpret import evaluate_node
from pyflow.opdef import BOOLEAN, EVERY, INTEGERS, SIZE, SIZES, TEXT, Attr, Lowering, TensorType, call, define
from pyflow.ops.sources import known_content

__all__ = ["rank", "shape", "size"]

Check = tuple[Size, Size, str]


def as_size(entry: Any, low: int = 0) -> Size:
    """An int, a Dim, or what a 0-d integer value holds: a late size, at least ``low``, if only the run tells.
    TypeError for the rest."""
    if type(entry) is int or isinstance(entry, Dim):
        return entry  # type: ignore[no-any-return]
    if is_operand(entry):
        size = held_sizes(entry if isinstance(entry, Value) else entry.__pyflow_value__(), low)
        if isinstance(size, tuple):
            raise TypeError(f"expected one size, got {len(size)}: {entry!r}")
        return size
    if isinstance(entry, (bool, np.bool_)):
        raise TypeError(f"expected a size, got {entry!r}")
    if hasattr(entry, "__index__"):
        return entry.__index__()
    raise TypeError(f"expected an int, a Dim or an integer value, got {entry!r}")


def as_sizes(given: Any, low: int = 0) -> tuple[Size, ...]:
    """A shape from one size, a sequence of sizes, or an integer value of at most one axis, whose length is known."""
    if is_operand(given):
        content = held_sizes(given if isinstance(given, Value) else given.__pyflow_value__(), low)
        return content if isinstance(content, tuple) else (content,)
    if isinstance(given, (str, bytes)):
        raise TypeError(f"expected sizes, got {given!r}")
    if isinstance(given, Dim) or (hasattr(given, "__index__") and not np.ndim(given)):
        return (as_size(given, low),)
    try:
        entries = list(np.asarray(given).tolist() if hasattr(given, "__array__") else given)
    except TypeError:
        raise TypeError(f"expected sizes, got {given!r}") from None
    return tuple(as_size(entry, low) for entry in entries)


MOST_SIZES = 1 << 12
"""A longer value holds something else."""


def held_sizes(value: Value, low: int = 0) -> Any:
    """What an integer value holds: a size if it is 0-d, else a tuple of sizes; what is not known while the graph is
    built becomes late sizes of at least ``low``."""
    if value.content is not None:
        return value.content
    if not value.dtype.is_integer or value.dtype.storage_only:
        raise TypeError(f"expected integers as sizes, got {value.name}: {value.type}")
    if value.ndim > 1 or not all(isinstance(size, int) for size in value.dims):
        raise TypeError(f"expected at most one axis of known length for sizes, got {value.name}: {value.type}")
    if value.ndim and value.dims[0] > MOST_SIZES:  # type: ignore[operator]
        raise TypeError(f"expected at most {MOST_SIZES} sizes, got {value.name}: {value.type}")
    node = value.node
    if node.op.name == "concat":
        return tuple(entry for part in node.inputs for entry in held_sizes(part, low))
    if node.op.name == "expand_dims" and not node.inputs[0].ndim:
        return (held_sizes(node.inputs[0], low),)
    if node.op.name == "identity" or (
        node.op.name == "cast" and dtypes.can_cast_safely(node.inputs[0].dtype, value.dtype)
    ):
        source = node.inputs[0]
        if source.dtype.is_integer and not source.dtype.storage_only:
            return held_sizes(source, low)
    settled = _settled(value)
    if settled is not None:
        return known_content(settled)
    return late_of(value, low)


def late_of(value: Value, low: int = 0, high: Size | None = None) -> Any:
    """Late sizes from ``low`` to ``high`` that are what ``value`` holds, the same ones each time."""

    def make() -> Value:
        symbols = [dims.fresh_late_symbol("size", high, low) for _ in range(value.dims[0] if value.ndim else 1)]
        result: Value = late_sizes(value, symbols)
        return result

    return once(("late_sizes", value, low, high), make).content


def once(key: Any, make: Callable[[], Value]) -> Value:
    """What ``make`` gives, the same value each time for one ``key``."""
    builder = current_builder()
    return builder.once(key, make) if isinstance(builder, Graph) else make()


LARGEST_SETTLED = 64
"""Nodes that are computed while the graph is built to find sizes."""


def _settled(value: Value) -> np.ndarray | None:
    """The array, if ``value`` is computed from constants and known sizes by few nodes of few elements."""
    known: dict[Value, np.ndarray] = {}
    stack = [value.node]
    for _ in range(4 * LARGEST_SETTLED):
        if not stack:
            return known[value]
        node = stack[-1]
        if all(output in known for output in node.outputs):
            stack.pop()
            continue
        if not _is_small(node) or len(known) > LARGEST_SETTLED:
            return None
        if all(_is_number(content) for content in node.contents):
            pairs = zip(node.outputs, node.contents, strict=True)
            known.update({output: np.array(held, output.dtype.numpy) for output, held in pairs})
            continue
        pending = [entry.node for entry in node.inputs if entry not in known]
        if pending:
            stack += pending
            continue
        try:
            results = evaluate_node(node, [known[entry] for entry in node.inputs])
        except (PyflowError, ArithmeticError, ValueError, IndexError):
            return None
        known.update(zip(node.outputs, results, strict=True))
    return None


def _is_small(node: Node) -> bool:
    """May the node be computed while the graph is built?"""
    if node.op.ref is None or node.op.effect or node.op.host or node.late or not node.outputs:
        return False
    counts = [dims.product(type.dims) for type in node.types]
    return all(isinstance(count, int) and count <= LARGEST_SETTLED for count in counts)


def _is_number(content: Any) -> bool:
    return isinstance(content, int) or (isinstance(content, tuple) and all(isinstance(entry, int) for entry in content))


LENGTH = Attr("size", as_size, SIZE.encode)
"""A size as users write it: an int, a Dim, a 0-d integer value."""
SHAPE = Attr("sizes", as_sizes, SIZES.encode)
"""A shape as users write it: ints, Dims and 0-d integer values, or one integer value that holds all."""
LOWEST = -(2**40)
AMOUNTS = Attr("sizes", lambda given: as_sizes(given, LOWEST), SIZES.encode)
"""As SHAPE, but that they may be negative."""


NUMBERS = "got {} and {}"
"""Where a check's message has this, the run writes both sizes."""


def differ(left: Size, right: Size) -> bool:
    """True if the two can never be equal."""
    low, high = dims.bounds(dims.add(left, dims.mul(right, -1)))
    return (low is not None and low > 0) or (high is not None and high < 0)


def equal_check(left: Size, right: Size, what: str) -> list[Check]:
    """What is left to compare when sizes are bound: nothing if the two are certainly equal. The run's message is
    ``what`` with the two numbers."""
    return [] if left == right else [(left, right, f"{what}: {NUMBERS}")]


def broadcast_check(have: Size, want: Size, what: str) -> list[Check]:
    """``have`` is ``want`` or 1; ``what`` says so."""
    if have == want or have == 1:
        return []
    product = dims.mul(dims.add(have, -1), dims.add(have, dims.mul(want, -1)))
    return [(product, 0, what)]


def at_most_check(size: Size, limit: Size, what: str) -> list[Check]:
    """``size <= limit``."""
    return equal_check(dims.maximum(size, limit), limit, what)


def common_size(sizes: Sequence[Size], what: str) -> Size:
    """The size that all of ``sizes`` must have, a known one if there is; InvalidArgumentError if two differ."""
    chosen = next((entry for entry in sizes if isinstance(entry, int)), sizes[0])
    for entry in sizes:
        if differ(entry, chosen):
            raise InvalidArgumentError(f"{what}: {chosen} and {entry} differ")
    return chosen


def text_of(sizes: Sequence[Size]) -> str:
    return f"[{','.join(map(str, sizes))}]"


def check_rank(value: Value, ndim: int, what: str) -> None:
    if value.ndim != ndim:
        raise InvalidArgumentError(f"expected {what} of {ndim} axes, got {value.type}")


sizes = define(
    "sizes",
    "",
    attrs={"values": SIZES, "scalar": BOOLEAN},
    defaults={"scalar": False},
    infer=lambda values, scalar: TensorType(dtypes.int64, () if scalar else (len(values),)),
    content=lambda values, scalar: values[0] if scalar else values,
    ref=lambda values, scalar: np.array(values[0] if scalar else values, np.int64),
    lower=lambda node, inputs, outputs: Lowering("sizes", (), outputs, node.attrs["values"]),
    vjp=lambda node, gradient: (),
    doc="Sizes as an int64 value, 1-d, or 0-d if ``scalar``.",
)


def _late_sizes_infer(x: Value, *, symbols: tuple[Size, ...]) -> TensorType:
    if x.ndim > 1 or dims.product(x.dims) != len(symbols):
        raise InvalidArgumentError(f"expected {len(symbols)} integers of at most one axis, got x: {x.type}")
    if any(dims.solve(size) is None or not dims.late_in(size) for size in symbols):
        raise InvalidArgumentError(f"expected late symbols, got {text_of(symbols)}")
    return TensorType(dtypes.int64, x.dims)


def _late_sizes_ref(x: np.ndarray, *, symbols: tuple[Size, ...]) -> np.ndarray:
    if x.dtype == np.uint64 and (x > np.iinfo(np.int64).max).any():
        raise InvalidArgumentError(message("late_sizes", f"an entry of {x.tolist()} is beyond 63 bits"))
    return x.astype(np.int64)


late_sizes = define(
    "late_sizes",
    "x:I",
    attrs={"symbols": SIZES},
    kinds={"I": INTEGERS},
    infer=_late_sizes_infer,
    content=lambda x, symbols: symbols if x.ndim else symbols[0],
    ref=_late_sizes_ref,
    defines=lambda node: tuple(name for size in node.attrs["symbols"] for name in dims.late_names(size)),
    lower=lambda node, inputs, outputs: Lowering("late_sizes", inputs, outputs, defines=node.defines),
    vjp=lambda node, gradient: (None,),
    fallible=True,
    doc="""What ``x`` (integers, 0-d or 1-d) holds, as int64, and as sizes: ``symbols`` take these numbers when it runs.

    Made where a size is given as a value that is not known while the graph is built.
    """,
)

relabel: Callable[..., Any] = define(
    "relabel",
    "x:*",
    attrs={"dims": SIZES},
    infer=lambda x, dims: TensorType(x.dtype, dims),
    ref=lambda x, dims: x,
    lower=lambda node, inputs, outputs: Lowering("copy", inputs, outputs),
    vjp=lambda node, gradient: (call("relabel", gradient, node.inputs[0].dims),),
    doc="``x``, whose sizes are known by the names ``dims``: how a body of control flow gives a shape of its own.",
)

equated: Callable[..., Any] = define(
    "equated",
    "x:*",
    attrs={"dims": SIZES},
    infer=lambda x, dims: TensorType(x.dtype, dims),
    ref=lambda x, dims: x,
    view=lambda node, inputs: (views.relabel(inputs[0], node.types[0].dims),),
    vjp=lambda node, gradient: (call("equated", gradient, node.inputs[0].dims),),
    doc="``x``, whose sizes are checked to be ``dims`` before a run starts: a window. Made by the unify pass.",
)


def _checked(left: Size, right: Size, what: str, by: str) -> list[Check]:
    return [] if left == right else [(left, right, what)]


checked = define(
    "checked",
    "x:*",
    attrs={"left": SIZE, "right": SIZE, "what": TEXT, "by": TEXT},
    infer=lambda x, left, right, what, by: x.type,
    checks=lambda node: _checked(**node.attrs),
    content=lambda x, left, right, what, by: x.content,
    ref=lambda x, left, right, what, by: x,
    view=lambda node, inputs: inputs,
    vjp=lambda node, gradient: (gradient,),
    doc="``x``, of which an op ``by`` needs that ``left`` and ``right`` are equal: a check of what was expanded.",
)


def with_checks(node: Node) -> tuple[Value, ...]:
    """The operands of ``node``, which is to be expanded: the sizes that it compares are compared of them."""
    operands = list(node.inputs)
    for left, right, what in node.op.checks(node) if node.op.checks is not None else ():
        having = [at for at, value in enumerate(operands) if left in value.dims or right in value.dims]
        if operands:
            at = having[0] if having else 0
            operands[at] = checked(operands[at], left, right, what, node.op.name)
    return tuple(operands)


def of_sizes(value: Any, wanted: Sequence[Size], op: str, what: str) -> Any:
    """``value``, which is to have the sizes ``wanted``: InvalidArgumentError if it has not, also from the run if only
    that can tell."""
    have = tuple(value.shape)
    if len(have) != len(wanted) or any(map(differ, have, wanted)):
        text = f"{what}: expected the sizes {text_of(wanted)}, got {value.dtype}{text_of(have)}"
        raise InvalidArgumentError(message(op, text, user_origin()))
    for left, right in zip(have, wanted, strict=True):
        if left != right:
            value = checked(value, left, right, f"{what}: sizes: {NUMBERS}", op)
    return value


def named_by(value: Value, axes: Sequence[int], symbols: Sequence[Dim]) -> Value:
    """``value``, whose sizes along ``axes`` the run gives to late ``symbols``."""
    late_sizes(sizes(tuple(value.dims[axis] for axis in axes)), tuple(symbols))
    names = dict(zip(axes, symbols, strict=True))
    result: Value = relabel(value, tuple(names.get(axis, size) for axis, size in enumerate(value.dims)))
    return result


shape = define(
    "shape",
    "x:T",
    kinds={"T": EVERY},
    infer=lambda x: TensorType(dtypes.int64, (x.ndim,)),
    content=lambda x: x.dims,
    ref=lambda x: np.array(x.shape, np.int64),
    expand=lambda x: sizes(x.dims),
    vjp=lambda node, gradient: (None,),
    onnx="Shape",
    doc="""The shape of ``x`` as a value: int64[x.ndim].

    Sizes taken from it stay known to the compiler: ``pf.reshape(x, [pf.shape(x)[0], -1])`` costs nothing at run time.
    """,
)

size = define(
    "size",
    "x:T",
    kinds={"T": EVERY},
    infer=lambda x: TensorType(dtypes.int64, ()),
    content=lambda x: dims.product(x.dims),
    ref=lambda x: np.array(x.size, np.int64),
    expand=lambda x: sizes([dims.product(x.dims)], scalar=True),
    vjp=lambda node, gradient: (None,),
    onnx="Size",
    doc="The number of elements of ``x``: int64, 0-d.",
)

rank = define(
    "rank",
    "x:T",
    kinds={"T": EVERY},
    infer=lambda x: TensorType(dtypes.int64, ()),
    content=lambda x: x.ndim,
    ref=lambda x: np.array(x.ndim, np.int64),
    expand=lambda x: sizes([x.ndim], scalar=True),
    vjp=lambda node, gradient: (None,),
    doc="The number of axes of ``x``: int64, 0-d.",
)
