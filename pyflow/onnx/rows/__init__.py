"""The rows of the importer's table, grouped as the standard's documentation groups its ops."""

from pyflow.onnx.rows import control, image, indexing, math, nn, reduction, sequence, shapes, sources, text

__all__ = ["control", "image", "indexing", "math", "nn", "reduction", "sequence", "shapes", "sources", "text"]
