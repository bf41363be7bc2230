"""infer: what is known of small integer values takes the place of the nodes that compute them.

Types and contents are inferred anew where an operand's changed, so Shape -> Gather -> Concat chains become sizes.
"""

from __future__ import annotations

import numpy as np

from pyflow import dtypes
from pyflow.graph import Node, Value
from pyflow.opdef import OpDef, call
from pyflow.region import Region
from pyflow.rewrite import Rule, constant_of, rewrite
from pyflow.target import Target

SETTLED = frozenset({"constant", "sizes", "input"})
"""Where known values come from; these stay."""


def _may_be_known(op: OpDef) -> bool:
    return op.content is not None and op.name not in SETTLED and not op.effect


def _known_content(node: Node) -> Value | None:
    if len(node.outputs) != 1 or node.contents[0] is None:
        return None
    value, content = node.outputs[0], node.contents[0]
    scalar = not isinstance(content, tuple)
    if value.ndim != (0 if scalar else 1):
        return None
    if node.op.is_fallible(node):
        return None
    entries = (content,) if scalar else content
    if all(isinstance(entry, int) for entry in entries):
        return constant_of(np.array(content, value.dtype.numpy))
    made: Value = call("sizes", entries, scalar=scalar)
    return made if value.dtype is dtypes.int64 else call("cast", made, value.dtype)


def _known_sizes(node: Node) -> Value | None:
    entries = node.attrs["values"]
    if not all(isinstance(entry, int) for entry in entries):
        return None
    return constant_of(np.array(entries[0] if node.attrs["scalar"] else entries, np.int64))


INFER_RULES: tuple[Rule, ...] = (
    Rule("known_sizes", ("sizes",), _known_sizes, why="sizes that are all numbers are a constant"),
    Rule("known_content", _may_be_known, _known_content, why="the value is known while the graph is built"),
)


def infer(region: Region, target: Target) -> Region:
    """``region`` with known integer values as ``constant`` and ``sizes`` nodes."""
    return rewrite(region, INFER_RULES, target.numerics)
