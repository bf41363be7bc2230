"""``py_function``: a Python function as a step of a graph."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.apply import convert
from pyflow.dims import Size
from pyflow.dtypes import DType
from pyflow.errors import DTypeError, InvalidArgumentError, UnimplementedError, message
from pyflow.graph import Node, Value
from pyflow.objects import strings
from pyflow.opdef import EVERY, INT, OBJECT, TensorType, define

__all__ = ["py_function"]

Gradient = Callable[..., Sequence[Value | None]]


def _infer(*xs: Value, kinds: tuple[DType, ...], shapes: tuple[tuple[Size, ...], ...], **rest: Any) -> Any:
    return tuple(TensorType(dtype, shape) for dtype, shape in zip(kinds, shapes, strict=True))


def _ref(*xs: np.ndarray, function: Callable[..., Any], kinds: tuple[DType, ...], **rest: Any) -> Any:
    made = function(*xs)
    results = made if isinstance(made, tuple) else (made,)
    if len(results) != len(kinds):
        raise InvalidArgumentError(f"the function gave {len(results)} results, expected {len(kinds)}")
    return tuple(strings(r) if dtype is dtypes.string else r for r, dtype in zip(results, kinds, strict=True))


def _vjp(node: Node, *gradients: Value | None) -> Sequence[Value | None]:
    gradient: Gradient | None = node.attrs["vjp"]
    if gradient is None:
        hint = "pass py_function(vjp=), or stop_gradient what it takes"
        raise UnimplementedError(message("py_function", "a Python function has no gradient", node.origin, hint))
    return gradient(node, *gradients)


def _late(node: Node) -> tuple[str, ...]:
    sizes = (size for shape in node.attrs["shapes"] for size in shape)
    return tuple(dict.fromkeys(name for size in sizes for name in dims.late_names(size)))


_calls = itertools.count()
"""Tells stateful calls apart, so that none is merged with another."""
_pure, _stateful = (
    define(
        name,
        "*xs:*",
        attrs={"function": OBJECT, "kinds": OBJECT, "shapes": OBJECT, "vjp": OBJECT, "call": INT},
        infer=_infer,
        ref=_ref,
        vjp=_vjp,
        defines=_late,
        host=True,
        effect=effect,
        multiple=True,
        doc="What a Python function gives for ``xs``; see :func:`pyflow.py_function`.",
    )
    for name, effect in (("py_function", ""), ("py_function_stateful", "host"))
)


def _settled(given: Any) -> TensorType:
    """dtype and dims, with a size that the run finds out for each that is not given."""
    dtype, shape = (given.dtype, given.dims) if isinstance(given, TensorType) else given
    kind = dtypes.as_dtype(dtype)
    if kind not in EVERY:
        raise DTypeError(f"a Python function gives arrays, no {kind}")
    found: list[Size] = []
    for size in shape:
        if size is None or dims.late_in(size):
            size = dims.fresh_late_symbol("py_function")
        found.append(size)
    return TensorType(kind, tuple(found))


def py_function(
    function: Callable[..., Any],
    inputs: Sequence[Any],
    types: Any,
    *,
    vjp: Gradient | None = None,
    stateful: bool = False,
    name: str | None = None,
) -> Any:
    """What ``function`` gives for the arrays of ``inputs``; it runs in Python, on the host, whatever the device.

    function: ``(*arrays) -> array`` or a tuple of them; it must not write to its arguments.
    types: of its result, or a list of them: a TensorType such as ``x.type``, or a pair of dtype and shape, whose sizes
        are ints, dims of values, or None where the run finds out.
    vjp: its gradient as in :func:`pyflow.define`; without it, gradients through the function raise UnimplementedError.
    stateful: it may give other results for equal arrays or be seen outside: every call that a run needs happens, in
        program order. Else calls may be merged, computed while compiling, or left out.
    Returns a value, or a tuple of them if ``types`` is a list. The run fails if the function raises, or gives arrays of
    another dtype or shape.
    """
    several = isinstance(types, list)
    settled = [_settled(each) for each in (types if several else [types])]
    op = _stateful if stateful else _pure
    call = next(_calls) if stateful else 0
    made: tuple[Value, ...] = op(
        *map(convert, inputs),
        function=function,
        kinds=tuple(type.dtype for type in settled),
        shapes=tuple(type.dims for type in settled),
        vjp=vjp,
        call=call,
        name=name,
    )
    return made if several else made[0]
