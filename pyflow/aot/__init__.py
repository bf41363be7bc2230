"""Ahead of time: a graph's entries as a native library that a C or C++ program links, with no Python beside it."""

from __future__ import annotations

from typing import Any

from pyflow.aot.compiler import Artefact, compile

__all__ = ["Artefact", "compile", "load"]


def load(path: Any) -> Any:
    """The artefact at ``path`` (its manifest, folder or shared library) as callables; needs cffi."""
    from pyflow.aot.loaded import load as implementation

    return implementation(path)
