"""A body that is run for every element of a sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pyflow.apply import convert
from pyflow.flow.loops import while_loop
from pyflow.flow.tracing import refuse
from pyflow.graph import Value, control_dependencies
from pyflow.opdef import TensorType, call
from pyflow.ops.objects.debug import Assert
from pyflow.ops.objects.sequences import element_type, sequence_at, sequence_empty, sequence_insert, sequence_length


def sequence_map(
    f: Callable[..., Any],
    sequences: Sequence[Any],
    types: Sequence[Any] | None = None,
    results: int = 1,
    name: str | None = None,
) -> Any:
    """A sequence of what ``f`` gives for the elements of ``sequences``, all as long, one after the other.

    types: dtype and shape of the elements of each sequence, or a TensorType; leave it out where the graph tells them.
    results: how many values ``f`` gives; if more than one, as a tuple, and so many sequences come out.
    ``f`` is traced once and may use any value from outside. The run fails with FailedPreconditionError for sequences of
    different lengths.
    """
    given = [convert(sequence) for sequence in sequences]
    if not given:
        refuse("sequence_map", "expected at least one sequence")
    told: Sequence[Any] = [element_type(value) for value in given] if types is None else types
    if len(told) != len(given) or any(type is None for type in told):
        refuse("sequence_map", "the types of the elements are not known", "pass types=[(dtype, shape), ...]")
    kinds = [(type.dtype, type.dims) if isinstance(type, TensorType) else type for type in told]
    count = sequence_length(given[0])
    if len(given) > 1:
        same = [Assert(call("equal", sequence_length(other), count), "sequences differ in length") for other in given]
        with control_dependencies(same):
            count = call("identity", count)

    def turn(index: Value, *made: Value) -> tuple[Value, ...]:
        found = f(*(sequence_at(value, index, *kind) for value, kind in zip(given, kinds, strict=True)))
        values = found if isinstance(found, tuple) else (found,)
        if len(values) != results:
            refuse("sequence_map", f"f gives {len(values)} values; expected results={results}")
        return (index + 1, *(sequence_insert(q, value) for q, value in zip(made, values, strict=True)))

    start = (call("constant", 0), *(sequence_empty() for _ in range(results)))
    _, *mapped = while_loop(lambda index, *made: index < count, turn, start, name=name)
    return mapped[0] if results == 1 else tuple(mapped)
