"""The rows of the importer's table, grouped as the standard's documentation groups its ops."""

from pyflow.onnx.rows import (
    control,
    detection,
    image,
    indexing,
    math,
    ml,
    nn,
    quant,
    recurrent,
    reduction,
    sequence,
    shapes,
    signal,
    sources,
    text,
    training,
)

__all__ = [
    "control",
    "detection",
    "image",
    "indexing",
    "math",
    "ml",
    "nn",
    "quant",
    "recurrent",
    "reduction",
    "sequence",
    "shapes",
    "signal",
    "sources",
    "text",
    "training",
]
