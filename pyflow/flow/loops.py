"""Loops: a body that is run as long as a condition holds, or once per row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pyflow import dims, dtypes
from pyflow.apply import convert
from pyflow.body import Body
from pyflow.dims import Size
from pyflow.errors import DTypeError
from pyflow.flow.structure import Structure, flatten
from pyflow.flow.tracing import Traced, add_node, refuse, renamed
from pyflow.graph import Value
from pyflow.opdef import TensorType
from pyflow.ops.sizes import as_size


class _Carried:
    """What a loop carries: the values that it starts from, and the types that they have in its bodies."""

    def __init__(self, op: str, leaves: Sequence[Any]) -> None:
        self.op = op
        self.values = [convert(leaf) for leaf in leaves]
        self.types = [value.type for value in self.values]
        self.late: list[list[int]] = [[] for _ in self.values]
        """The axes whose sizes change from turn to turn: their sizes in the bodies are late symbols."""

    def parameters(self, body: Body) -> list[Value]:
        return [body.parameter(type, None, "carried") for type in self.types]

    def settle(self, traced: Traced) -> bool:
        """Adds the results of a body that are carried on. False, with types made wider, if it must be traced anew."""
        count = len(self.values)
        leaves, traced.leaves = traced.leaves, traced.leaves[:count]
        results = traced.settle([type.dtype for type in self.types])
        traced.leaves = leaves[count:]
        same = True
        for index, (new, type) in enumerate(zip(results, self.types, strict=True)):
            if new.ndim != type.ndim:
                what = f"carried value {index} is {type}, the {traced.label} gives {new.type}"
                refuse(self.op, what, "keep its dtype and rank from turn to turn")
            wider = [a for a in range(type.ndim) if a not in self.late[index] and new.dims[a] != type.dims[a]]
            if wider:
                same = False
                sizes = list(type.dims)
                for axis in wider:
                    sizes[axis] = dims.fresh_late_symbol(self.op)
                self.late[index] += wider
                self.types[index] = TensorType(type.dtype, tuple(sizes))
        return same

    def rename(self, body: Body) -> None:
        """Gives the results of ``body`` whose sizes change sizes that do not depend on those of the turn before."""
        for index, axes in enumerate(self.late):
            if axes:
                renamed(body, index, axes, [dims.fresh_late_symbol(self.op) for _ in axes])


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
    values of the next turn: the same structure, dtypes and ranks (one alone need not stand in a tuple). What is no
    tuple or list at the top is passed as one argument. Both are traced when ``while_loop`` is called, once more where
    sizes change from turn to turn; they may use any value from outside, and read and write variables.
    max_iterations: at most so many turns are taken; gradients need it.
    """
    leaves, structure = flatten(loop_vars)
    carried = _Carried("while_loop", leaves)
    splat = _is_sequence(structure)

    def traced(label: str, function: Callable[..., Any]) -> Traced:
        result = Traced("while_loop", label, function)
        given = structure.build(carried.parameters(result.body))
        return result.run(*given) if splat else result.run(given)

    while True:
        turn = traced("body", body)
        same = str(turn.structure) == str(structure)
        same |= splat and _is_sequence(turn.structure) and turn.structure.parts == structure.parts
        same |= splat and len(structure.parts) == 1 and turn.structure == structure.parts[0]
        if not same:
            refuse("while_loop", f"body gives {turn.structure}; expected {structure}, as loop_vars")
        if carried.settle(turn):
            break
    carried.rename(turn.body)
    test = traced("cond", cond)
    if test.structure.kind is not None:
        refuse("while_loop", f"cond gives {test.structure}; expected one bool")
    (asked,) = test.settle([None])
    if asked.dtype is not dtypes.bool_ or asked.ndim:
        refuse("while_loop", f"cond gives {asked.type}; expected one bool", kind=DTypeError)
    values = carried.values
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
    structure, dtypes and ranks. reverse: from the last row to the first; ys stand as the xs do.
    """
    leaves, carry = flatten(init)
    carried = _Carried("scan", leaves)
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
    while True:
        turn = Traced("scan", "f", f)
        before = carry.build(carried.parameters(turn.body))
        row = [turn.body.parameter(TensorType(value.dtype, value.dims[1:]), None, "row") for value in sliced]
        turn.run(before, taken.build(row))
        whole = turn.structure
        if not _is_sequence(whole) or len(whole.parts) != 2:
            refuse("scan", f"f gives {whole}; expected (carry, y)")
        if str(whole.parts[0]) != str(carry):
            refuse("scan", f"f gives {whole.parts[0]} as carry; expected {carry}, as init")
        if carried.settle(turn):
            break
    values = carried.values
    turn.settle([None] * len(turn.leaves))
    outside = {name for value in (*values, *sliced) for size in value.dims for name in dims.late_names(size)}
    for index, value in enumerate(turn.body.outputs[len(values) :]):
        own = {name for size in value.dims for name in dims.late_names(size)} - outside
        if own & ({*turn.body.definers} | {name for t in carried.types for n in t.dims for name in dims.late_names(n)}):
            refuse("scan", f"y {index} is {value.type}, of another size each turn", "pad it to one size")
    carried.rename(turn.body)
    attrs = {"carried": len(values), "sliced": len(sliced), "length": count, "reverse": reverse}
    results = add_node("scan", {"body": turn.body}, [*values, *sliced], attrs, name)
    return carry.build(results[: len(values)]), whole.parts[1].build(results[len(values) + 1 :])


def map(f: Callable[[Any], Any], xs: Any, name: str | None = None) -> Any:
    """``f(x)`` for every row of ``xs`` (nested values, all as long), stacked."""
    return scan(lambda carry, x: (carry, f(x)), None, xs, name=name)[1]
