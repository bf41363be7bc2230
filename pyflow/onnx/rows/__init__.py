"""The rows of the importer's table, grouped as the standard's documentation groups its ops."""

from pyflow.onnx.rows import math, nn, reduction, shapes, sources

__all__ = ["math", "nn", "reduction", "shapes", "sources"]
