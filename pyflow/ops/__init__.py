"""Every op: importing this package defines them all."""

from __future__ import annotations

from importlib import import_module

PUBLIC = (
    "activation",
    "activation_kinds",
    "adaptive",
    "arranging",
    "attention",
    "bitcast",
    "bitwise",
    "callback",
    "casting",
    "complex",
    "conv",
    "conv_nd",
    "creation",
    "cumulative",
    "debug",
    "detection",
    "distributions",
    "einsum",
    "embedding",
    "floating",
    "indexing",
    "joining",
    "linear",
    "logic",
    "loss",
    "losses",
    "math",
    "matrices",
    "normalization",
    "norms",
    "padding",
    "pictures",
    "pool",
    "pool_nd",
    "quantize",
    "random",
    "rearrange",
    "reduction",
    "resize",
    "roi",
    "sampling",
    "scatter",
    "sequences",
    "shape",
    "signal_windows",
    "sizes",
    "slicing",
    "sliding",
    "sorting",
    "special",
    "statistics",
    "trigonometry",
)
"""Modules whose ``__all__`` users see."""
INTERNAL = ("fused", "narrowed", "packed", "rows", "transfer")
"""Modules of ops that only passes make."""

NAMESPACES = ("fft", "linalg", "strings")
"""Modules that are users' namespaces by themselves."""

for _module in (*INTERNAL, *NAMESPACES, "sources", "state"):
    import_module(f"{__name__}.{_module}")

NAMES = tuple(name for module in PUBLIC for name in import_module(f"{__name__}.{module}").__all__)
"""Users' functions of all ops."""
