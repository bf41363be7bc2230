"""ONNX models in: ``load`` a model as a graph, ``check`` what it needs, ``backend`` for the standard interface."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if find_spec("onnx") is None:
    raise ImportError("pyflow.onnx reads models through the onnx package: pip install 'pyflow[onnx]'")

from pyflow.onnx.unread import load

if TYPE_CHECKING:
    from pyflow.onnx import backend
    from pyflow.onnx.checking import Problem, check
    from pyflow.onnx.table import onnx_op, supported

__all__ = ["Problem", "backend", "check", "load", "onnx_op", "supported"]
_PLACES = {"Problem": "checking", "check": "checking", "onnx_op": "table", "supported": "table"}


def __getattr__(name: str) -> Any:
    """What needs the onnx package is imported when it is first used: a plan that was kept needs it not."""
    if name == "backend":
        return import_module("pyflow.onnx.backend")
    if name not in _PLACES:
        raise AttributeError(f"module 'pyflow.onnx' has no attribute {name!r}")
    import_module("pyflow.onnx.loader")
    found = getattr(import_module(f"pyflow.onnx.{_PLACES[name]}"), name)
    globals()[name] = found
    return found
