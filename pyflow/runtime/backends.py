"""The backends there are: those built in, the two that run Python (host, ref), and plugins."""

from __future__ import annotations

import os
from importlib import metadata

from pyflow import _core
from pyflow.errors import NotFoundError, message, user_origin
from pyflow.runtime import reference

ENTRY_POINTS = "pyflow.backends"
_loaded: set[str] = set()


def list_backends() -> list[str]:
    """Names of every backend; loads those that installed packages offer. Allocates no device memory."""
    for point in metadata.entry_points(group=ENTRY_POINTS):
        if point.value not in _loaded:
            _loaded.add(point.value)
            load_backend(point.load()())
    names: list[str] = _core.backends()
    return names


def get_include() -> str:
    """The folder that holds ``pyflow/backend.h``: give it to the compiler (``-I``) that builds a plugin."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    installed = os.path.join(package, "include")
    return installed if os.path.isdir(installed) else os.path.join(os.path.dirname(package), "csrc", "include")


def get_library_dir() -> str:
    """The folder that holds libpyflow, its CMake package and its pkg-config file."""
    return os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib")


def built_isas() -> list[str]:
    """The ISAs that the kernels were built for, least first."""
    names: list[str] = _core.built_isas()
    return names


def load_backend(path: str | os.PathLike[str]) -> list[str]:
    """Loads a shared library that exports backends or kernels (see docs/add_a_backend.md); returns what it added.

    Raises NotFoundError if there is no such file, FailedPreconditionError if it was built for another ABI.
    """
    if not os.path.isfile(path):
        raise NotFoundError(message("load_backend", f"there is no file {os.fspath(path)!r}", user_origin()))
    added: list[str] = _core.load_plugin(os.path.abspath(path))
    _loaded.add(os.path.abspath(path))
    return added


def are_extended() -> bool:
    """Did plugins add backends or kernels to this process?"""
    return bool(_loaded)


def shares_memory(name: str) -> bool:
    return bool(_core.backend_shares_memory(name))


reference.register()
