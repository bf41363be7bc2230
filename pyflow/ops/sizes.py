"""Sizes as values: what a shape argument may be, what can be told of two sizes, the ops that give sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.apply import is_operand
from pyflow.dims import Dim, Size
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Value
from pyflow.opdef import BOOLEAN, EVERY, SIZES, Attr, Lowering, TensorType, define

__all__ = ["rank", "shape", "size"]

Check = tuple[Size, Size, str]


def as_size(entry: Any) -> Size:
    """An int, a Dim, or what a 0-d integer value is known to hold; TypeError for the rest."""
    if isinstance(entry, Dim):
        return entry
    if isinstance(entry, Value):
        return _known(entry)
    if isinstance(entry, (bool, np.bool_)):
        raise TypeError(f"expected a size, got {entry!r}")
    if hasattr(entry, "__index__"):
        return entry.__index__()
    if is_operand(entry):
        return _known(entry.__pyflow_value__())
    raise TypeError(f"expected an int or a Dim, got {entry!r}")


def _known(value: Value) -> Any:
    if value.content is None:
        raise TypeError(
            f"what {value.name}: {value.type} holds is not known while the graph is built; "
            "make it from pf.shape(x) and constants, pass ints and Dims, or use -1 for one unknown size"
        )
    return value.content


def as_sizes(given: Any) -> tuple[Size, ...]:
    """A shape from one size, a sequence of sizes, or a 1-d integer value of known content."""
    if is_operand(given):
        content = _known(given if isinstance(given, Value) else given.__pyflow_value__())
        return content if isinstance(content, tuple) else (content,)
    if isinstance(given, (str, bytes)):
        raise TypeError(f"expected sizes, got {given!r}")
    if isinstance(given, Dim) or (hasattr(given, "__index__") and not np.ndim(given)):
        return (as_size(given),)
    try:
        entries = list(np.asarray(given).tolist() if hasattr(given, "__array__") else given)
    except TypeError:
        raise TypeError(f"expected sizes, got {given!r}") from None
    return tuple(as_size(entry) for entry in entries)


SHAPE = Attr("sizes", as_sizes, SIZES.encode)
"""A shape as users write it: ints, Dims, a known integer value."""


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
