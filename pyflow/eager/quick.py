"""The quick way to an entry: by tables of each function and operator, with keys that cost little to make."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from pyflow import apply as applying
from pyflow.dtypes import DType
from pyflow.eager.capture import OPEN, current
from pyflow.eager.dispatch import CACHED, explained, handle, has_tensor, invoke, invoked, settled_numbers
from pyflow.eager.entry import Entry
from pyflow.eager.tensor import Tensor
from pyflow.eager.tracing import Applied
from pyflow.errors import PyflowError
from pyflow.opdef import FUNCTIONS, OPS, call


def lifted(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` of graph values, which takes tensors too."""
    known: dict[Any, Entry] = {}

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        operands: list[Tensor] = []
        key = _quick_key(args, kwargs, operands)
        if operands and key is not None and not OPEN:
            entry = known.get(key)
            if entry is not None:
                try:
                    return entry(operands)
                except PyflowError as error:
                    raise explained(error, function, args, kwargs, operands) from None
        for value in args:
            if type(value) is Tensor or has_tensor(value):
                break
        else:
            if not kwargs or not any(map(has_tensor, kwargs.values())):
                return function(*args, **kwargs)
        capture = current()
        if capture is not None:
            return function(*capture.within(args), **capture.within(kwargs))
        if operands and key is not None:
            return _learn(known, key, function, args, kwargs)
        return invoke(function, args, kwargs)

    return wrapper


_PLAIN = frozenset({int, str, type(None), DType})


def _quick_key(args: Sequence[Any], kwargs: Mapping[str, Any], operands: list[Tensor]) -> Any:
    """The key of a call of tensors, ints, names and dtypes, quickly; None for others."""
    key: list[Any] = []
    for value in args:
        kind = type(value)
        if kind is Tensor and value._dtype.kind != "O":
            operands.append(value)
            key += (value._dtype, value._array.shape)
        elif kind in _PLAIN:
            key.append(value)
        elif _is_plain(kind, value):
            key += (kind, value)
        else:
            return None
    for name, value in kwargs.items():
        kind = type(value)
        if kind in _PLAIN or _is_plain(kind, value):
            key += (name, kind, value)
        else:
            return None
    return tuple(key)


def _is_plain(kind: type, value: Any) -> bool:
    """May it be a part of a key as it is? Equal ones mean the same beside their kind."""
    if kind is tuple:
        return all([type(entry) is int for entry in value])
    return kind is bool or (kind is float and value != 0)


def _learn(
    known: dict[Any, Entry], key: Any, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """The call; its entry is found by ``key`` from here on, unless it depends on what operands hold."""
    result, entry = invoked(function, args, kwargs)
    if entry is not None:
        if len(known) > CACHED:
            known.clear()
        known[key] = entry
    return result


def operator(op: str, reflected: bool = False) -> Callable[[Tensor, Any], Any]:
    """Python's operator of two operands that the op stands for."""
    known: dict[Any, Entry] = {}
    numbers: dict[Any, tuple[Entry, np.dtype]] = {}

    def method(self: Tensor, other: Any) -> Any:
        kind = type(other)
        if OPEN and current() is not None:
            return call(op, other, self) if reflected else call(op, self, other)
        if kind is Tensor:
            if self._dtype.kind == "O" or other._dtype.kind == "O":
                return call(op, other, self) if reflected else call(op, self, other)
            key = (self._array.shape, other._array.shape, self._dtype, other._dtype)
            entry = known.get(key)
            if entry is None:
                operands = (other, self) if reflected else (self, other)
                return _learn(known, key, Applied.of(OPS[op]), (operands, {}), {})
            return entry((other, self) if reflected else (self, other))
        if kind is float or kind is int:
            found = numbers.get((self._dtype, kind, self.shape))
            if found is not None:
                try:
                    number = Tensor._of(np.array(other, found[1]), found[0].inputs[0].dtype)
                except OverflowError:
                    return call(op, other, self) if reflected else call(op, self, other)
                return found[0]((number, self) if reflected else (self, number))
            return _learn_number(numbers, op, self, other, reflected)
        return call(op, other, self) if reflected else call(op, self, other)

    return method


def _learn_number(numbers: dict[Any, Any], op: str, x: Tensor, number: Any, reflected: bool) -> Any:
    """The operator on a tensor and a Python number, which is an operand from here on where it takes the tensor's
    dtype."""
    given = (number, x) if reflected else (x, number)
    settled = settled_numbers(OPS[op], given)
    if settled is given:
        return call(op, *given)
    result, entry = invoked(Applied.of(OPS[op]), (settled, {}), {})
    if entry is not None and all(value._dtype is x._dtype for value in settled):
        if len(numbers) > CACHED:
            numbers.clear()
        numbers[x._dtype, type(number), x.shape] = (entry, x._dtype.numpy)
    return result


def install(names: MutableMapping[str, Any], functions: Sequence[str], namespaces: Sequence[types.ModuleType]) -> None:
    """Op functions take tensors from here on: those of defined ops through the one hook, composed ones as a whole."""
    applying.eager_handler = handle
    for name in functions:
        function = names[name]
        names[name] = _lifted_once(function)
        if FUNCTIONS.get(name) is function and not hasattr(function, "op"):
            FUNCTIONS[name] = names[name]
    for module in namespaces:
        for name in module.__all__:
            if isinstance(getattr(module, name), types.FunctionType):
                setattr(module, name, _lifted_once(getattr(module, name)))


def _lifted_once(function: Any) -> Any:
    is_plain = isinstance(function, types.FunctionType) and not hasattr(function, "__wrapped__")
    return lifted(function) if is_plain else function
