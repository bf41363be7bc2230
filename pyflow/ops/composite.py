"""Ops that are composed of others: their types are those of what they expand to."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pyflow.dims import Size
from pyflow.dtypes import DType
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Node, Value, building
from pyflow.opdef import FLOATS, Attr, OpDef, TensorType, call, define
from pyflow.ops.common import ndim_of


class _Scratch:
    """A builder whose nodes nobody keeps."""

    def adopt(self, value: Value) -> Value:
        return value

    def add(
        self,
        op: OpDef,
        inputs: tuple[Value, ...],
        attrs: Mapping[str, Any],
        types: tuple[TensorType, ...],
        contents: tuple[Any, ...],
        name: str | None,
    ) -> Node:
        return Node(op, inputs, attrs, types, contents)


def inferred(expand: Callable[..., Any]) -> Callable[..., Any]:
    """An ``infer`` that gives the types of what ``expand`` makes."""

    def infer(*values: Value, **attrs: Any) -> TensorType | tuple[TensorType, ...]:
        with building(_Scratch()):
            made = expand(*values, **attrs)
        return tuple(value.type for value in made) if isinstance(made, tuple) else made.type

    return infer


def _quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` without NumPy's floating-point warnings; arrays even where it gives scalars."""

    def wrapped(*arrays: np.ndarray, **attrs: Any) -> Any:
        with np.errstate(all="ignore"):
            made = function(*arrays, **attrs)
        return tuple(map(np.asarray, made)) if isinstance(made, tuple) else np.asarray(made)

    return wrapped


def composite(
    name: str,
    inputs: str,
    *,
    expand: Callable[..., Any],
    ref: Callable[..., Any],
    kinds: frozenset[DType] | Mapping[str, frozenset[DType]] = FLOATS,
    **rest: Any,
) -> Callable[..., Any]:
    """:func:`pyflow.define` of an op that is its ``expand``: types and gradient are those of the composition.

    kinds: as for define; a set of dtypes is that of T.
    """
    return define(
        name,
        inputs,
        kinds=kinds if isinstance(kinds, Mapping) else {"T": kinds},
        infer=rest.pop("infer", None) or inferred(expand),
        ref=_quiet(ref),
        expand=expand,
        rounds=True,
        **rest,
    )


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not all(isinstance(entry, str) for entry in value):
        raise TypeError(f"expected names, got {value!r}")
    return tuple(value)


GIVEN = Attr("names", _names, lambda value: ((), ()))
"""Which of its optional operands an op is given, in the order in which they stand among its inputs."""


def present(**operands: Any) -> tuple[tuple[str, ...], list[Any]]:
    """(names, operands) of those that are not None."""
    kept = {name: operand for name, operand in operands.items() if operand is not None}
    return tuple(kept), list(kept.values())


def optional(given: Sequence[str], operands: Sequence[Any], *names: str) -> tuple[Any, ...]:
    """The operand of each name, None for those that are not there."""
    found = dict(zip(given, operands, strict=True))
    return tuple(found.get(name) for name in names)


def per_channel(value: Any, ndim: int, axis: int = 1) -> Value:
    """A value per channel, as it broadcasts over ``ndim`` axes of which ``axis`` is the channels."""
    result: Value = call("reshape", value, (-1, *(1,) * (ndim - axis % ndim - 1)))
    return result


def of_rank(function: Callable[..., Any], name: str, count: int) -> Callable[..., Any]:
    """``function`` for inputs of ``count`` spatial axes only, under a name of its own."""

    def fixed(x: Any, *args: Any, **attrs: Any) -> Any:
        if ndim_of(x) != count + 2:
            what = f"expected x of {count + 2} axes, got {ndim_of(x)}"
            raise InvalidArgumentError(message(name, what, user_origin()))
        return function(x, *args, **attrs)

    fixed.__name__ = fixed.__qualname__ = name
    fixed.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    fixed.__doc__ = f":func:`pyflow.{function.__name__}` over {count} spatial ax{'i' if count == 1 else 'e'}s."
    return fixed


def index_of(*entries: Any) -> Any:
    """What NumPy's brackets take: one entry per axis."""
    return entries


def as_number(size: Size) -> Any:
    """A size, ready to calculate with: an int, or an int64 value."""
    return size if isinstance(size, int) else call("sizes", (size,), scalar=True)
