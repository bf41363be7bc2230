"""Entry: one kind of eager call, traced to a small graph and compiled, and the entries of its gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.eager.tape import Record, mode
from pyflow.eager.tensor import Tensor, attach, needs_record
from pyflow.errors import Origin, UnimplementedError
from pyflow.gradients import gradients
from pyflow.graph import Graph, Node, Value
from pyflow.opdef import call
from pyflow.ops.sources import placeholder
from pyflow.runtime.eager import Engine

engine = Engine()
"""What all eager calls of the process share."""

NOWHERE = Origin("", 0)
"""Of the nodes of entries: they are used from many lines."""


def first(made: Sequence[Any]) -> Any:
    """Of what calls give one thing by."""
    return made[0]


class Entry:
    """Inputs and outputs in a graph, and the plan that computes one from the other.

    drawn: what the graph draws from the generator. A call keeps it, so that its gradient sees the same numbers.
    """

    is_window = False

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
        self.fed = tuple(fed)
        """Values that are fed after the inputs: what a gradient reads of its call's results."""
        self.build = build
        """From the tensors of ``outputs`` to what the call gives."""
        drawn = [node.outputs[0] for node in graph.nodes if node.op.effect == "update"]
        self.drawn = tuple(value for value in drawn if value not in set(self.inputs))
        self._dtypes = tuple(value.dtype for value in self.outputs)
        self._gradients: dict[Any, _Gradient | Entry] = {}
        self._at: dict[Any, Entry] = {}
        self.at_sizes: Callable[[Sequence[Tensor]], Entry] | None = None
        """Of the same call at the very sizes of its operands, if this one has symbols for them."""
        fetches = (*self.outputs, *self.drawn)
        distinct = {value: place for place, value in enumerate(dict.fromkeys(fetches))}
        self._places = [distinct[value] for value in fetches]
        self._shares = len(set(self._places[: len(outputs)])) < len(self.outputs)
        self.dtype = self._dtypes[0] if self._dtypes else dtypes.bool_
        self.is_single = len(self._places) == 1 and build is first
        """It gives one tensor, the first result of ``run``."""
        self.run = engine.compile(graph, [*fetches, *also], [*self.inputs, *self.fed])

    def __call__(self, operands: Sequence[Tensor], fed: Sequence[Any] = ()) -> Any:
        """What the call gives for these operands."""
        arrays = self.run(*[operand._array for operand in operands], *fed)
        if self.is_single:
            result = Tensor._of(arrays[0], self.dtype)
            if any([operand._requires_grad for operand in operands]) and mode.recording:
                attach(Record(self, operands, (result,), ()), (result,))
            return result
        of = Tensor._of
        if len(self._places) == 1:
            made = [of(arrays[0], self._dtypes[0])]
        else:
            made = [of(arrays[place], dtype) for place, dtype in zip(self._places, self._dtypes, strict=False)]
            if self._shares:
                made = [of(each._array.copy(), each._dtype) for each in made]
        if needs_record(operands):
            drawn = [arrays[place] for place in self._places[len(self.outputs) :]]
            attach(Record(self, operands, made, drawn), made)
        return self.build(made)

    def vjp(self, record: Record, arrived: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """See :class:`pyflow.eager.tape.Derivative`."""
        assert record.edges is not None
        pairs = zip(record.edges, self.inputs, strict=True)
        needs = tuple(edge.flows and value.dtype.is_inexact for edge, value in pairs)
        key = (needs, tuple(gradient is not None for gradient in arrived), mode.recording)
        found = self._gradients.get(key)
        if found is None:
            with engine.lock:
                found = self._gradients.get(key)
                if found is None:
                    found = self._gradients[key] = self._gradient(needs, key[1])
        if isinstance(found, Entry):
            return found._special(record).vjp(record, arrived)
        return found(record, arrived)

    def _gradient(self, needs: Sequence[bool], has: Sequence[bool]) -> _Gradient | Entry:
        """How the gradient is found: itself if it can only be told at sizes."""
        try:
            return _Gradient(self, needs, has, whole=mode.recording)
        except UnimplementedError:
            if self.at_sizes is None:
                raise
            return self

    def _special(self, record: Record) -> Entry:
        """This call at the sizes of a record."""
        shapes = tuple(np.shape(saved.array) for saved in record.given)
        if shapes not in self._at:
            assert self.at_sizes is not None
            with engine.lock:
                self._at[shapes] = self.at_sizes([Tensor._of(saved.array, saved.dtype) for saved in record.given])
        return self._at[shapes]


class _Gradient:
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
        self.has = tuple(has)
        self._reads = [i for i, value in enumerate(entry.inputs) if value in used]
        places = {value: place for place, value in enumerate(entry.outputs)}
        self._fed = [places[value] for value in fed]
        self._places: list[int | None] = []
        order = iter(range(len(slopes)))
        answers = iter(found)
        for need in needs:
            self._places.append(next(order) if need and next(answers) is not None else None)
        inputs = (*entry.inputs, *entry.drawn, *fed_gradients)
        self._entry = Entry(f"gradient of {entry.name}", graph, inputs, slopes, tuple, fed=fed) if slopes else None

    def __call__(self, record: Record, arrived: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        if self._entry is None:
            return [None] * len(self._places)
        given, made = record.given, record.made
        for index in self._reads:
            record.check_unchanged(given[index])
        for index in self._fed:
            record.check_unchanged(made[index])
        operands = _again(record) if mode.recording else [Tensor._of(saved.array, saved.dtype) for saved in given]
        operands += [Tensor._of(array, dtypes.int64) for array in record.extra]
        operands += [gradient for gradient in arrived if gradient is not None]
        results = self._entry(operands, [made[index].array for index in self._fed])
        return [None if place is None else results[place] for place in self._places]


def _again(record: Record) -> list[Tensor]:
    """The inputs of a call as tensors through which gradients flow to where its inputs came from."""
    assert record.edges is not None
    result = []
    for saved, edge in zip(record.given, record.edges, strict=True):
        if edge.leaf is not None:
            result.append(edge.leaf)
            continue
        made = Tensor._of(saved.array, saved.dtype, saved.version)
        made._record, made._index, made._requires_grad = edge.record, edge.index, edge.record is not None
        result.append(made)
    return result


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
