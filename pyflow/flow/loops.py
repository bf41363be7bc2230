"""Loops: a body that is run as long as a condition holds, or once per row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pyflow import dtypes
from pyflow.apply import convert
from pyflow.dims import Size
from pyflow.errors import DTypeError
from pyflow.flow.structure import Structure, flatten
from pyflow.flow.tracing import Traced, add_node, refuse
from pyflow.graph import Value
from pyflow.opdef import TensorType
from pyflow.ops.sizes import as_size


def _carried(traced: Traced, leaves: Sequence[Any], values: Sequence[Value]) -> None:
    """Adds the results of a body that are carried on to the next turn: they must be as the ones before."""
    traced.leaves, rest = list(leaves), traced.leaves[len(leaves) :]
    for index, (new, old) in enumerate(zip(traced.settle([value.dtype for value in values]), values, strict=True)):
        if new.dims != old.dims:
            refuse(
                traced.op,
                f"carried value {index} is {old.type}, the {traced.label} gives {new.type}",
                "keep its shape from turn to turn",
            )
    traced.leaves = rest


def _is_sequence(structure: Structure) -> bool:
    return structure.kind is not None and issubclass(structure.kind, (tuple, list))


def while_loop(
    cond: Callable[..., Any],
    body: Callable[..., Any],
    loop_vars: Any,
    max_iterations: Any = None,
    name: str | None = None,
) -> Any:
    """``loop_vars`` after as many turns of ``body`` as ``cond`` holds before.

    loop_vars: nested tuples, lists and dicts of values. ``cond(*loop_vars)`` gives one bool, ``body(*loop_vars)`` the
    values of the next turn: the same structure, dtypes and shapes (one alone need not stand in a tuple). What is no
    tuple or list at the top is passed as one argument. Both are traced once, when ``while_loop`` is called; they may
    use any value from outside, and read and write variables.
    max_iterations: at most so many turns are taken; gradients need it.
    """
    leaves, structure = flatten(loop_vars)
    values = [convert(leaf) for leaf in leaves]
    splat = _is_sequence(structure)

    def traced(label: str, function: Callable[..., Any]) -> Traced:
        result = Traced("while_loop", label, function)
        given = structure.build([result.body.parameter(value.type, None, "carried") for value in values])
        return result.run(*given) if splat else result.run(given)

    test, turn = traced("cond", cond), traced("body", body)
    if test.structure.kind is not None:
        refuse("while_loop", f"cond gives {test.structure}; expected one bool")
    (asked,) = test.settle([None])
    if asked.dtype is not dtypes.bool_ or asked.ndim:
        refuse("while_loop", f"cond gives {asked.type}; expected one bool", kind=DTypeError)
    same = str(turn.structure) == str(structure)
    same |= splat and _is_sequence(turn.structure) and turn.structure.parts == structure.parts
    same |= splat and len(structure.parts) == 1 and turn.structure == structure.parts[0]
    if not same:
        refuse("while_loop", f"body gives {turn.structure}; expected {structure}, as loop_vars")
    _carried(turn, turn.leaves, values)
    bodies = {"condition": test.body, "body": turn.body}
    attrs: dict[str, Any] = {"carried": len(values)}
    if max_iterations is None:
        results = add_node("while_loop", bodies, values, attrs, name)
    else:
        attrs.update(sliced=0, length=as_size(max_iterations))
        results = add_node("scan", bodies, values, attrs, name)
    return structure.build(results[: len(values)])


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    reverse: bool = False,
    length: Any = None,
    name: str | None = None,
) -> tuple[Any, Any]:
    """``f(carry, x) -> (carry, y)`` row by row: the last carry, and the ys stacked.

    init: the first carry. xs: values that are taken apart along their first axis, all as long; None: then ``length``
    turns are taken and x is None. carry, x and y are nested tuples, lists and dicts of values; the carry keeps its
    structure, dtypes and shapes. reverse: from the last row to the first; ys stand as the xs do.
    """
    leaves, carry = flatten(init)
    values = [convert(leaf) for leaf in leaves]
    rows, taken = flatten(xs)
    sliced = [convert(row) for row in rows]
    for index, value in enumerate(sliced):
        if not value.ndim:
            refuse("scan", f"xs: value {index} is {value.type}; expected at least one axis to take apart")
    if not sliced and length is None:
        refuse("scan", "there are no xs", "pass length=")
    count: Size = sliced[0].dims[0] if sliced else as_size(length)
    for index, value in enumerate(sliced):
        if isinstance(count, int) and isinstance(value.dims[0], int) and value.dims[0] != count:
            refuse("scan", f"xs: value {index} is {value.type}; expected {count} rows, as the first has")
    if sliced and length is not None and isinstance(count, int) and as_size(length) != count:
        refuse("scan", f"length is {length}, but xs have {count} rows")
    turn = Traced("scan", "f", f)
    before = carry.build([turn.body.parameter(value.type, None, "carried") for value in values])
    row = [turn.body.parameter(TensorType(value.dtype, value.dims[1:]), None, "row") for value in sliced]
    turn.run(before, taken.build(row))
    whole = turn.structure
    if not _is_sequence(whole) or len(whole.parts) != 2:
        refuse("scan", f"f gives {whole}; expected (carry, y)")
    if str(whole.parts[0]) != str(carry):
        refuse("scan", f"f gives {whole.parts[0]} as carry; expected {carry}, as init")
    _carried(turn, turn.leaves[: len(values)], values)
    turn.settle([None] * len(turn.leaves))
    attrs = {"carried": len(values), "sliced": len(sliced), "length": count, "reverse": reverse}
    results = add_node("scan", {"body": turn.body}, [*values, *sliced], attrs, name)
    return carry.build(results[: len(values)]), whole.parts[1].build(results[len(values) + 1 :])


def map(f: Callable[[Any], Any], xs: Any, name: str | None = None) -> Any:
    """``f(x)`` for every row of ``xs`` (nested values, all as long), stacked."""
    return scan(lambda carry, x: (carry, f(x)), None, xs, name=name)[1]
