"""Calls of op functions on tensors: each kind of call is traced and compiled once, and found again by its key.

A key is the function, its other arguments, and the operands' dtypes and shapes. Sizes of 2 and more are symbols of the
traced graph, one per different size, so that one entry serves all shapes of a pattern; an exact shape finds it at once.
"""

from __future__ import annotations

import functools
import itertools
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pyflow import apply as applying
from pyflow import dtypes
from pyflow.apply import _weak_dtype, is_operand
from pyflow.dims import Dim
from pyflow.dtypes import DType
from pyflow.eager.entry import NOWHERE, Entry, engine
from pyflow.eager.tensor import Tensor
from pyflow.errors import DTypeError, InternalError, PyflowError, message, user_origin
from pyflow.graph import Graph, Node, Value
from pyflow.opdef import OpDef, attr_key
from pyflow.ops.sources import constant, placeholder

CACHED = 4096
"""Entries that are kept, and exact shapes by which they are found."""
SMALL = 64
"""Elements of an integer operand that may be part of a key."""


class _Slot:
    """Stands for an operand in a key and in a call's arguments."""

    def __repr__(self) -> str:
        return "<operand>"


SLOT = _Slot()


class _Array(Tensor):
    """An array beside tensors: an operand, or, where the function takes none there, itself."""

    __slots__ = ()


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


def _collect(value: Any, operands: list[Tensor]) -> Any:
    """The key of an argument; tensors and arrays in it are put on ``operands``."""
    kind = type(value)
    if kind is Tensor:
        operands.append(value)
        return SLOT
    if value is None or kind is str or kind is DType:
        return value
    if kind is int or kind is bool or kind is float or kind is complex:
        return (kind, attr_key(value) if kind is not complex else (attr_key(value.real), attr_key(value.imag)))
    if kind is tuple or kind is list:
        return (kind, *[_collect(entry, operands) for entry in value])
    if isinstance(value, Tensor):
        operands.append(value)
        return SLOT
    if isinstance(value, (np.ndarray, np.generic)) and dtypes.is_known(value.dtype):
        operands.append(_Array._of(np.asarray(value), dtypes.as_dtype(value.dtype)))
        return SLOT
    if kind is slice:
        return (slice, *[_collect(part, operands) for part in (value.start, value.stop, value.step)])
    if isinstance(value, Mapping):
        return (kind, *[(name, _collect(entry, operands)) for name, entry in value.items()])
    if isinstance(value, (tuple, list)):
        return (kind, *[_collect(entry, operands) for entry in value])
    if is_operand(value):
        raise _mixed(value)
    return value


def _filled(value: Any, operands: Iterator[Any]) -> Any:
    """An argument with ``operands`` in place of its tensors and arrays, or slots, in the order of :func:`_collect`."""
    if isinstance(value, (Tensor, _Slot)):
        return next(operands)
    if isinstance(value, (np.ndarray, np.generic)):
        return next(operands) if dtypes.is_known(value.dtype) else value
    if isinstance(value, slice):
        return slice(*[_filled(part, operands) for part in (value.start, value.stop, value.step)])
    if isinstance(value, Mapping):
        return {name: _filled(entry, operands) for name, entry in value.items()}
    if isinstance(value, (tuple, list)):
        entries = [_filled(entry, operands) for entry in value]
        return type(value)(*entries) if hasattr(value, "_fields") else type(value)(entries)
    return value


def _mixed(value: Any) -> DTypeError:
    shown = f"{value.name}: {value.type}" if hasattr(value, "type") else repr(value)
    what = f"the graph value {shown} and a tensor are operands of one call"
    return DTypeError(
        message("eager", what, user_origin(), "feed x.numpy() to a placeholder, or make it a pf.constant of the graph")
    )


def invoke(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What ``function``, of graph values, gives for these arguments, some of which are tensors."""
    operands: list[Tensor] = []
    key: Any = (function, *[_collect(value, operands) for value in args])
    if kwargs:
        key = (*key, *[(name, _collect(value, operands)) for name, value in kwargs.items() if name != "name"])
    exact = (key, *[(operand._dtype, operand.shape) for operand in operands])
    try:
        entry = _shapes.get(exact)
    except TypeError:
        raise _unhashable(function, args, kwargs) from None
    if entry is None:
        entry = _find(function, args, kwargs, key, exact, operands)
    try:
        return entry(operands)
    except PyflowError as error:
        raise _explained(error, function, args, kwargs, operands) from None


def _explained(
    error: PyflowError,
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    operands: Sequence[Tensor],
) -> PyflowError:
    """What inference says of the call at its very sizes, if it refuses them; else ``error`` with the user's line."""
    try:
        with engine.lock:
            call = _Call.of(function, args, kwargs, operands)
            call.trace(operands, [operand.shape for operand in operands], [None] * len(operands))
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
    return DTypeError(message(_name(function), f"cannot be called with arguments of types {shown}", user_origin()))


def _name(function: Callable[..., Any]) -> str:
    return function.op.name if isinstance(function, _Applied) else getattr(function, "__name__", "call")


def _find(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    key: Any,
    exact: Any,
    operands: Sequence[Tensor],
) -> Entry:
    """The entry for a call whose exact shapes are new."""
    with engine.lock:
        pattern = _pattern(operands)
        call = _Call.of(function, args, kwargs, operands)
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
                    entry = call.entry(operands, shapes, held)
                except (PyflowError, ArithmeticError, AttributeError, IndexError, TypeError, ValueError) as error:
                    if place < len(LEVELS) - 1 and not isinstance(error, InternalError) and _is_more(operands, place):
                        continue
                    raise
                _entries[found_by] = entry
                if len(_entries) > CACHED:
                    _entries.popitem(last=False)
            _levels[kind] = place
            if not level.contents:
                if len(_shapes) > CACHED:
                    _shapes.clear()
                _shapes[exact] = entry
            return entry
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
    small = small or (isinstance(operand, _Array) and not operand._dtype.is_object)
    return (operand._array.tobytes(), operand.shape) if small else None


@dataclass(frozen=True)
class _Call:
    """A call without its operands, to be traced."""

    function: Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    kinds: Sequence[type[Tensor]]
    """Of the operands: tensors or arrays."""

    @classmethod
    def of(
        cls, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], operands: Sequence[Tensor]
    ) -> _Call:
        slots = itertools.repeat(SLOT)
        named = {name: _filled(value, slots) for name, value in kwargs.items() if name != "name"}
        return cls(function, [_filled(value, slots) for value in args], named, [type(each) for each in operands])

    def trace(
        self, operands: Sequence[Tensor], shapes: Sequence[tuple[int, ...]], held: Sequence[Any]
    ) -> tuple[Graph, list[Value], Any]:
        """The call on placeholders of these shapes (negative sizes are symbols), and on constants where ``held`` says
        so: its graph, placeholders and result."""
        graph = Graph()
        with graph.as_default(), graph.attributed_to(NOWHERE):
            symbols = {size: Dim(f"n{-size}", min=2) for shape in shapes for size in shape if size < 0}
            inputs = [
                placeholder(operand._dtype, [symbols.get(size, size) for size in shape], name=f"x{index}")
                for index, (operand, shape) in enumerate(zip(operands, shapes, strict=True))
            ]
            given: list[Any] = list(inputs)
            for index, content in enumerate(held):
                if content is not None:
                    array = operands[index]._array
                    given[index] = array if self.kinds[index] is _Array else constant(array)
            order = iter(given)
            filled = [_filled(value, order) for value in self.args]
            named = {name: _filled(value, order) for name, value in self.kwargs.items()}
            return graph, inputs, self.function(*filled, **named)

    def entry(self, operands: Sequence[Tensor], shapes: Sequence[tuple[int, ...]], held: Sequence[Any]) -> Entry:
        """The entry of the call at these shapes."""
        graph, inputs, result = self.trace(operands, shapes, held)
        outputs: list[Value] = []
        nodes: list[Node] = []
        build = _builder(result, outputs, nodes)
        made = Entry(_name(self.function), graph, inputs, outputs, build, nodes)
        if any(size < 0 for shape in shapes for size in shape):
            made.at_sizes = lambda given: self.entry(given, [each.shape for each in given], held)
        return made


def _builder(result: Any, outputs: list[Value], nodes: list[Node]) -> Callable[[Sequence[Any]], Any]:
    """Reads the structure of a traced result; from the tensors of its values the function makes it anew."""
    if isinstance(result, Value):
        place = len(outputs)
        outputs.append(result)
        return lambda made: made[place]
    if isinstance(result, Node):
        nodes.append(result)
        return lambda made: None
    if isinstance(result, (tuple, list)):
        parts = [_builder(entry, outputs, nodes) for entry in result]
        kind: Any = type(result)
        if hasattr(result, "_fields"):
            return lambda made: kind(*[part(made) for part in parts])
        return lambda made: kind([part(made) for part in parts])
    if isinstance(result, Mapping):
        named = {name: _builder(entry, outputs, nodes) for name, entry in result.items()}
        return lambda made: {name: part(made) for name, part in named.items()}
    return lambda made: result


class _Applied:
    """An op as a function of its inputs and attributes."""

    __slots__ = ("op",)

    def __init__(self, op: OpDef) -> None:
        self.op = op

    def __call__(self, inputs: Sequence[Any], attrs: Mapping[str, Any]) -> Any:
        return applying.apply(self.op, inputs, attrs)


_applied: dict[str, _Applied] = {}


def _has_tensor(value: Any) -> bool:
    kind = type(value)
    if kind is Tensor:
        return True
    if kind is list or kind is tuple:
        return any(map(_has_tensor, value))
    return isinstance(value, Tensor) or (isinstance(value, Mapping) and any(map(_has_tensor, value.values())))


def handle(op: OpDef, inputs: Sequence[Any], attrs: Mapping[str, Any]) -> Any:
    """:data:`pyflow.apply.eager_handler`: the call, if one of its operands is a tensor."""
    for value in inputs:
        if type(value) is Tensor or _has_tensor(value):
            break
    else:
        if not attrs or not any(map(_has_tensor, attrs.values())):
            return NotImplemented
    function = _applied.get(op.name)
    if function is None:
        function = _applied.setdefault(op.name, _Applied(op))
    return invoke(function, (_settled(op, inputs), attrs), {})


def _settled(op: OpDef, inputs: Sequence[Any]) -> Sequence[Any]:
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


def lifted(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` of graph values, which takes tensors too."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        for value in args:
            if type(value) is Tensor or _has_tensor(value):
                return invoke(function, args, kwargs)
        if kwargs and any(map(_has_tensor, kwargs.values())):
            return invoke(function, args, kwargs)
        return function(*args, **kwargs)

    return wrapper


def run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``function(*args, **kwargs)`` at once, whatever its arguments: for functions that make values, such as
    ``pf.random_normal``. Gives tensors."""
    return invoke(getattr(function, "__wrapped__", function), args, kwargs)


def install(names: MutableMapping[str, Any], functions: Sequence[str], namespaces: Sequence[types.ModuleType]) -> None:
    """Op functions take tensors from here on: those of defined ops through the one hook, composed ones as a whole."""
    applying.eager_handler = handle
    for name in functions:
        names[name] = _lifted_once(names[name])
    for module in namespaces:
        for name in module.__all__:
            if isinstance(getattr(module, name), types.FunctionType):
                setattr(module, name, _lifted_once(getattr(module, name)))


def _lifted_once(function: Any) -> Any:
    is_plain = isinstance(function, types.FunctionType) and not hasattr(function, "op")
    return lifted(function) if is_plain and not hasattr(function, "__wrapped__") else function
