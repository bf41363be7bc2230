"""Checkpoints: the variables of a session in one safetensors file, written atomically."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyflow import container
from pyflow.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError, message, user_origin
from pyflow.ops.state import Variable

KIND = "checkpoint"


class Saver:
    """Saves and restores variables (default: all of the session's graph).

    max_to_keep: how many checkpoints of one path stay, the newest; 0 keeps all.
    """

    def __init__(self, var_list: Sequence[Variable] | None = None, max_to_keep: int = 5) -> None:
        self.var_list = list(var_list) if var_list is not None else None
        self.max_to_keep = max_to_keep

    def __repr__(self) -> str:
        names = "all variables" if self.var_list is None else ", ".join(variable.name for variable in self.var_list)
        return f"<pf.train.Saver of {names}, max_to_keep={self.max_to_keep}>"

    def _variables(self, session: Any) -> list[Variable]:
        return self.var_list if self.var_list is not None else list(session.graph.variables.values())

    def save(self, session: Any, path: str | os.PathLike[str], global_step: int | None = None) -> str:
        """Writes ``path.safetensors`` or ``path-STEP.safetensors`` and returns its name.

        Raises FailedPreconditionError naming variables without a value; an earlier file stays whole if writing fails.
        """
        variables = self._variables(session)
        without = [variable.name for variable in variables if not session.state.has(variable.name)]
        without = [name for name in without if name not in session.optional_variables]
        if without:
            raise FailedPreconditionError(
                message(
                    "save",
                    f"variables without a value: {', '.join(without)}",
                    user_origin(),
                    "run the initializer first",
                )
            )
        arrays = {v.name: session.state.get(v.name) for v in variables if session.state.has(v.name)}
        base = os.fspath(path).removesuffix(".safetensors")
        full = f"{base}-{global_step}.safetensors" if global_step is not None else f"{base}.safetensors"
        container.write(full, KIND, arrays, {"step": str(global_step if global_step is not None else "")})
        if self.max_to_keep and global_step is not None:
            for old in _checkpoints(base)[: -self.max_to_keep]:
                old.unlink(missing_ok=True)
        return full

    def restore(self, session: Any, path: str | os.PathLike[str]) -> None:
        """Sets the variables from a file; all of them, or none if anything does not fit.

        Raises NotFoundError (file or variable missing, with the nearest names), InvalidArgumentError (shape or dtype),
        DataLossError (truncated or altered).
        """
        full = os.fspath(path)
        if not Path(full).is_file() and Path(full + ".safetensors").is_file():
            full += ".safetensors"
        arrays, _ = container.read(full, KIND)
        values = {}
        for variable in self._variables(session):
            array = arrays.get(variable.name)
            if array is None:
                if variable.name in session.optional_variables:
                    continue
                near = difflib.get_close_matches(variable.name, arrays, 3)
                raise NotFoundError(
                    message(
                        "restore",
                        f"{full!r} has no variable {variable.name!r}",
                        user_origin(),
                        f"nearest: {near or sorted(arrays)[:5]}",
                    )
                )
            if array.shape != variable.dims or array.dtype != variable.dtype.numpy:
                raise InvalidArgumentError(
                    message(
                        "restore",
                        f"{variable.name} is {variable.type}; the file has {array.dtype}{list(array.shape)}",
                        user_origin(),
                    )
                )
            values[variable.name] = array
        for name, array in values.items():
            session.state.set(name, array)


def _checkpoints(base: str) -> list[Path]:
    """``base-STEP.safetensors`` files, oldest step first."""
    name = re.compile(re.escape(Path(base).name) + r"-(\d+)\.safetensors\Z")
    parent = Path(base).parent
    found = [(int(match.group(1)), entry) for entry in parent.iterdir() if (match := name.match(entry.name))]
    return [entry for _, entry in sorted(found)]


def latest_checkpoint(path: str | os.PathLike[str]) -> str | None:
    """The newest ``path-STEP.safetensors``, or None."""
    if not Path(path).parent.is_dir():
        return None
    found = _checkpoints(os.fspath(path))
    return str(found[-1]) if found else None
