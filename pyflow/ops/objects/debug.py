"""Ops that are run for what they do: checks and prints, in program order."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from pyflow.errors import FailedPreconditionError, message
from pyflow.graph import Node, Value, control_dependencies
from pyflow.opdef import EVERY, TEXT, Lowering, TensorType, call, define
from pyflow.ops.common import no_gradient

__all__ = ["Assert", "print"]


def _assert_ref(condition: np.ndarray, *, message_text: str) -> None:
    if not condition.all():
        raise FailedPreconditionError(message("assert", message_text))


_assert = define(
    "assert",
    "condition:bool",
    attrs={"message_text": TEXT},
    infer=lambda condition, message_text: (),
    ref=_assert_ref,
    lower=lambda node, inputs, outputs: Lowering("assert", inputs, (), text=node.attrs["message_text"]),
    effect="host",
    fallible=True,
    vjp=no_gradient,
    doc="Fails unless every element of ``condition`` holds; see :func:`pyflow.Assert`.",
)


def Assert(condition: Any, message: str = "the assertion does not hold", name: str | None = None) -> Node:
    """An op that fails the run with FailedPreconditionError and ``message`` unless all of ``condition`` (bool) holds.

    Returns the op: fetch it, or put what needs it under ``pf.control_dependencies([...])``. A run that fails leaves
    variables as they were.
    """
    result: Node = _assert(condition, message_text=message, name=name)
    return result


def shown(label: str, array: np.ndarray) -> str:
    """What ``print`` writes: the label, dtype, shape and values."""
    head = f"{label}: {array.dtype}[{','.join(map(str, array.shape))}]"
    values = np.array2string(array, threshold=100)
    return f"{head}\n{values}" if "\n" in values else f"{head} {values}"


def _print_ref(x: np.ndarray, *, label: str) -> np.ndarray:
    sys.stdout.write(shown(label, x) + "\n")
    sys.stdout.flush()
    return x


_print = define(
    "print",
    "x:T",
    attrs={"label": TEXT},
    kinds={"T": EVERY},
    infer=lambda x, label: TensorType(x.dtype, x.dims),
    content=lambda x, label: x.content,
    ref=_print_ref,
    effect="host",
    host=True,
    vjp=lambda node, gradient: (gradient,),
    doc="``x``, printed by the run; see :func:`pyflow.print`.",
)


def print(x: Any, *more: Any, message: str = "", name: str | None = None) -> Value:
    """``x`` itself; a run that takes the result prints label, dtype, shape and values of ``x`` and of each of ``more``.

    ``message`` comes before the name of the value. Lines appear in program order, on standard output.
    """

    def labelled(value: Any) -> str:
        return " ".join(part for part in (message, getattr(value, "name", "")) if part) or "value"

    printed = [_print(value, label=labelled(value), name=name) for value in (x, *more)]
    first: Value = printed[0]
    if len(printed) == 1:
        return first
    with control_dependencies(printed):
        return call("identity", first)  # type: ignore[no-any-return]
