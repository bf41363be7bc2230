"""NumPy's and PyTorch's methods of tensors, most of which graph values have too: a row each, the op function behind."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from pyflow import dtypes
from pyflow.eager import indexing
from pyflow.eager.backward import backward_of_value
from pyflow.eager.capture import current
from pyflow.eager.tensor import Tensor
from pyflow.errors import DTypeError, message, user_origin
from pyflow.graph import Value
from pyflow.operators import Operators
from pyflow.runtime.eager import native

_NATIVE: Any = native.TensorBase

SAME = (
    "abs all any argmax argmin argsort ceil clip conj cos cumprod cumsum diagonal dot exp expand_dims flip floor log "
    "log_softmax masked_fill matmul max mean min nonzero norm pow prod ptp relu repeat round sigmoid sign sin softmax "
    "sort sqrt square squeeze std sum swapaxes take tanh trace unsqueeze var"
)
"""Methods that are the op function of their name, the tensor its first argument."""

IN_PLACE: dict[str, Callable[[Any, Any], Any]] = {
    "__iadd__": operator.add,
    "__isub__": operator.sub,
    "__imul__": operator.mul,
    "__itruediv__": operator.truediv,
    "__ifloordiv__": operator.floordiv,
    "__imod__": operator.mod,
    "__ipow__": operator.pow,
    "__iand__": operator.and_,
    "__ior__": operator.or_,
    "__ixor__": operator.xor,
    "__ilshift__": operator.lshift,
    "__irshift__": operator.rshift,
    "__imatmul__": operator.matmul,
    "add_": operator.add,
    "sub_": operator.sub,
    "mul_": operator.mul,
    "div_": operator.truediv,
}
"""Changes in place by the operator behind them. Those of arithmetic are native for tensors."""

NAMED: dict[str, Callable[[Any, Any], Any]] = {
    "add_": operator.iadd,
    "sub_": operator.isub,
    "mul_": operator.imul,
    "div_": operator.itruediv,
}
"""PyTorch's names of native changes in place."""


def _named(name: str, change: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def method(self: Tensor, other: Any) -> Tensor:
        """Changes the tensor itself, which keeps its dtype and shape."""
        return change(self, other)  # type: ignore[no-any-return]

    method.__name__ = name
    return method


def _method(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, out: None = None, dtype: Any = None, **kwargs: Any) -> Any:
        if out is not None:
            raise DTypeError(message(name, "out= is not taken: tensors are results", user_origin()))
        if dtype is not None:
            self = self.astype(dtype)
        return function(self, *args, **kwargs)

    method.__name__ = name
    method.__qualname__ = f"Operators.{name}"
    method.__doc__ = f"``pf.{name}(self, ...)``."
    return method


def _in_place(name: str, function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
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


def _becoming(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Value, other: Any) -> Any:
        made = function(self, other)
        capture = current()
        return made if capture is None else capture.become(self, made)

    method.__name__ = name
    return method


def _unchanging(name: str) -> Callable[..., Any]:
    def method(self: Value, *args: Any) -> Any:
        what = f"{self.name}: {self.type} is a graph value, which cannot be changed in place"
        hint = "make another: x = x + y, pf.where(mask, y, x), pf.scatter_elements, pf.scatter_nd, pf.concatenate"
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

    def count(self: Tensor) -> int:
        """The number of elements."""
        return self.size

    def zeroed(self: Tensor) -> Tensor:
        """Sets every element to 0."""
        return indexing.assign(self, 0)

    def itself(self: Any) -> Any:
        """The tensor itself; PyTorch's tensors may lie apart."""
        return self

    def rank(self: Any) -> int:
        """The number of axes."""
        return self.ndim  # type: ignore[no-any-return]

    common: dict[str, Callable[..., Any]] = {
        "permute": transposed,
        "contiguous": itself,
        "dim": rank,
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
        "__setitem__": indexing.setitem,
        "copy_": indexing.assign,
        "numel": count,
        "fill_": filled,
        "zero_": zeroed,
        **{name: _in_place(name, function) for name, function in IN_PLACE.items() if name not in vars(_NATIVE)},
        **{name: _named(name, change) for name, change in NAMED.items()},
    }
    of_values: dict[str, Callable[..., Any]] = {
        "backward": backward_of_value,
        "detach": _method("detach", functions["stop_gradient"]),
        "clone": _method("clone", functions["identity"]),
        **{name: _becoming(name, function) for name, function in IN_PLACE.items() if name.startswith("__")},
        **{
            name: _unchanging(name)
            for name in ("__setitem__", "copy_", "fill_", "zero_", "add_", "sub_", "mul_", "div_")
        },
        **{name: _without_numbers(name) for name in ("item", "tolist", "numpy", "__float__", "__complex__")},
    }
    for kind, methods in ((Operators, common), (Value, of_values), (Tensor, own)):
        for name, method in methods.items():
            setattr(kind, name, method)
