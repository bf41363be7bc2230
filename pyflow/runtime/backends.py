"""The backends there are: those built in, the two that run Python (host, ref), and plugins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np

from pyflow import _core
from pyflow.errors import NotFoundError, message, user_origin

ENTRY_POINTS = "pyflow.backends"
_loaded: set[str] = set()


def list_backends() -> list[str]:
    """Names of every backend; loads those that installed packages offer. Allocates no device memory."""
    for point in metadata.entry_points(group=ENTRY_POINTS):
        if point.value not in _loaded:
            _loaded.add(point.value)
            load_backend(point.load()())
    return [entry["name"] if isinstance(entry, dict) else str(entry) for entry in _core.backends()]


def load_backend(path: str | os.PathLike[str]) -> list[str]:
    """Loads a shared library that exports backends or kernels (see docs/add_a_backend.md); returns what it added.

    Raises NotFoundError if there is no such file, FailedPreconditionError if it was built for another ABI.
    """
    if not os.path.isfile(path):
        raise NotFoundError(message("load_backend", f"there is no file {os.fspath(path)!r}", user_origin()))
    added: list[str] = _core.load_plugin(os.path.abspath(path))
    return added


def shares_memory(name: str) -> bool:
    return bool(_core.backend_shares_memory(name))


def _print_step(text: str, inputs: Sequence[np.ndarray]) -> None:
    lead = f"{text} " if text else ""
    shown = ", ".join(f"{array.dtype}{list(array.shape)} {np.array2string(array, threshold=20)}" for array in inputs)
    print(lead + shown, flush=True)


def run_host(
    kernel: str, text: str, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray], *attributes: Any
) -> None:
    """A step placed on the host: prints."""
    if kernel != "print":
        raise NotFoundError(message(kernel, "the host runs no such step"))
    _print_step(text, inputs)
    for target, source in zip(outputs, inputs, strict=False):
        target[...] = source
