"""ONNX models in: ``load`` a model as a graph, ``check`` what it needs, ``backend`` for the standard interface."""

from __future__ import annotations

try:
    import onnx as _onnx  # noqa: F401
except ImportError as _error:
    raise ImportError("pyflow.onnx reads models through the onnx package: pip install 'pyflow[onnx]'") from _error

from pyflow.onnx import backend
from pyflow.onnx.check import Problem, check
from pyflow.onnx.loader import load
from pyflow.onnx.table import onnx_op, supported

__all__ = ["Problem", "backend", "check", "load", "onnx_op", "supported"]
