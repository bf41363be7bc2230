"""Entry: one kind of eager call, traced to a small graph and compiled, and the entries of its gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pyflow import dims, dtypes
from pyflow.eager.tensor import Tensor
from pyflow.errors import Origin, UnimplementedError
from pyflow.gradients import gradients
from pyflow.graph import Graph, Node, Value
from pyflow.opdef import call
from pyflow.ops.sources import placeholder
from pyflow.runtime.eager import Engine, native, written_over

engine = Engine()
"""What all eager calls of the process share."""

NOWHERE = Origin("", 0)
"""Of the nodes of entries: they are used from many lines."""


def first(made: Sequence[Any]) -> Any:
    """Of what calls give one thing by."""
    return made[0]


if TYPE_CHECKING:
    _Base = object
else:
    _Base = native.EntryBase


class Entry(_Base):
    """Inputs and outputs in a graph, and the plan that computes one from the other.

    drawn: what the graph draws from the generator. A call keeps it, so that its gradient sees the same numbers.
    fed: values that are fed after the inputs: what a gradient reads of its call's results.
    """

    is_window = False
    if TYPE_CHECKING:

        def _set(self, *args: Any) -> None: ...
        def call(self, operands: Sequence[Tensor]) -> Any:
            """What the call gives for these operands, a list; leaves a record where it must."""

        def call_onto(self, operands: Sequence[Tensor], targets: Sequence[Tensor]) -> Any:
            """The same; the last outputs are for the memory of ``targets``, and may be there already."""

    def __init__(
        self,
        name: str,
        graph: Graph,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        build: Callable[[Sequence[Any]], Any],
        also: Sequence[Value | Node] = (),
        fed: Sequence[Value] = (),
    ) -> None:
        self.name = name
        self.graph = graph
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        drawn = [node.outputs[0] for node in graph.nodes if node.op.effect == "update"]
        self.drawn = tuple(value for value in drawn if value not in set(self.inputs))
        self._gradients: dict[Any, Gradient | None] = {}
        self._at: dict[Any, Entry] = {}
        self.at_sizes: Callable[[Sequence[Tensor]], Entry] | None = None
        """Of the same call at the very sizes of its operands, if this one has symbols for them."""
        fetches = (*self.outputs, *self.drawn)
        distinct = {value: place for place, value in enumerate(dict.fromkeys(fetches))}
        places = [distinct[value] for value in fetches]
        shares = len(set(places[: len(outputs)])) < len(self.outputs)
        self.executable = engine.compile(graph, [*fetches, *also], [*self.inputs, *fed])
        codes = [value.dtype.code for value in self.outputs]
        made = None if build is first else build
        found = written_over(self.executable)
        over = [found.get(place, -1) for place in places[: len(outputs)]]
        self._set(self.executable.run, made, codes, places, len(distinct), shares, over)

    def gradient(self, needs: Sequence[bool], has: Sequence[bool]) -> Gradient | None:
        """The gradient for the inputs that need one and the outputs that have one, which has none itself; None if it
        can only be told at sizes."""
        return self._gradient(needs, has, whole=False)

    def vjp(self, record: Any, arrived: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """See :class:`pyflow.eager.tape.Derivative`; for gradients that are recorded, or that must know sizes."""
        pairs = zip(record.flows, self.inputs, strict=True)
        needs = tuple(flows and value.dtype.is_inexact for flows, value in pairs)
        found = self._gradient(needs, tuple(gradient is not None for gradient in arrived), whole=True)
        return self._special(record).vjp(record, arrived) if found is None else found(record, arrived)

    def _gradient(self, needs: Sequence[bool], has: Sequence[bool], whole: bool) -> Gradient | None:
        key = (tuple(needs), tuple(has), whole)
        with engine.lock:
            if key not in self._gradients:
                try:
                    self._gradients[key] = Gradient(self, needs, has, whole)
                except UnimplementedError:
                    if self.at_sizes is None:
                        raise
                    self._gradients[key] = None
            return self._gradients[key]

    def _special(self, record: Any) -> Entry:
        """This call at the sizes of a record."""
        given = record.given
        shapes = tuple(each.shape for each in given)
        if shapes not in self._at:
            assert self.at_sizes is not None
            with engine.lock:
                self._at[shapes] = self.at_sizes(given)
        return self._at[shapes]


class Gradient:
    """The entry of the gradient of another, for the inputs that need one and the outputs that have one.

    whole: its graph starts from the inputs, so that it has a gradient itself; else it reads results of the call too.
    """

    def __init__(self, entry: Entry, needs: Sequence[bool], has: Sequence[bool], whole: bool) -> None:
        graph = entry.graph
        sources = [value for value, need in zip(entry.inputs, needs, strict=True) if need]
        targets = [value for value, there in zip(entry.outputs, has, strict=True) if there]
        with graph.as_default(), graph.attributed_to(NOWHERE):
            fed_gradients = [_arriving(value) for value in targets]
            shaped = [_shaped(g, value) for g, value in zip(fed_gradients, targets, strict=True)]
            found = gradients(targets, sources, shaped) if sources else []
        slopes = [slope for slope in found if slope is not None]
        given = set(entry.inputs)
        results = [] if whole else [v for v in entry.outputs if v not in given and not _is_late(v)]
        used = _used(slopes, (*entry.inputs, *results, *entry.drawn, *fed_gradients))
        fed = [value for value in dict.fromkeys(results) if value in used]
        self.reads = [i for i, value in enumerate(entry.inputs) if value in used]
        """The inputs whose content it reads."""
        outputs = {value: place for place, value in enumerate(entry.outputs)}
        self.fed = [outputs[value] for value in fed]
        """The outputs of the call that its entry is fed, after the inputs, what was drawn, and what arrived."""
        order = iter(range(len(slopes)))
        answers = iter(found)
        self.places = [next(order) if need and next(answers) is not None else None for need in needs]
        """By input: which result of the entry is its gradient."""
        inputs = (*entry.inputs, *entry.drawn, *fed_gradients)
        self.entry = Entry(f"gradient of {entry.name}", graph, inputs, slopes, tuple, fed=fed) if slopes else None

    def __call__(self, record: Any, arrived: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """Of one that is whole: the gradients, recorded where the mode says so."""
        if self.entry is None:
            return [None] * len(self.places)
        record.check(self.reads, ())
        operands = [*record.sources, *[Tensor._of(array, dtypes.int64) for array in record.extra]]
        results = self.entry.call([*operands, *[gradient for gradient in arrived if gradient is not None]])
        return [None if place is None else results[place] for place in self.places]


def _is_late(value: Value) -> bool:
    return any(dims.late_in(size) for size in value.dims)


def _arriving(value: Value) -> Value:
    """What is fed as the gradient by ``value``."""
    sizes = [None] * value.ndim if _is_late(value) else value.dims
    return placeholder(value.dtype, sizes, name="arriving")


def _shaped(gradient: Value, value: Value) -> Value:
    result: Value = call("reshape", gradient, value.dims) if _is_late(value) else gradient
    return result


def _used(roots: Sequence[Value], ends: Sequence[Value]) -> set[Value]:
    """Those of ``ends`` whose content ``roots`` are computed from, when ends are given."""
    stop, found, seen = set(ends), set(), set()
    pending = list(roots)
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        if value in stop:
            found.add(value)
            continue
        pending += value.node.inputs
    return found
