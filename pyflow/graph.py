"""The declared graph: what a user builds, one node per call."""

from __future__ import annotations

import itertools
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from pyflow import dims
from pyflow.attrs import attr_key, late_in
from pyflow.dims import Dim, Size
from pyflow.dtypes import DType
from pyflow.errors import (
    DTypeError,
    FailedPreconditionError,
    GraphGrowthWarning,
    InvalidArgumentError,
    NotFoundError,
    Origin,
    message,
    user_origin,
)
from pyflow.opdef import OpDef, TensorType, call
from pyflow.operators import Operators, Unique


class Value(Operators, Unique):
    """One output of a node: what users hold, name, fetch and feed. ``shape`` has ints and :class:`pyflow.Dim`."""

    __slots__ = ("__weakref__", "index", "node")
    node: Node
    index: int

    def __init__(self, node: Node, index: int) -> None:
        self.node = node
        self.index = index

    @property
    def type(self) -> TensorType:
        return self.node.types[self.index]

    @property
    def dtype(self) -> DType:
        return self.node.types[self.index].dtype

    @property
    def dims(self) -> tuple[Size, ...]:
        return self.node.types[self.index].dims

    shape = dims

    @property
    def ndim(self) -> int:
        return len(self.node.types[self.index].dims)

    @property
    def content(self) -> Any:
        """The sizes that a small integer value is known to hold (a size if 0-d, else a tuple), or None."""
        return self.node.contents[self.index]

    @property
    def name(self) -> str:
        """``scope/op:0``."""
        return f"{self.node.name}:{self.index}"

    @property
    def op(self) -> Node:
        """The node that makes this value."""
        return self.node

    @property
    def graph(self) -> Graph | None:
        return self.node.graph

    @property
    def T(self) -> Value:
        """The value with its axes reversed."""
        return call("transpose", self)

    def eval(self, feed_dict: Mapping[Any, Any] | None = None, session: Any = None) -> Any:
        """``session.run(self, feed_dict)``; the session of the innermost ``with`` unless given."""
        return _session_for("eval", session).run(self, feed_dict)

    def __repr__(self) -> str:
        origin = f" {self.node.origin}" if self.node.origin else ""
        return f"<pf.Value {self.name}: {self.type}{origin}>"


class Node(Unique):
    """One op call. In a declared graph it has a name and the user's line; in a region both are in a side table."""

    __slots__ = (
        "__weakref__",
        "_key",
        "_late",
        "after",
        "attrs",
        "contents",
        "graph",
        "inputs",
        "name",
        "op",
        "origin",
        "outputs",
        "position",
        "types",
    )

    def __init__(
        self,
        op: OpDef,
        inputs: tuple[Value, ...],
        attrs: Mapping[str, Any],
        types: tuple[TensorType, ...],
        contents: tuple[Any, ...],
        *,
        after: tuple[Node, ...] = (),
        graph: Graph | None = None,
        name: str = "",
        origin: Origin | None = None,
        position: int = -1,
        key: tuple[Any, ...] | None = None,
    ) -> None:
        self.op = op
        self.inputs = inputs
        self.attrs = attrs
        self.types = types
        self.contents = contents
        self.after = after
        self.graph = graph
        self.name = name
        self.origin = origin
        self.position = position
        self._key = key
        self._late: tuple[str, ...] | None = None
        self.outputs = (Value(self, 0),) if len(types) == 1 else tuple([Value(self, i) for i in range(len(types))])

    @property
    def key(self) -> tuple[Any, ...]:
        """A hashable stand-in for the attributes."""
        if self._key is None:
            self._key = tuple(map(attr_key, self.attrs.values()))
        return self._key

    @property
    def defines(self) -> tuple[str, ...]:
        """The late symbols to which it gives their values."""
        return tuple(self.op.defines(self)) if self.op.defines is not None else ()

    @property
    def late(self) -> tuple[str, ...]:
        """The late symbols that its types and attributes mention and that another node defines."""
        if self._late is None:
            found = late_in((*[type.dims for type in self.types], *self.attrs.values()))
            own = self.defines if found else ()
            self._late = tuple(dict.fromkeys([name for name in found if name not in own]))
        return self._late

    def run(self, feed_dict: Mapping[Any, Any] | None = None, session: Any = None) -> None:
        """``session.run(self, feed_dict)``: runs the op for its effect."""
        _session_for("run", session).run(self, feed_dict)

    def __repr__(self) -> str:
        return f"<pf.Node {self.name or '?'} = {self.op.name}({', '.join(v.name for v in self.inputs)})>"


class Builder(Protocol):
    """Where `apply` puts nodes: a declared graph, or the region that a pass is rewriting."""

    def add(
        self,
        op: OpDef,
        inputs: tuple[Value, ...],
        attrs: Mapping[str, Any],
        types: tuple[TensorType, ...],
        contents: tuple[Any, ...],
        name: str | None,
    ) -> Node: ...

    def adopt(self, value: Value) -> Value:
        """``value`` itself if it may be an operand here; InvalidArgumentError otherwise."""
        ...


class _Stack(threading.local):
    def __init__(self) -> None:
        self.builders: list[Builder] = []
        self.sessions: list[Any] = []


_stack = _Stack()
_default: Graph | None = None
_default_lock = threading.Lock()


def current_builder() -> Builder:
    return _stack.builders[-1] if _stack.builders else get_default_graph()


@contextmanager
def building(builder: Builder) -> Iterator[None]:
    """Ops called inside put their nodes there; per thread."""
    _stack.builders.append(builder)
    try:
        yield
    finally:
        _stack.builders.pop()


def enter_session(session: Any) -> None:
    """``session`` is what ``value.eval()`` uses, on this thread, until it is left."""
    _stack.sessions.append(session)


def leave_session(session: Any = None) -> None:
    """Leaves ``session`` (default: the innermost)."""
    if session is None:
        _stack.sessions.pop()
    else:
        _stack.sessions = [entry for entry in _stack.sessions if entry is not session]


def _session_for(op: str, given: Any) -> Any:
    if given is None and not _stack.sessions:
        raise FailedPreconditionError(
            message(op, "there is no session", user_origin(), "use it inside `with pf.Session():`, or pass session=")
        )
    return given if given is not None else _stack.sessions[-1]


def get_default_graph() -> Graph:
    """The graph that ops go to: the innermost ``as_default()`` of this thread, else the process's one."""
    global _default
    for builder in reversed(_stack.builders):
        if isinstance(builder, Graph):
            return builder
    with _default_lock:
        if _default is None:
            _default = Graph()
        return _default


def reset_default_graph() -> None:
    """Replaces the process's default graph by an empty one."""
    global _default
    with _default_lock:
        _default = None


class Graph(Unique):
    """An append-only program of nodes, in the order in which they were declared."""

    outer: Graph | None = None  # what a body stands in

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.variables: dict[str, Any] = {}
        """Variables by name, in the order of their declaration."""
        self.inputs: list[Value] = []
        """The placeholders, in order."""
        self.outputs: list[Value] = []
        """What ``session.run(None)`` fetches; set it to declare the graph's results."""
        self.saved: dict[str, np.ndarray] = {}
        """Values that variables had when the graph was saved; a Session with a new State starts from them."""
        self.seed: int | None = None
        """Of the generator that ops without a seed draw from; None: from the operating system."""
        self.bound: dict[int, tuple[Any, Any]] = {}  # by id: an eager tensor, and the variable that it is here
        self.files: list[Any] = []  # that constants are read from: see pyflow/stored.py
        self.source: Any = None  # the Source of pyflow/stored.py that it was made from
        self.finalized = False
        self._lock = threading.RLock()
        self._names: dict[str, Node] = {}
        self._next_number: dict[str, int] = {}  # by name: the numbers below are taken
        self._aliases: dict[str, Value] = {}
        self._symbols: dict[str, Dim] = {}
        self._once: dict[Any, Value] = {}
        self.definers: dict[str, Node] = {}  # by late symbol
        self._scopes = _Scopes()
        self._epoch = 0
        self._growth: dict[tuple[str, int], set[int]] = {}

    @contextmanager
    def as_default(self) -> Iterator[Graph]:
        """Ops called inside add to this graph (this thread only)."""
        with building(self):
            yield self

    @contextmanager
    def name_scope(self, name: str, origin: Origin | None = None) -> Iterator[str]:
        """Names of nodes inside start with ``name/``, numbered if it was used; they are attributed to ``origin``."""
        outer = self._scopes.name, self._scopes.origin
        self._scopes.name, self._scopes.origin = self.unique_name(name) + "/", origin or outer[1]
        try:
            yield self._scopes.name
        finally:
            self._scopes.name, self._scopes.origin = outer

    @contextmanager
    def control_dependencies(self, nodes: Sequence[Node | Value]) -> Iterator[None]:
        """Nodes declared inside run only in runs where these run, and after them."""
        outer = self._scopes.after
        self._scopes.after = (*outer, *(node.node if isinstance(node, Value) else node for node in nodes))
        try:
            yield
        finally:
            self._scopes.after = outer

    @contextmanager
    def attributed_to(self, origin: Origin | None) -> Iterator[None]:
        """Nodes declared inside belong to the user's line ``origin`` (a gradient to that of its forward node)."""
        outer = self._scopes.origin
        self._scopes.origin = origin
        try:
            yield
        finally:
            self._scopes.origin = outer

    def finalize(self) -> None:
        """No node can be added from here on."""
        self.finalized = True

    def unique_name(self, name: str) -> str:
        if not isinstance(name, str):
            raise DTypeError(message("graph", f"expected a str as name, got {name!r}", user_origin()))
        full = self._scopes.name + name
        if full not in self._names and full not in self.variables:
            return full
        candidates = ((i, f"{full}_{i}") for i in itertools.count(self._next_number.get(full, 1)))
        number, found = next((i, n) for i, n in candidates if n not in self._names and n not in self.variables)
        self._next_number[full] = number
        return found

    def add(
        self,
        op: OpDef,
        inputs: tuple[Value, ...],
        attrs: Mapping[str, Any],
        types: tuple[TensorType, ...],
        contents: tuple[Any, ...],
        name: str | None,
    ) -> Node:
        with self._lock:
            full = self.unique_name(name or op.name)
            above = self._scopes.origin
            origin = user_origin(full) if above is None else Origin(above.file, above.line, full)
            if self.finalized:
                what = "the graph is finalized: no node can be added"
                raise FailedPreconditionError(message(op.name, what, origin, "build it before graph.finalize()"))
            node = Node(
                op,
                inputs,
                attrs,
                types,
                contents,
                after=self._scopes.after,
                graph=self,
                name=full,
                origin=origin,
                position=len(self.nodes),
            )
            self.nodes.append(node)
            self._names[full] = node
            if op.defines is not None:
                self.definers.update(dict.fromkeys(node.defines, node))
            if self._epoch:
                self._note_growth(origin)
            return node

    def adopt(self, value: Value) -> Value:
        if value.node.graph is not self:
            inside = value.graph is not None and value.graph.outer is not None
            where = "is inside of a body of control flow: return it there" if inside else "belongs to another graph"
            raise InvalidArgumentError(f"{value.name}: {value.type} ({value.node.origin}) {where}")
        return value

    def symbol(self, dim: Dim) -> Dim:
        """``dim``, which must not contradict an earlier one of its name here; the first that says more wins."""
        symbol = next(dims.symbols_of(dim))
        known = self._symbols.setdefault(symbol.name, dim)
        other = next(dims.symbols_of(known))
        if (other.min, other.max, other.hint) == (symbol.min, symbol.max, symbol.hint) or (
            symbol.min == 0 and symbol.max is None and symbol.hint is None
        ):
            return known
        if other.min == 0 and other.max is None and other.hint is None:
            self._symbols[symbol.name] = dim
            return dim
        raise InvalidArgumentError(
            f"dim {symbol.name!r} was declared with range {other.min}..{other.max}, hint {other.hint}; "
            f"now with {symbol.min}..{symbol.max}, hint {symbol.hint}"
        )

    def once(self, key: Any, make: Callable[[], Value]) -> Value:
        """What ``make`` gave the first time for ``key``, under the control dependencies that hold here."""
        full = (key, self._scopes.after)
        if full not in self._once:
            self._once[full] = make()
        return self._once[full]

    def late_names(self) -> tuple[str, ...]:
        """The late symbols that its nodes mention and none of them defines: those of what a body stands in."""
        return tuple(dict.fromkeys(name for node in self.nodes for name in node.late if name not in self.definers))

    def alias(self, name: str, value: Value) -> None:
        """Another name, any string, by which ``value`` can be fetched and fed."""
        self._aliases[name] = value

    @property
    def aliases(self) -> Mapping[str, Value]:
        return self._aliases

    def find(self, name: str) -> Value | Node:
        """The value (``"scope/op:0"``, an alias) or node (``"scope/op"``) of a name; NotFoundError lists near ones."""
        if name in self._aliases:
            return self._aliases[name]
        if name in self._names:
            return self._names[name]
        head, _, tail = name.rpartition(":")
        node = self._names.get(head)
        if node is not None and tail.isdigit() and int(tail) < len(node.outputs):
            return node.outputs[int(tail)]
        raise NotFoundError(
            message("graph", f"nothing is named {name!r}", user_origin(), _near(name, [*self._names, *self._aliases]))
        )

    def get_tensor_by_name(self, name: str) -> Value:
        """The value named ``"scope/op:0"`` (or, for a node of one output, ``"scope/op"``)."""
        found = self.find(name)
        if isinstance(found, Value):
            return found
        if len(found.outputs) == 1:
            return found.outputs[0]
        raise NotFoundError(
            message(
                "graph", f"{name!r} is an op with {len(found.outputs)} outputs", user_origin(), f"name one: {name}:0"
            )
        )

    def get_operation_by_name(self, name: str) -> Node:
        found = self.find(name)
        return found.node if isinstance(found, Value) else found

    def note_run(self) -> None:
        """A session ran this graph; a line that then keeps adding nodes between runs is warned of."""
        self._epoch += 1

    def _note_growth(self, origin: Origin) -> None:
        epochs = self._growth.setdefault((origin.file, origin.line), set())
        epochs.add(self._epoch)
        if len(epochs) == 3:
            warnings.warn(
                f"{origin}: this line adds nodes to the graph between runs, so every run compiles anew; "
                "declare the graph once before the loop, and call graph.finalize() to make sure",
                GraphGrowthWarning,
                stacklevel=2,
            )

    def dump(self) -> str:
        """The graph as text that :func:`pyflow.parse_graph` reads back."""
        from pyflow.printer import dump

        return dump(self)

    def save(self, path: str, state: Any = None) -> None:
        """Writes graph, constants and, with ``state=`` (a State or Session), the variables' values to one file."""
        from pyflow.runtime.saved_graph import save_graph

        save_graph(self, path, state)

    def __repr__(self) -> str:
        return f"<pf.Graph of {len(self.nodes)} nodes, {len(self.variables)} variables>"


class _Scopes(threading.local):
    def __init__(self) -> None:
        self.name = ""
        self.after: tuple[Node, ...] = ()
        self.origin: Origin | None = None


def _near(name: str, known: Sequence[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, 3)
    return f"did you mean {', '.join(map(repr, near))}?" if near else "graph.dump() shows every name"


def name_scope(name: str) -> Any:
    """``get_default_graph().name_scope(name)``."""
    return get_default_graph().name_scope(name)


def control_dependencies(nodes: Sequence[Node | Value]) -> Any:
    """``get_default_graph().control_dependencies(nodes)``."""
    return get_default_graph().control_dependencies(nodes)
