"""Slices: the op, its gradient, and NumPy's basic indexing on top of it."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dims, views
from pyflow.apply import convert, is_operand
from pyflow.dims import Dim, Size
from pyflow.errors import InvalidArgumentError, OutOfRangeError, message, user_origin
from pyflow.graph import Node, Value
from pyflow.opdef import EVERY, FUNCTIONS, INTS, TensorType, call, define
from pyflow.ops.arrays.picking import masks_as_places, pick
from pyflow.ops.arrays.shape import expand_dims, filled, flip, reshape, squeeze
from pyflow.ops.common import ndim_of
from pyflow.ops.sizes import SHAPE, Check, as_size, at_most_check, differ, late_of, once, text_of
from pyflow.ops.sizes import sizes as size_value
from pyflow.plan import View

__all__ = ["getitem"]


def _reach(start: Size, size: Size, step: int) -> tuple[Size, Size]:
    """The lowest and highest index that a slice touches (if any)."""
    last = dims.add(start, dims.mul(step, dims.add(size, -1)))
    return (start, last) if step > 0 else (last, start)


def _slice_infer(x: Value, *, starts: tuple[Size, ...], sizes: tuple[Size, ...], steps: tuple[int, ...]) -> TensorType:
    if not len(starts) == len(sizes) == len(steps) == x.ndim:
        raise InvalidArgumentError(
            f"expected starts, sizes and steps per axis of x: {x.type}, got {len(starts)}, {len(sizes)}, {len(steps)}"
        )
    for axis, (start, size, step) in enumerate(zip(starts, sizes, steps, strict=True)):
        if step == 0:
            raise InvalidArgumentError(f"axis {axis} has step 0")
        low, high = _reach(start, size, step)
        over = dims.add(high, dims.add(1, dims.mul(x.dims[axis], -1)))
        if size != 0 and (differ(dims.maximum(low, 0), low) or differ(dims.minimum(over, 0), over)):
            raise InvalidArgumentError(
                f"axis {axis} of x: {x.type}: {size} elements from {start} on, {step} apart, do not lie inside"
            )
    return TensorType(x.dtype, sizes)


def _slice_checks(node: Node) -> list[Check]:
    x, attrs = node.inputs[0], node.attrs
    result: list[Check] = []
    for axis, (start, size, step) in enumerate(zip(attrs["starts"], attrs["sizes"], attrs["steps"], strict=True)):
        if size == 0:
            continue
        low, high = _reach(start, size, step)
        what = f"slice of {x.type}: axis {axis} from {start}, size {size}, step {step}, lies outside; end"
        result += at_most_check(dims.add(high, 1), x.dims[axis], what)
        result += at_most_check(dims.mul(low, -1), 0, what)
    return result


def _slice_view(node: Node, inputs: tuple[View, ...]) -> tuple[View, ...]:
    view = inputs[0]
    for axis, (start, size, step) in enumerate(
        zip(node.attrs["starts"], node.attrs["sizes"], node.attrs["steps"], strict=True)
    ):
        view = views.slice_axis(view, axis, start, size, step)
    return (view,)


def _slice_ref(x: np.ndarray, *, starts: tuple[int, ...], sizes: tuple[int, ...], steps: tuple[int, ...]) -> np.ndarray:
    for axis, (start, size, step) in enumerate(zip(starts, sizes, steps, strict=True)):
        x = np.take(x, start + step * np.arange(size), axis=axis)
    return x


def _slice_content(x: Value, *, starts: tuple[Size, ...], sizes: tuple[Size, ...], steps: tuple[int, ...]) -> Any:
    if x.ndim != 1 or x.content is None or not isinstance(starts[0], int) or not isinstance(sizes[0], int):
        return None
    return tuple(x.content[starts[0] + steps[0] * i] for i in range(sizes[0]))


def _slice_vjp(node: Node, gradient: Value) -> tuple[Value]:
    """Puts the slice back among zeros: steps are undone by reversing and by zeros between."""
    x, starts, steps = node.inputs[0], list(node.attrs["starts"]), node.attrs["steps"]
    backwards = [axis for axis, step in enumerate(steps) if step < 0]
    for axis in backwards:
        starts[axis] = _reach(starts[axis], gradient.dims[axis], steps[axis])[0]
    if backwards:
        gradient = flip(gradient, backwards)
    zero = filled((), 0, gradient)
    for axis, step in enumerate(map(abs, steps)):
        if step > 1:
            sizes = gradient.dims
            after = [0] * (len(sizes) + 1)
            after[axis + 1] = step - 1
            apart = call("pad", expand_dims(gradient, axis + 1), zero, [0] * len(after), after)
            gradient = reshape(apart, (*sizes[:axis], dims.mul(sizes[axis], step), *sizes[axis + 1 :]))
    after_all = [
        dims.add(whole, dims.mul(dims.add(start, size), -1))
        for whole, start, size in zip(x.dims, starts, gradient.dims, strict=True)
    ]
    return (call("pad", gradient, zero, starts, after_all),)


slice_ = define(
    "slice",
    "x:T",
    attrs={"starts": SHAPE, "sizes": SHAPE, "steps": INTS},
    kinds={"T": EVERY},
    infer=_slice_infer,
    checks=_slice_checks,
    content=_slice_content,
    ref=_slice_ref,
    view=_slice_view,
    vjp=_slice_vjp,
    onnx="Slice",
    doc="``sizes`` elements of ``x`` per axis, from ``starts`` on, ``steps`` apart (negative: backwards).",
)


def _clamp(size: Size, low: Size, high: Size) -> Size:
    return dims.maximum(dims.minimum(size, high), low)


def _bound(bound: Any, size: Size, default: Size, low: Size, high: Size) -> Size:
    if bound is None:
        return default
    if is_operand(bound) and convert(bound).content is None:
        return _late_bound(convert(bound), size, low, high)
    try:
        settled = as_size(bound)
    except TypeError as error:
        raise _failure(f"a slice's bound: {error}") from None
    if isinstance(settled, int) and settled < 0:
        settled = dims.add(settled, size)
    return _clamp(settled, low, high)


def _late_bound(value: Value, size: Size, low: Size, high: Size) -> Size:
    """A bound that only the run tells: counted from the front and clamped when it is known."""
    if value.ndim or not value.dtype.is_integer:
        raise _failure(f"a slice's bound: expected an integer, got {value.type}")

    def clamped() -> Value:
        bound = convert(value, "int64")
        whole, least, most = (size_value([entry], scalar=True) for entry in (size, low, high))
        counted = call("where", bound < 0, bound + whole, bound)
        result: Value = call("maximum", call("minimum", counted, most), least)
        return result

    settled: Size = late_of(once(("bound", value, size, low, high), clamped), -1 if low == -1 else 0, high)
    return settled


def resolve_slice(entry: slice, size: Size) -> tuple[Size, Size, int]:
    """(start, size, step) of a Python slice of an axis of ``size``; bounds are clamped as Python does."""
    step = 1 if entry.step is None else int(entry.step)
    if step == 0:
        raise _failure("a slice's step is 0")
    if step > 0:
        start = _bound(entry.start, size, 0, 0, size)
        stop = _bound(entry.stop, size, size, 0, size)
        count = dims.ceildiv(dims.add(stop, dims.mul(start, -1)), step)
    else:
        last = dims.add(size, -1)
        start = _bound(entry.start, size, last, -1, last)
        stop = _bound(entry.stop, size, -1, -1, last)
        count = dims.ceildiv(dims.add(start, dims.mul(stop, -1)), -step)
    return start, dims.maximum(count, 0), step


def _failure(what: str, hint: str = "") -> InvalidArgumentError:
    return InvalidArgumentError(message("getitem", what, user_origin(), hint))


def _is_integer(entry: Any) -> bool:
    if isinstance(entry, Dim):
        return True
    if is_operand(entry) or isinstance(entry, (bool, np.bool_)):
        return False
    return hasattr(entry, "__index__") and not np.ndim(entry)


def _is_bool(entry: Any) -> bool:
    if isinstance(entry, (bool, np.bool_)):
        return True
    dtype = getattr(entry, "dtype", None)
    if dtype is None and isinstance(entry, (list, tuple)) and not any(is_operand(e) for e in entry):
        dtype = np.asarray(entry).dtype
    return str(dtype) == "bool"


def _expanded(key: Any, ndim: int, shown: str) -> list[Any]:
    """One entry per axis, and one per new axis; an ellipsis becomes full slices."""
    entries = list(key) if isinstance(key, tuple) else [key]
    used = sum(
        max(ndim_of(entry), 1) if _is_bool(entry) else entry is not None and entry is not Ellipsis for entry in entries
    )
    if sum(entry is Ellipsis for entry in entries) > 1:
        raise _failure("an index has more than one ellipsis")
    if used > ndim:
        raise OutOfRangeError(message("getitem", f"{used} indices for {shown} of {ndim} axes", user_origin()))
    at = next((i for i, entry in enumerate(entries) if entry is Ellipsis), len(entries))
    entries[at : at + 1] = [builtins.slice(None)] * (ndim - used)
    return entries


def _advanced(entries: Sequence[Any]) -> list[int]:
    """Where arrays of integers stand, and the ints that count as such beside them; [] without arrays."""
    integers = [_is_integer(entry) for entry in entries]
    arrays = [
        i for i, entry in enumerate(entries) if not isinstance(entry, (type(None), builtins.slice)) and not integers[i]
    ]
    return [i for i in range(len(entries)) if i in arrays or integers[i]] if arrays else []


def getitem(x: Any, key: Any, name: str | None = None) -> Value:
    """``x[key]``, as NumPy indexes.

    ``key``: ints, slices with any step, None, Ellipsis, or a tuple of them; bounds may be Dims (counted from the
    start) and 0-d integer values; where sizes are not known slices are clamped when they are.
    An integer value, array or list picks elements along its axis (:func:`pyflow.gather`); several broadcast together.
    A bool mask picks where it is True; the run finds out how many (:func:`pyflow.nonzero`). Raises OutOfRangeError for
    an int outside its axis, InvalidArgumentError for a slice's step 0.
    """
    operand = x if hasattr(x, "shape") and hasattr(x, "dtype") and not hasattr(x, "__pyflow_value__") else convert(x)
    sizes = tuple(operand.shape)
    shown = f"x: {operand.dtype}{text_of(sizes)}"
    entries = _expanded(key, len(sizes), shown)
    if any(_is_bool(entry) for entry in entries):
        entries = masks_as_places(entries, operand, _is_bool)
    advanced = _advanced(entries)
    arrays = [i for i in advanced if not _is_integer(entries[i])]
    if len(arrays) > 1 or (advanced and advanced[-1] - advanced[0] >= len(advanced)):
        return pick(operand, entries, advanced, name)
    array_at = arrays[0] if arrays else None
    starts: list[Size] = []
    counts: list[Size] = []
    steps: list[int] = []
    dropped: list[int] = []
    added: list[int] = []
    gather_axis = 0
    start: Size
    count: Size
    for position, entry in enumerate(entries):
        axis, place = len(starts), len(starts) - len(dropped) + len(added)
        if entry is None:
            added.append(place)
            continue
        if position == array_at:
            gather_axis = place
            start, count, step = 0, sizes[axis], 1
        elif isinstance(entry, builtins.slice):
            start, count, step = resolve_slice(entry, sizes[axis])
        else:
            start, count, step = _one(entry, sizes[axis], axis, shown), 1, 1
            dropped.append(axis)
        starts.append(start)
        counts.append(count)
        steps.append(step)
    result = operand
    if any(start != 0 or step != 1 for start, step in zip(starts, steps, strict=True)) or tuple(counts) != sizes:
        result = slice_(result, starts, counts, steps, name=name)
    result = squeeze(result, dropped) if dropped else result
    result = expand_dims(result, added) if added else result
    if array_at is not None:
        result = call("gather", result, entries[array_at], gather_axis)
    return call("identity", result) if result is operand else result


def _one(entry: Any, size: Size, axis: int, shown: str) -> Size:
    index: Size = entry if isinstance(entry, Dim) else int(entry)
    settled = dims.add(index, size) if isinstance(index, int) and index < 0 else index
    if isinstance(size, int) and isinstance(settled, int) and not 0 <= settled < size:
        what = f"index {index} is out of range for axis {axis} of {shown}; expected {-size} <= index < {size}"
        raise OutOfRangeError(message("getitem", what, user_origin()))
    return settled


FUNCTIONS["getitem"] = getitem
