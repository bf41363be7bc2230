"""Python's operators and NumPy's common methods: what values and variables share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from pyflow.dims import Size
from pyflow.errors import DTypeError, message, user_origin
from pyflow.opdef import TensorType, call

if TYPE_CHECKING:
    from pyflow.graph import Value

ArrayLike = Union["Value", np.ndarray, np.generic, bool, int, float, Sequence[Any]]


class Unique:
    """What is neither copied nor pickled: it stands for itself, or is part of a graph."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: Any) -> Any:
        what = f"a {type(self).__name__} is neither copied nor pickled"
        hint = "write the graph with graph.save(path), variables with pf.train.Saver"
        raise DTypeError(message("copy", what, user_origin(), hint))


def _logical_or_bitwise(name: str, *operands: Any) -> str:
    """The op of Python's ``&``, ``|``, ``^`` and ``~``: of bools logical, of integers bit by bit."""
    kinds = [np.asarray(x).dtype.kind if not hasattr(x, "dtype") else getattr(x.dtype, "kind", "b") for x in operands]
    return f"bitwise_{name}" if any(kind in "iu" for kind in kinds) else f"logical_{name}"


class Operators:
    """Python's operators and NumPy's common methods, for everything that can be an op's operand."""

    __slots__ = ()
    if TYPE_CHECKING:

        @property
        def name(self) -> str: ...
        @property
        def type(self) -> TensorType: ...
        @property
        def dims(self) -> tuple[Size, ...]: ...

    __array_priority__ = 1000
    __array_ufunc__ = None

    def __add__(self, other: ArrayLike) -> Value:
        return call("add", self, other)

    def __radd__(self, other: ArrayLike) -> Value:
        return call("add", other, self)

    def __sub__(self, other: ArrayLike) -> Value:
        return call("subtract", self, other)

    def __rsub__(self, other: ArrayLike) -> Value:
        return call("subtract", other, self)

    def __mul__(self, other: ArrayLike) -> Value:
        return call("multiply", self, other)

    def __rmul__(self, other: ArrayLike) -> Value:
        return call("multiply", other, self)

    def __truediv__(self, other: ArrayLike) -> Value:
        return call("divide", self, other)

    def __rtruediv__(self, other: ArrayLike) -> Value:
        return call("divide", other, self)

    def __floordiv__(self, other: ArrayLike) -> Value:
        return call("floor_divide", self, other)

    def __rfloordiv__(self, other: ArrayLike) -> Value:
        return call("floor_divide", other, self)

    def __mod__(self, other: ArrayLike) -> Value:
        return call("mod", self, other)

    def __rmod__(self, other: ArrayLike) -> Value:
        return call("mod", other, self)

    def __pow__(self, other: ArrayLike) -> Value:
        return call("pow", self, other)

    def __rpow__(self, other: ArrayLike) -> Value:
        return call("pow", other, self)

    def __matmul__(self, other: ArrayLike) -> Value:
        return call("matmul", self, other)

    def __rmatmul__(self, other: ArrayLike) -> Value:
        return call("matmul", other, self)

    def __neg__(self) -> Value:
        return call("negative", self)

    def __pos__(self) -> Value:
        return call("identity", self)

    def __abs__(self) -> Value:
        return call("abs", self)

    def __invert__(self) -> Value:
        return call(_logical_or_bitwise("not", self), self)

    def __and__(self, other: ArrayLike) -> Value:
        return call(_logical_or_bitwise("and", self, other), self, other)

    __rand__ = __and__

    def __or__(self, other: ArrayLike) -> Value:
        return call(_logical_or_bitwise("or", self, other), self, other)

    __ror__ = __or__

    def __xor__(self, other: ArrayLike) -> Value:
        return call(_logical_or_bitwise("xor", self, other), self, other)

    __rxor__ = __xor__

    def __lshift__(self, other: ArrayLike) -> Value:
        return call("left_shift", self, other)

    def __rlshift__(self, other: ArrayLike) -> Value:
        return call("left_shift", other, self)

    def __rshift__(self, other: ArrayLike) -> Value:
        return call("right_shift", self, other)

    def __rrshift__(self, other: ArrayLike) -> Value:
        return call("right_shift", other, self)

    def __eq__(self, other: object) -> Value:  # type: ignore[override]
        return call("equal", self, other)

    def __ne__(self, other: object) -> Value:  # type: ignore[override]
        return call("not_equal", self, other)

    def __lt__(self, other: ArrayLike) -> Value:
        return call("less", self, other)

    def __le__(self, other: ArrayLike) -> Value:
        return call("less_equal", self, other)

    def __gt__(self, other: ArrayLike) -> Value:
        return call("greater", self, other)

    def __ge__(self, other: ArrayLike) -> Value:
        return call("greater_equal", self, other)

    __hash__ = object.__hash__

    def __getitem__(self, key: Any) -> Value:
        return call("getitem", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        what = f"{self.name}: {self.type} is a graph value, which does not change"
        hint = "pf.where, pf.scatter_nd and pf.put_along_axis give a new one; a variable changes by assign"
        raise DTypeError(message("setitem", what, user_origin(), hint))

    def __iter__(self) -> Iterator[Value]:
        first = self.type
        if not first.dims or not isinstance(first.dims[0], int):
            raise DTypeError(
                message(
                    "iter", f"cannot iterate over {first}: its first dim is not known", user_origin(), "use pf.split"
                )
            )
        return iter([self[i] for i in range(first.dims[0])])

    def __bool__(self) -> bool:
        raise DTypeError(
            message(
                "bool",
                f"{self.name}: {self.type} is a graph value: it has no truth value while the graph is built",
                user_origin(),
                "use pf.cond to branch, pf.while_loop to loop and pf.where for a choice per element, "
                "or run the graph and test the result",
            )
        )

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise DTypeError(
            message(
                "array",
                f"{self.name}: {self.type} is a graph value and holds no numbers",
                user_origin(),
                "get them with session.run(value), or use the pf function instead of NumPy's",
            )
        )

    def _no_number(self, kind: str) -> DTypeError:
        return DTypeError(
            message(
                kind,
                f"{self.name}: {self.type} is a graph value, not a number",
                user_origin(),
                "use session.run(value)",
            )
        )

    def __int__(self) -> int:
        raise self._no_number("int")

    def __float__(self) -> float:
        raise self._no_number("float")

    def __index__(self) -> int:
        raise self._no_number("index")

    def __len__(self) -> int:
        if self.dims and isinstance(self.dims[0], int):
            return self.dims[0]
        raise DTypeError(
            message("len", f"the length of {self.name}: {self.type} is not known", user_origin(), "use pf.shape")
        )
