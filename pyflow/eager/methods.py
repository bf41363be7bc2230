"""NumPy's and PyTorch's methods of tensors, most of which graph values have too: a row each, the op function behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyflow import dtypes
from pyflow.eager import indexing, quick
from pyflow.eager.backward import backward_of_value
from pyflow.eager.tensor import Tensor
from pyflow.errors import DTypeError, message, user_origin
from pyflow.graph import Value
from pyflow.operators import Operators

SAME = (
    "abs all any argmax argmin argsort ceil clip cos cumprod cumsum diagonal exp expand_dims floor log matmul max mean "
    "min nonzero prod relu repeat round sigmoid sin softmax sort sqrt square squeeze std sum take tanh trace var"
)
"""Methods that are the op function of their name, the tensor its first argument."""

OPERATORS = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "floordiv": "floor_divide",
    "mod": "mod",
    "matmul": "matmul",
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}
"""Operators of two operands that find their entry at once; the rest go the way of all calls."""
REFLECTED = ("add", "sub", "mul", "truediv", "floordiv", "mod", "matmul")

IN_PLACE = {
    "__iadd__": "add",
    "__isub__": "subtract",
    "__imul__": "multiply",
    "__itruediv__": "divide",
    "__ifloordiv__": "floor_divide",
    "__imod__": "mod",
    "__ipow__": "pow",
    "__iand__": "logical_and",
    "__ior__": "logical_or",
    "__ixor__": "logical_xor",
    "add_": "add",
    "sub_": "subtract",
    "mul_": "multiply",
    "div_": "divide",
}
"""Changes in place by the op of two operands behind them."""


def _method(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, out: None = None, **kwargs: Any) -> Any:
        if out is not None:
            raise DTypeError(message(name, "out= is not taken: tensors are results", user_origin()))
        return function(self, *args, **kwargs)

    method.__name__ = name
    method.__qualname__ = f"Operators.{name}"
    method.__doc__ = f"``pf.{name}(self, ...)``."
    return method


def _in_place(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Tensor, other: Any) -> Tensor:
        return indexing.assign(self, function(indexing.as_it_was(self, other), other))

    method.__name__ = name
    method.__qualname__ = f"Tensor.{name}"
    method.__doc__ = "Changes the tensor itself, which keeps its dtype and shape."
    return method


def _without_numbers(name: str) -> Callable[..., Any]:
    def method(self: Value, *args: Any) -> Any:
        what = f"{self.name}: {self.type} is a graph value: its numbers are known when the graph is run"
        hint = "return it from the function, or get it with session.run; pf.cond and pf.while_loop decide by it"
        raise DTypeError(message(name.strip("_"), what, user_origin(), hint))

    method.__name__ = name
    return method


def _sizes(given: tuple[Any, ...]) -> Any:
    return given[0] if len(given) == 1 and isinstance(given[0], (tuple, list, Tensor)) else given


def install(functions: dict[str, Any]) -> None:
    """Gives tensors and graph values their methods; ``functions``: the op functions by name, which take both."""
    reshape, transpose, cast = functions["reshape"], functions["transpose"], functions["cast"]

    def reshaped(self: Any, *shape: Any) -> Any:
        """The elements in another shape: sizes, one of them -1, or a tuple of them."""
        return reshape(self, _sizes(shape))

    def transposed(self: Any, *axes: Any) -> Any:
        """The axes in another order; without arguments reversed."""
        return transpose(self, _sizes(axes)) if axes else transpose(self)

    def flattened(self: Any) -> Any:
        """All elements on one axis."""
        return reshape(self, (-1,))

    def converted(self: Any, dtype: Any) -> Any:
        """The tensor in another dtype; itself if it has it."""
        return self if dtypes.as_dtype(dtype) is self.dtype else cast(self, dtype)

    def filled(self: Tensor, value: Any) -> Tensor:
        """Sets every element."""
        return indexing.assign(self, value)

    def zeroed(self: Tensor) -> Tensor:
        """Sets every element to 0."""
        return indexing.assign(self, 0)

    common: dict[str, Callable[..., Any]] = {
        "reshape": reshaped,
        "view": reshaped,
        "transpose": transposed,
        "flatten": flattened,
        "ravel": flattened,
        "astype": converted,
        "to": converted,
        **{name: _method(name, functions[name]) for name in SAME.split()},
    }
    own: dict[str, Callable[..., Any]] = {
        "__getitem__": indexing.getitem,
        "__setitem__": indexing.setitem,
        "copy_": indexing.assign,
        "fill_": filled,
        "zero_": zeroed,
        **{name: _in_place(name, functions[op]) for name, op in IN_PLACE.items()},
        **{f"__{name}__": quick.operator(op) for name, op in OPERATORS.items()},
        **{f"__r{name}__": quick.operator(OPERATORS[name], reflected=True) for name in REFLECTED},
    }
    of_values: dict[str, Callable[..., Any]] = {
        "backward": backward_of_value,
        "detach": _method("detach", functions["stop_gradient"]),
        "clone": _method("clone", functions["identity"]),
        **{name: _without_numbers(name) for name in ("item", "tolist", "numpy", "__float__", "__complex__")},
    }
    for kind, methods in ((Operators, common), (Value, of_values), (Tensor, own)):
        for name, method in methods.items():
            setattr(kind, name, method)
