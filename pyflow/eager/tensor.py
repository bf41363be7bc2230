"""Tensor: a value that holds its numbers. Ops on tensors run when they are called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pyflow import dtypes
from pyflow.dtypes import DType
from pyflow.eager.tape import mode
from pyflow.errors import DTypeError, FailedPreconditionError, InvalidArgumentError, PyflowError, message, user_origin
from pyflow.objects import as_objects
from pyflow.opdef import FUNCTIONS, TensorType, call
from pyflow.operators import Operators
from pyflow.ops.sources import array_of
from pyflow.runtime.eager import native

if TYPE_CHECKING:

    class _Base:
        _array: Any
        _dtype: DType
        _requires_grad: bool
        """It requires a gradient, or is the result of a recorded call."""
        _version: Any
        """Of its memory: how often that was changed in place."""
        _record: Any
        _index: int
        _grad: Tensor | None
        _hooks: list[Callable[[Tensor], Tensor | None]] | None
        dtype: DType
        shape: tuple[int, ...]

        @classmethod
        def _of(cls, array: Any, dtype: DType, version: Any = None) -> Tensor: ...
        def _take(self, other: Tensor) -> None: ...

else:
    _Base = native.TensorBase


class Tensor(_Base, Operators):
    """An array that ops run on at once. Made by :func:`pyflow.tensor`; has NumPy's operators, indexing and methods.

    requires_grad: calls that it goes into are recorded, for :meth:`backward`. grad: where that puts its gradient.
    Tensors that share memory (views, ``detach``, ``from_numpy``) see each other's changes.
    """

    if TYPE_CHECKING:  # the methods of eager/methods.py

        def __getattr__(self, name: str) -> Any: ...

    else:
        __slots__ = ()

    _is_parameter = False
    """It was made by ``pf.nn.Parameter``."""

    def __init__(self, data: Any, dtype: Any = None, requires_grad: bool = False) -> None:
        self._take(tensor(data, dtype, requires_grad))

    @property
    def type(self) -> TensorType:
        return TensorType(self._dtype, self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self._dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.itemsize

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one element to the next, per axis."""
        return () if self._dtype is dtypes.variant else self._array.strides  # type: ignore[no-any-return]

    @property
    def T(self) -> Tensor:
        """The tensor with its axes reversed."""
        return call("transpose", self)  # type: ignore[no-any-return]

    # What it holds.

    def numpy(self) -> np.ndarray:
        """The array itself, not a copy; read-only where the tensor requires a gradient. A sequence is a list."""
        if not self.requires_grad:
            return self._array  # type: ignore[no-any-return]
        view: np.ndarray = self._array.view()
        view.flags.writeable = False
        return view

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        if dtype is not None and np.dtype(dtype) != array.dtype:
            if copy is False:
                raise ValueError(f"{self.type} as an array of {np.dtype(dtype)} is a copy")
            return array.astype(dtype)
        return array.copy() if copy else array

    def __dlpack__(self, **options: Any) -> Any:
        """The memory itself, for another library; it lives as long as that uses it."""
        if self._dtype.is_object or self._dtype.numpy.num >= 256:
            what = f"{self.type} has no DLPack form"
            raise DTypeError(message("dlpack", what, user_origin(), "cast it with x.astype first"))
        return self.numpy().__dlpack__(**options)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:  # type: ignore[override]
        """NumPy's functions of arrays and tensors are the ops of their names."""
        function = FUNCTIONS.get(_UFUNCS.get(ufunc.__name__, ufunc.__name__))
        if method != "__call__" or options or function is None:
            return NotImplemented
        return function(*inputs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def tolist(self) -> Any:
        """Nested lists of Python numbers or text."""
        return self._array.tolist()

    def item(self, *index: int) -> Any:
        """The one element, or that at ``index``, as a Python number."""
        if not index and self.size != 1:
            what = f"expected one element, got {self.type}"
            raise InvalidArgumentError(message("item", what, user_origin(), "index it, or use tolist()"))
        return self._array.item(*index)

    def _number(self, kind: str, convert: Callable[[Any], Any]) -> Any:
        if self.size != 1 or self._dtype.is_object:
            what = f"{self.type} is not one number"
            raise DTypeError(message(kind, what, user_origin(), "reduce or index it first"))
        return convert(self._array.item())

    def __int__(self) -> int:
        return self._number("int", int)  # type: ignore[no-any-return]

    def __float__(self) -> float:
        return self._number("float", float)  # type: ignore[no-any-return]

    def __complex__(self) -> complex:
        return self._number("complex", complex)  # type: ignore[no-any-return]

    def __index__(self) -> int:
        if not self._dtype.is_integer or self.ndim:
            what = f"expected one integer, got {self.type}"
            raise DTypeError(message("index", what, user_origin()))
        return self._number("index", int)  # type: ignore[no-any-return]

    def __bool__(self) -> bool:
        if self.size != 1:
            what = f"the truth value of {self.type} is ambiguous"
            raise InvalidArgumentError(message("bool", what, user_origin(), "use pf.all(x) or pf.any(x)"))
        return bool(self._array.item())

    def __len__(self) -> int:
        if not self.ndim:
            raise DTypeError(message("len", f"{self.type} has no length", user_origin()))
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:  # type: ignore[override]
        if not self.ndim:
            raise DTypeError(message("iter", f"cannot iterate over {self.type}", user_origin()))
        return (self[i] for i in range(self.shape[0]))  # type: ignore[misc]

    def __contains__(self, value: Any) -> bool:
        return bool(np.any(self._array == np.asarray(value)))

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.size == 1 else format(str(self), spec)

    def __repr__(self) -> str:
        if self._dtype is dtypes.variant:
            return f"tensor({self._array!r}, dtype=variant)"
        prefix = "tensor("
        shown = np.array2string(self._array, separator=", ", prefix=prefix, threshold=1000)
        rest = [f"dtype={self._dtype}"]
        if self.size == 0 and self.ndim > 1:
            rest.append(f"shape={self.shape}")
        if self._record is not None:
            rest.append(f"from {self._record.derivative.name}")
        elif self._requires_grad:
            rest.append("requires_grad=True")
        return f"{prefix}{shown}, {', '.join(rest)})"

    def __reduce__(self) -> tuple[Any, ...]:
        requires_grad = self._requires_grad and self._record is None
        return (_restored, (self._array, self._dtype.name, requires_grad, self._is_parameter))

    def __copy__(self) -> Tensor:
        return self.clone()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self._record is not None:
            what = f"{self.type} is the result of {self._record.derivative.name}: a copy of it would lose its gradient"
            raise FailedPreconditionError(message("deepcopy", what, user_origin(), "copy x.detach()"))
        made = memo[id(self)] = _restored(self._array.copy(), self._dtype.name, self._requires_grad, self._is_parameter)
        if self._grad is not None:
            made._grad = Tensor._of(self._grad._array.copy(), self._dtype)
        return made

    # Gradients.

    @property
    def requires_grad(self) -> bool:
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if self._record is not None:
            if not wanted:
                what = f"{self.type} is the result of {self._record.derivative.name}"
                raise FailedPreconditionError(message("requires_grad", what, user_origin(), "use x.detach()"))
            return
        if wanted and not self._dtype.is_inexact:
            what = f"{self.type} can have no gradient"
            raise DTypeError(message("requires_grad", what, user_origin(), "make it floating: x.astype(pf.float32)"))
        self._requires_grad = bool(wanted)

    def requires_grad_(self, wanted: bool = True) -> Tensor:
        """Sets :attr:`requires_grad`; gives the tensor itself."""
        self.requires_grad = wanted
        return self

    @property
    def is_leaf(self) -> bool:
        """It is not the result of a recorded call."""
        return self._record is None

    @property
    def grad(self) -> Tensor | None:
        """The sum of the gradients of all backward calls since it was set to None."""
        capture = mode.capture
        return self._grad if capture is None else capture.gradient_of(self)

    @grad.setter
    def grad(self, value: Any) -> None:
        capture = mode.capture
        kind: Any = Tensor if capture is None else Operators
        if value is not None and (not isinstance(value, kind) or value.type != self.type):
            shown = value.type if isinstance(value, Operators) else repr(value)
            raise DTypeError(message("grad", f"expected a tensor {self.type}, got {shown}", user_origin()))
        if capture is None:
            self._grad = value
        else:
            capture.leave_gradient(self, capture.within(value))

    def detach(self) -> Tensor:
        """The same memory; no gradient flows through it."""
        return Tensor._of(self._array, self._dtype, self._version)

    def clone(self) -> Tensor:
        """A copy, through which gradients flow."""
        return call("identity", self)  # type: ignore[no-any-return]

    copy = clone

    def retain_grad(self) -> None:
        """The gradient that arrives here goes to :attr:`grad` too, though it is no leaf."""
        if self._record is not None:
            self.register_hook(lambda gradient: setattr(self, "_grad", gradient))

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Hook:
        """``hook(gradient)`` is called with the gradient by this tensor; what it gives, unless it is None, takes the
        gradient's place. ``.remove()`` of the result takes it away."""
        if not self.requires_grad:
            what = f"{self.type} does not require a gradient"
            raise FailedPreconditionError(message("register_hook", what, user_origin()))
        if self._record is not None:
            if self._record.hooks is None:
                self._record.hooks = {}
            hooks = self._record.hooks.setdefault(self._index, [])
        else:
            if self._hooks is None:
                self._hooks = []
            hooks = self._hooks
        hooks.append(hook)
        return Hook(hooks, hook)

    def backward(self, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
        """Adds the gradient of this tensor to ``.grad`` of every leaf that it depends on.

        gradient: what flows in; needed unless it is one real number. retain_graph: backward may run again.
        create_graph: the gradients can be differentiated.
        Raises FailedPreconditionError if it ran before, if nothing here requires a gradient, or if a value that a
        gradient reads was changed in place.
        """
        from pyflow.eager.backward import backward

        backward(self, gradient, retain_graph, create_graph)


_UFUNCS = {"absolute": "abs", "true_divide": "divide", "power": "pow", "remainder": "mod", "rint": "round"}
"""NumPy's names of ops that have another."""


class Hook:
    """A registered hook."""

    __slots__ = ("_hook", "_hooks")

    def __init__(self, hooks: list[Any], hook: Any) -> None:
        self._hooks, self._hook = hooks, hook

    def remove(self) -> None:
        """It is not called any more."""
        if self._hook in self._hooks:
            self._hooks.remove(self._hook)


def _restored(array: Any, dtype: str, requires_grad: bool, is_parameter: bool = False) -> Tensor:
    made = Tensor._of(array, dtypes.BY_NAME[dtype])
    made._requires_grad = requires_grad
    if is_parameter:
        made._is_parameter = True
    return made


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor of ``data``, which is copied: numbers, text, nested lists of them, an array or a tensor.

    Python's floats become float32 and ints int64 unless ``dtype`` says otherwise; arrays keep their dtype. A list as
    ``pf.variant`` is a sequence. Raises DTypeError for data that ``dtype`` does not hold.
    """
    if isinstance(data, (list, tuple)) and any(isinstance(entry, Tensor) for entry in data):
        data = _nested(data)
    if dtype is not None and dtypes.as_dtype(dtype) is dtypes.variant:
        content = as_objects(data, dtypes.variant)[()]
        return Tensor._of(list(content) if isinstance(content, tuple) else content, dtypes.variant)
    if isinstance(data, Tensor):
        data = data._array
    array = array_of(data, dtype, "tensor")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    array = _in_lines(array)
    made = Tensor._of(array, dtypes.as_dtype(array.dtype))
    if requires_grad:
        made.requires_grad = True
    return made


LARGE = 1 << 16
"""Bytes from which memory begins with a cache line: vectors that cross lines are slow."""


def _in_lines(array: np.ndarray) -> np.ndarray:
    """The array, or a copy of a large one of numbers that does not begin with a cache line."""
    if array.nbytes < LARGE or array.dtype.kind == "O" or array.ctypes.data % 64 == 0:
        return array
    made: np.ndarray = native.empty(dtypes.as_dtype(array.dtype).code, array.shape)
    np.copyto(made, array)
    return made


def _nested(data: Any) -> Any:
    """Lists with arrays for the tensors in them; those of no axes as they promote."""
    arrays = [entry._array if isinstance(entry, Tensor) else entry for entry in data]
    if all(isinstance(entry, np.ndarray) for entry in arrays):
        return np.array(arrays)
    return [entry.tolist() if isinstance(entry, np.ndarray) else entry for entry in arrays]


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor of the memory of ``array``, which sees its changes; read-only if the array is."""
    if not isinstance(array, np.ndarray):
        what = f"expected an array, got {type(array).__name__}"
        raise DTypeError(message("from_numpy", what, user_origin(), "use pf.tensor"))
    if not dtypes.is_known(array.dtype) or not array.dtype.isnative or array.dtype.kind == "O":
        what = f"an array of {array.dtype} has no tensor of its memory"
        raise DTypeError(message("from_numpy", what, user_origin(), "use pf.tensor, which copies and converts"))
    return Tensor._of(array, dtypes.as_dtype(array.dtype))


def from_dlpack(data: Any) -> Tensor:
    """A tensor of the memory of ``data``, anything with ``__dlpack__`` in host memory; read-only if that is."""
    if isinstance(data, Tensor):
        return data.detach()
    try:
        return from_numpy(np.from_dlpack(data))
    except PyflowError:
        raise
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError) as error:
        what = f"{type(data).__name__} cannot be taken: {error}"
        raise DTypeError(message("from_dlpack", what, user_origin(), "copy it: pf.tensor(numpy.asarray(x))")) from None


def needs_record(tensors: Sequence[Tensor]) -> bool:
    """Would a gradient flow through a call on these?"""
    return any([each._requires_grad for each in tensors]) and mode.recording


attach = native.attach
"""attach(record, outputs): the outputs of floating dtypes are what the recorded call gave."""


def is_window(array: Any) -> bool:
    """Is the memory of ``array`` that of another array?"""
    return isinstance(array, np.ndarray) and isinstance(array.base, np.ndarray)
