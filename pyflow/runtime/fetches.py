"""What a run is asked for: values, ops, variables, names, nested in lists, tuples, named tuples and dicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyflow.errors import DTypeError, InvalidArgumentError, message, user_origin
from pyflow.graph import Graph, Node, Value
from pyflow.ops.state import Variable


@dataclass
class Fetches:
    """The leaves of a fetch, in order, and how results take its structure again."""

    values: list[Value] = field(default_factory=list)
    """Distinct values whose arrays the run returns, in order."""
    nodes: list[Node] = field(default_factory=list)
    variables: list[Variable] = field(default_factory=list)
    build: Callable[[Sequence[Any]], Any] = tuple
    """From the arrays of ``values`` followed by those of ``variables``."""
    flat: bool = False
    """True if the structure is one value."""

    @property
    def targets(self) -> list[Value | Node]:
        return [*self.values, *self.nodes]


def resolve(graph: Graph, fetches: Any) -> Fetches:
    """Reads the structure; raises NotFoundError for unknown names, InvalidArgumentError for foreign values."""
    if fetches is None:
        if not graph.outputs:
            raise InvalidArgumentError(
                message(
                    "run",
                    "run(None) fetches graph.outputs, and there are none",
                    user_origin(),
                    "set graph.outputs = [...]",
                )
            )
        fetches = list(graph.outputs)
    result = Fetches()
    slots: dict[int, int] = {}
    make = _reader(graph, fetches, result, slots)
    count = len(result.values)
    result.flat = isinstance(fetches, Value) or (count == 1 and isinstance(fetches, str))
    result.build = lambda arrays: make(arrays[:count], arrays[count:])
    return result


def outputs_of(graph: Graph) -> list[Any]:
    """What ``run(None)`` fetches; names, if the graph's file was not read yet."""
    source = graph.source
    return list(source.outputs) if source is not None and source.names is None else list(graph.outputs)


def _reader(
    graph: Graph, fetch: Any, found: Fetches, slots: dict[int, int]
) -> Callable[[Sequence[Any], Sequence[Any]], Any]:
    if isinstance(fetch, str):
        fetch = graph.find(fetch)
        if isinstance(fetch, Node) and len(fetch.outputs) == 1:
            fetch = fetch.outputs[0]
    if isinstance(fetch, Value):
        _same_graph(graph, fetch.node)
        if id(fetch) not in slots:
            slots[id(fetch)] = len(found.values)
            found.values.append(fetch)
        slot = slots[id(fetch)]
        return lambda values, variables: values[slot]
    if isinstance(fetch, Node):
        _same_graph(graph, fetch)
        found.nodes.append(fetch)
        return lambda values, variables: None
    if isinstance(fetch, Variable):
        found.variables.append(fetch)
        place = len(found.variables) - 1
        return lambda values, variables: variables[place]
    if isinstance(fetch, (list, tuple)):
        readers = [_reader(graph, entry, found, slots) for entry in fetch]
        if hasattr(fetch, "_fields"):
            kind = type(fetch)
            return lambda values, variables: kind(*(read(values, variables) for read in readers))
        sequence = list if isinstance(fetch, list) else tuple
        return lambda values, variables: sequence(read(values, variables) for read in readers)
    if isinstance(fetch, Mapping):
        parts = {key: _reader(graph, entry, found, slots) for key, entry in fetch.items()}
        return lambda values, variables: {key: read(values, variables) for key, read in parts.items()}
    raise DTypeError(
        message(
            "run",
            f"cannot fetch {fetch!r}",
            user_origin(),
            "fetch values, ops, variables, names, or lists, tuples and dicts of these",
        )
    )


def _same_graph(graph: Graph, node: Node) -> None:
    if node.graph is not graph:
        raise InvalidArgumentError(
            message(
                "run",
                f"{node.name} ({node.origin}) belongs to another graph",
                user_origin(),
                "open a Session on that graph",
            )
        )


def key_of(fetches: Any) -> Any:
    """What tells two fetches apart quickly: identities and names, in their structure."""
    kind = type(fetches)
    if kind is Value or kind is Node or kind is Variable:
        return id(fetches)
    if kind is str or fetches is None:
        return fetches
    if kind is list or kind is tuple:
        return (kind, *[id(entry) if type(entry) is Value else key_of(entry) for entry in fetches])
    if isinstance(fetches, Mapping):
        return (dict, *((name, key_of(entry)) for name, entry in fetches.items()))
    if isinstance(fetches, (list, tuple)):
        return (kind, *map(key_of, fetches))
    return id(fetches)
