"""State: the values of variables, kept from run to run; sessions may share one."""

from __future__ import annotations

import difflib

import numpy as np

from pyflow import _core
from pyflow.errors import NotFoundError, message, user_origin
from pyflow.opdef import TensorType


class State:
    """Variables by name. One run writes at a time; a failed run leaves everything as it was."""

    def __init__(self) -> None:
        self.native = _core.State()

    def declare(self, name: str, type: TensorType) -> None:
        """Makes room for a variable; again with another dtype or shape is an error."""
        self.native.declare(name, type.dtype.code, list(type.dims))

    def names(self) -> list[str]:
        """Of the variables that have a value."""
        return [name for name in self.native.names() if self.native.has(name)]

    def has(self, name: str) -> bool:
        return bool(self.native.has(name))

    def get(self, name: str) -> np.ndarray:
        """A copy of the value; NotFoundError if there is none."""
        if not self.native.has(name):
            near = difflib.get_close_matches(name, self.names(), 3)
            raise NotFoundError(
                message(
                    "state",
                    f"variable {name!r} has no value",
                    user_origin(),
                    f"nearest: {near}" if near else "run the initializer",
                )
            )
        value: np.ndarray = self.native.get(name)
        return value

    def set(self, name: str, value: np.ndarray) -> None:
        """Copies ``value`` in; its shape and dtype must be those the variable was declared with, if it was."""
        self.native.set(name, np.ascontiguousarray(value).reshape(np.shape(value)))

    def __repr__(self) -> str:
        return f"<pf.State of {len(self.names())} variables>"
