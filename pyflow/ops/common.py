"""What op definitions share: rows for element-wise ops, axes, gradients that undo broadcasting, known contents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from pyflow import dims, dtypes
from pyflow.apply import is_operand
from pyflow.dims import Size
from pyflow.dtypes import DType
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Node, Value
from pyflow.opdef import (
    ANY,
    BOOL,
    COMPLEX,
    FLOATS,
    INTEGERS,
    NUMERIC,
    Constant,
    Facts,
    TensorType,
    broadcast_dims,
    call,
    define,
    same_types,
)
from pyflow.ops.elementwise.complex_rules import in_parts

_KINDS = {
    FLOATS: "floating",
    INTEGERS: "integer",
    INTEGERS | BOOL: "integer or bool",
    NUMERIC: "numeric",
    BOOL: "bool",
    ANY: "numeric or bool",
}


def no_gradient(node: Node, *gradients: Value | None) -> tuple[None, ...]:
    """The vjp of ops whose derivative is zero or does not exist: nothing flows to any input."""
    return (None,) * len(node.inputs)


def bool_types(value: Value, *rest: Value) -> TensorType:
    """Result of an element-wise predicate: bool, the inputs' dims broadcast."""
    return TensorType(dtypes.bool_, broadcast_dims(value, *rest))


def quiet(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    """``function`` without NumPy's floating-point warnings, and always an array."""

    def wrapped(*arrays: Any, **attrs: Any) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(function(*arrays, **attrs))

    return wrapped


def in_float64(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` computed in float64 and rounded to the dtype of its first argument."""

    def wrapped(*arrays: np.ndarray, **attrs: Any) -> np.ndarray:
        wide = function(*(array.astype(np.float64) for array in arrays), **attrs)
        return np.asarray(wide).astype(arrays[0].dtype)

    return wrapped


def elementwise(
    name: str,
    inputs: str,
    *,
    scalar: str,
    ref: Callable[..., Any],
    vjp: Callable[..., Sequence[Value | None]],
    doc: str,
    dtypes: frozenset[DType] = NUMERIC,
    predicate: bool = False,
    in_complex: Callable[..., Value] | None = None,
    in_integers: Callable[..., Value] | None = None,
    in_bool: str = "",
    facts: Facts = Facts(),  # noqa: B008
    content: Callable[..., Size | None] | None = None,
    fallible: bool | Callable[[Node], bool] = False,
    onnx: str = "",
) -> Callable[..., Any]:
    """Defines an element-wise op in one row.

    inputs: ``"x, y"``: all of one dtype, one of ``dtypes`` (``"condition:bool, x, y"`` where one differs).
    scalar: its row in scalar_ops.def. predicate: the result is bool. in_complex: how it is composed for
    complex numbers, which it then takes too (complex_rules.py). in_integers: the same for integers. in_bool: which op
    it is of bools. content: from known sizes to a known size.
    doc: what it computes; shapes, dtypes and gradient are added.
    """
    kinds = dtypes if in_complex is None else dtypes | COMPLEX
    kinds = kinds if in_integers is None else kinds | INTEGERS
    kinds = kinds | BOOL if in_bool else kinds
    expand = None if in_complex is None else in_parts(in_complex)
    if in_bool:
        expand = for_bools(in_bool, expand)
    return define(
        name,
        inputs,
        kinds={"T": kinds},
        expand=expand if in_integers is None else for_integers(in_integers),
        infer=bool_types if predicate else same_types,
        ref=quiet(ref),
        vjp=vjp,
        scalar=scalar,
        facts=facts,
        content=None if content is None else elementwise_content(content),
        fallible=fallible,
        onnx=onnx,
        doc=_described(doc, inputs, kinds, predicate, vjp),
    )


def for_bools(op: str, otherwise: Callable[..., Any] | None) -> Callable[..., Any]:
    """An ``expand`` that is ``op`` for bools and ``otherwise`` for the rest."""

    def expand(*values: Value, **attrs: Any) -> Any:
        if values[0].dtype is dtypes.bool_:
            return call(op, *values)
        return None if otherwise is None else otherwise(*values, **attrs)

    return expand


def for_integers(rule: Callable[..., Any]) -> Callable[..., Any]:
    """An ``expand`` that follows ``rule`` for integers and leaves other numbers to the kernels."""

    def expand(*values: Value, **attrs: Any) -> Any:
        return rule(*values, **attrs) if values[0].dtype.is_integer else None

    return expand


def _described(doc: str, inputs: str, dtypes: frozenset[DType], predicate: bool, vjp: Any) -> str:
    count = inputs.count(",") + 1
    shape = "``x``: any shape." if count == 1 else "The inputs broadcast together; shapes that do not raise."
    kind = _KINDS.get(dtypes - COMPLEX, "any") + (" or complex" if dtypes & COMPLEX else "")
    result = "bool" if predicate else "of the inputs' dtype" if count > 1 else "of the same shape and dtype"
    flow = "\n\nNo gradient flows through it." if vjp is no_gradient else ""
    if dtypes - COMPLEX == FLOATS:
        result += "; integers are converted to float64 first"
    return f"{doc}\n\n{shape} dtype: {kind}; the result is {result}.{flow}"


def composed(
    name: str,
    inputs: str,
    *,
    ref: Callable[..., Any],
    expand: Callable[..., Any],
    doc: str,
    vjp: Callable[..., Sequence[Value | None]] | None = None,
    dtypes: frozenset[DType] = FLOATS,
    predicate: bool = False,
    **rest: Any,
) -> Callable[..., Any]:
    """Defines an element-wise op that is composed of others, in one row. Without ``vjp``, the gradient is theirs."""

    def infer(*values: Value, **attrs: Any) -> TensorType:
        return bool_types(*values) if predicate else same_types(*values)

    return define(
        name,
        inputs,
        kinds={"T": dtypes},
        infer=infer,
        ref=quiet(ref),
        expand=expand,
        vjp=vjp,
        doc=_described(doc, inputs, dtypes, predicate, vjp),
        **rest,
    )


def transposed(value: Value) -> Value:
    """The last two axes exchanged."""
    last = value.ndim - 1
    result: Value = call("transpose", value, (*range(last - 1), last, last - 1))
    return result


def sum_to(gradient: Value, like: Value) -> Value:
    """``gradient``, summed over the axes along which ``like`` was broadcast; itself where the dims are equal."""
    if gradient.dims == like.dims:
        return gradient
    result: Value = call("sum_to", gradient, like.dims)
    return result


def zeros_where(condition: Value, value: Value) -> Value:
    """``value``, and 0 where ``condition`` holds (NaN and infinity vanish there too)."""
    result: Value = call("where", condition, 0, value)
    return result


def ndim_of(value: Any) -> int:
    """The rank of an operand: a value, a variable, an array, nested lists of them."""
    if hasattr(value, "ndim"):
        return int(value.ndim)
    if isinstance(value, (list, tuple)) and any(is_operand(entry) for entry in value):
        return 1 + max(ndim_of(entry) for entry in value)
    return np.ndim(value)


def normalise_axis(axis: int, ndim: int, what: str = "x") -> int:
    """``axis`` of ``ndim`` axes, counted from the front. Raises InvalidArgumentError naming ``what`` has them."""
    if -ndim <= axis < ndim:
        return axis % ndim
    expected = f"expected {-ndim} <= axis < {ndim}" if ndim else "it has no axes"
    raise InvalidArgumentError(f"axis {axis} is out of range for {what}; {expected}")


def axis_of(op: str, axis: int, value: Value) -> int:
    """``axis`` of ``value`` counted from the front; for functions that are no ops themselves: errors name ``op``."""
    try:
        return normalise_axis(axis, value.ndim, f"x: {value.type}")
    except InvalidArgumentError as error:
        raise InvalidArgumentError(message(op, str(error), user_origin())) from None


def axes_of(op: str, axes: int | Sequence[int] | None, value: Value) -> tuple[int, ...]:
    """Axes of ``value`` counted from the front, ascending; None: all. Errors name ``op``."""
    try:
        return normalise_axes([axes] if isinstance(axes, int) else axes, value.ndim, f"x: {value.type}")
    except InvalidArgumentError as error:
        raise InvalidArgumentError(message(op, str(error), user_origin())) from None


def normalise_axes(axes: Sequence[int] | None, ndim: int, what: str = "x") -> tuple[int, ...]:
    """Axes counted from the front, ascending; None: all. Raises InvalidArgumentError for one out of range or twice."""
    if axes is None:
        return tuple(range(ndim))
    settled = tuple(sorted(normalise_axis(axis, ndim, what) for axis in axes))
    if len(set(settled)) < len(settled):
        raise InvalidArgumentError(f"axes {tuple(axes)} name an axis of {what} twice")
    return settled


def slice_along(value: Value, axis: int, start: Any, stop: Any) -> Value:
    """``value[start:stop]`` along an axis counted from the front."""
    key = [slice(None)] * axis + [slice(start, stop)]
    result: Value = call("getitem", value, tuple(key))
    return result


def count_along(value: Value, axes: Sequence[int]) -> int | Value:
    """How many elements the axes hold together: a number, or where that is not known yet an int64 value."""
    count = dims.product(value.dims[axis] for axis in axes)
    if isinstance(count, int):
        return count
    result: Value = call("sizes", (count,), scalar=True)
    return result


def constant_held(value: Value) -> Constant | None:
    """The constant that a value is, which may lie in a file unread; None for any other value."""
    held = value.node.attrs.get("value") if not value.node.inputs else None
    return held if isinstance(held, Constant) else None


def constant_array(value: Value) -> np.ndarray | None:
    """What a constant holds; None for any other value."""
    held = constant_held(value)
    return getattr(held, "array", None)


def in_range(size: Size | None, dtype: DType) -> Size | None:
    """``size`` if it is unknown yet or fits ``dtype``; None otherwise: integers wrap, sizes do not."""
    if isinstance(size, int):
        limits = ml_dtypes.iinfo(dtype.numpy)
        return size if int(limits.min) <= size <= int(limits.max) else None
    return size


def elementwise_content(function: Callable[..., Size | None]) -> Callable[..., Any]:
    """``content`` of an element-wise op whose elements are ``function`` of its inputs' elements."""

    def content(*values: Value, **attrs: Any) -> Any:
        known = [value.content for value in values]
        if any(entry is None for entry in known):
            return None
        counts = {len(entry) for entry in known if isinstance(entry, tuple)}
        count = max(counts - {1}, default=1)
        columns = [entry if isinstance(entry, tuple) else (entry,) for entry in known]
        if any(len(column) not in (1, count) for column in columns):
            return None
        rows = zip(*(column * count if len(column) == 1 else column for column in columns), strict=True)
        result = tuple(in_range(function(*row), values[0].dtype) for row in rows)
        if any(entry is None for entry in result):
            return None
        return result if counts else result[0]

    return content
