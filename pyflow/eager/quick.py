"""The quick way to an entry: what the native tables of functions and operators ask when they know none."""

from __future__ import annotations

import functools
import operator
import types
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

import numpy as np

from pyflow import apply as applying
from pyflow import dtypes
from pyflow.dtypes import DType
from pyflow.eager import indexing
from pyflow.eager.capture import current
from pyflow.eager.dispatch import handle, has_tensor, invoked, settled_numbers
from pyflow.eager.tape import failure
from pyflow.eager.tensor import Tensor
from pyflow.eager.tracing import Applied
from pyflow.errors import user_origin
from pyflow.opdef import FUNCTIONS, OPS, call
from pyflow.runtime.eager import native


def lifted(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` of graph values, which takes tensors too."""
    known = native.Lookup()

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        made = known.call(args, kwargs)
        if made is not NotImplemented:
            return made
        if not any(map(has_tensor, args)) and not any(map(has_tensor, kwargs.values())):
            return function(*args, **kwargs)
        capture = current()
        if capture is not None:
            return function(*capture.within(args), **capture.within(kwargs))
        result, entry = invoked(function, args, kwargs)
        if entry is not None:
            known.learn(args, kwargs, entry)
        return result

    return wrapper


def _unary(op: str, x: Tensor) -> Any:
    """An operator of one operand whose entry is not known."""
    if current() is not None:
        return call(op, x)
    result, entry = invoked(Applied.of(OPS[op]), ((x,), {}), {})
    if entry is not None:
        native.learn(op, x, None, entry)
    return result


def _binary(op: str, x: Any, y: Any) -> Any:
    """An operator of two operands, one of them a tensor, whose entry is not known."""
    if current() is not None:
        return call(op, x, y)
    if isinstance(x, Tensor) and isinstance(y, Tensor):
        result, entry = invoked(Applied.of(OPS[op]), ((x, y), {}), {})
        if entry is not None:
            native.learn(op, x, y, entry)
        return result
    tensor, number = (x, y) if isinstance(x, Tensor) else (y, x)
    if type(number) not in (int, float):
        return call(op, x, y)
    settled = settled_numbers(OPS[op], (x, y))
    if not all(isinstance(value, Tensor) for value in settled):
        return call(op, x, y)
    result, entry = invoked(Applied.of(OPS[op]), (settled, {}), {})
    if entry is not None and all(value._dtype is tensor._dtype for value in settled):
        native.learn(op, x, y, entry)
    return result


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "mod": operator.mod,
    "floor_divide": operator.floordiv,
    "pow": operator.pow,
}
"""Those that change in place, by their ops."""


def _in_place(op: str, x: Tensor, y: Any) -> Tensor:
    """A change in place that has to be computed first, or whose entry is not known."""
    return indexing.assign(x, OPERATORS[op](indexing.as_it_was(x, y), y))


def _number(dtype: DType, value: Any) -> np.ndarray:
    return np.array(value, dtype.numpy)


def install(names: MutableMapping[str, Any], functions: Sequence[str], namespaces: Sequence[types.ModuleType]) -> None:
    """Op functions take tensors from here on: those of defined ops through the one hook, composed ones as a whole."""
    applying.eager_handler = handle
    ways = {
        "binary": _binary,
        "in_place": _in_place,
        "unary": _unary,
        "getitem": indexing.getitem,
        "origin": user_origin,
        "failure": failure,
        "number": _number,
    }
    native.setup(Tensor, DType, [dtypes.BY_CODE[code] for code in sorted(dtypes.BY_CODE)], ways)
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
