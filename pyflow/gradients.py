"""Reverse mode: gradients are nodes of the graph, built from each op's vjp."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from pyflow.apply import convert, is_operand
from pyflow.body import accesses
from pyflow.errors import DTypeError, InvalidArgumentError, UnimplementedError, message, user_origin
from pyflow.graph import Graph, Node, Value, get_default_graph
from pyflow.opdef import call
from pyflow.ops.sizes import with_checks
from pyflow.ops.state import Variable


def gradients(
    ys: Any,
    xs: Any,
    grad_ys: Any = None,
    stop_gradients: Sequence[Value] | None = None,
    name: str = "gradients",
) -> list[Value | None]:
    """The gradient of ``sum(ys)`` by each of ``xs``; None where ``ys`` does not depend on it.

    ys, xs: a value (or variable) or a list of them, floating or complex (as in PyTorch, a complex gradient is
    ``dL/dreal + i dL/dimag``; a complex y needs its ``grad_ys``). The gradient by a variable is that by all its reads.
    grad_ys: one value per y, of its shape: what flows in (default: ones).
    stop_gradients: values to treat as constants.
    Raises UnimplementedError, naming op and line, where an op on the way has no gradient.
    """
    targets = _listed(ys)
    sources = _listed(xs)
    if not targets or not sources:
        raise InvalidArgumentError(message("gradients", "expected at least one y and one x", user_origin()))
    for entry in (*targets, *sources):
        if not is_operand(entry):
            what = f"expected values and variables of the graph, got {entry!r}"
            raise DTypeError(message("gradients", what, user_origin()))
    outputs = [y if isinstance(y, Value) else convert(y) for y in targets]
    for value in (*outputs, *sources):
        if not value.dtype.is_inexact:
            raise DTypeError(message("gradients", f"{value.name}: {value.type} is not floating", user_origin()))
    for value in outputs:
        if grad_ys is None and not value.dtype.is_floating:
            what = f"{value.name}: {value.type} is complex: it has no gradient of its own"
            raise DTypeError(message("gradients", what, user_origin(), "give grad_ys, or make it real first (pf.abs)"))
    graph = get_default_graph()
    if graph.outer is None:
        graph = outputs[0].graph or graph
    else:
        outputs = [graph.adopt(y) for y in outputs]
        sources = [graph.adopt(x) if isinstance(x, Value) else x for x in sources]
    wanted = {value for x in sources for value in _reads(graph, x)}
    stopped = set(stop_gradients or ())
    _refuse_hidden_reads(_above(outputs, stopped), sources)
    with graph.name_scope(name):
        flowing = _seeds(outputs, grad_ys)
        _propagate(graph, outputs, wanted, stopped, flowing)
        return [_total([flowing[v] for v in _reads(graph, x) if v in flowing]) for x in sources]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _reads(graph: Graph, x: Value | Variable) -> list[Value]:
    if isinstance(x, Value):
        return [x]
    return [n.outputs[0] for n in graph.nodes if n.op.effect == "read" and n.attrs["variable"] is x]


def _seeds(ys: Sequence[Value], grad_ys: Any) -> dict[Value, list[Value]]:
    seeds = _listed(grad_ys) if grad_ys is not None else [None] * len(ys)
    if len(seeds) != len(ys):
        raise InvalidArgumentError(message("gradients", f"{len(ys)} ys but {len(seeds)} grad_ys", user_origin()))
    flowing: dict[Value, list[Value]] = {}
    for y, seed in zip(ys, seeds, strict=True):
        if seed is None:
            gradient = call("constant", 1.0, y.dtype)
            gradient = call("broadcast_to", gradient, y.dims) if y.dims else gradient
        else:
            gradient = convert(seed, y.dtype)
            if gradient.dims != y.dims:
                raise InvalidArgumentError(
                    message("gradients", f"grad_ys: expected {y.type} for {y.name}, got {gradient.type}", user_origin())
                )
        flowing.setdefault(y, []).append(gradient)
    return flowing


def _total(parts: list[list[Value]]) -> Value | None:
    terms = [term for part in parts for term in part]
    if not terms:
        return None
    result = terms[0]
    for term in terms[1:]:
        result = call("add", result, term)
    return result


def _refuse_hidden_reads(nodes: Collection[Node], sources: Sequence[Value | Variable]) -> None:
    """What a body reads of a variable that it writes too is no value of the graph: no gradient arrives there."""
    variables = {x.name for x in sources if isinstance(x, Variable)}
    for node in nodes:
        for body in node.op.bodies(node).values():
            reads, writes = accesses(body)
            for name in sorted(variables & reads.keys() & writes.keys()):
                what = f"{node.name} has no gradient by variable {name}, which its body reads and writes"
                hint = "carry its value through the loop, or read it before"
                raise UnimplementedError(message("gradients", what, node.origin, hint))


def _above(ys: Sequence[Value], ends: Collection[Value]) -> set[Node]:
    """The nodes that ``ys`` are computed from; not what makes the values of ``ends``."""
    above: set[Node] = set()
    pending = [y.node for y in ys if y not in ends]
    while pending:
        node = pending.pop()
        if node not in above:
            above.add(node)
            pending.extend(value.node for value in node.inputs if value not in ends)
    return above


def _between(
    ys: Sequence[Value], wanted: set[Value], stopped: set[Value], boundary: Collection[Value] = ()
) -> list[Node]:
    """Nodes on a way from ``wanted`` to ``ys``, users first; not what makes the values of ``boundary``."""
    above = _above(ys, stopped.union(boundary))
    carrying: set[Value] = set(wanted) - stopped
    result = []
    for node in sorted(above, key=lambda node: node.position):
        if any(value in carrying for value in node.inputs):
            result.append(node)
            carrying.update(value for value in node.outputs if value not in stopped)
    return result[::-1]


def _propagate(
    graph: Graph,
    ys: Sequence[Value],
    wanted: set[Value],
    stopped: set[Value],
    flowing: dict[Value, list[Value]],
    boundary: Collection[Value] = (),
) -> None:
    path = _between(ys, wanted, stopped, boundary)
    carrying = wanted | {value for node in path for value in node.outputs}
    for node in path:
        arrived = [_total([flowing[value]]) if value in flowing else None for value in node.outputs]
        if all(gradient is None for gradient in arrived):
            continue
        if node.op.vjp is None and node.op.expand is None:
            raise UnimplementedError(
                message(
                    node.op.name,
                    f"{node.name} has no gradient",
                    node.origin,
                    "use pf.stop_gradient around it if none is wanted",
                )
            )
        for value, gradient in zip(node.outputs, arrived, strict=True):
            if gradient is not None:
                flowing[value] = [gradient]
        with graph.attributed_to(node.origin):
            parts = _composed(graph, node, arrived) if node.op.vjp is None else node.op.vjp(node, *arrived)
        for value, part in zip(node.inputs, parts, strict=True):
            if part is not None and value in carrying and value not in stopped:
                flowing.setdefault(value, []).append(part)


def _composed(graph: Graph, node: Node, arrived: Sequence[Value | None]) -> list[Value | None]:
    """The gradient of an op by what it is composed of."""
    assert node.op.expand is not None
    made = node.op.expand(*with_checks(node), **node.attrs)
    flowing: dict[Value, list[Value]] = {}
    results = made if isinstance(made, tuple) else (made,)
    for value, gradient in zip(results, arrived, strict=True):
        if gradient is not None and value.dtype.is_inexact:
            flowing.setdefault(value, []).append(gradient)
    wanted = {value for value in node.inputs if value.dtype.is_inexact}
    _propagate(graph, results, wanted, set(), flowing, node.inputs)
    return [_total([flowing.pop(value)]) if value in flowing else None for value in node.inputs]
