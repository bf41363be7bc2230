"""Every op: importing this package defines them all."""

from __future__ import annotations

from importlib import import_module

PUBLIC = (
    "activation",
    "adaptive",
    "bitwise",
    "conv",
    "conv_nd",
    "creation",
    "debug",
    "floating",
    "indexing",
    "joining",
    "linear",
    "logic",
    "loss",
    "math",
    "matrices",
    "normalization",
    "pool",
    "pool_nd",
    "random",
    "reduction",
    "shape",
    "sizes",
    "slicing",
    "sliding",
    "special",
    "trigonometry",
)
"""Modules whose ``__all__`` users see."""
INTERNAL = ("fused", "packed", "transfer")
"""Modules of ops that only passes make."""

for _module in (*INTERNAL, "sources", "state"):
    import_module(f"{__name__}.{_module}")

NAMES = tuple(name for module in PUBLIC for name in import_module(f"{__name__}.{module}").__all__)
"""Users' functions of all ops."""
