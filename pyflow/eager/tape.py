"""What calls leave behind for gradients: a record per call, and the modes that say whether and how they are left."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from pyflow.errors import FailedPreconditionError, message, user_origin
from pyflow.runtime.eager import native

if TYPE_CHECKING:
    from pyflow.eager.tensor import Tensor


mode: Any = native.mode
"""Of this thread: are calls recorded, with the lines they stand in, and what function is being traced?"""

Record: Any = native.Record
"""One call: what it was given and gave, where gradients of its inputs go, and what knows its gradient."""


class Derivative(Protocol):
    """What knows the gradient of one kind of call."""

    name: str
    is_window: bool
    """The call's result shares its operand's memory."""

    def vjp(self, record: Any, arrived: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """One gradient or None per input of the call; recorded themselves where the mode says so."""
        ...


def failure(record: Any, kind: str, value: Tensor | None, written: int) -> FailedPreconditionError:
    """The error of a gradient that needs what is gone: ``value``, changed ``written`` times since the call."""
    shown = value.type if value is not None else ""
    if kind == "changed":
        what = f"backward needs a value {shown} that was changed in place {written} times after this call"
        return failed(record, what, "change a copy: x = x + y instead of x += y")
    if kind == "window":
        what = f"{shown} is a window on a tensor that was changed in place after the window was made"
        return failed(record, what, "index the tensor anew after the change")
    what = "backward was run through this call before, and what its gradient reads is gone"
    return failed(record, what, "pass retain_graph=True to the first backward")


def failed(record: Any, what: str, hint: str) -> FailedPreconditionError:
    """An error of a call's gradient, with the call's line if that is known."""
    if record.origin is None:
        hint += "; with pf.detect_anomaly() around the calls the error names the line of this one"
    return FailedPreconditionError(message(record.derivative.name, what, record.origin or user_origin(), hint))


class _Setting:
    """A context, or decorator, that sets fields of the mode of this thread."""

    def __init__(self, **values: bool) -> None:
        self._values = values
        self._before: list[dict[str, bool]] = []

    def __enter__(self) -> None:
        self._before.append({name: getattr(mode, name) for name in self._values})
        for name, value in self._values.items():
            setattr(mode, name, value)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, value in self._before.pop().items():
            setattr(mode, name, value)

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
    return mode.recording  # type: ignore[no-any-return]
