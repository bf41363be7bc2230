"""Branches: of the bodies of a ``cond`` one is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pyflow import dims, dtypes
from pyflow.apply import convert
from pyflow.errors import DTypeError
from pyflow.flow.tracing import Traced, add_node, dtype_of, refuse, renamed
from pyflow.graph import Value
from pyflow.opdef import call


def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any], name: str | None = None) -> Any:
    """What ``true_fn()`` gives where ``pred`` holds, else what ``false_fn()`` gives; the other one is not run.

    pred: one bool. Both functions are traced once, when ``cond`` is called, and give values in one structure (nested
    tuples, lists and dicts, or None), of equal dtypes and ranks; sizes that differ are known when it runs. They may use
    any value from outside, and read and write variables. Python numbers take the dtype that the other branch gives.
    Raises InvalidArgumentError or DTypeError, naming the line, for branches that differ.
    """
    asked = convert(pred)
    if asked.dtype is not dtypes.bool_:
        refuse("cond", f"expected a bool as pred, got {asked.type}", "compare it with something", DTypeError)
    if asked.ndim:
        refuse("cond", f"expected one bool as pred, got {asked.type}", "reduce it with pf.all or pf.any")
    then = Traced("cond", "true_fn", true_fn).run()
    otherwise = Traced("cond", "false_fn", false_fn).run()
    if str(then.structure) != str(otherwise.structure):
        refuse("cond", f"true_fn gives {then.structure}, false_fn {otherwise.structure}", "give the same structure")
    wanted = [dtype_of(a) or dtype_of(b) for a, b in zip(then.leaves, otherwise.leaves, strict=True)]
    for index, (a, b) in enumerate(zip(then.settle(wanted), otherwise.settle(wanted), strict=True)):
        if a.dtype is not b.dtype or a.ndim != b.ndim:
            what = f"result {index} is {a.type} from true_fn and {b.type} from false_fn"
            refuse("cond", f"{what}; expected one dtype and rank")
        axes = [axis for axis in range(a.ndim) if a.dims[axis] != b.dims[axis]]
        if axes:
            sizes = [dims.fresh_late_symbol("cond") for _ in axes]
            renamed(then.body, index, axes, sizes)
            renamed(otherwise.body, index, axes, sizes)
    results = add_node("cond", {"then": then.body, "otherwise": otherwise.body}, [asked], {}, name)
    return then.structure.build(results)


def switch_case(
    index: Any,
    branches: Sequence[Callable[[], Any]] | Mapping[int, Callable[[], Any]],
    default: Callable[[], Any] | None = None,
    name: str | None = None,
) -> Any:
    """What the branch of number ``index`` gives; the others are not run.

    index: one integer. branches: functions in order, or by number; all give values of one structure and type, as for
    :func:`cond`. default: what is run for any other index (default: the last branch).
    """
    asked = convert(index)
    if not asked.dtype.is_integer or asked.ndim:
        refuse("switch_case", f"expected one integer as index, got {asked.type}", kind=DTypeError)
    table = dict(branches) if isinstance(branches, Mapping) else dict(enumerate(branches))
    if not table:
        refuse("switch_case", "expected at least one branch, got none")
    numbers = sorted(table)
    other = default if default is not None else table[numbers[-1]]
    if default is None:
        numbers.pop()
    number = call("cast", asked, dtypes.int64)
    return _choose(number, [(key, table[key]) for key in numbers], other, name)


def _choose(
    number: Value, rows: list[tuple[int, Callable[[], Any]]], other: Callable[[], Any], name: str | None
) -> Any:
    """A search by halves: as deep as the logarithm of the number of branches."""
    if not rows:
        return other()
    if len(rows) == 1:
        return cond(call("equal", number, rows[0][0]), rows[0][1], other, name)
    middle = len(rows) // 2
    low, high = rows[:middle], rows[middle:]
    return cond(
        call("less", number, high[0][0]),
        partial(_choose, number, low, other, name),
        partial(_choose, number, high, other, name),
        name,
    )
