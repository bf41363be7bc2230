"""Reading and writing single elements and slices by index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pyflow import dims
from pyflow.apply import convert
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError, OutOfRangeError
from pyflow.graph import Node, Value
from pyflow.opdef import EVERY, INT, INTEGERS, Lowering, TensorType, call, choice, define
from pyflow.ops.common import axis_of, ndim_of, normalise_axis
from pyflow.ops.elementwise import complex_rules
from pyflow.ops.sizes import Check, at_most_check, differ, equal_check
from pyflow.plan import View

__all__ = [
    "compress",
    "extract",
    "gather_elements",
    "gather_nd",
    "index_add",
    "index_select",
    "masked_fill",
    "masked_select",
    "put_along_axis",
    "scatter_elements",
    "scatter_nd",
    "take_along_axis",
]

REDUCTIONS = ("none", "add", "mul", "min", "max")
_APPLY: Mapping[str, Any] = {"add": np.add.at, "mul": np.multiply.at, "min": np.minimum.at, "max": np.maximum.at}
_KINDS = {"T": EVERY, "I": INTEGERS}


def _checked(indices: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Indices from the front; OutOfRangeError for one outside."""
    outside = (indices < -size) | (indices >= size)
    if outside.any():
        index = indices[outside].flat[0]
        raise OutOfRangeError(f"index {index} is out of range for axis {axis} of size {size}")
    return np.where(indices < 0, indices + size, indices).astype(np.int64)


def _elements_canonical(x: Value, indices: Value, *others: Value, axis: int, **rest: Any) -> Mapping[str, Any]:
    return {"axis": normalise_axis(axis, x.ndim, f"x: {x.type}")}


def _check_elements(x: Value, indices: Value, axis: int) -> None:
    fits = indices.ndim == x.ndim and not any(
        differ(dims.maximum(have, limit), limit)
        for i, (have, limit) in enumerate(zip(indices.dims, x.dims, strict=True))
        if i != axis
    )
    if not fits:
        raise InvalidArgumentError(
            f"expected indices of the rank of x and, but for axis {axis}, not larger; got x: {x.type} and "
            f"indices: {indices.type}"
        )


def _elements_checks(node: Node) -> list[Check]:
    x, indices = node.inputs[:2]
    what = f"indices: {indices.type} reach beyond x: {x.type} along axis"
    return [
        check
        for i, (have, limit) in enumerate(zip(indices.dims, x.dims, strict=True))
        if i != node.attrs["axis"] and have != limit
        for check in at_most_check(have, limit, f"{what} {i}")
    ]


def _grid(indices: np.ndarray, size: int, axis: int) -> tuple[np.ndarray, ...]:
    places: list[np.ndarray] = list(np.indices(indices.shape, sparse=True))
    places[axis] = _checked(indices, size, axis)
    return tuple(places)


def _gather_elements_infer(x: Value, indices: Value, *, axis: int) -> TensorType:
    _check_elements(x, indices, axis)
    return TensorType(x.dtype, indices.dims)


def _zeros_like(x: Value, dims: Any) -> Value:
    result: Value = call("broadcast_to", call("constant", np.zeros((), x.dtype.numpy)), dims)
    return result


def _gather_elements_vjp(node: Node, gradient: Value) -> tuple[Value, None]:
    x, indices = node.inputs
    return call("scatter_elements", _zeros_like(gradient, x.dims), indices, gradient, node.attrs["axis"], "add"), None


gather_elements = define(
    "gather_elements",
    "x:T, indices:I",
    attrs={"axis": INT},
    defaults={"axis": 0},
    kinds=_KINDS,
    canonical=_elements_canonical,
    infer=_gather_elements_infer,
    checks=_elements_checks,
    ref=lambda x, indices, axis: x[_grid(indices, x.shape[axis], axis)],
    vjp=_gather_elements_vjp,
    fallible=True,
    onnx="GatherElements",
    doc="""For each place of ``indices`` the element of ``x`` there, but at that index along ``axis``.

    indices: integers, of the rank of ``x`` and, along the other axes, not larger; the result has their shape. Negative
    ones count from the end; a run raises OutOfRangeError for an index outside.""",
)


def _without(value: Value, axis: int) -> tuple[Size, ...]:
    return (*value.dims[:axis], *value.dims[axis + 1 :])


def take_along_axis(x: Any, indices: Any, axis: int = -1, *, name: str | None = None) -> Value:
    """:func:`gather_elements` with axes other than ``axis`` that broadcast: what undoes :func:`argsort`."""
    value, places = convert(x), convert(indices)
    along = axis_of("take_along_axis", axis, value)
    if value.ndim == places.ndim:
        sizes = dims.broadcast_shapes(_without(value, along), _without(places, along))
        value, places = (
            call("broadcast_to", entry, (*sizes[:along], entry.dims[along], *sizes[along:]))
            for entry in (value, places)
        )
    result: Value = gather_elements(value, places, along, name=name)
    return result


def _scatter_elements_infer(x: Value, indices: Value, updates: Value, *, axis: int, reduction: str) -> TensorType:
    _check_elements(x, indices, axis)
    if updates.ndim != indices.ndim or any(differ(a, b) for a, b in zip(updates.dims, indices.dims, strict=True)):
        raise InvalidArgumentError(f"expected updates of the shape of indices: {indices.type}, got {updates.type}")
    _check_reduction(x, reduction)
    return x.type


def _check_reduction(x: Value, reduction: str) -> None:
    if reduction in ("add", "mul") and x.dtype.kind not in ("iufc" if reduction == "add" else "iuf"):
        raise InvalidArgumentError(f"reduction {reduction!r} needs numbers, got x: {x.type}")
    if reduction in ("min", "max") and x.dtype.kind not in "biuf":
        raise InvalidArgumentError(f"reduction {reduction!r} needs an order, got x: {x.type}")


def _scatter_elements_checks(node: Node) -> list[Check]:
    _, indices, updates = node.inputs
    pairs = zip(updates.dims, indices.dims, strict=True)
    what = f"updates: {updates.type} for indices: {indices.type}"
    return _elements_checks(node) + [check for a, b in pairs for check in equal_check(a, b, what)]


def _written(x: np.ndarray, places: tuple[np.ndarray, ...], updates: np.ndarray, reduction: str) -> np.ndarray:
    result = x.copy()
    if reduction == "none":
        result[places] = updates
    else:
        _APPLY[reduction](result, places, updates)
    return result


def _lower(name: str, first: str) -> Any:
    def lower(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
        return Lowering(name, inputs, outputs, (node.attrs[first], REDUCTIONS.index(node.attrs["reduction"])))

    return lower


def _sums_of_parts(op: str) -> Any:
    """An ``expand`` of sums of complex numbers: of their real and of their imaginary parts."""

    def rule(x: Value, indices: Value, updates: Value, **attrs: Any) -> Any:
        if attrs["reduction"] != "add":
            return None
        (a, b), (c, d) = complex_rules.parts(x), complex_rules.parts(updates)
        return complex_rules.join(call(op, a, indices, c, **attrs), call(op, b, indices, d, **attrs))

    return complex_rules.in_parts(rule)


def _scatter_vjp(gather: str, first: str) -> Any:
    """The gradient of both scatters, which differ in how ``gather`` reads back what they write."""

    def vjp(node: Node, gradient: Value) -> tuple[Value, None, Value]:
        x, indices, updates = node.inputs
        at, reduction, y = node.attrs[first], node.attrs["reduction"], node.outputs[0]

        def read(value: Value) -> Value:
            result: Value = call(gather, value, indices, at)
            return result

        def write(value: Value, new: Value, how: str) -> Value:
            result: Value = call(node.op.name, value, indices, new, at, how)
            return result

        if reduction == "none":
            return write(gradient, _zeros_like(gradient, updates.dims), "none"), None, read(gradient)
        if reduction == "add":
            return gradient, None, read(gradient)
        if reduction == "mul":
            return write(gradient, updates, "mul"), None, read(gradient * y) / updates
        kept, came = call("cast", x == y, gradient.dtype), call("cast", updates == read(y), gradient.dtype)
        share = gradient / write(kept, came, "add")
        return share * kept, None, read(share) * came

    return vjp


_WRITES = """``reduction``: ``"none"`` replaces an element, and of several updates the last in row-major order stays;
    the others combine it with the updates in that order: ``"add"``, ``"mul"``, ``"min"``, ``"max"`` (NaN wins).
    Negative indices count from the end; a run raises OutOfRangeError for an index outside.

    Gradients: several updates of one element by "none" all get its gradient; those of "min" and "max" are shared evenly
    by all that are the extreme; that of "mul" by ``updates`` is NaN where an update is 0."""

scatter_elements = define(
    "scatter_elements",
    "x:T, indices:I, updates:T",
    attrs={"axis": INT, "reduction": choice(*REDUCTIONS)},
    defaults={"axis": 0, "reduction": "none"},
    kinds=_KINDS,
    canonical=_elements_canonical,
    infer=_scatter_elements_infer,
    checks=_scatter_elements_checks,
    ref=lambda x, indices, updates, axis, reduction: _written(
        x, _grid(indices, x.shape[axis], axis), updates, reduction
    ),
    expand=_sums_of_parts("scatter_elements"),
    lower=_lower("scatter_elements", "axis"),
    vjp=_scatter_vjp("gather_elements", "axis"),
    fallible=True,
    onnx="ScatterElements",
    doc=f"""``x`` with each element of ``updates`` at its place, but at the index that ``indices`` gives along ``axis``.

    indices: integers, of the rank of ``x`` and, along the other axes, not larger; updates: of their shape, in .
    {_WRITES}""",
)


def put_along_axis(x: Any, indices: Any, values: Any, axis: int = -1, *, name: str | None = None) -> Value:
    """``x`` with ``values``, broadcast to ``indices``, at the indices along ``axis``; see :func:`scatter_elements`."""
    places, data = convert(indices), convert(x)
    updates = call("broadcast_to", convert(values, data.dtype), places.dims)
    result: Value = scatter_elements(data, places, updates, axis, name=name)
    return result


def _depth(x: Value, indices: Value, batch_dims: int) -> int:
    if not indices.ndim or not isinstance(indices.dims[-1], int):
        raise InvalidArgumentError(f"expected indices whose last axis has a known size, got indices: {indices.type}")
    depth = indices.dims[-1]
    if batch_dims < 0 or batch_dims >= indices.ndim or batch_dims + depth > x.ndim:
        raise InvalidArgumentError(
            f"expected batch_dims below the rank of indices: {indices.type}, and at most the rank of x: {x.type} with "
            f"its last axis; got batch_dims {batch_dims}"
        )
    if any(differ(a, b) for a, b in zip(indices.dims[:batch_dims], x.dims[:batch_dims], strict=True)):
        raise InvalidArgumentError(f"the first {batch_dims} axes of x: {x.type} and indices: {indices.type} differ")
    return depth


def _slices(x: Value, indices: Value, batch_dims: int) -> tuple[Size, ...]:
    return (*indices.dims[:-1], *x.dims[batch_dims + _depth(x, indices, batch_dims) :])


def _nd_checks(node: Node) -> list[Check]:
    x, indices = node.inputs[:2]
    count = node.attrs["batch_dims"]
    what = f"batch axes of x: {x.type} and indices: {indices.type}"
    pairs = zip(x.dims[:count], indices.dims[:count], strict=True)
    return [check for a, b in pairs for check in equal_check(a, b, what)]


def _tuples(x: np.ndarray, indices: np.ndarray, batch_dims: int) -> tuple[np.ndarray, ...]:
    batch = np.indices(indices.shape[:-1], sparse=True)[:batch_dims]
    parts = [_checked(indices[..., k], x.shape[batch_dims + k], batch_dims + k) for k in range(indices.shape[-1])]
    return (*batch, *parts)


def _gather_nd_ref(x: np.ndarray, indices: np.ndarray, batch_dims: int) -> np.ndarray:
    places = _tuples(x, indices, batch_dims)
    return x[places] if places else np.broadcast_to(x, (*indices.shape[:-1], *x.shape))


gather_nd = define(
    "gather_nd",
    "x:T, indices:I",
    attrs={"batch_dims": INT},
    defaults={"batch_dims": 0},
    kinds=_KINDS,
    infer=lambda x, indices, batch_dims: TensorType(x.dtype, _slices(x, indices, batch_dims)),
    checks=_nd_checks,
    ref=_gather_nd_ref,
    vjp=lambda node, gradient: (
        call(
            "scatter_nd",
            _zeros_like(gradient, node.inputs[0].dims),
            node.inputs[1],
            gradient,
            node.attrs["batch_dims"],
            "add",
        ),
        None,
    ),
    fallible=True,
    onnx="GatherND",
    doc="""The slices of ``x`` at the tuples along the last axis of ``indices``.

    indices: integers; a tuple has an index for each of the axes of ``x`` behind the first ``batch_dims``, which both
    share, or for the first of them; the result has the other axes of ``indices``, then the rest of those of ``x``.
    Negative indices count from the end; a run raises OutOfRangeError for one outside.""",
)


def _scatter_nd_infer(x: Value, indices: Value, updates: Value, *, batch_dims: int, reduction: str) -> TensorType:
    wanted = _slices(x, indices, batch_dims)
    if updates.ndim != len(wanted) or any(differ(a, b) for a, b in zip(updates.dims, wanted, strict=True)):
        shown = ",".join(map(str, wanted))
        raise InvalidArgumentError(f"expected updates: {x.dtype}[{shown}], got {updates.type}")
    _check_reduction(x, reduction)
    return x.type


def _scatter_nd_checks(node: Node) -> list[Check]:
    x, indices, updates = node.inputs
    wanted = _slices(x, indices, node.attrs["batch_dims"])
    what = f"updates: {updates.type} for x: {x.type} and indices: {indices.type}"
    pairs = zip(updates.dims, wanted, strict=True)
    return _nd_checks(node) + [check for a, b in pairs for check in equal_check(a, b, what)]


def _scatter_nd_ref(
    x: np.ndarray, indices: np.ndarray, updates: np.ndarray, batch_dims: int, reduction: str
) -> np.ndarray:
    places = _tuples(x, indices, batch_dims)
    if places:
        return _written(x, places, updates, reduction)
    result = x
    for update in updates.reshape(-1, *x.shape):
        result = _written(result, (), update, reduction)
    return result


scatter_nd = define(
    "scatter_nd",
    "x:T, indices:I, updates:T",
    attrs={"batch_dims": INT, "reduction": choice(*REDUCTIONS)},
    defaults={"batch_dims": 0, "reduction": "none"},
    kinds=_KINDS,
    infer=_scatter_nd_infer,
    checks=_scatter_nd_checks,
    ref=_scatter_nd_ref,
    expand=_sums_of_parts("scatter_nd"),
    lower=_lower("scatter_nd", "batch_dims"),
    vjp=_scatter_vjp("gather_nd", "batch_dims"),
    fallible=True,
    onnx="ScatterND",
    doc=f"""``x`` with the slices ``updates`` at the tuples along the last axis of ``indices``; see :func:`gather_nd`.

    {_WRITES}""",
)


def index_select(x: Any, indices: Any, axis: int = 0, *, name: str | None = None) -> Value:
    """The slices of ``x`` at the 1-d ``indices`` along ``axis``: :func:`gather` under PyTorch's name."""
    result: Value = call("gather", x, indices, axis, name=name)
    return result


def index_add(x: Any, indices: Any, updates: Any, axis: int = 0, *, name: str | None = None) -> Value:
    """``x`` with the slices ``updates`` added at the 1-d ``indices`` along ``axis``, in their order."""
    value = convert(x)
    along = axis_of("index_add", axis, value)
    sums = call("scatter_add", indices, convert(updates, value.dtype), value.dims[along], along)
    result: Value = call("add", value, sums, name=name)
    return result


def masked_fill(x: Any, mask: Any, value: Any, *, name: str | None = None) -> Value:
    """``x`` with ``value`` where ``mask`` (bool, broadcast with it) holds."""
    data = convert(x)
    result: Value = call("where", mask, convert(value, data.dtype), data, name=name)
    return result


def masked_select(x: Any, mask: Any, *, name: str | None = None) -> Value:
    """The elements of ``x`` where ``mask`` (bool) holds, in row-major order: 1-d, of a size that the run finds out.

    x and mask broadcast together.
    """
    data, chosen = convert(x), convert(mask)
    sizes = dims.broadcast_shapes(data.dims, chosen.dims)
    flat, marks = (call("reshape", call("broadcast_to", value, sizes), (-1,)) for value in (data, chosen))
    result: Value = call("gather", flat, call("nonzero", marks)[0], 0, name=name)
    return result


def compress(condition: Any, x: Any, axis: int | None = None, *, name: str | None = None) -> Value:
    """The slices of ``x`` along ``axis`` (None: elements of the flattened ``x``) where the 1-d ``condition`` holds.

    condition: bool, at most as long as the axis; what lies beyond it is left out. Their number is a size that the run
    finds out.
    """
    data = convert(x) if axis is not None else call("reshape", x, (-1,))
    places = call("nonzero", call("cast", condition, "bool"))[0]
    result: Value = call("gather", data, places, axis or 0, name=name)
    return result


def extract(condition: Any, x: Any, *, name: str | None = None) -> Value:
    """The elements of ``x`` where ``condition``, of as many elements, is not 0: 1-d, in row-major order."""
    marks = call("cast", convert(condition), "bool")
    return compress(call("reshape", marks, (-1,)) if ndim_of(condition) != 1 else marks, x, name=name)
