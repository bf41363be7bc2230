"""scan as while_loop: the turn is counted, rows are taken and put one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyflow import dtypes
from pyflow.dims import Size
from pyflow.graph import Value, building, current_builder
from pyflow.opdef import OPS, TensorType, call
from pyflow.region import Region, Table
from pyflow.rewrite import inlined


def _inputs(table: Table, types: Sequence[TensorType]) -> tuple[Value, ...]:
    return tuple(table.input(f"input:{index}", type) for index, type in enumerate(types))


def _filled(dtype: Any, shape: Sequence[Size]) -> Value:
    """Zeros."""
    result: Value = call("broadcast_to", call("constant", 0, dtype), tuple(shape))
    return result


def expand_scan(
    *values: Value, carried: int, sliced: int, length: Size, reverse: bool, condition: Any, body: Any
) -> tuple[Value, ...]:
    """The results of a scan, of a while_loop."""
    table = current_builder()
    assert isinstance(table, Table)
    rows = body.outputs[carried:]
    start = [call("constant", 0, dtypes.int64), *(_filled(row.dtype, (length, *row.dims)) for row in rows)]
    given = (*start, *values)
    kept = len(start)

    def opened() -> tuple[Table, tuple[Value, ...]]:
        inner = table.child()
        inner.current = table.current
        types = [value.type for value in (*start, *body.inputs[:carried], *values[carried:])]
        return inner, _inputs(inner, types)

    inner, inputs = opened()
    effects: list[Any] = []
    with building(inner):
        asked: list[Value] = [call("less", inputs[0], call("sizes", (length,), scalar=True))]
        if condition is not None:
            asked, effects = _guarded(inner, asked[0], condition, inputs[kept:], carried)
    test = Region(inner, inputs, tuple(asked), effects=tuple(effects))

    inner, inputs = opened()
    with building(inner):
        turn, stacked = inputs[0], inputs[1:kept]
        state, xs = inputs[kept : kept + carried], inputs[kept + carried : kept + carried + sliced]
        at = call("subtract", call("sizes", (length - 1,), scalar=True), turn) if reverse else turn
        taken = [call("gather", x, at, 0) for x in xs]
        current = inner.current
        results, effects = inlined(inner, body, [*state, *taken, *inputs[kept + carried + sliced :]])
        inner.current = current
        put = [call("put_row", a, at, row) for a, row in zip(stacked, results[carried:], strict=True)]
        outputs = (call("add", turn, 1), *put, *results[:carried])
    turns = Region(inner, inputs, outputs, effects=tuple(effects))
    op = OPS["while_loop"]
    attrs = op.normalise({"carried": kept + carried, "condition": test, "body": turns})
    made = table.make(op, given, attrs).outputs
    return (*made[kept:], *made[:kept])


def _guarded(
    table: Table, more: Value, condition: Region, given: Sequence[Value], carried: int
) -> tuple[list[Value], list[Any]]:
    """What ``condition`` gives where ``more`` holds; else False, and variables as they are."""
    held = len(condition.outputs) - 1
    types = [value.type for value in given]
    yes, no = table.child(), table.child()
    yes.current = no.current = table.current
    inputs, others = _inputs(yes, types), _inputs(no, types)
    outputs, effects = inlined(yes, condition, inputs)
    then = Region(yes, inputs, tuple(outputs), effects=tuple(effects))
    with building(no):
        never = call("constant", False, dtypes.bool_)
    otherwise = Region(no, others, (never, *others[carried - held : carried]))
    op = OPS["cond"]
    node = table.make(op, (more, *given), op.normalise({"then": then, "otherwise": otherwise}))
    return list(node.outputs), [node] if effects else []
