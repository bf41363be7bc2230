"""The ops of control flow. Users call the functions of this folder, which trace the bodies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError
from pyflow.flow import derivatives
from pyflow.flow.unroll import expand_scan
from pyflow.graph import Node, Value
from pyflow.opdef import BODY, BOOLEAN, INT, SIZE, Flow, TensorType, define
from pyflow.rewrite import compatible

Arrays = Sequence[np.ndarray]
Call = Callable[[Any, Arrays], list[np.ndarray]]


def may_fail(node: Node) -> bool:
    """May a node of a body fail, or is it seen outside?"""
    return any(
        inner.op.effect == "host" or inner.op.is_fallible(inner)
        for body in node.op.bodies(node).values()
        for inner in (body.nodes() if callable(body.nodes) else body.nodes)
    )


def _late(types: Sequence[TensorType]) -> dict[str, None]:
    return dict.fromkeys(name for type in types for size in type.dims for name in dims.late_names(size))


def _cond_defines(node: Node) -> tuple[str, ...]:
    body = node.attrs["then"]
    return tuple(name for name in _late([value.type for value in body.outputs]) if name in body.definers)


def _loop_defines(node: Node) -> tuple[str, ...]:
    """The sizes of what is carried that change from turn to turn."""
    carried = node.attrs["carried"]
    outside = _late([value.type for value in node.inputs])
    names = _late([value.type for value in node.attrs["body"].inputs[:carried]])
    return tuple(name for name in names if name not in outside)


def _fits(given: Sequence[TensorType], taken: Sequence[Value], what: str) -> None:
    """InvalidArgumentError unless the types agree, as far as sizes are numbers."""
    types = [value.type for value in taken]
    if not all(map(compatible, given, types)) or len(given) != len(types):
        shown = " and ".join(", ".join(map(str, each)) or "nothing" for each in (given, types))
        raise InvalidArgumentError(f"{what} differ: {shown}")


def _cond_infer(pred: Value, *captured: Value, then: Any, otherwise: Any) -> tuple[TensorType, ...]:
    if pred.ndim:
        raise InvalidArgumentError(f"expected one bool as pred, got {pred.type}")
    types = tuple(value.type for value in then.outputs)
    _fits(types, otherwise.outputs, "the results of the branches")
    for body in (then, otherwise):
        _fits([value.type for value in captured], body.inputs, "the captured values and what a branch takes")
    return types


def _cond_run(attrs: Mapping[str, Any], arrays: Arrays, call: Call, zeros: Any) -> list[np.ndarray]:
    return call(attrs["then" if arrays[0] else "otherwise"], arrays[1:])


define(
    "cond",
    "pred:bool, *captured:*",
    attrs={"then": BODY, "otherwise": BODY},
    infer=_cond_infer,
    ref=None,
    flow=Flow(_cond_run, "if", lead=1),
    vjp=derivatives.cond,
    defines=_cond_defines,
    fallible=may_fail,
    multiple=True,
    onnx="If",
    doc="What ``then`` gives if ``pred`` holds, else what ``otherwise`` gives; the other is not run.",
)


def _turning(values: Sequence[TensorType], carried: int, condition: Any, body: Any) -> tuple[TensorType, ...]:
    """The types of what is carried, by bodies that take ``values``."""
    types = tuple(value.type for value in body.inputs[:carried])
    _fits(values, body.inputs, "the values and what the body takes")
    _fits(types, body.outputs[:carried], "what is carried into a turn and out of it")
    if condition is not None:
        _fits(values, condition.inputs, "the values and what the condition takes")
        held = len(condition.outputs) - 1
        wanted = (TensorType(dtypes.bool_, ()), *types[max(0, carried - held) :])
        _fits(wanted, condition.outputs, "what the condition should give and what it gives")
    return types


def _while_infer(*values: Value, carried: int, condition: Any, body: Any) -> tuple[TensorType, ...]:
    types = _turning([value.type for value in values], carried, condition, body)
    _fits(types, body.outputs, "what is carried and what the body gives")
    return types


def _while_run(attrs: Mapping[str, Any], arrays: Arrays, call: Call, zeros: Any) -> list[np.ndarray]:
    carried = attrs["carried"]
    state, rest = list(arrays[:carried]), list(arrays[carried:])
    while True:
        more, *held = call(attrs["condition"], [*state, *rest])
        state[carried - len(held) :] = held
        if not more:
            return state
        state = list(call(attrs["body"], [*state, *rest]))


define(
    "while_loop",
    "*values:*",
    attrs={"carried": INT, "condition": BODY, "body": BODY},
    infer=_while_infer,
    ref=None,
    flow=Flow(_while_run, "while", carried="carried", condition="condition"),
    vjp=derivatives.while_loop,
    defines=_loop_defines,
    fallible=True,
    multiple=True,
    doc="""The first ``carried`` of ``values`` after as many turns of ``body`` as ``condition`` holds before.

    Both bodies take all values, the carried ones as the turn before left them.
    """,
)


def _scan_infer(
    *values: Value, carried: int, sliced: int, length: Size, reverse: bool, condition: Any, body: Any
) -> tuple[TensorType, ...]:
    types = [value.type for value in values]
    end = carried + sliced
    if (condition is not None and sliced) or any(not type.dims for type in types[carried:end]):
        raise InvalidArgumentError("expected rows to take, and none beside a condition")
    taken = [TensorType(type.dtype, type.dims[1:]) for type in types[carried:end]]
    types = [*types[:carried], *taken, *types[end:]]
    rows = [TensorType(value.dtype, (length, *value.dims)) for value in body.outputs[carried:]]
    return (*_turning(types, carried, condition, body), TensorType(dtypes.int64, ()), *rows)


def _scan_run(attrs: Mapping[str, Any], arrays: Arrays, call: Call, zeros: Any) -> list[np.ndarray]:
    carried, sliced, length = attrs["carried"], attrs["sliced"], attrs["length"]
    state, xs = list(arrays[:carried]), arrays[carried : carried + sliced]
    rest = list(arrays[carried + sliced :])
    rows = [zeros(carried + 1 + i) for i in range(len(attrs["body"].outputs) - carried)]
    turn = 0
    while turn < length:
        if attrs["condition"] is not None:
            more, *held = call(attrs["condition"], [*state, *rest])
            state[carried - len(held) :] = held
            if not more:
                break
        at = length - 1 - turn if attrs["reverse"] else turn
        results = call(attrs["body"], [*state, *(x[at] for x in xs), *rest])
        state = list(results[:carried])
        for row, result in zip(rows, results[carried:], strict=True):
            row[at] = result
        turn += 1
    return [*state, np.array(turn, np.int64), *rows]


def _scan_checks(node: Node) -> list[tuple[Size, Size, str]]:
    carried, sliced, length = node.attrs["carried"], node.attrs["sliced"], node.attrs["length"]
    return [
        (value.dims[0], length, "the values that it takes in turn differ in length: {} and {}")
        for value in node.inputs[carried : carried + sliced]
        if value.dims[0] != length
    ]


define(
    "scan",
    "*values:*",
    attrs={"carried": INT, "sliced": INT, "length": SIZE, "reverse": BOOLEAN, "condition": BODY, "body": BODY},
    defaults={"reverse": False, "condition": None},
    infer=_scan_infer,
    ref=None,
    expand=expand_scan,
    flow=Flow(_scan_run, carried="carried", condition="condition"),
    vjp=derivatives.scan,
    defines=_loop_defines,
    checks=_scan_checks,
    fallible=may_fail,
    multiple=True,
    onnx="Scan",
    doc="""The first ``carried`` of ``values`` after ``length`` turns of ``body``, the number of turns, a row per turn.

    ``body`` takes the carried values, row by row the ``sliced`` ones after them (from the last if ``reverse``), and the
    others; it gives the carried ones, then what is stacked. With a ``condition`` (then nothing is sliced) the loop ends
    before the first turn for which that does not hold; rows of turns that were not taken are 0.
    """,
)
