"""expand: a 1 x 1 convolution and the depthwise one that alone reads it become one op.

What lies between them is the largest image of a mobile network: written and read as a whole it goes through memory,
row by row it stays in the cache. Every element is the chain that it was, so the rule is exact.
"""

from __future__ import annotations

import math

from pyflow import dims
from pyflow.algebra import number
from pyflow.graph import Node, Value
from pyflow.opdef import OPS
from pyflow.ops.internal.packed import PANEL, is_depthwise
from pyflow.ops.layers.windows import windows
from pyflow.region import Alone, Region
from pyflow.rewrite import Rule, also_from, rewrite, shown
from pyflow.target import Target

LEAST_BYTES = 512 * 1024
"""Of an image between the two: smaller ones stay in the cache as they are."""


def _bounds(node: Node) -> tuple[float, float] | None:
    """What an activation cuts to."""
    if node.op.name == "relu":
        return 0.0, math.inf
    if node.op.name != "clip":
        return None
    low, high = map(number, node.inputs[1:])
    return None if low is None or high is None or math.isnan(low) or math.isnan(high) else (low, high)


def _is_plain(node: Node) -> bool:
    attrs = node.attrs
    if attrs["kernel"] != (1, 1) or attrs["stride"] != (1, 1) or attrs["groups"] != 1:
        return False
    out, before = windows(node.inputs[0].dims[1:3], (1, 1), (1, 1), attrs["padding"], (1, 1))
    return attrs["data_format"] == "NHWC" and before == (0, 0) and out == node.inputs[0].dims[1:3]


class _Expand:
    def __init__(self, region: Region, target: Target) -> None:
        self.table = region.table
        self.target = target
        self.alone = Alone(region)

    def depthwise(self, node: Node) -> Value | None:
        wide, channels = node.inputs[0], node.attrs["channels"]
        if node.attrs["data_format"] != "NHWC" or not is_depthwise(node) or channels % PANEL:
            return None
        size = dims.hint_of(dims.product(wide.dims[1:]))
        if size is None or size * wide.dtype.itemsize < LEAST_BYTES:
            return None
        inside = []
        bounds = _bounds(wide.node)
        if bounds is not None:
            inside.append(wide.node)
            wide = wide.node.inputs[0]
        added = wide.node
        if added.op.name != "add":
            return None
        product, bias = added.inputs
        if product.node.op.name != "conv2d_packed":
            product, bias = bias, product
        expansion = product.node
        if expansion.op.name != "conv2d_packed" or not _is_plain(expansion):
            return None
        if bias.dims[-1:] != (channels,) or dims.product(bias.dims) != channels:
            return None
        inside += [added, expansion]
        if product.dtype is not node.types[0].dtype or not all(each in self.alone for each in inside):
            return None
        also_from(inside)
        low, high = bounds or (-math.inf, math.inf)
        operands = (*expansion.inputs, shown("reshape", bias, shape=(channels,)), node.inputs[1])
        definition = OPS["expand_depthwise"]
        if any(value.dtype not in definition.kinds["T"] for value in operands):
            return None
        attrs = {name: value for name, value in node.attrs.items() if name in definition.attrs}
        made = self.table.make(definition, operands, {"low": low, "high": high, **attrs})
        return made.outputs[0] if self.target.place(made) == self.target.device else None


def expand(region: Region, target: Target) -> Region:
    """``region`` with the expansions of large images and their depthwise convolutions as one op each."""
    if not any(node.op.name == "conv2d_packed" and node.attrs["groups"] != 1 for node in region.nodes()):
        return region
    rules = _Expand(region, target)
    rule = Rule("depthwise", ("conv2d_packed",), rules.depthwise, why="what lies between stays in the cache")
    return rewrite(region, (rule,), target.numerics)
