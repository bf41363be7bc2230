"""pool: the largest of each 2 x 2 results of a convolution is found where they are made, and nothing else is kept.

What is pooled is four times as large as the result. An activation that never falls and a bias per channel give the
largest from the largest, so they act on what is kept: every element is the chain that it was. Only -inf beside a bias
of inf, which is NaN, would be overlooked: where numerics are strict, biases are known to be finite.
"""

from __future__ import annotations

import numpy as np

from pyflow.graph import Node, Value
from pyflow.ops.internal.packed import is_depthwise
from pyflow.region import Alone, Region
from pyflow.rewrite import Rule, again, also_from, rewrite
from pyflow.target import Target

CONVOLUTIONS = ("conv2d_packed", "conv2d_winograd")
WINDOW = (2, 2)


def _is_whole(pool: Node) -> bool:
    """Does it look at windows side by side, and at nothing beside the image?"""
    attrs = pool.attrs
    padding = attrs["padding"]
    within = padding == "valid" or (not isinstance(padding, str) and not any(size != 0 for size in padding))
    return attrs["kernel"] == attrs["stride"] == WINDOW and attrs["dilation"] == (1, 1) and within


class _Pool:
    def __init__(self, region: Region, target: Target) -> None:
        self.table = region.table
        self.target = target
        self.alone = Alone(region)

    def rising(self, node: Node) -> int | None:
        """The operand whose largest elements give the largest results, in images of channels last."""
        if node.op.name in ("relu", "clip"):
            return 0 if all(value.ndim == 0 for value in node.inputs[1:]) else None
        if node.op.name != "add":
            return None
        for index in (0, 1):
            bias = node.inputs[1 - index]
            if all(size == 1 for size in bias.dims[:-1]) and bias.dims != node.types[0].dims:
                return index if self.is_finite(bias) else None
        return None

    def is_finite(self, bias: Value) -> bool:
        while bias.node.op.name == "reshape":
            bias = bias.node.inputs[0]
        if bias.node.op.name != "constant":
            return self.target.numerics != "strict"
        return bool(np.isfinite(bias.node.attrs["value"].array).all())

    def largest(self, node: Node) -> Value | None:
        if node.attrs["data_format"] != "NHWC" or not _is_whole(node):
            return None
        inside: list[tuple[Node, int]] = []
        value = node.inputs[0]
        while (index := self.rising(value.node)) is not None:
            inside.append((value.node, index))
            value = value.node.inputs[index]
        conv = value.node
        if conv.op.name not in CONVOLUTIONS or conv.attrs["data_format"] != "NHWC" or conv.attrs["pool"] != 1:
            return None
        if conv.op.name == "conv2d_packed" and is_depthwise(conv):
            return None
        swallowed = (conv, *(each for each, _ in inside))
        if not all(each in self.alone for each in swallowed):
            return None
        also_from(swallowed)
        made = self.table.make(conv.op, conv.inputs, {**conv.attrs, "pool": WINDOW[0]})
        if self.target.place(made) != self.target.device:
            return None
        result = made.outputs[0]
        for each, index in reversed(inside):
            result = again(each, *each.inputs[:index], result, *each.inputs[index + 1 :])
        return result


def pool(region: Region, target: Target) -> Region:
    """``region`` with the pools of 2 x 2 that alone read a convolution as part of it."""
    if not any(node.op.name == "max_pool2d" for node in region.nodes()):
        return region
    rules = _Pool(region, target)
    rule = Rule("largest", ("max_pool2d",), rules.largest, why="a quarter of the results is written, none is read")
    return rewrite(region, (rule,), target.numerics)
