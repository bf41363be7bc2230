"""Variables: values that stay from run to run. Reads, writes and draws keep their place in the program."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyflow import dtypes
from pyflow.apply import convert
from pyflow.dims import Size
from pyflow.dtypes import DType
from pyflow.errors import DTypeError, InvalidArgumentError, message, user_origin
from pyflow.graph import Graph, Node, Value, get_default_graph
from pyflow.opdef import EVERY, TEXT, VARIABLE, TensorType, call, define
from pyflow.operators import Operators
from pyflow.ops.common import no_gradient

GENERATOR = "random/generator"
"""The variable (key, counter) that ops without a seed draw from."""


class Variable(Operators):
    """A value that a State keeps between runs; usable wherever a graph value is.

    ``initial_value``: an array, a number, a graph value or a function that returns one; its shape must be known. A
    use reads what the writes before it in the program have left; a run starts from what the last one left.
    """

    name: str
    type: TensorType

    def __init__(
        self,
        initial_value: Any,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
    ) -> None:
        value = convert(initial_value() if callable(initial_value) else initial_value, dtype)
        if any(not isinstance(size, int) for size in value.dims):
            raise InvalidArgumentError(
                message("variable", f"expected an initial value of known shape, got {value.type}", user_origin())
            )
        if value.dtype.is_object:
            hint = "pass it as a feed or a constant"
            raise DTypeError(message("variable", f"a variable holds numbers, not {value.type}", user_origin(), hint))
        graph = get_default_graph()
        if graph.outer is not None:
            what = "a body of control flow cannot make a variable"
            raise InvalidArgumentError(message("variable", what, user_origin(), "make it before the call"))
        self._declare(graph, graph.unique_name(name or "variable"), value.type, trainable)
        self.initial_value: Value | None = value
        self.initializer: Node | None = _write(value, self, name=f"{name or 'variable'}/initializer").node

    def _declare(self, graph: Graph, name: str, type: TensorType, trainable: bool) -> None:
        while graph.outer is not None:
            graph = graph.outer
        if name in graph.variables:
            raise InvalidArgumentError(message("variable", f"there is a variable {name!r} already", user_origin()))
        self.graph = graph
        self.name = name
        self.type = type
        self.trainable = trainable
        self.initial_value = None
        self.initializer = None
        graph.variables[name] = self

    @classmethod
    def declared(cls, graph: Graph, name: str, type: TensorType, trainable: bool = True) -> Variable:
        """A variable without an initializer: one read back from a file, or a generator."""
        variable = cls.__new__(cls)
        variable._declare(graph, name, type, trainable)
        return variable

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def dims(self) -> tuple[Size, ...]:
        return self.type.dims

    shape = dims

    @property
    def ndim(self) -> int:
        return len(self.type.dims)

    @property
    def T(self) -> Value:
        return call("transpose", self)

    def value(self) -> Value:
        """What the variable holds at this place of the program."""
        result: Value = _read(self, name=f"{self.name.rpartition('/')[2]}/read")
        return result

    __pyflow_value__ = value
    read_value = value

    def assign(self, value: Any, name: str | None = None) -> Value:
        """Writes ``value`` (the variable's shape and dtype); returns what was written."""
        new = convert(value)
        if new.dtype is not self.dtype:
            if not dtypes.can_cast_safely(new.dtype, self.dtype) and new.node.op.name != "constant":
                raise DTypeError(
                    message(
                        "assign", f"{self.name} is {self.type}, got {new.type}", user_origin(), "cast it with pf.cast"
                    )
                )
            new = convert(value, self.dtype) if not isinstance(value, Value) else call("cast", new, self.dtype)
        if new.dims != self.dims:
            raise InvalidArgumentError(message("assign", f"{self.name} is {self.type}, got {new.type}", user_origin()))
        result: Value = _write(new, self, name=name or "assign")
        return result

    def assign_add(self, delta: Any, name: str | None = None) -> Value:
        """``assign(self + delta)``."""
        return self.assign(self + delta, name=name or "assign_add")

    def assign_sub(self, delta: Any, name: str | None = None) -> Value:
        """``assign(self - delta)``."""
        return self.assign(self - delta, name=name or "assign_sub")

    def eval(self, session: Any) -> np.ndarray:
        """The value now, in ``session``."""
        result: np.ndarray = session.state.get(self.name)
        return result

    def load(self, value: Any, session: Any) -> None:
        """Sets the value in ``session``, with no op in the graph."""
        session.state.set(self.name, np.asarray(value, self.dtype.numpy))

    def __repr__(self) -> str:
        return f"<pf.Variable {self.name}: {self.type}{'' if self.trainable else ' not trainable'}>"


_read = define(
    "read_variable",
    "",
    attrs={"variable": VARIABLE},
    infer=lambda variable: variable.type,
    ref=None,
    effect="read",
)

_write = define(
    "write_variable",
    "value:T",
    kinds={"T": EVERY},
    attrs={"variable": VARIABLE},
    infer=lambda value, variable: variable.type,
    ref=None,
    effect="write",
    vjp=lambda node, gradient: (gradient,),
)

_draw = define(
    "draw_key",
    "",
    attrs={"variable": VARIABLE, "becomes": TEXT},
    defaults={"becomes": "advance_key"},
    infer=lambda variable, becomes: variable.type,
    ref=None,
    effect="update",
    vjp=no_gradient,
    doc="The generator (key, counter) at this place of the program; the draw moves its counter on.",
)


_advance = define(
    "advance_key",
    "key:int64",
    infer=lambda key: key.type,
    ref=lambda key: key + np.array([0, 1], np.int64),
    vjp=no_gradient,
    doc="What a draw leaves of the generator: the same key, the next counter.",
    expand=lambda key: call("add", key, np.array([0, 1], np.int64)),
)


def draw_key() -> Value:
    """The graph's generator (key, counter): int64[2]. Each use in a run draws the next counter, in program order."""
    graph = get_default_graph()
    generator = graph.variables.get(GENERATOR)
    if generator is None:
        generator = Variable.declared(graph, GENERATOR, TensorType(dtypes.int64, (2,)), trainable=False)
    result: Value = _draw(generator)
    return result


_group = define("group", "", infer=lambda: (), ref=None)


def group(*nodes: Node | Value, name: str | None = None) -> Node:
    """An op that runs all of ``nodes``; fetching it gives None."""
    graph = get_default_graph()
    with graph.control_dependencies(nodes):
        result: Node = _group(name=name)
    return result


def no_op(name: str | None = None) -> Node:
    """An op that does nothing itself; what ``control_dependencies`` attach still runs."""
    return group(name=name or "no_op")


def global_variables_initializer() -> Node:
    """An op that gives every variable of the graph its initial value."""
    graph = get_default_graph()
    return group(*(v.initializer for v in graph.variables.values() if v.initializer is not None), name="init")


def global_variables(graph: Graph | None = None) -> list[Variable]:
    """Every variable, in order of declaration."""
    return list((graph or get_default_graph()).variables.values())


def trainable_variables(graph: Graph | None = None) -> list[Variable]:
    """Those that optimisers change."""
    return [variable for variable in global_variables(graph) if variable.trainable]


def set_random_seed(seed: int) -> None:
    """Seeds the default graph's generator: runs in a new State draw the same numbers each time."""
    get_default_graph().seed = int(seed)
