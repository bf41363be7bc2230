"""Indexing of tensors, NumPy's own: windows where NumPy gives them, copies elsewhere; and changes in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dtypes
from pyflow.apply import is_operand
from pyflow.dtypes import DType
from pyflow.eager.capture import current
from pyflow.eager.tape import Record
from pyflow.eager.tensor import Tensor, attach, is_window, needs_record, tensor
from pyflow.errors import (
    DTypeError,
    FailedPreconditionError,
    InvalidArgumentError,
    OutOfRangeError,
    message,
    user_origin,
)
from pyflow.opdef import call


def _plain(op: str, key: Any) -> Any:
    """``key`` as NumPy takes it, with arrays for tensors."""
    if isinstance(key, Tensor):
        return _plain(op, key._array)
    if isinstance(key, tuple):
        return tuple(_plain(op, entry) for entry in key)
    if isinstance(key, list):
        return np.asarray([_plain(op, entry) for entry in key]) if key else np.zeros(0, np.int64)
    if isinstance(key, slice):
        parts = (key.start, key.stop, key.step)
        return slice(*(part.__index__() if isinstance(part, Tensor) else part for part in parts))
    if is_operand(key):
        what = f"{key!r} is a graph value, which has no numbers to index a tensor by"
        raise DTypeError(message(op, what, user_origin(), "run its graph, or index a graph value by it"))
    if isinstance(key, np.ndarray) and key.dtype.kind not in "iub":
        raise DTypeError(message(op, f"expected integers or bools as indices, got {key.dtype}", user_origin()))
    return key


def _is_basic(key: Any) -> bool:
    """Does the key give a window? Arrays and bools do not, but for integers of no axes."""
    for entry in key if isinstance(key, tuple) else (key,):
        if isinstance(entry, (bool, np.bool_)) or (
            isinstance(entry, np.ndarray) and (entry.ndim or entry.dtype == bool)
        ):
            return False
    return True


def _failure(op: str, error: Exception, x: Tensor) -> Exception:
    kind = OutOfRangeError if isinstance(error, IndexError) else InvalidArgumentError
    return kind(message(op, f"{error}; x: {x.type}", user_origin()))


def _with_axes(key: Any) -> Any:
    """The key with an ellipsis, so that one element is an array too."""
    entries = key if isinstance(key, tuple) else (key,)
    return key if any(entry is Ellipsis for entry in entries) else (*entries, Ellipsis)


def getitem(x: Tensor, key: Any) -> Tensor:
    """``x[key]``, as NumPy indexes: ints, slices, None, ellipsis, arrays, masks, tensors of indices.

    Without arrays and masks the result is a window on ``x``, which shares its memory.
    """
    capture = current()
    if capture is not None:
        return call("getitem", capture.value_of(x), capture.within(key))  # type: ignore[no-any-return]
    plain = _plain("getitem", key)
    basic = _is_basic(plain)
    array: np.ndarray = x._array
    try:
        found = array[_with_axes(plain)] if basic else np.asarray(array[plain])
    except (IndexError, ValueError, TypeError) as error:
        raise _failure("getitem", error, x) from None
    made = Tensor._of(found, x._dtype, x._version if basic else None)
    if needs_record((x,)):
        attach(Record(_WINDOW if basic else _GET, (x,), (made,), plain), (made,))
    return made


class _Get:
    """The gradient of indexing puts what arrives among zeros."""

    name = "getitem"

    def __init__(self, is_window: bool) -> None:
        self.is_window = is_window

    def vjp(self, record: Any, arrived: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        assert arrived[0] is not None
        return [_put(arrived[0], record.given[0].shape, record.extra)]


class _Put:
    """The gradient of putting is indexing."""

    name = "putitem"
    is_window = False

    def vjp(self, record: Any, arrived: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        assert arrived[0] is not None
        return [getitem(arrived[0], record.extra)]


class _Set:
    """Item assignment: what was overwritten gets no gradient, what was written that of its place."""

    name = "setitem"
    is_window = False

    def vjp(self, record: Any, arrived: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        gradient = arrived[0]
        assert gradient is not None
        kept = np.ones(gradient.shape, np.bool_)
        kept[record.extra] = False
        mask = Tensor._of(kept, dtypes.bool_)
        parts: list[Tensor | None] = [call("where", mask, gradient, 0)]
        if len(record.given) > 1:
            shape = record.given[1].shape
            parts.append(call("sum_to", getitem(gradient, record.extra), shape))
        return parts


_GET, _WINDOW, _PUT, _SET = _Get(False), _Get(True), _Put(), _Set()


def _put(gradient: Tensor, shape: tuple[int, ...], key: Any) -> Tensor:
    result = np.zeros(shape, gradient._dtype.numpy)
    if _is_basic(key):
        result[key] = gradient._array
    else:
        np.add.at(result, key, gradient._array)
    made = Tensor._of(result, gradient._dtype)
    if needs_record((gradient,)):
        attach(Record(_PUT, (gradient,), (made,), key), (made,))
    return made


def check_writable(op: str, x: Tensor) -> None:
    """Raises if ``x`` cannot be changed in place."""
    if x._dtype is dtypes.variant or not x._array.flags.writeable:
        what = f"{x.type} is read-only"
        raise FailedPreconditionError(message(op, what, user_origin(), "change a copy: x.clone()"))
    if not needs_record((x,)):
        return
    if x._record is None:
        what = f"{x.type} requires a gradient: a leaf cannot be changed in place"
        hint = "change it inside `with pf.no_grad():`, or change x.clone()"
        raise FailedPreconditionError(message(op, what, user_origin(), hint))
    if x._record.derivative.is_window:
        what = f"{x.type} is a window on another tensor that a gradient flows through"
        raise FailedPreconditionError(message(op, what, user_origin(), "assign to the tensor itself: x[key] = value"))


def _as_written(op: str, value: Any, dtype: DType) -> Tensor:
    if isinstance(value, Tensor):
        made = value
    else:
        weak = isinstance(value, (bool, int, float, complex)) and not isinstance(value, np.generic)
        made = tensor(value, dtype if weak else None)
    if made._dtype is not dtype:
        if not dtypes.can_cast_safely(made._dtype, dtype) and "biufc".find(made._dtype.kind) > "biufc".find(dtype.kind):
            what = f"{made.type} cannot be written to a tensor of {dtype}"
            raise DTypeError(message(op, what, user_origin(), f"cast it: x.astype(pf.{dtype})"))
        made = call("cast", made, dtype)
    return made


def setitem(x: Tensor, key: Any, value: Any) -> None:
    """``x[key] = value`` in the memory of ``x``; ``value`` is broadcast and takes its dtype."""
    check_writable("setitem", x)
    if current() is not None:
        what = f"x: {x.type}: a function that is traced changes tensors from outside as a whole only"
        raise FailedPreconditionError(
            message("setitem", what, user_origin(), "use x.copy_(...), pf.where, pf.scatter_nd")
        )
    plain = _plain("setitem", key)
    new = _as_written("setitem", value, x._dtype)
    before = _as_leaf_of_record(x)
    recorded = needs_record((x, new))
    if recorded and x._record is None and is_window(x._array):
        what = f"{x.type} is a window on another tensor: it cannot take a value that a gradient flows through"
        raise FailedPreconditionError(message("setitem", what, user_origin(), "assign to the tensor itself"))
    try:
        x._array[plain] = new._array
    except (IndexError, ValueError, TypeError) as error:
        raise _failure("setitem", error, x) from None
    x._version.count += 1
    if recorded:
        attach(Record(_SET, (before, new), (x,), plain), (x,))


def _as_leaf_of_record(x: Tensor) -> Tensor:
    """``x`` as it stands in the record of what changes it: where its gradient goes."""
    before = Tensor._of(x._array, x._dtype, x._version)
    before._record, before._index, before._requires_grad = x._record, x._index, x._requires_grad
    return before


def as_it_was(x: Tensor, other: Any) -> Tensor:
    """``x`` to compute from before it is changed: a copy if a gradient will read it."""
    if current() is not None or not needs_record((x, other) if isinstance(other, Tensor) else (x,)):
        return x
    check_writable("assign", x)
    before = Tensor._of(x._array.copy(), x._dtype)
    before._record, before._index, before._requires_grad = x._record, x._index, x._requires_grad
    return before


class _Become:
    """A change in place of all elements: the gradient is that of what was written."""

    name = "assign"
    is_window = False

    def vjp(self, record: Any, arrived: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        return [arrived[0]]


_BECOME = _Become()


def assign(x: Tensor, value: Any) -> Tensor:
    """Writes ``value``, of the shape of ``x`` and a dtype that it holds, to the memory of ``x``; gives ``x``."""
    check_writable("assign", x)
    capture = current()
    if capture is not None:
        given = call("cast", capture.within(value), x._dtype)
        capture.write(x, given if given.dims == x.shape else call("broadcast_to", given, x.shape))
        return x
    new = _as_written("assign", value, x._dtype)
    if new.shape != x.shape:
        try:
            fits = np.broadcast_shapes(new.shape, x.shape) == x.shape
        except ValueError:
            fits = False
        if not fits:
            raise InvalidArgumentError(message("assign", f"{new.type} does not fit x: {x.type}", user_origin()))
        new = call("broadcast_to", new, x.shape)
    recorded = needs_record((x, new))
    np.copyto(x._array, new._array)
    x._version.count += 1
    if recorded:
        attach(Record(_BECOME, (new,), (x,)), (x,))
    return x
