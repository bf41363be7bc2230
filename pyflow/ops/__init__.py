"""Every op: importing this package defines them all."""

from __future__ import annotations

from importlib import import_module

PUBLIC = (
    "elementwise.activation",
    "elementwise.activation_variants",
    "layers.adaptive",
    "arrays.arranging",
    "layers.attention",
    "elementwise.bitcast",
    "arrays.editing",
    "randoms.families",
    "layers.margins",
    "names",
    "elementwise.normal",
    "reductions.segments",
    "elementwise.bitwise",
    "objects.callback",
    "elementwise.casting",
    "elementwise.complex",
    "layers.conv",
    "layers.conv_nd",
    "arrays.creation",
    "reductions.cumulative",
    "objects.debug",
    "images.detection",
    "randoms.distributions",
    "linear.einsum",
    "layers.embedding",
    "elementwise.floating",
    "arrays.indexing",
    "arrays.joining",
    "linear.products",
    "elementwise.logic",
    "layers.loss",
    "layers.losses",
    "elementwise.arithmetic",
    "linear.matrices",
    "layers.normalization",
    "layers.norms",
    "arrays.padding",
    "images.pictures",
    "layers.pool",
    "layers.pool_nd",
    "layers.quantize",
    "randoms.draws",
    "images.pixels",
    "reductions.reduce",
    "images.resize",
    "images.roi",
    "images.sampling",
    "arrays.scatter",
    "objects.sequences",
    "arrays.shape",
    "linear.signal_windows",
    "sizes",
    "arrays.slicing",
    "layers.sliding",
    "arrays.sorting",
    "elementwise.special",
    "reductions.statistics",
    "elementwise.trigonometry",
)
"""Modules whose ``__all__`` users see."""
INTERNAL = (
    "internal.attend",
    "internal.fused",
    "internal.narrowed",
    "internal.packed",
    "internal.rows",
    "internal.transfer",
    "internal.expanded",
    "internal.winograd",
)
"""Modules of ops that only passes make."""

NAMESPACES = ("linear.fft", "linear.linalg", "objects.strings")
"""Modules that are users' namespaces by themselves."""

for _module in (*INTERNAL, *NAMESPACES, "sources", "state"):
    import_module(f"{__name__}.{_module}")

NAMES = tuple(name for module in PUBLIC for name in import_module(f"{__name__}.{module}").__all__)
"""Users' functions of all ops."""
