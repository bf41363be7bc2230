"""Calls of op functions on tensors: each kind of call is traced and compiled once, and found again by its key.

A key is the function, its other arguments, and the operands' dtypes and shapes. Sizes of 2 and more are symbols of the
traced graph, one per different size, so that one entry serves all shapes of a pattern; an exact shape finds it at once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pyflow import dtypes
from pyflow.apply import _weak_dtype, apply
from pyflow.eager.capture import current, opened
from pyflow.eager.entry import Entry, engine
from pyflow.eager.tensor import Tensor
from pyflow.eager.tracing import Applied, Array, Call, collect, name_of
from pyflow.errors import DTypeError, InternalError, PyflowError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import Constant, OpDef

CACHED = 4096
"""Entries that are kept, and exact shapes by which they are found."""
SMALL = 64
"""Elements of an integer operand that may be part of a key."""


class Level(NamedTuple):
    """How much of the operands a call is compiled for."""

    sizes: bool
    """Their sizes, instead of symbols."""
    contents: bool
    """What small integer operands, and arrays, hold."""


LEVELS = (Level(False, False), Level(False, True), Level(True, False), Level(True, True))
"""From the most general to the most special: the first at which the call can be traced and compiled is taken."""

_shapes: dict[Any, Entry] = {}
_entries: OrderedDict[Any, Entry] = OrderedDict()
_levels: dict[Any, int] = {}
"""By kind of call: the place in LEVELS that it needs."""


def invoke(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What ``function``, of graph values, gives for these arguments, some of which are tensors."""
    return invoked(function, args, kwargs)[0]


def invoked(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, Entry | None]:
    """As :func:`invoke`; and the entry that serves all calls of these shapes, if one does."""
    operands: list[Tensor] = []
    key: Any = (function, *[collect(value, operands) for value in args])
    if kwargs:
        key = (*key, *[(name, collect(value, operands)) for name, value in kwargs.items() if name != "name"])
    exact = (key, *[(operand._dtype, operand.shape) for operand in operands])
    try:
        entry = _shapes.get(exact)
    except TypeError:
        raise _unhashable(function, args, kwargs) from None
    serves = entry
    if entry is None:
        entry, is_general = _find(function, args, kwargs, key, exact, operands)
        serves = entry if is_general else None
    try:
        return entry.call(operands), serves
    except PyflowError as error:
        raise explained(error, function, args, kwargs, operands) from None


def explained(
    error: PyflowError,
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    operands: Sequence[Tensor],
) -> PyflowError:
    """What inference says of the call at its very sizes, if it refuses them; else ``error`` with the user's line."""
    try:
        with engine.lock:
            traced = Call.of(function, args, kwargs, operands)
            traced.trace(operands, [operand.shape for operand in operands], [None] * len(operands))
    except PyflowError as told:
        return told
    text, _, hint = str(error).partition("\n")
    head, bracket, rest = text.partition("] ")
    origin = user_origin()
    if not bracket or str(origin) in rest:
        return error
    return type(error)(message(head.lstrip("["), rest.rpartition("   (")[0] or rest, origin, hint.strip()))


def _unhashable(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> DTypeError:
    shown = ", ".join(type(value).__name__ for value in (*args, *kwargs.values()))
    return DTypeError(message(name_of(function), f"cannot be called with arguments of types {shown}", user_origin()))


def _find(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    key: Any,
    exact: Any,
    operands: Sequence[Tensor],
) -> tuple[Entry, bool]:
    """The entry for a call whose exact shapes are new; does it serve all calls of these shapes?"""
    with engine.lock, opened(None):
        pattern = _pattern(operands)
        traced = Call.of(function, args, kwargs, operands)
        kind = (key, tuple(operand._dtype for operand in operands), tuple(map(len, pattern)))
        for place in range(_levels.get(kind, 0), len(LEVELS)):
            level = LEVELS[place]
            shapes = [operand.shape for operand in operands] if level.sizes else pattern
            held = tuple(_content(operand) if level.contents else None for operand in operands)
            if level.contents and not any(held):
                continue
            found_by = (kind, place, tuple(shapes), held)
            entry = _entries.get(found_by)
            if entry is None:
                try:
                    entry = traced.entry(operands, shapes, held)
                except (PyflowError, ArithmeticError, AttributeError, IndexError, TypeError, ValueError) as error:
                    if place < len(LEVELS) - 1 and not isinstance(error, InternalError) and _is_more(operands, place):
                        continue
                    raise
                _entries[found_by] = entry
                if len(_entries) > CACHED:
                    _entries.popitem(last=False)
            if len(_levels) > CACHED:
                _levels.clear()
            _levels[kind] = place
            if not level.contents:
                if len(_shapes) > CACHED:
                    _shapes.clear()
                _shapes[exact] = entry
            return entry, not level.contents
    raise AssertionError("the last level with something to tell raises")


def _is_more(operands: Sequence[Tensor], place: int) -> bool:
    """Does a later level say more of these operands?"""
    return place < 2 or any(map(_content, operands))


def _pattern(operands: Sequence[Tensor]) -> list[tuple[int, ...]]:
    """Shapes with -1, -2 ... for the different sizes of 2 and more; 0 and 1 stand for themselves."""
    numbers: dict[int, int] = {}
    return [
        tuple(size if size < 2 else numbers.setdefault(size, -1 - len(numbers)) for size in operand.shape)
        for operand in operands
    ]


def _content(operand: Tensor) -> Any:
    """What an array, or a small operand of integers (or bools) of at most one axis, holds, as part of a key."""
    small = operand._dtype.kind in "iub" and operand.ndim < 2 and operand.size <= SMALL
    small = small or (isinstance(operand, Array) and not operand._dtype.is_object)
    return (operand._array.tobytes(), operand.shape) if small else None


_NONE_INSIDE = frozenset({int, float, bool, str, type(None), Value, np.ndarray, dtypes.DType, Constant})


def has_tensor(value: Any) -> bool:
    kind = type(value)
    if kind is Tensor:
        return True
    if kind in _NONE_INSIDE:
        return False
    if kind is list or kind is tuple:
        return any(map(has_tensor, value))
    return isinstance(value, Tensor) or (isinstance(value, Mapping) and any(map(has_tensor, value.values())))


def handle(op: OpDef, inputs: Sequence[Any], attrs: Mapping[str, Any]) -> Any:
    """:data:`pyflow.apply.eager_handler`: the call, if one of its operands is a tensor."""
    for value in inputs:
        if type(value) is Tensor or has_tensor(value):
            break
    else:
        if not attrs or not any(map(has_tensor, attrs.values())):
            return NotImplemented
    capture = current()
    if capture is not None:
        return apply(op, capture.within(list(inputs)), capture.within(attrs))
    return invoke(Applied.of(op), (settled_numbers(op, inputs), attrs), {})


def settled_numbers(op: OpDef, inputs: Sequence[Any]) -> Sequence[Any]:
    """Python numbers beside tensors as operands of what they become, so that an entry serves all of them."""
    if not op.scalar or op.name == "pow":
        return inputs
    if all(type(value) is Tensor for value in inputs) or len({entry.kind for entry in op.inputs}) > 1:
        return inputs
    strong = [value._dtype for value in inputs if type(value) is Tensor]
    result = list(inputs)
    for index, value in enumerate(inputs):
        if type(value) in (int, float, bool):
            try:
                common = dtypes.promote(*strong)
                dtype = _weak_dtype([value], common)
                array = np.array(value, dtype.numpy)
            except (TypeError, OverflowError):
                return inputs
            if dtype.is_integer and array.item() != value:
                return inputs
            result[index] = Tensor._of(array, dtype)
        elif type(value) is not Tensor:
            return inputs
    return result


def run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``function(*args, **kwargs)`` at once, whatever its arguments: for functions that make values, such as
    ``pf.random_normal``. Gives tensors."""
    return invoke(getattr(function, "__wrapped__", function), args, kwargs)


def seed(number: int | None) -> None:
    """Starts the generator of eager calls anew; None: from the operating system. Until then it has the seed that
    ``pf.set_random_seed`` gave the default graph."""
    engine.seed(number)
