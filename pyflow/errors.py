"""The errors that users see, and the one message format.

Every class is also the matching builtin, so ``except ValueError`` keeps working. A message reads
``[softmax] axis 3 is out of range for x: float32[4,8]; expected -2 <= axis < 2   (model.py:12)``: who, what came,
what was expected, the user's line, and, after a line break, how to go on.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from typing import NamedTuple


class PyflowError(Exception):
    """Base of all of pyflow's errors."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class InvalidArgumentError(PyflowError, ValueError):
    """A value, shape or attribute that the op or call does not take."""


class DTypeError(InvalidArgumentError, TypeError):
    """A dtype, or a Python type, that does not fit."""


class OutOfRangeError(PyflowError, IndexError):
    """An index outside its axis."""


class NotFoundError(PyflowError, KeyError):
    """A name that nothing has: a value, a variable, a file's entry, a backend."""


class FailedPreconditionError(PyflowError, RuntimeError):
    """The call is fine but the state is not: an uninitialised variable, a finalized graph, a failed assertion."""


class UnimplementedError(PyflowError, NotImplementedError):
    """No kernel, no gradient or no mapping for what was asked."""


class ResourceExhaustedError(PyflowError, MemoryError):
    """Memory or another resource ran out."""


class DeadlineExceededError(PyflowError, TimeoutError):
    """The run's timeout passed; variables are as they were."""


class CancelledError(PyflowError, RuntimeError):
    """The run was cancelled; variables are as they were."""


class DataLossError(PyflowError, ValueError):
    """A file or plan that is truncated or altered."""


class InternalError(PyflowError, RuntimeError):
    """A bug in pyflow; the message says what to report."""


class GraphGrowthWarning(UserWarning):
    """A loop keeps adding nodes to a graph that is being run."""


class Origin(NamedTuple):
    """Where a node comes from: the user's line and the node's name."""

    file: str
    line: int
    name: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file or self.name


@lru_cache(maxsize=4096)
def _shown_path(path: str) -> str:
    """Relative to the working directory if below it, else the last two parts."""
    absolute, here = os.path.abspath(path), os.path.join(os.getcwd(), "")
    if absolute.startswith(here):
        return absolute[len(here) :]
    return os.sep.join(absolute.split(os.sep)[-2:])


@lru_cache(maxsize=4096)
def _is_ours(module: str) -> bool:
    """Is a line of the module no user's: pyflow's own, or of what Python puts between it and the user?"""
    if module in ("copy", "pickle") or module.partition(".")[0] == "numpy":
        return True
    return module.partition(".")[0] == "pyflow" and not module.startswith("pyflow.demo")


def user_origin(name: str = "") -> Origin:
    """The innermost line that is not pyflow's own."""
    frame = sys._getframe(1)
    while frame is not None and _is_ours(frame.f_globals.get("__name__", "")):
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None:
        return Origin("", 0, name)
    return Origin(_shown_path(frame.f_code.co_filename), frame.f_lineno, name)


def message(op: str, what: str, origin: Origin | None = None, hint: str = "") -> str:
    """The one format: ``[op] what   (file:line)`` and, on its own line, how to go on."""
    text = f"[{op}] {what}"
    if origin is not None and str(origin):
        text += f"   ({origin})"
    return f"{text}\n    {hint}" if hint else text
