"""States: what modules hold by name, loaded from arrays of any library, from files and from sessions."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import pyflow as pf
from pyflow import container, dtypes
from pyflow.errors import (
    DTypeError,
    FailedPreconditionError,
    InvalidArgumentError,
    PyflowError,
    message,
    user_origin,
)

if TYPE_CHECKING:
    from pyflow.nn.module import Module

KIND = "state_dict"


class IncompatibleKeys(NamedTuple):
    """What :meth:`Module.load_state_dict` found to be on one side only."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def save_file(state: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Writes a state (``module.state_dict()``) to a safetensors file, which is whole or as it was."""
    container.write(path, KIND, {name: as_array(name, value) for name, value in state.items()}, {})


def load_file(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, whoever wrote it. Raises NotFoundError and DataLossError."""
    return container.arrays_of(path)


def as_array(name: str, value: Any) -> np.ndarray:
    """``value`` as an array; DTypeError names it if it is none. PyTorch's bfloat16 tensors come as float32."""
    if isinstance(value, pf.Tensor):
        return value.numpy()
    for method in ("detach", "cpu"):
        value = getattr(value, method, lambda value=value: value)()
    try:
        array = pf.from_dlpack(value).numpy() if hasattr(value, "__dlpack__") else np.asarray(value)
    except (PyflowError, TypeError, ValueError, RuntimeError) as error:
        if hasattr(value, "float"):
            return np.asarray(value.float())
        what = f"{name}: {type(value).__name__} is no array: {error}"
        raise DTypeError(message("load_state_dict", what, user_origin())) from None
    if not dtypes.is_known(array.dtype) or array.dtype.kind == "O":
        what = f"{name}: expected an array of numbers, got {type(value).__name__} of {array.dtype}"
        raise DTypeError(message("load_state_dict", what, user_origin()))
    return array


def load(module: Module, given: Mapping[str, Any] | str | os.PathLike[str], strict: bool) -> IncompatibleKeys:
    """See :meth:`Module.load_state_dict`."""
    if isinstance(given, (str, os.PathLike)):
        given = load_file(given)
    if not isinstance(given, Mapping):
        what = f"expected a mapping of names to arrays or the name of a file, got {type(given).__name__}"
        raise DTypeError(message("load_state_dict", what, user_origin()))
    own = module.state_dict()
    optional = {f"{path}.{name}" if path else name for path, each in module.named_modules() for name in each.may_lack}
    missing = [name for name in own if name not in given]
    unexpected = [name for name in given if name not in own]
    arrays = {name: as_array(name, given[name]) for name in own if name in given}
    conflicts = [text for name, array in arrays.items() if (text := _conflict(name, own[name], array))]
    lacking = [name for name in missing if name not in optional]
    if conflicts or (strict and (lacking or unexpected)):
        raise _failure(module, lacking if strict else [], unexpected if strict else [], conflicts, own)
    with pf.no_grad():
        for name, array in arrays.items():
            own[name].copy_(array)
    return IncompatibleKeys(missing, unexpected)


def _conflict(name: str, tensor: Any, array: np.ndarray) -> str | None:
    dtype = dtypes.as_dtype(array.dtype)
    fits = dtype.kind == tensor.dtype.kind or dtypes.can_cast_safely(dtype, tensor.dtype)
    if array.shape == tensor.shape and (fits or (dtype.is_floating and tensor.dtype.is_floating)):
        return None
    return f"{name} is {tensor.type}, given {dtype}[{','.join(map(str, array.shape))}]"


def _failure(
    module: Module, missing: Sequence[str], unexpected: Sequence[str], conflicts: Sequence[str], own: Mapping[str, Any]
) -> InvalidArgumentError:
    counts = [(missing, "missing"), (unexpected, "unexpected"), (conflicts, "of another shape or dtype")]
    what = f"the state does not fit {type(module).__name__}: " + ", ".join(
        f"{len(names)} {how}" for names, how in counts if names
    )
    lines = [f"missing: {name}" for name in missing]
    for name in unexpected:
        near = difflib.get_close_matches(name, list(own), 1)
        lines.append(f"unexpected: {name}" + (f" (near: {near[0]})" if near else ""))
    lines += [f"conflict: {text}" for text in conflicts]
    if not conflicts:
        lines.append("strict=False loads what both have")
    return InvalidArgumentError(message("load_state_dict", what, user_origin(), "\n    ".join(lines)))


def _pairs(module: Module, session: Any) -> list[tuple[Any, Any]]:
    """(tensor, variable) of all that the module holds."""
    held = [tensor for _, tensor in (*module.named_parameters(), *module.named_buffers())]
    bound = session.graph.bound
    if any(id(tensor) not in bound for tensor in held):
        what = f"{type(module).__name__} has no variables in the graph of this session"
        hint = "call it with values of that graph first"
        raise FailedPreconditionError(message("nn", what, user_origin(), hint))
    return [bound[id(tensor)] for tensor in held]


def read_from(module: Module, session: Any) -> None:
    """See :meth:`Module.read_from`."""
    pairs = _pairs(module, session)
    known = [(tensor, variable.name) for tensor, variable in pairs if session.state.has(variable.name)]
    if pairs and not known:
        what = f"no variable of {type(module).__name__} has a value in this session"
        raise FailedPreconditionError(message("nn", what, user_origin(), "run the initializer, or a step, first"))
    values = [(tensor, session.state.get(name)) for tensor, name in known]
    with pf.no_grad():
        for tensor, value in values:
            tensor.copy_(value)


def write_to(module: Module, session: Any) -> None:
    """See :meth:`Module.write_to`."""
    for tensor, variable in _pairs(module, session):
        variable.load(tensor.numpy(), session)
