"""Control flow on tensors: Python's own branches and loops, with the checks of the ops of the same names."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyflow import dtypes
from pyflow.eager.capture import current
from pyflow.eager.dispatch import has_tensor, invoke
from pyflow.eager.tensor import Tensor, tensor
from pyflow.errors import DTypeError, InvalidArgumentError, message, user_origin
from pyflow.flow.structure import flatten
from pyflow.opdef import call


def _refuse(op: str, what: str, kind: type[InvalidArgumentError] = InvalidArgumentError) -> None:
    raise kind(message(op, what, user_origin()))


def _as_tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else tensor(value)


def _asked(op: str, value: Any) -> bool:
    """One bool."""
    given = _as_tensor(value)
    if given.dtype is not dtypes.bool_ or given.ndim:
        _refuse(op, f"expected one bool, got {given.type}", DTypeError)
    return bool(given)


def _cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any], name: str | None = None) -> Any:
    return true_fn() if _asked("cond", pred) else false_fn()


def _switch_case(
    index: Any,
    branches: Sequence[Callable[[], Any]] | Mapping[int, Callable[[], Any]],
    default: Callable[[], Any] | None = None,
    name: str | None = None,
) -> Any:
    asked = _as_tensor(index)
    if not asked.dtype.is_integer or asked.ndim:
        _refuse("switch_case", f"expected one integer as index, got {asked.type}", DTypeError)
    table = dict(branches) if isinstance(branches, Mapping) else dict(enumerate(branches))
    if not table:
        _refuse("switch_case", "expected at least one branch, got none")
    other = default if default is not None else table[max(table)]
    return table.get(int(asked), other)()


def _while_loop(
    cond: Callable[..., Any],
    body: Callable[..., Any],
    loop_vars: Any,
    max_iterations: Any = None,
    name: str | None = None,
) -> Any:
    leaves, structure = flatten(loop_vars)
    splat = structure.kind is not None and issubclass(structure.kind, (tuple, list))
    values = [_as_tensor(leaf) for leaf in leaves]
    limit = None if max_iterations is None else int(max_iterations)
    turns = 0
    while limit is None or turns < limit:
        given = structure.build(values)
        if not _asked("while_loop", cond(*given) if splat else cond(given)):
            break
        made, shape = flatten(body(*given) if splat else body(given))
        if len(made) != len(values):
            _refuse("while_loop", f"body gives {shape}; expected {structure}, as loop_vars")
        after = [_as_tensor(leaf) for leaf in made]
        for index, (old, new) in enumerate(zip(values, after, strict=True)):
            if old.dtype is not new.dtype or old.ndim != new.ndim:
                what = f"body gives {new.type} for value {index}, which was {old.type}"
                _refuse("while_loop", f"{what}; expected one dtype and rank")
        values = after
        turns += 1
    return structure.build(values)


def _scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    reverse: bool = False,
    length: Any = None,
    name: str | None = None,
) -> tuple[Any, Any]:
    leaves, carry = flatten(init)
    rows, taken = flatten(xs)
    state = carry.build([_as_tensor(leaf) for leaf in leaves])
    sliced = [_as_tensor(row) for row in rows]
    counts = {row.shape[0] if row.ndim else -1 for row in sliced} | ({int(length)} if length is not None else set())
    if len(counts) != 1 or -1 in counts:
        shown = ", ".join(str(row.type) for row in sliced)
        _refuse("scan", f"expected xs of equally many rows, and as many as length, got {shown or xs}, length {length}")
    steps = range(counts.pop())
    made: list[Any] = [None] * len(steps)
    for step in reversed(steps) if reverse else steps:
        state, made[step] = f(state, taken.build([row[step] for row in sliced]))
    parts = [flatten(each) for each in made]
    columns = zip(*[each[0] for each in parts], strict=True)
    return state, parts[0][1].build([call("stack", *map(_as_tensor, column)) for column in columns])


def _map(f: Callable[[Any], Any], xs: Any, name: str | None = None) -> Any:
    return _scan(lambda carry, x: (carry, f(x)), None, xs)[1]


EAGER: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "cond": (_cond, (0,)),
    "switch_case": (_switch_case, (0,)),
    "while_loop": (_while_loop, (2,)),
    "scan": (_scan, (1, 2)),
    "map": (_map, (1,)),
}
"""By name: the function for tensors, and which arguments make it that of a call."""


def chosen(name: str, declared: Callable[..., Any]) -> Callable[..., Any]:
    """Control flow of that name: on tensors at once, on graph values as ``declared`` does it."""
    function, places = EAGER[name]
    names = list(declared.__code__.co_varnames)

    @functools.wraps(declared)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        deciding = [args[place] if place < len(args) else kwargs.get(names[place]) for place in places]
        if not any(map(has_tensor, deciding)):
            return declared(*args, **kwargs)
        capture = current()
        if capture is not None:
            return declared(*capture.within(args), **capture.within(kwargs))
        rows = flatten(deciding[-1])[0] if name in ("scan", "map") else ()
        if any(isinstance(row, Tensor) and row.shape[:1] == (0,) for row in rows):
            return invoke(declared, args, kwargs)  # no turn tells what f gives
        return function(*args, **kwargs)

    return wrapper
