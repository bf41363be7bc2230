"""Joining values along an axis, and cutting them apart."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyflow import dims, views
from pyflow.dims import Size
from pyflow.errors import DTypeError, InvalidArgumentError, message, user_origin
from pyflow.graph import Node, Value
from pyflow.opdef import EVERY, FUNCTIONS, INT, SIZES, Attr, TensorType, define
from pyflow.ops.arrays.shape import expand_dims, filled
from pyflow.ops.arrays.slicing import slice_
from pyflow.ops.common import normalise_axis
from pyflow.ops.sizes import Check, as_sizes, common_size, differ, equal_check, text_of
from pyflow.plan import View

__all__ = ["concat", "concatenate", "split", "stack"]


def _offsets(sizes: Sequence[Size]) -> list[Size]:
    """Where each part begins."""
    result: list[Size] = []
    at: Size = 0
    for size in sizes:
        result.append(at)
        at = dims.add(at, size)
    return result


def _concat_canonical(*xs: Value, axis: int) -> Mapping[str, Any]:
    if not xs:
        raise InvalidArgumentError("expected at least one value")
    return {"axis": normalise_axis(axis, xs[0].ndim, f"x: {xs[0].type}")}


def _concat_infer(*xs: Value, axis: int) -> TensorType:
    if any(x.ndim != xs[0].ndim for x in xs):
        raise InvalidArgumentError(f"expected values of one rank, got {', '.join(str(x.type) for x in xs)}")
    sizes = []
    for i in range(xs[0].ndim):
        along = [x.dims[i] for x in xs]
        if i == axis:
            sizes.append(dims.add(0, sum(along[1:], along[0])))
        else:
            shown = ", ".join(str(x.type) for x in xs)
            sizes.append(common_size(along, f"axis {i} of {shown}, joined along axis {axis}"))
    return TensorType(xs[0].dtype, tuple(sizes))


def _concat_checks(node: Node) -> list[Check]:
    (result,) = node.types
    return [
        check
        for x in node.inputs
        for i, size in enumerate(x.dims)
        if i != node.attrs["axis"]
        for check in equal_check(size, result.dims[i], f"concat of {x.type} into {result}: axis {i}")
    ]


def _concat_content(*xs: Value, axis: int) -> Any:
    if any(x.content is None for x in xs):
        return None
    return tuple(entry for x in xs for entry in x.content)


def _concat_parts(node: Node, output: View) -> tuple[View, ...]:
    axis = node.attrs["axis"]
    sizes = [x.dims[axis] for x in node.inputs]
    return tuple(
        views.slice_axis(output, axis, start, size) for start, size in zip(_offsets(sizes), sizes, strict=True)
    )


def _part(x: Value, axis: int, start: Size, size: Size) -> Value:
    starts: list[Size] = [0] * x.ndim
    starts[axis] = start
    result: Value = slice_(x, starts, (*x.dims[:axis], size, *x.dims[axis + 1 :]), (1,) * x.ndim)
    return result


def _concat_vjp(node: Node, gradient: Value) -> tuple[Value, ...]:
    axis = node.attrs["axis"]
    sizes = [x.dims[axis] for x in node.inputs]
    return tuple(_part(gradient, axis, start, size) for start, size in zip(_offsets(sizes), sizes, strict=True))


_concat = define(
    "concat",
    "*xs:T",
    attrs={"axis": INT},
    defaults={"axis": 0},
    kinds={"T": EVERY},
    canonical=_concat_canonical,
    infer=_concat_infer,
    checks=_concat_checks,
    content=_concat_content,
    parts=_concat_parts,
    ref=lambda *xs, axis: np.concatenate(xs, axis=axis),
    vjp=_concat_vjp,
    onnx="Concat",
    doc="Values of one rank, one after the other along ``axis``.",
)


def concat(values: Sequence[Any], axis: int = 0, name: str | None = None) -> Value:
    """``values`` one after the other along ``axis``; their other sizes must be equal.

    Dtypes are promoted to a common one. Raises InvalidArgumentError for no values, different ranks or sizes.
    """
    _check_list("concat", values, axis)
    result: Value = _concat(*values, axis=axis, name=name)
    return result


def _check_list(op: str, values: Any, axis: Any) -> None:
    """Raises DTypeError where values are given one by one instead of in a list."""
    if getattr(axis, "ndim", 0):
        what = f"expected a list of values and an axis, got {type(values).__name__} and {type(axis).__name__}"
        raise DTypeError(message(op, what, user_origin(), f"use pf.{op}([x, y], axis)"))


concatenate = concat


def stack(values: Sequence[Any], axis: int = 0, name: str | None = None) -> Value:
    """``values``, all of one shape, along a new axis at ``axis`` of the result."""
    _check_list("stack", values, axis)
    return concat([expand_dims(value, axis) for value in values], axis, name)


FUNCTIONS["stack"] = lambda *values, axis=0, name=None: stack(values, axis, name)


def _sections(given: Any) -> tuple[Size, ...]:
    if hasattr(given, "__index__") and not np.ndim(given):
        if isinstance(given, bool) or int(given) < 1:
            raise TypeError(f"expected a number of sections of at least 1, got {given!r}")
        return (-1,) * int(given)
    return as_sizes(given)


def _split_canonical(x: Value, *, sections: tuple[Size, ...], axis: int) -> Mapping[str, Any]:
    axis = normalise_axis(axis, x.ndim, f"x: {x.type}")
    if any(isinstance(size, int) and size < -1 for size in sections) or not sections:
        raise InvalidArgumentError(f"expected sizes, got {text_of(sections)}")
    unknown = sum(size == -1 for size in sections)
    if unknown:
        rest = dims.add(x.dims[axis], -1 * sum((size for size in sections if size != -1), 0))
        if isinstance(rest, int) and (rest < 0 or rest % unknown):
            raise InvalidArgumentError(f"axis {axis} of x: {x.type} does not split into {_shown(sections)}")
        share = dims.floordiv(rest, unknown)
        sections = tuple(share if size == -1 else size for size in sections)
    return {"sections": sections, "axis": axis}


def _shown(sections: Sequence[Size]) -> str:
    return f"{len(sections)} equal parts" if all(size == -1 for size in sections) else f"sizes {text_of(sections)}"


def _split_infer(x: Value, *, sections: tuple[Size, ...], axis: int) -> tuple[TensorType, ...]:
    if differ(sum(sections[1:], sections[0]), x.dims[axis]):
        raise InvalidArgumentError(f"axis {axis} of x: {x.type} does not split into sizes {text_of(sections)}")
    return tuple(TensorType(x.dtype, (*x.dims[:axis], size, *x.dims[axis + 1 :])) for size in sections)


def _split_checks(node: Node) -> list[Check]:
    x, sections, axis = node.inputs[0], node.attrs["sections"], node.attrs["axis"]
    total = sum(sections[1:], sections[0])
    return equal_check(total, x.dims[axis], f"split of {x.type} into sizes {text_of(sections)}: axis {axis}")


def _split_content(x: Value, *, sections: tuple[Size, ...], axis: int) -> Any:
    if x.content is None or not all(isinstance(size, int) for size in sections):
        return None
    bounds = [*_offsets(sections), len(x.content)]
    return tuple(x.content[start:stop] for start, stop in itertools.pairwise(bounds))


def _split_view(node: Node, inputs: tuple[View, ...]) -> tuple[View, ...]:
    sections, axis = node.attrs["sections"], node.attrs["axis"]
    return tuple(
        views.slice_axis(inputs[0], axis, start, size) for start, size in zip(_offsets(sections), sections, strict=True)
    )


def _split_vjp(node: Node, *gradients: Value | None) -> tuple[Value]:
    x = node.inputs[0]
    parts = [
        filled(value.dims, 0, x) if gradient is None else gradient
        for value, gradient in zip(node.outputs, gradients, strict=True)
    ]
    return (concat(parts, node.attrs["axis"]),)


split = define(
    "split",
    "x:T",
    attrs={"sections": Attr("sizes", _sections, SIZES.encode), "axis": INT},
    defaults={"axis": 0},
    kinds={"T": EVERY},
    canonical=_split_canonical,
    infer=_split_infer,
    checks=_split_checks,
    content=_split_content,
    ref=lambda x, sections, axis: tuple(np.split(x, np.cumsum(sections)[:-1], axis=axis)),
    view=_split_view,
    vjp=_split_vjp,
    multiple=True,
    onnx="Split",
    doc="""``x`` cut along ``axis`` into a tuple of values.

    ``sections``: how many equal parts, or the size of each (ints or Dims; -1: an equal share of what is left).
    Raises InvalidArgumentError if they do not add up; where sizes are not known yet, the run does.
    """,
)
