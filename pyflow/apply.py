"""The one hook through which every op call goes: operands are converted, types inferred, and a node added."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.dims import Dim
from pyflow.dtypes import DType
from pyflow.errors import DTypeError, InvalidArgumentError, OutOfRangeError, message, user_origin
from pyflow.graph import Value, current_builder
from pyflow.opdef import Input, OpDef, TensorType, call

eager_handler: Callable[[OpDef, Sequence[Any], Mapping[str, Any]], Any] | None = None
"""Set by runtime/eager: takes calls whose operands are tensors, not graph values."""


def is_operand(value: Any) -> bool:
    """A graph value, or something that stands for one (a Variable)."""
    return isinstance(value, Value) or hasattr(value, "__pyflow_value__")


def _operand(value: Any, dtype: DType | None) -> Value:
    """``value`` as a Value: graph values as they are, variables read, everything else a constant."""
    if isinstance(value, Value):
        return value
    if hasattr(value, "__pyflow_value__"):
        return value.__pyflow_value__()
    if isinstance(value, Dim):
        return call("sizes", (value,), scalar=True)
    if value is None:
        raise DTypeError("expected a value, an array or a number, got None")
    if isinstance(value, (list, tuple)) and any(is_operand(entry) for entry in value):
        return call("stack", *[_operand(entry, dtype) for entry in value])
    return call("constant", value, dtype)


def convert(value: Any, dtype: Any = None) -> Value:
    """``value`` as a graph value; of ``dtype`` if given (a constant is made in it, anything else cast)."""
    wanted = None if dtype is None else dtypes.as_dtype(dtype)
    result = _operand(value, wanted)
    return result if wanted is None or result.dtype is wanted else call("cast", result, wanted)


def _is_weak(value: Any) -> bool:
    return isinstance(value, (bool, int, float, complex, Dim)) and not isinstance(value, np.generic)


def _common(kinds: Sequence[DType]) -> DType:
    try:
        return dtypes.promote(*kinds)
    except TypeError as error:
        raise DTypeError(str(error)) from None


def _weak_dtype(values: Sequence[Any], strong: DType | None) -> DType:
    """NumPy's rule for Python numbers, and sizes: they take the others' dtype unless their kind is higher."""
    needs_complex = any(isinstance(value, complex) for value in values)
    needs_float = any(isinstance(value, float) for value in values)
    needs_int = any(isinstance(value, (int, Dim)) and not isinstance(value, bool) for value in values)
    if strong is not None and strong.is_object:
        raise DTypeError(f"{values[0]!r} is no {strong}")
    if needs_complex:
        real = dtypes.float32 if strong is None else _weak_dtype([0.0], strong)
        return dtypes.complex_dtype(real)
    if strong is None:
        return dtypes.float32 if needs_float else dtypes.int64 if needs_int else dtypes.bool_
    if needs_float and strong.kind in "biu":
        return dtypes.float64 if strong.kind in "iu" else dtypes.float32
    if needs_int and strong.kind == "b":
        return dtypes.int64
    return strong


def _to_kind(dtype: DType, kinds: frozenset[DType]) -> DType:
    """The dtype in ``kinds`` that stands for ``dtype``: ints become float64 where only floats go."""
    if dtype in kinds:
        return dtype
    if dtypes.float32 in kinds and dtypes.int64 not in kinds and dtype.kind in "biu" and not dtype.storage_only:
        return dtypes.float32 if dtype.kind == "b" else dtypes.float64
    if dtypes.uint64 in kinds and dtype.kind == "u" and not dtype.storage_only:
        return dtypes.uint64
    if dtypes.int64 in kinds and dtype.kind in "biu" and not dtype.storage_only:
        return dtypes.int64
    names = ", ".join(sorted(d.name for d in kinds))
    raise DTypeError(f"expected {names}, got {dtype}")


def _need_nothing(op: OpDef, given: Sequence[Any]) -> bool:
    """Are all operands values of one dtype that each input takes? That is how passes call ops."""
    if not op.inputs and not given:
        return True
    if len(op.inputs) != len(given) or type(given[0]) is not Value:
        return False
    dtype = given[0].dtype
    for entry, value in zip(op.inputs, given, strict=True):
        if entry.variadic or type(value) is not Value or value.dtype is not dtype:
            return False
        kind = entry.kind
        if kind != "*" and dtype.name != kind and dtype not in op.kinds.get(kind, ()):
            return False
    return True


def _convert_inputs(op: OpDef, given: Sequence[Any]) -> tuple[Value, ...]:
    if _need_nothing(op, given):
        return tuple(given)
    entries = list(op.inputs)
    if entries and entries[-1].variadic:
        last = entries.pop()
        entries += [Input(f"{last.name}[{i}]", last.kind) for i in range(len(given) - len(entries))]
    if len(entries) != len(given):
        raise InvalidArgumentError(f"takes {len(entries)} inputs, got {len(given)}")
    result: list[Any] = [value if _is_weak(value) else _operand(value, None) for value in given]
    for kind in dict.fromkeys(entry.kind for entry in entries):
        members = [i for i, entry in enumerate(entries) if entry.kind == kind]
        if kind == "*":
            for i in members:
                result[i] = convert(result[i])
            continue
        fixed = dtypes.BY_NAME.get(kind)
        allowed = frozenset({fixed}) if fixed is not None else op.kinds[kind]
        weak = [result[i] for i in members if not isinstance(result[i], Value)]
        strong = [result[i].dtype for i in members if isinstance(result[i], Value)]
        try:
            target = _common(strong) if strong else None
            if weak and fixed is None:
                target = _weak_dtype(weak, target)
            target = fixed or _to_kind(target, allowed)  # type: ignore[arg-type]
            for i in members:
                if isinstance(result[i], Value) and fixed is not None and result[i].dtype is not fixed:
                    raise DTypeError(f"expected {fixed}, got {result[i].dtype}")
                result[i] = convert(result[i], target)
        except DTypeError as error:
            shown = ", ".join(f"{entries[i].name}: {getattr(result[i], 'type', result[i])}" for i in members)
            raise DTypeError(f"{error}; inputs {shown}") from None
    return tuple(result)


MOST_AXES = 16
"""Of a value; ``PF_MAX_NDIM`` in backend.h."""


def _check_sizes(result: TensorType) -> None:
    if len(result.dims) > MOST_AXES:
        raise InvalidArgumentError(f"the result would have {len(result.dims)} axes; expected at most {MOST_AXES}")
    known = [size for size in result.dims if isinstance(size, int)]
    if known and min(known) < 0:
        raise InvalidArgumentError(f"the result would be {result}: a size is negative")
    if known and (max(known) >= 2**63 or math.prod(known) * result.dtype.itemsize >= 2**63):
        raise InvalidArgumentError(f"the result would be {result}: more bytes than 63 bits can count")


def apply(op: OpDef, inputs: Sequence[Any], attrs: Mapping[str, Any], *, name: str | None = None) -> Any:
    """Every op call: operands are converted, attributes normalised, types inferred, and a node added where ops go now.

    Returns the node's value, a tuple of them (``multiple``), or the node itself if it has no outputs.
    """
    if eager_handler is not None:
        handled = eager_handler(op, inputs, attrs)
        if handled is not NotImplemented:
            return handled
    builder = current_builder()
    try:
        values = tuple([builder.adopt(value) for value in _convert_inputs(op, inputs)])
        settled = op.normalise(attrs)
        if op.canonical is not None:
            changed = {n: v for n, v in op.canonical(*values, **settled).items() if v is not settled.get(n, op)}
            if changed:
                settled = op.normalise({**settled, **changed})
    except (InvalidArgumentError, OutOfRangeError, dims.TooLarge) as error:
        raise _located(op, error) from None
    return settled_call(op, values, settled, name)


def settled_call(op: OpDef, values: tuple[Value, ...], attrs: Mapping[str, Any], name: str | None = None) -> Any:
    """As ``apply``, of values of the graph or region that is built and attributes as ``OpDef.normalise`` gives them."""
    try:
        types = op.types_of(values, attrs)
        for type in types:
            _check_sizes(type)
        contents = op.contents_of(values, attrs, types)
    except (InvalidArgumentError, OutOfRangeError, dims.TooLarge) as error:
        raise _located(op, error) from None
    node = current_builder().add(op, values, attrs, types, contents, name)
    if op.multiple:
        return node.outputs
    return node.outputs[0] if node.outputs else node


def _located(op: OpDef, error: Exception) -> Exception:
    """``error`` with the op and the user's line, unless it has them."""
    text = str(error)
    if text.startswith("["):
        return error
    kind = InvalidArgumentError if isinstance(error, dims.TooLarge) else type(error)
    return kind(message(op.name, text, user_origin()))
