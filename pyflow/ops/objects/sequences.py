"""Sequences of values and optional values: 0-d values of dtype ``variant``. Their ops run in Python.

A sequence is a tuple of arrays, an optional an array, a sequence or None. What is known of the elements (``dtype`` and
``dims``) stands in the attributes of the op that takes one out; sizes that are not known are found by the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.apply import convert
from pyflow.dims import Size
from pyflow.dtypes import DType, variant
from pyflow.errors import DTypeError, InvalidArgumentError, OutOfRangeError, message, user_origin
from pyflow.graph import Node, Value
from pyflow.objects import variant as box
from pyflow.opdef import BOOLEAN, DTYPE, INT, INTEGERS, SIZES, TensorType, define
from pyflow.ops.common import no_gradient, normalise_axis

__all__ = [
    "concat_from_sequence",
    "optional",
    "optional_get_element",
    "optional_has_element",
    "sequence_at",
    "sequence_construct",
    "sequence_empty",
    "sequence_erase",
    "sequence_insert",
    "sequence_length",
    "split_to_sequence",
]

VARIANT = TensorType(variant, ())
Shape = Sequence[Size | None]


def _content(held: np.ndarray, kind: str) -> Any:
    """What a variant holds; it must be a sequence (``sequence``) or may not be empty (``optional``)."""
    content = held[()]
    if kind == "sequence" and not isinstance(content, tuple):
        raise InvalidArgumentError(f"expected a sequence, got {'nothing' if content is None else 'an array'}")
    if content is None:
        raise InvalidArgumentError("the optional is empty; ask optional_has_element first")
    return content


def _no_less(value: Value, what: str) -> None:
    if value.ndim:
        raise InvalidArgumentError(f"expected {what} of shape [], got {value.type}")


def element_type(value: Value) -> TensorType | None:
    """What the maker of a sequence or an optional tells of its elements: dtype and dims; None if nothing."""
    node = value.node
    if node.op.name == "sequence_construct" or (node.op.name == "optional" and node.inputs):
        first = node.inputs[0] if node.inputs else None
        if first is None or first.dtype is variant:
            return element_type(first) if first is not None else None
        same = all(entry.dtype is first.dtype and entry.ndim == first.ndim for entry in node.inputs)
        return TensorType(first.dtype, _common_dims([entry.dims for entry in node.inputs])) if same else None
    if node.op.name == "sequence_insert":
        inside, given = element_type(node.inputs[0]), node.inputs[1].type
        if inside is None or inside.dtype is not given.dtype or inside.ndim != given.ndim:
            return given if inside is None and node.inputs[0].node.op.name == "sequence_empty" else None
        return TensorType(given.dtype, _common_dims([inside.dims, given.dims]))
    if node.op.name == "split_to_sequence":
        split = node.inputs[0]
        axis, keep = node.attrs["axis"], node.attrs["keepdims"] or len(node.inputs) > 1
        around = (split.dims[:axis], split.dims[axis + 1 :])
        return TensorType(split.dtype, (*around[0], *((UNKNOWN,) if keep else ()), *around[1]))
    if node.op.name in ("sequence_erase", "optional_get_sequence", "identity"):
        return element_type(node.inputs[0])
    return None


UNKNOWN = dims.late_symbol("sequence.unknown")
"""A size of the elements of which nothing is known, or that differs among them."""


def _common_dims(shapes: Sequence[tuple[Size, ...]]) -> tuple[Size, ...]:
    columns = zip(*shapes, strict=True)
    return tuple(column[0] if len(set(column)) == 1 else UNKNOWN for column in columns)


_HOST: dict[str, Any] = {"host": True, "vjp": no_gradient}

_construct = define(
    "sequence_construct",
    "*xs:*",
    infer=lambda *xs: VARIANT,
    ref=lambda *xs: box(tuple(np.array(x) for x in xs)),
    onnx="SequenceConstruct",
    doc="A sequence of ``xs``, values of any dtype and shape.",
    **_HOST,
)


def sequence_construct(*xs: Any, name: str | None = None) -> Value:
    """A sequence of ``xs``: values of any shape and one dtype."""
    values = [convert(x) for x in xs]
    if len({value.dtype for value in values}) > 1 or any(value.dtype is variant for value in values):
        shown = ", ".join(str(value.type) for value in values)
        raise DTypeError(message("sequence_construct", f"expected values of one dtype, got {shown}", user_origin()))
    result: Value = _construct(*values, name=name)
    return result


sequence_empty = define(
    "sequence_empty",
    "",
    attrs={"dtype": DTYPE},
    defaults={"dtype": dtypes.float32},
    infer=lambda dtype: VARIANT,
    ref=lambda dtype: box(()),
    onnx="SequenceEmpty",
    doc="A sequence without elements; ``dtype`` is what those that are put into it have.",
    **_HOST,
)


def _place(position: np.ndarray, count: int, ends: int) -> int:
    """``position`` counted from the front, among ``count + ends`` places."""
    place = int(position)
    if not -count <= place < count + ends:
        expected = f"expected {-count} <= position < {count + ends}"
        raise OutOfRangeError(f"position {place} is out of range for a sequence of {count}; {expected}")
    return place + count if place < 0 else place


def _insert_ref(sequence: np.ndarray, x: np.ndarray, position: np.ndarray) -> np.ndarray:
    held = _content(sequence, "sequence")
    if held and held[0].dtype != x.dtype:
        raise InvalidArgumentError(f"expected an element of {held[0].dtype}, as the others, got {x.dtype}")
    at = _place(position, len(held), 1)
    return box((*held[:at], np.array(x), *held[at:]))


def _sequence_infer(sequence: Value, *rest: Value, **attrs: Any) -> TensorType:
    _no_less(sequence, "a sequence")
    if rest:
        _no_less(rest[-1], "a position")
    return VARIANT


_insert = define(
    "sequence_insert",
    "sequence:variant, x:*, position:I",
    kinds={"I": INTEGERS},
    infer=_sequence_infer,
    ref=_insert_ref,
    onnx="SequenceInsert",
    doc="``sequence`` with ``x`` before ``position``.",
    **_HOST,
)


def sequence_insert(sequence: Any, x: Any, position: Any = None, name: str | None = None) -> Value:
    """``sequence`` with ``x`` before ``position`` (an integer; negative ones count from the end); None: at the end.

    The run fails with OutOfRangeError for a position outside, and with InvalidArgumentError for an ``x`` of another
    dtype than the elements.
    """
    result: Value = _insert(sequence, x, sequence_length(sequence) if position is None else position, name=name)
    return result


def _erase_ref(sequence: np.ndarray, position: np.ndarray) -> np.ndarray:
    held = _content(sequence, "sequence")
    at = _place(position, len(held), 0)
    return box(held[:at] + held[at + 1 :])


_erase = define(
    "sequence_erase",
    "sequence:variant, position:I",
    kinds={"I": INTEGERS},
    infer=_sequence_infer,
    ref=_erase_ref,
    onnx="SequenceErase",
    doc="``sequence`` without the element at ``position``.",
    **_HOST,
)


def sequence_erase(sequence: Any, position: Any = -1, name: str | None = None) -> Value:
    """``sequence`` without the element at ``position`` (default: the last; negative ones count from the end).

    The run fails with OutOfRangeError for a position outside.
    """
    result: Value = _erase(sequence, position, name=name)
    return result


def _length_infer(sequence: Value) -> TensorType:
    _no_less(sequence, "a sequence")
    return TensorType(dtypes.int64, ())


sequence_length = define(
    "sequence_length",
    "sequence:variant",
    infer=_length_infer,
    ref=lambda sequence: np.array(len(_content(sequence, "sequence")), np.int64),
    onnx="SequenceLength",
    doc="How many elements ``sequence`` has: int64, 0-d.",
    **_HOST,
)


def _settled(shape: Sequence[Size | None], prefix: str) -> tuple[Size, ...]:
    """Dims in which every size that is not given, or that another step finds out, is one that this step finds out."""
    return tuple(dims.fresh_late_symbol(prefix) if size is None or dims.late_in(size) else size for size in shape)


def _taken(op: str, value: Value, dtype: Any, shape: Shape | None) -> dict[str, Any]:
    """The attributes of an op that takes an element out: as given, else as its makers tell."""
    if value.dtype is not variant:
        raise DTypeError(message(op, f"expected a sequence or an optional, got {value.type}", user_origin()))
    known = element_type(value)
    if (dtype is None or shape is None) and known is None:
        hint = "pass dtype= and shape=, with None for each unknown size"
        raise InvalidArgumentError(message(op, "the type of the elements is not known", user_origin(), hint))
    wanted = dtypes.as_dtype(dtype) if dtype is not None else known.dtype  # type: ignore[union-attr]
    found = shape if shape is not None else known.dims  # type: ignore[union-attr]
    return {"dtype": wanted, "dims": _settled(found, op)}


def _own_symbols(node: Node) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for size in node.attrs["dims"] for name in dims.late_names(size)))


def _checked(found: np.ndarray, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    if found.dtype != dtype.numpy or found.ndim != len(shape):
        raise InvalidArgumentError(
            f"expected an element of {dtype} with {len(shape)} dims, got {found.dtype}{list(found.shape)}"
        )
    return found


def _at_infer(sequence: Value, position: Value, dtype: DType, dims: tuple[Size, ...]) -> TensorType:
    _sequence_infer(sequence, position)
    return TensorType(dtype, dims)


def _at_ref(sequence: np.ndarray, position: np.ndarray, dtype: DType, dims: tuple[int, ...]) -> np.ndarray:
    held = _content(sequence, "sequence")
    return _checked(held[_place(position, len(held), 0)], dtype, dims)


_at = define(
    "sequence_at",
    "sequence:variant, position:I",
    attrs={"dtype": DTYPE, "dims": SIZES},
    kinds={"I": INTEGERS},
    infer=_at_infer,
    ref=_at_ref,
    defines=_own_symbols,
    onnx="SequenceAt",
    doc="The element of ``sequence`` at ``position``, of ``dtype`` and ``dims``.",
    **_HOST,
)


def sequence_at(
    sequence: Any, position: Any, dtype: Any = None, shape: Shape | None = None, name: str | None = None
) -> Value:
    """The element of ``sequence`` at ``position`` (an integer; negative ones count from the end).

    ``dtype``, ``shape``: those of the elements, None for a size that the run finds out; leave them out where the graph
    tells them. The run fails with OutOfRangeError for a position outside and with InvalidArgumentError for an element
    of another dtype, rank or size.
    """
    sequence = convert(sequence)
    result: Value = _at(sequence, position, **_taken("sequence_at", sequence, dtype, shape), name=name)
    return result


def _split_infer(x: Value, *sizes: Value, axis: int, keepdims: bool) -> TensorType:
    if sizes and (sizes[0].ndim > 1 or not sizes[0].dtype.is_integer):
        raise InvalidArgumentError(f"expected an integer size or sizes [n], got {sizes[0].type}")
    return VARIANT


def _split_ref(x: np.ndarray, *sizes: np.ndarray, axis: int, keepdims: bool) -> np.ndarray:
    length = x.shape[axis]
    if not sizes:
        parts = np.split(x, length, axis) if length else []
        return box(tuple(np.array(part if keepdims else part.squeeze(axis)) for part in parts))
    given = sizes[0]
    if given.ndim == 0:
        if given <= 0:
            raise InvalidArgumentError(f"expected a size > 0, got {given}")
        ends = list(range(int(given), length, int(given)))
    else:
        if (given < 0).any() or given.sum() != length:
            raise InvalidArgumentError(f"sizes {given.tolist()} do not sum up to axis {axis} of {list(x.shape)}")
        ends = np.cumsum(given)[:-1].tolist()
    parts = np.split(x, ends, axis) if given.ndim == 0 or given.size else []
    return box(tuple(np.array(part) for part in parts))


_split = define(
    "split_to_sequence",
    "*xs:*",
    attrs={"axis": INT, "keepdims": BOOLEAN},
    defaults={"axis": 0, "keepdims": True},
    canonical=lambda x, *sizes, axis, keepdims: {"axis": normalise_axis(axis, x.ndim)},
    infer=_split_infer,
    ref=_split_ref,
    onnx="SplitToSequence",
    doc="A sequence of the parts of a value along ``axis``.",
    **_HOST,
)


def split_to_sequence(
    x: Any, split: Any = None, axis: int = 0, keepdims: bool = True, name: str | None = None
) -> Value:
    """A sequence of the parts of ``x`` along ``axis``.

    ``split``: the size of the parts (the last may be smaller), a 1-d value of their sizes, or None: one each, without
    the axis if not ``keepdims``. The run fails with InvalidArgumentError for sizes that do not sum up to the axis.
    """
    given = (x,) if split is None else (x, split)
    result: Value = _split(*given, axis=axis, keepdims=keepdims, name=name)
    return result


def _concat_ref(sequence: np.ndarray, axis: int, new_axis: bool, dtype: DType, dims: tuple[int, ...]) -> np.ndarray:
    held = _content(sequence, "sequence")
    if not held:
        raise InvalidArgumentError("cannot join the elements of an empty sequence")
    shapes = {entry.shape if new_axis else (*entry.shape[:axis], *entry.shape[axis + 1 :]) for entry in held}
    if len(shapes) > 1 or len({entry.ndim for entry in held}) > 1:
        shown = ", ".join(str(list(entry.shape)) for entry in held)
        raise InvalidArgumentError(f"elements of shapes {shown} do not join along axis {axis}")
    return _checked(np.stack(held, axis) if new_axis else np.concatenate(held, axis), dtype, dims)


_concat = define(
    "concat_from_sequence",
    "sequence:variant",
    attrs={"axis": INT, "new_axis": BOOLEAN, "dtype": DTYPE, "dims": SIZES},
    infer=lambda sequence, axis, new_axis, dtype, dims: TensorType(dtype, dims),
    ref=_concat_ref,
    defines=_own_symbols,
    onnx="ConcatFromSequence",
    doc="The elements of ``sequence`` side by side along ``axis``.",
    **_HOST,
)


def concat_from_sequence(
    sequence: Any,
    axis: int,
    new_axis: bool = False,
    dtype: Any = None,
    shape: Shape | None = None,
    name: str | None = None,
) -> Value:
    """The elements of ``sequence`` side by side along ``axis``, which is a new one of the result with ``new_axis``.

    ``dtype``, ``shape``: as in :func:`pyflow.sequence_at`, of one element. The run fails with InvalidArgumentError for
    an empty sequence and for elements that do not fit together.
    """
    sequence = convert(sequence)
    type = _taken("concat_from_sequence", sequence, dtype, shape)
    sizes = list(type["dims"])
    ndim = len(sizes) + bool(new_axis)
    try:
        axis = normalise_axis(axis, ndim, "the result")
    except InvalidArgumentError as error:
        raise InvalidArgumentError(message("concat_from_sequence", str(error), user_origin())) from None
    joined = dims.fresh_late_symbol("concat_from_sequence")
    type["dims"] = (*sizes[:axis], joined, *sizes[axis + (not new_axis) :])
    result: Value = _concat(sequence, axis=axis, new_axis=new_axis, **type, name=name)
    return result


_optional = define(
    "optional",
    "*xs:*",
    infer=lambda *xs: VARIANT,
    ref=lambda *xs: box(None if not xs else xs[0][()] if _is_box(xs[0]) else np.array(xs[0])),
    onnx="Optional",
    doc="An optional that holds its operand, or nothing.",
    **_HOST,
)


def _is_box(held: np.ndarray) -> bool:
    return held.dtype.kind == "O" and held.ndim == 0 and not isinstance(held[()], str)


def optional(x: Any = None, name: str | None = None) -> Value:
    """An optional that holds ``x`` (a value or a sequence); None: an empty one."""
    result: Value = _optional(*(() if x is None else (x,)), name=name)
    return result


optional_has_element = define(
    "optional_has_element",
    "x:*",
    infer=lambda x: TensorType(dtypes.bool_, ()),
    ref=lambda x: np.array(not _is_box(x) or x[()] is not None),
    onnx="OptionalHasElement",
    doc="Does the optional ``x`` hold something? bool, 0-d. Any other value does.",
    **_HOST,
)

_get = define(
    "optional_get_element",
    "x:variant",
    attrs={"dtype": DTYPE, "dims": SIZES},
    infer=lambda x, dtype, dims: TensorType(dtype, dims),
    ref=lambda x, dtype, dims: _checked(_array(_content(x, "optional")), dtype, dims),
    defines=_own_symbols,
    onnx="OptionalGetElement",
    doc="What the optional ``x`` holds: a value of ``dtype`` and ``dims``.",
    **_HOST,
)


def _array(content: Any) -> np.ndarray:
    if isinstance(content, tuple):
        raise InvalidArgumentError("the optional holds a sequence; take it with dtype=pf.variant")
    return content  # type: ignore[no-any-return]


_get_sequence = define(
    "optional_get_sequence",
    "x:variant",
    infer=lambda x: VARIANT,
    ref=lambda x: box(_content(x, "sequence" if x[()] is not None else "optional")),
    doc="The sequence that the optional ``x`` holds.",
    **_HOST,
)


def optional_get_element(x: Any, dtype: Any = None, shape: Shape | None = None, name: str | None = None) -> Value:
    """What the optional ``x`` holds; ``x`` itself if it is none.

    ``dtype``, ``shape``: as in :func:`pyflow.sequence_at`; ``dtype=pf.variant`` for a sequence. The run fails with
    InvalidArgumentError if it is empty.
    """
    held = convert(x)
    if held.dtype is not variant:
        return held
    source = held.node.inputs[0] if held.node.op.name == "optional" and held.node.inputs else None
    if (dtype is not None and dtypes.as_dtype(dtype) is variant) or (
        dtype is None and source is not None and source.dtype is variant
    ):
        result: Value = _get_sequence(held, name=name)
        return result
    result = _get(held, **_taken("optional_get_element", held, dtype, shape), name=name)
    return result
