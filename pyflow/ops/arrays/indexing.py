"""Ops that pick elements by index, and those that make indices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.apply import convert, is_operand
from pyflow.dims import Dim, Size
from pyflow.dtypes import DType
from pyflow.errors import InvalidArgumentError, OutOfRangeError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import ANY, COMPLEX, DTYPE, EVERY, INT, INTEGERS, NUMERIC, SIZE, Lowering, TensorType, call, define
from pyflow.ops.arrays.shape import expand_dims, reshape
from pyflow.ops.common import normalise_axis
from pyflow.ops.elementwise.complex_rules import in_parts, join, parts
from pyflow.ops.sizes import LENGTH, as_size, sizes
from pyflow.ops.sources import TRACKED_LIMIT

__all__ = ["arange", "gather", "nonzero", "one_hot", "take"]


def _gather_content(x: Value, indices: Value, *, axis: int) -> Any:
    entries, picked = x.content, indices.content
    if entries is None or picked is None:
        return None
    wanted = picked if isinstance(picked, tuple) else (picked,)
    if not all(isinstance(i, int) and -len(entries) <= i < len(entries) for i in wanted):
        return None
    return tuple(entries[i] for i in wanted) if indices.ndim else entries[wanted[0]]


def _gather_infer(x: Value, indices: Value, *, axis: int) -> TensorType:
    size, picked = x.dims[axis], indices.content
    for index in picked if isinstance(picked, tuple) else (picked,):
        if isinstance(size, int) and isinstance(index, int) and not -size <= index < size:
            raise OutOfRangeError(f"index {index} is out of range for axis {axis} of x: {x.type}")
    return TensorType(x.dtype, (*x.dims[:axis], *indices.dims, *x.dims[axis + 1 :]))


gather = define(
    "gather",
    "x:T, indices:I",
    attrs={"axis": INT},
    defaults={"axis": 0},
    kinds={"T": EVERY, "I": INTEGERS},
    canonical=lambda x, indices, axis: {"axis": normalise_axis(axis, x.ndim, f"x: {x.type}")},
    infer=_gather_infer,
    content=_gather_content,
    ref=lambda x, indices, axis: np.take(x, indices, axis=axis),
    vjp=lambda node, gradient: (
        call("scatter_add", node.inputs[1], gradient, node.inputs[0].dims[node.attrs["axis"]], node.attrs["axis"]),
        None,
    ),
    fallible=True,
    onnx="Gather",
    doc="""The elements of ``x`` at ``indices`` (integers of any shape) along ``axis``.

    The result has the dims of ``x`` with ``axis`` replaced by those of ``indices``. Negative indices count from the
    end; a run raises OutOfRangeError for an index outside.
    """,
)
take = gather


def _scatter_add_infer(indices: Value, updates: Value, *, size: Size, axis: int) -> TensorType:
    inner = updates.dims[axis : axis + indices.ndim]
    if len(inner) != indices.ndim:
        raise InvalidArgumentError(f"updates: {updates.type} has no {indices.ndim} axes for indices: {indices.type}")
    return TensorType(updates.dtype, (*updates.dims[:axis], size, *updates.dims[axis + indices.ndim :]))


def _scatter_add_ref(indices: np.ndarray, updates: np.ndarray, *, size: int, axis: int) -> np.ndarray:
    before, after = updates.shape[:axis], updates.shape[axis + indices.ndim :]
    result = np.zeros((size, *before, *after), updates.dtype)
    flat = updates.reshape(*before, indices.size, *after)
    np.add.at(result, indices.reshape(-1), np.moveaxis(flat, axis, 0))
    return np.moveaxis(result, 0, axis)


def _scatter_add_parts(indices: Value, updates: Value, **attrs: Any) -> Value:
    return join(*(call("scatter_add", indices, part, **attrs) for part in parts(updates)))


scatter_add = define(
    "scatter_add",
    "indices:I, updates:T",
    attrs={"size": LENGTH, "axis": INT},
    kinds={"T": NUMERIC | COMPLEX, "I": INTEGERS},
    expand=in_parts(_scatter_add_parts),
    infer=_scatter_add_infer,
    ref=_scatter_add_ref,
    lower=lambda node, inputs, outputs: Lowering("scatter_add", inputs, outputs, (node.attrs["axis"],)),
    vjp=lambda node, gradient: (None, gather(gradient, node.inputs[0], node.attrs["axis"])),
    fallible=True,
    doc="Zeros, of ``size`` along ``axis``, with ``updates`` added at ``indices`` in order: the gradient of gather.",
)


def _one_hot_infer(indices: Value, *, depth: Size, dtype: DType, axis: int) -> TensorType:
    return TensorType(dtype, (*indices.dims[:axis], depth, *indices.dims[axis:]))


def _one_hot_expand(indices: Value, *, depth: Size, dtype: DType, axis: int) -> Value:
    counted = indices.dtype if indices.dtype.bits >= 32 else dtypes.int64
    classes = reshape(iota(depth, counted), (depth, *(1,) * (indices.ndim - axis)))
    result: Value = call("cast", call("equal", expand_dims(indices, axis), classes), dtype)
    return result


def _one_hot_ref(indices: np.ndarray, *, depth: int, dtype: DType, axis: int) -> np.ndarray:
    classes = np.arange(depth).reshape(depth, *(1,) * (indices.ndim - axis))
    return (np.expand_dims(indices, axis) == classes).astype(dtype.numpy)


one_hot = define(
    "one_hot",
    "indices:I",
    attrs={"depth": LENGTH, "dtype": DTYPE, "axis": INT},
    defaults={"dtype": dtypes.float32, "axis": -1},
    kinds={"I": INTEGERS},
    canonical=lambda indices, depth, dtype, axis: {"axis": normalise_axis(axis, indices.ndim + 1, "the result")},
    infer=_one_hot_infer,
    ref=_one_hot_ref,
    expand=_one_hot_expand,
    vjp=lambda node, gradient: (None,),
    doc="""1 where the index along the new ``axis`` (of size ``depth``) is ``indices``, 0 elsewhere.

    An index outside ``[0, depth)`` gives only zeros. Any dtype, default float32.
    """,
)


def _nonzero_canonical(x: Value, *, count: Size | None) -> Mapping[str, Any]:
    if x.ndim == 0:
        raise InvalidArgumentError(f"expected a value of at least 1 axis, got x: {x.type}")
    if count is None:
        count = dims.fresh_late_symbol("nonzero", dims.product(x.dims))
    elif not isinstance(count, Dim) or not dims.late_in(count):
        raise InvalidArgumentError(f"the run finds out count, got {count}; leave it out, and slice or pad the result")
    return {"count": count}


nonzero = define(
    "nonzero",
    "x:T",
    attrs={"count": SIZE.optional()},
    defaults={"count": None},
    kinds={"T": ANY | COMPLEX},
    expand=in_parts(lambda x, count: call("nonzero", x != 0, count)),
    canonical=_nonzero_canonical,
    infer=lambda x, count: TensorType(dtypes.int64, (x.ndim, count)),
    ref=lambda x, count=None: np.stack(np.nonzero(x)).astype(np.int64),
    defines=lambda node: dims.late_names(node.attrs["count"]),
    lower=lambda node, inputs, outputs: Lowering("nonzero", inputs, outputs, defines=node.defines),
    vjp=lambda node, gradient: (None,),
    onnx="NonZero",
    doc="""The indices of the elements that are not 0, in row-major order: int64[x.ndim, count].

    ``count`` is a size that the run finds out, at most the number of elements; leave the argument out.
    """,
)


def _iota_content(*, count: Size, dtype: DType) -> Any:
    return tuple(range(count)) if isinstance(count, int) and count <= TRACKED_LIMIT and dtype.is_integer else None


iota = define(
    "iota",
    "",
    attrs={"count": LENGTH, "dtype": DTYPE},
    defaults={"dtype": dtypes.int64},
    infer=lambda count, dtype: TensorType(dtype, (count,)),
    content=_iota_content,
    ref=lambda count, dtype: np.arange(count).astype(dtype.numpy),
    lower=lambda node, inputs, outputs: Lowering("iota", (), outputs),
    vjp=lambda node, gradient: (),
    doc="0, 1, 2 ... of ``dtype``.",
)


def _arange_of_values(start: Any, stop: Any, step: Any, dtype: Any, name: str | None) -> Value:
    """:func:`arange` whose number of elements only the run tells."""
    bounds = [sizes([entry], scalar=True) if isinstance(entry, Dim) else entry for entry in (start, stop, step)]
    given = [convert(entry) for entry in bounds]
    for value in given:
        if value.ndim:
            raise InvalidArgumentError(message("arange", f"expected 0-d values, got {value.type}", user_origin()))
    strong = [value.dtype for value, bound in zip(given, bounds, strict=True) if is_operand(bound)]
    if any(isinstance(bound, float) for bound in bounds) and not any(entry.is_floating for entry in strong):
        strong.append(dtypes.float32)
    kind = dtypes.promote(*strong)
    exact = dtypes.int64 if kind.is_integer else dtypes.float64
    first, last, apart = (convert(value, exact) for value in given)
    if kind.is_integer:
        count = -call("floor_divide", first - last, apart)
    else:
        count = call("cast", call("ceil", (last - first) / apart), dtypes.int64)
    wanted = dtypes.as_dtype(dtype) if dtype is not None else kind
    steps = iota(call("maximum", count, 0), wanted, name=name)
    result: Value = steps * convert(given[2], wanted) + convert(given[0], wanted)
    return result


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None, name: str | None = None) -> Value:
    """``start, start + step ...`` up to, not including, ``stop``; ``arange(stop)`` starts at 0.

    Ints and Dims give int64 unless ``dtype`` says otherwise, floats float32; element i is ``start + i * step``. Each
    may be a 0-d value, whose dtype then counts as in other operations. Raises InvalidArgumentError for a step of 0, and
    for a step that is a Dim.
    """
    if stop is None:
        start, stop = 0, start
    values = [entry for entry in (start, stop, step) if is_operand(entry)]
    if any(not isinstance(convert(entry).content, (int, Dim)) for entry in values) or is_operand(step):
        return _arange_of_values(start, stop, step, dtype, name)
    floating = any(isinstance(bound, (float, np.floating)) for bound in (start, stop, step))
    wanted = dtypes.as_dtype(dtype) if dtype is not None else dtypes.float32 if floating else dtypes.int64
    if isinstance(step, Dim) or not step:
        what = f"expected a step that is a number other than 0, got {step}"
        raise InvalidArgumentError(message("arange", what, user_origin()))
    if floating:
        if not all(math.isfinite(bound) for bound in (start, stop, step)):
            what = f"expected finite numbers, got {start}, {stop} and {step}"
            raise InvalidArgumentError(message("arange", what, user_origin()))
        count: Size = max(0, math.ceil((stop - start) / step))
        first = convert(start, wanted)
    else:
        try:
            start, stop, step = as_size(start), as_size(stop), int(step)
        except TypeError as error:
            raise InvalidArgumentError(message("arange", str(error), user_origin())) from None
        span = dims.add(stop, dims.mul(start, -1))
        count = dims.maximum(dims.ceildiv(span if step > 0 else dims.mul(span, -1), abs(step)), 0)
        first = convert(sizes([start], scalar=True) if isinstance(start, Dim) else start, wanted)
    steps = iota(count, wanted, name=name)
    if step != 1:
        steps = call("multiply", steps, np.asarray(step, wanted.numpy))
    result: Value = steps if isinstance(start, (int, float)) and start == 0 else call("add", steps, first)
    return result
