"""Every op: importing this package defines them all. Users' functions are its names."""
# ruff: noqa: F403

from __future__ import annotations

from importlib import import_module

from pyflow.ops.activation import *
from pyflow.ops.conv import *
from pyflow.ops.debug import *
from pyflow.ops.indexing import *
from pyflow.ops.joining import *
from pyflow.ops.linear import *
from pyflow.ops.logic import *
from pyflow.ops.loss import *
from pyflow.ops.math import *
from pyflow.ops.normalization import *
from pyflow.ops.pool import *
from pyflow.ops.random import *
from pyflow.ops.reduction import *
from pyflow.ops.shape import *
from pyflow.ops.sizes import *
from pyflow.ops.slicing import *
from pyflow.ops.sources import constant, placeholder, placeholder_with_default
from pyflow.ops.state import (
    Variable,
    global_variables,
    global_variables_initializer,
    group,
    no_op,
    set_random_seed,
    trainable_variables,
)

PUBLIC = (
    "activation",
    "conv",
    "debug",
    "indexing",
    "joining",
    "linear",
    "logic",
    "loss",
    "math",
    "normalization",
    "pool",
    "random",
    "reduction",
    "shape",
    "sizes",
    "slicing",
)
"""Modules whose ``__all__`` users see."""
INTERNAL = ("fused", "packed", "transfer")
"""Modules of ops that only passes make."""

for _module in INTERNAL:
    import_module(f"{__name__}.{_module}")

__all__ = [
    "Variable",
    "constant",
    "global_variables",
    "global_variables_initializer",
    "group",
    "no_op",
    "placeholder",
    "placeholder_with_default",
    "set_random_seed",
    "trainable_variables",
    *(name for module in PUBLIC for name in import_module(f"{__name__}.{module}").__all__),
]
