"""If, Loop and Scan. A value whose sizes differ between branches or turns travels in an optional."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, numpy_helper

import pyflow as pf
from pyflow.dtypes import variant
from pyflow.errors import InvalidArgumentError, UnimplementedError
from pyflow.graph import Value
from pyflow.onnx.node import OnnxNode, present
from pyflow.onnx.table import onnx_op
from pyflow.onnx.variants import Element, Optional
from pyflow.ops.common import normalise_axis
from pyflow.ops.sizes import as_size

Body = Callable[..., tuple[Any, ...]]


class Carrier:
    """How values travel into and out of bodies: as they are, or boxed where their sizes are not always the same."""

    def __init__(self, node: OnnxNode, values: Sequence[Value] = ()) -> None:
        self.node = node
        self.held: list[Any] = [node.holds(value) for value in values]
        self.elements: list[Element | None] = [
            None if value.dtype is variant else Element.of(value.type) for value in values
        ]
        self.boxed = [False] * len(values)

    def pack(self, values: Sequence[Value]) -> list[Value]:
        result = []
        for value, box, element in zip(values, self.boxed, self.elements, strict=True):
            if element is not None and _is_one(element) and value.ndim < len(element.shape or ()):
                value = pf.reshape(value, element.shape)
            result.append(pf.optional(value) if box else value)
        return result

    def unpack(self, values: Sequence[Value]) -> list[Value]:
        result = []
        for value, box, element, held in zip(values, self.boxed, self.elements, self.held, strict=True):
            if box:
                assert element is not None
                value = pf.optional_get_element(value, element.dtype, element.shape or ())
            elif value.dtype is variant:
                value = self.node.holding(value, held)
            result.append(value)
        return result

    def meet(self, values: Sequence[Value], what: str) -> bool:
        """Takes note of other values in these places; True if what is known already covers them."""
        if not self.elements and not self.boxed:
            self.__init__(self.node, values)  # type: ignore[misc]
            return True
        if len(values) != len(self.elements):
            raise InvalidArgumentError(f"{what} {len(values)} values; expected {len(self.elements)}")
        covered = True
        for place, (value, element) in enumerate(zip(values, self.elements, strict=True)):
            if element is None:
                self._meet_variant(place, value, what)
                continue
            new = None if value.dtype is variant else Element.of(value.type)
            if new is not None and _is_one(new) and _is_one(element):
                new, grown = max(new, element, key=_rank), _rank(new) > _rank(element)
                self.elements[place] = element = new
                covered &= not grown
            common = None if new is None else element.common(new)
            if common is None:
                raise InvalidArgumentError(f"{what} {value.type} as value {place}; expected {element.dtype}")
            if common.shape is None:
                raise UnimplementedError(f"{what} {value.type} as value {place}, of another rank than before")
            if common != element or (not self.boxed[place] and None in common.shape):
                self.elements[place], self.boxed[place], covered = common, True, False
        return covered

    def _meet_variant(self, place: int, value: Value, what: str) -> None:
        if value.dtype is not variant:
            raise InvalidArgumentError(f"{what} {value.type} as value {place}; expected a sequence or an optional")
        new, old = self.node.holds(value), self.held[place]
        if old is None or (new is not None and getattr(old, "empty", False)):
            self.held[place] = new
        if isinstance(old, Optional) and old.held is None:
            self.held[place] = new


def _rank(element: Element) -> int:
    return len(element.shape or ())


def _is_one(element: Element) -> bool:
    """One number, of whatever rank: where branches differ in that, it has the higher one."""
    return element.shape is not None and all(size == 1 for size in element.shape)


TRIES = 4
"""How often bodies are traced at most until it is clear which sizes stay."""


@onnx_op("If")
def if_(node: OnnxNode, condition: Value) -> tuple[Any, ...]:
    bodies = [node.body("then_branch"), node.body("else_branch")]
    asked = pf.reshape(condition, [])
    known = node.known(condition)
    if known is not None:
        return bodies[0 if known.any() else 1]()
    carrier = Carrier(node)
    for _ in range(TRIES):
        covered = True

        def traced(body: Body) -> Callable[[], list[Value]]:
            def run() -> list[Value]:
                nonlocal covered
                results = [pf.identity(value) for value in body()]
                covered &= carrier.meet(results, "a branch gives")
                return carrier.pack(results)

            return run

        try:
            results = pf.cond(asked, traced(bodies[0]), traced(bodies[1]))
        except InvalidArgumentError:
            if covered:
                raise
            continue
        if covered:
            return tuple(carrier.unpack(results))
    raise UnimplementedError("the sizes of the branches' results do not settle")


def _always_true(proto: GraphProto) -> bool:
    """Whether a loop's body gives the condition that it was given, or True."""
    makers = {name: node for node in proto.node for name in node.output}
    values = {tensor.name: tensor for tensor in proto.initializer}
    name = proto.output[0].name if proto.output else ""
    for _ in range(len(proto.node) + 1):
        if len(proto.input) > 1 and name == proto.input[1].name:
            return True
        maker = makers.get(name)
        tensor = values.get(name)
        if maker is not None and maker.op_type == "Constant":
            tensor = next((entry.t for entry in maker.attribute if entry.name == "value"), None)
        if tensor is not None:
            return bool(np.all(numpy_helper.to_array(tensor)))
        if maker is None or maker.op_type != "Identity":
            return False
        name = maker.input[0]
    return False


@onnx_op("Loop")
def loop(node: OnnxNode, trips: Value | None = None, condition: Value | None = None, *initial: Value) -> Any:
    body = node.body("body")
    values = present(initial)
    given = None if condition is None else node.known(condition)
    endless = _always_true(body.proto) and (condition is None or (given is not None and bool(given.all())))  # type: ignore[attr-defined]
    count = None if trips is None else pf.reshape(pf.cast(trips, pf.int64), [])
    if endless and count is None:
        raise InvalidArgumentError("a loop without a trip count whose condition is always true never ends")
    start = pf.constant(True) if condition is None else pf.reshape(condition, [])
    carrier = Carrier(node, values)
    for _ in range(TRIES):
        turn = _Turn(body, carrier, len(values))
        try:
            if endless:
                results = _counted(turn, carrier.pack(values), count)
            else:
                results = _conditional(turn, carrier.pack(values), count, start)
        except InvalidArgumentError:
            if turn.covered:
                raise
            continue
        if turn.covered:
            return tuple(results)
    raise UnimplementedError("the sizes of the loop's values do not settle")


class _Turn:
    """One turn of a loop's body."""

    def __init__(self, body: Body, carrier: Carrier, count: int) -> None:
        self.body = body
        self.carrier = carrier
        self.count = count
        self.covered = True
        self.rows: list[Element] = []

    def __call__(self, *inputs: Value, carried: Sequence[Value], leading: int = 0) -> tuple[list[Value], ...]:
        """(what leads, what is carried on, the rows) of ``body(*inputs, *carried)``."""
        results = [pf.identity(value) for value in self.body(*inputs, *self.carrier.unpack(carried))]
        if len(results) < leading + self.count:
            raise InvalidArgumentError(f"the body gives {len(results)} values; expected {leading + self.count} or more")
        kept, rows = results[leading : leading + self.count], results[leading + self.count :]
        self.covered &= self.carrier.meet(kept, "the body gives")
        self.rows = [Element.of(row.type) for row in rows]
        return results[:leading], self.carrier.pack(kept), rows


def _counted(turn: _Turn, values: list[Value], count: Value | None) -> list[Value]:
    """A loop whose number of turns is known when it starts."""

    def step(carry: Any, row: None) -> Any:
        _, kept, rows = turn(carry[0], pf.constant(True), carried=carry[1:], leading=1)
        return (pf.add(carry[0], 1), *kept), rows

    length = as_size(pf.maximum(count, 0))
    carry, rows = pf.scan(step, (pf.constant(0), *values), None, length=length)
    return [*turn.carrier.unpack(carry[1:]), *rows]


def _conditional(turn: _Turn, values: list[Value], count: Value | None, start: Value) -> list[Value]:
    """A loop that its condition ends; rows are put in sequences, as nobody knows how many there will be."""
    places = len(values)
    rows = len(turn.body.proto.output) - 1 - places  # type: ignore[attr-defined]

    def test(i: Value, going: Value, *rest: Value) -> Value:
        return going if count is None else pf.logical_and(going, pf.less(i, count))

    def step(i: Value, going: Value, *rest: Value) -> Any:
        leading, kept, made = turn(i, going, carried=rest[:places], leading=1)
        stored = [pf.sequence_insert(old, new) for old, new in zip(rest[places:], made, strict=True)]
        return (pf.add(i, 1), pf.reshape(leading[0], []), *kept, *stored)

    empty = [pf.sequence_empty() for _ in range(rows)]
    _, _, *results = pf.while_loop(test, step, (pf.constant(0), start, *values, *empty))
    joined = [_joined(found, element) for found, element in zip(results[places:], turn.rows, strict=True)]
    return [*turn.carrier.unpack(results[:places]), *joined]


def _joined(sequence: Value, element: Element) -> Value:
    """The elements of a sequence side by side along a new first axis, of which there may be none."""
    shape = element.shape or ()
    none = np.zeros([0, *(size if isinstance(size, int) else 0 for size in shape)], element.dtype.numpy)
    found = pf.cond(
        pf.equal(pf.sequence_length(sequence), 0),
        lambda: pf.optional(pf.constant(none)),
        lambda: pf.optional(pf.concat_from_sequence(sequence, 0, True, element.dtype, shape)),
    )
    return pf.optional_get_element(found, element.dtype, [None, *shape])


@onnx_op("Scan", since=9)
def scan(node: OnnxNode, *inputs: Value) -> Any:
    sliced = node["num_scan_inputs"]
    values = present(inputs)
    if not 0 < sliced <= len(values):
        raise InvalidArgumentError(f"num_scan_inputs is {sliced}, and the node has {len(values)} inputs")
    kept = len(values) - sliced
    axes = _each(node, "scan_input_axes", sliced)
    backwards = _each(node, "scan_input_directions", sliced)
    rows = [
        _flipped(_leading(value, axis), back) for value, axis, back in zip(values[kept:], axes, backwards, strict=True)
    ]
    results = _scanned(node, values[:kept], rows)
    made = len(results) - kept
    out_axes = _each(node, "scan_output_axes", made)
    out_backwards = _each(node, "scan_output_directions", made)
    outputs = [
        _trailing(_flipped(value, back), axis)
        for value, axis, back in zip(results[kept:], out_axes, out_backwards, strict=True)
    ]
    return (*results[:kept], *outputs)


def _each(node: OnnxNode, name: str, count: int) -> list[int]:
    given = node.get(name) or [0] * count
    if len(given) != count:
        raise InvalidArgumentError(f"{name} has {len(given)} entries; expected {count}")
    return given


def _leading(value: Value, axis: int) -> Value:
    axis = normalise_axis(axis, value.ndim)
    return value if not axis else pf.transpose(value, [axis, *(i for i in range(value.ndim) if i != axis)])


def _trailing(value: Value, axis: int) -> Value:
    axis = normalise_axis(axis, value.ndim)
    return value if not axis else pf.transpose(value, [*range(1, axis + 1), 0, *range(axis + 1, value.ndim)])


def _flipped(value: Value, backwards: int) -> Value:
    return pf.flip(value, 0) if backwards else value


def _scanned(node: OnnxNode, values: Sequence[Value], rows: Sequence[Value]) -> list[Value]:
    carrier = Carrier(node, values)
    body = node.body("body")
    for _ in range(TRIES):
        turn = _Turn(body, carrier, len(values))

        def step(carry: Any, taken: Any, turn: _Turn = turn) -> Any:
            results = [pf.identity(value) for value in turn.body(*turn.carrier.unpack(carry), *taken)]
            turn.covered &= turn.carrier.meet(results[: turn.count], "the body gives")
            return turn.carrier.pack(results[: turn.count]), results[turn.count :]

        try:
            carry, made = pf.scan(step, carrier.pack(values), list(rows))
        except InvalidArgumentError:
            if turn.covered:
                raise
            continue
        if turn.covered:
            return [*carrier.unpack(carry), *made]
    raise UnimplementedError("the sizes of the scan's values do not settle")


@onnx_op("Scan", since=8)
def scan_8(node: OnnxNode, lengths: Value | None, *inputs: Value) -> Any:
    """Every value has a batch axis in front; the scan runs along axis 1, for each batch by itself."""
    if lengths is not None:
        raise UnimplementedError("sequence_lens: sequences of different lengths")
    values = present(inputs)
    sliced = node["num_scan_inputs"]
    kept = len(values) - sliced
    backwards = _each(node, "directions", sliced)
    rows = [pf.flip(value, 1) if back else value for value, back in zip(values[kept:], backwards, strict=True)]

    def one(batch: Any) -> Any:
        return _scanned(node, batch[:kept], batch[kept:])

    return tuple(pf.map(one, [*values[:kept], *rows]))
