"""What calls leave behind for gradients: a record per call, and the modes that say whether and how they are left."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pyflow.errors import FailedPreconditionError, Origin, message, user_origin

if TYPE_CHECKING:
    from pyflow.eager.tensor import Tensor


class _Mode(threading.local):
    recording = True
    anomaly = False


mode = _Mode()
"""Of this thread: are calls recorded, and with the lines they stand in?"""

_numbers = itertools.count()


class Version:
    """How often a storage was written; tensors that share memory share it."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Saved:
    """A value that a gradient may read: its array, and the version that it had."""

    __slots__ = ("array", "count", "dtype", "version")

    def __init__(self, tensor: Tensor) -> None:
        self.array = tensor._array
        self.dtype = tensor._dtype
        self.version = tensor._version
        self.count = tensor._version.count

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, np.shape(self.array)))}]"


class Derivative(Protocol):
    """What knows the gradient of one kind of call."""

    name: str
    is_window: bool
    """The call's result shares its operand's memory."""

    def vjp(self, record: Record, arrived: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """One gradient or None per input of the call; recorded themselves where the mode says so."""
        ...


class Edge:
    """Where the gradient of an input goes: to a leaf, or to output ``index`` of another record."""

    __slots__ = ("index", "leaf", "record")

    def __init__(self, tensor: Tensor) -> None:
        self.record = tensor._record
        self.index = tensor._index
        self.leaf = tensor if tensor._record is None and tensor._requires_grad else None
        if self.record is not None and self.record.derivative.is_window and self.record.made:
            self.record.check_window()

    @property
    def flows(self) -> bool:
        return self.record is not None or self.leaf is not None


class Record:
    """One call: what it was given and gave, where gradients of its inputs go, and what knows its gradient."""

    __slots__ = ("derivative", "edges", "extra", "given", "hooks", "made", "number", "origin", "types")

    def __init__(
        self, derivative: Derivative, inputs: Sequence[Tensor], outputs: Sequence[Tensor], extra: Any = None
    ) -> None:
        self.number = next(_numbers)
        self.derivative = derivative
        self.edges: tuple[Edge, ...] | None = tuple(map(Edge, inputs))
        self.given: tuple[Saved, ...] = tuple(map(Saved, inputs))
        self.made: tuple[Saved, ...] = tuple(map(Saved, outputs))
        self.extra = extra
        self.types = tuple((tensor._dtype, tensor.shape) for tensor in outputs)
        self.hooks: dict[int, list[Callable[[Tensor], Tensor | None]]] | None = None
        self.origin: Origin | None = user_origin() if mode.anomaly else None

    def release(self) -> None:
        """Forgets everything: the gradient cannot be asked for again."""
        self.edges = None
        self.given = self.made = ()
        self.extra = None

    def check_unchanged(self, saved: Saved) -> None:
        """Raises if ``saved``, which the gradient reads, was written since the call."""
        if saved.version.count != saved.count:
            written = saved.version.count - saved.count
            what = f"backward needs a value {saved} that was changed in place {written} times after this call"
            raise self.failure(what, "change a copy: x = x + y instead of x += y")

    def check_window(self) -> None:
        """Raises if the memory that this call's result shares was written since: its gradient would be another's."""
        if self.made[0].version.count != self.made[0].count:
            what = f"{self.made[0]} is a window on a tensor that was changed in place after the window was made"
            raise self.failure(what, "index the tensor anew after the change")

    def failure(self, what: str, hint: str) -> FailedPreconditionError:
        """An error of this call's gradient, with its line if that is known."""
        if self.origin is None:
            hint += "; with pf.detect_anomaly() around the calls the error names the line of this one"
        return FailedPreconditionError(message(self.derivative.name, what, self.origin or user_origin(), hint))


class _Setting:
    """A context, or decorator, that sets fields of the mode of this thread."""

    def __init__(self, **values: bool) -> None:
        self._values = values
        self._before: list[dict[str, bool]] = []

    def __enter__(self) -> None:
        self._before.append({name: getattr(mode, name) for name in self._values})
        mode.__dict__.update(self._values)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        mode.__dict__.update(self._before.pop())

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with _Setting(**self._values):
                return function(*args, **kwargs)

        return inside


def no_grad() -> _Setting:
    """A context, or decorator, in which calls are not recorded; of this thread only."""
    return _Setting(recording=False)


def enable_grad() -> _Setting:
    """A context, or decorator, in which calls are recorded, also inside of ``no_grad``."""
    return _Setting(recording=True)


def detect_anomaly() -> _Setting:
    """A context in which calls keep their lines, and a backward that makes a NaN raises FailedPreconditionError with
    the line of the forward call. Calls are slower in it."""
    return _Setting(anomaly=True)


def is_grad_enabled() -> bool:
    """Are calls recorded in this thread?"""
    return mode.recording
