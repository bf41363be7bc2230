"""Gradients of control flow.

A gradient runs bodies of its own: each computes again what the body of the forward node computed, from the values that
the turn or branch started from, and goes back through it. What cannot be computed again (random keys, variables that
the body writes), and what a loop carried into each turn, the forward node gives as results more; they cost nothing
where no gradient is fetched.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyflow.body import Body, accesses
from pyflow.errors import UnimplementedError, message
from pyflow.flow.tracing import add_node
from pyflow.gradients import gradients
from pyflow.graph import Graph, Node, Value, building, get_default_graph
from pyflow.opdef import TensorType, call

Gradients = tuple[Value | None, ...]


def cond(node: Node, *arrived: Value | None) -> Gradients:
    """The gradient of the branch that was taken."""
    pred, *captured = node.inputs
    names = ("then", "otherwise")
    kept = {name: _sources(node, node.attrs[name]) for name in names}
    place = {value: len(node.outputs) + i for i, value in enumerate(value for name in names for value in kept[name])}
    rows = [(name, value) for name in names for value in kept[name]]
    _extend(node, {name: [v if n == name else (n, v) for n, v in rows] for name in names}, [v.type for _, v in rows])
    flowing = [(i, gradient) for i, gradient in enumerate(arrived) if gradient is not None]
    floats = [i for i, value in enumerate(captured) if value.dtype.is_inexact]
    if not flowing or not floats:
        return (None,) * len(node.inputs)
    bodies: dict[str, Body] = {}
    found: dict[str, list[Value | None]] = {}
    for name in names:
        bodies[name] = inner = _opened(node, name)
        with building(inner):
            given = [inner.adopt(value) for value in captured]
            held = {value: inner.adopt(node.outputs[place[value]]) for value in kept[name]}
            results = _replayed(node, node.attrs[name], given, held)
            ys = [results[i] for i, _ in flowing]
            gs = [inner.adopt(gradient) for _, gradient in flowing]
            found[name] = gradients(ys, [given[i] for i in floats], gs)
    used = [i for i in range(len(floats)) if any(found[name][i] is not None for name in names)]
    for name in names:
        with building(bodies[name]):
            for i in used:
                value = found[name][i]
                zeros = _zeros(captured[floats[i]].type) if value is None else value
                bodies[name].outputs.append(zeros)
    if not used:
        return (None,) * len(node.inputs)
    made = add_node("cond", bodies, [pred], {}, None)
    result: list[Value | None] = [None] * len(node.inputs)
    for i, value in zip(used, made, strict=True):
        result[1 + floats[i]] = value
    return tuple(result)


def while_loop(node: Node, *arrived: Value | None) -> Gradients:
    """Not without a bound: what the turns started from must be kept."""
    what = f"{node.name} has no gradient: how many turns it takes is not bounded"
    raise UnimplementedError(message("while_loop", what, node.origin, "pass max_iterations= to pf.while_loop"))


def scan(node: Node, *arrived: Value | None) -> Gradients:
    """A scan the other way round, which carries the gradients by the carry and the sums of those by captures."""
    carried, sliced, body = node.attrs["carried"], node.attrs["sliced"], node.attrs["body"]
    if node.defines:
        what = f"{node.name} has no gradient: the shape of what it carries changes from turn to turn"
        raise UnimplementedError(message("scan", what, node.origin, "carry values of one size, padded"))
    inputs = body.inputs
    kept = [*inputs[:carried], *_sources(node, body)]
    start = len(node.outputs)
    count = node.attrs["length"]
    _extend(node, {"body": kept}, [TensorType(value.dtype, (count, *value.dims)) for value in kept])
    saved = list(node.outputs[start:])
    rows = [(i, g) for i, g in enumerate(arrived[carried + 1 : start]) if g is not None]
    carry = [i for i in range(carried) if inputs[i].dtype.is_inexact]
    taken = [i for i in range(carried, carried + sliced) if inputs[i].dtype.is_inexact]
    others = [i for i in range(carried + sliced, len(inputs)) if inputs[i].dtype.is_inexact]
    state = [_or_zeros(arrived[i], node.outputs[i]) for i in carry]
    state += [_zeros(node.inputs[i].type) for i in others]
    stacks = [*node.inputs[carried : carried + sliced], *saved, *(g for _, g in rows)]
    bounded = node.attrs["condition"] is not None
    if bounded:
        state.insert(0, call("subtract", node.outputs[carried], 1))
    inner = _opened(node, "body")
    with building(inner):
        given = [inner.parameter(value.type, None, "carried") for value in state]
        turn = given.pop(0) if bounded else None
        if turn is not None:
            each = [call("gather", inner.adopt(stack), turn, 0) for stack in stacks]
        else:
            each = [inner.parameter(TensorType(v.dtype, v.dims[1:]), None, "row") for v in stacks]
        xs, held, gs = each[:sliced], each[sliced : sliced + len(kept)], each[sliced + len(kept) :]
        before = [*held[:carried], *xs, *(inner.adopt(value) for value in node.inputs[carried + sliced :])]
        results = _replayed(node, body, before, dict(zip(kept[carried:], held[carried:], strict=True)))
        ys = [*(results[i] for i in carry), *(results[carried + i] for i, _ in rows)]
        by = [before[i] for i in (*carry, *taken, *others)]
        flowing = [*given[: len(carry)], *gs]
        found: list[Value | None] = gradients(ys, by, flowing) if ys and by else [None] * len(by)
        next_state = [_or_zeros(g, v) for g, v in zip(found[: len(carry)], by, strict=False)]
        sums = zip(given[len(carry) :], found[len(carry) + len(taken) :], strict=True)
        next_state += [total if g is None else call("add", total, g) for total, g in sums]
        if turn is not None:
            next_state.insert(0, call("subtract", turn, 1))
        parts = zip(found[len(carry) : len(carry) + len(taken)], by[len(carry) :], strict=False)
        inner.outputs = [inner.adopt(value) for value in (*next_state, *(_or_zeros(g, v) for g, v in parts))]
    made = _reverse(node, inner, state, [] if bounded else stacks)
    first = 1 if bounded else 0
    result: list[Value | None] = [None] * len(node.inputs)
    for place, i in enumerate((*carry, *others)):
        result[i] = made[first + place]
    for place, i in enumerate(taken):
        result[i] = made[len(state) + 1 + place]
    return tuple(result)


def _reverse(node: Node, body: Body, state: Sequence[Value], stacks: Sequence[Value]) -> tuple[Value, ...]:
    attrs = {"carried": len(state), "sliced": len(stacks), "length": node.attrs["length"]}
    bodies = {"body": body}
    if not stacks and node.attrs["condition"] is not None:
        bodies["condition"] = test = _opened(node, "condition")
        with building(test):
            given = [test.parameter(value.type, None, "carried") for value in state]
            test.outputs.append(call("greater_equal", given[0], 0))
    else:
        attrs["reverse"] = not node.attrs["reverse"]
    return add_node("scan", bodies, [*state, *stacks], attrs, None)


def _opened(node: Node, label: str) -> Body:
    body = Body(get_default_graph(), f"{node.op.name}/{label}")
    body._scopes.origin = node.origin
    return body


def _zeros(type: TensorType) -> Value:
    result: Value = call("broadcast_to", call("constant", 0, type.dtype), type.dims)
    return result


def _or_zeros(gradient: Value | None, value: Value) -> Value:
    return _zeros(value.type) if gradient is None else gradient


def _sources(node: Node, body: Body) -> list[Value]:
    """What a body does not compute from its inputs: what it reads of variables that it writes, and what it draws."""
    for inner in body.nodes:
        if any(any(accesses(each)) for each in inner.op.bodies(inner).values()):
            what = f"{node.name} has no gradient: {inner.name}, inside of it, writes variables or draws random numbers"
            raise UnimplementedError(message(node.op.name, what, inner.origin, "draw them before the loop"))
    return [inner.outputs[0] for inner in body.nodes if inner.op.effect in ("read", "update")]


def _extend(node: Node, more: dict[str, list], types: list[TensorType]) -> None:
    """Gives ``node`` results more: values of its bodies, by body; a tuple stands for zeros of that value's type."""
    for name, values in more.items():
        body = node.attrs[name]
        with building(body):
            body.outputs += [_zeros(value[1].type) if isinstance(value, tuple) else value for value in values]
    start = len(node.outputs)
    node.types += tuple(types)
    node.contents += (None,) * len(types)
    node.outputs += tuple(Value(node, start + i) for i in range(len(types)))
    node._late = None


def _replayed(node: Node, body: Body, given: Sequence[Value], held: dict[Value, Value]) -> list[Value]:
    """The outputs of ``body``, computed again in the body that is built now, without what is seen outside."""
    graph = get_default_graph()
    made = dict(zip(body.inputs, given, strict=True))
    made.update(held)
    for inner in body.nodes:
        if all(value in made for value in inner.outputs) and (inner.outputs or inner.op.effect):
            continue
        if inner.op.effect in ("write", "host"):
            made.update(zip(inner.outputs, (made[value] for value in inner.inputs), strict=False))
        elif inner.outputs:
            bodies = {name: _copy(graph, inner, each) for name, each in inner.op.bodies(inner).items()}
            operands = tuple(made[value] for value in inner.inputs)
            with graph.attributed_to(inner.origin):
                copy = graph.add(inner.op, operands, {**inner.attrs, **bodies}, inner.types, inner.contents, None)
            made.update(zip(inner.outputs, copy.outputs, strict=True))
    return [made[value] for value in body.outputs]


def _copy(outer: Graph, node: Node, body: Body) -> Body:
    """A body of its own that computes the same."""
    copy = Body(outer)
    with building(copy):
        given = [copy.parameter(value.type, value.content) for value in body.inputs]
        copy.outputs = _replayed(node, body, given, {})
    return copy
