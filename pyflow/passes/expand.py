"""expand: the convolutions of an inverted residual block become one op.

A convolution, the depthwise one that alone reads it, and the 1 x 1 one that alone reads that: what lies between them
is the largest image of a mobile network. Written and read as a whole it goes through memory, some rows at a time it
stays in the cache. Every element is the chain that it was, so the rules are exact.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from pyflow import dims
from pyflow.algebra import number
from pyflow.graph import Node, Value
from pyflow.opdef import OPS
from pyflow.ops.internal.expanded import DEPTHWISE
from pyflow.ops.internal.packed import PANEL, is_depthwise
from pyflow.ops.layers.windows import windows
from pyflow.region import Alone, Region
from pyflow.rewrite import Rule, also_from, rewrite, shown
from pyflow.target import Target

LEAST_BYTES = 512 * 1024
"""Of an image between the first two: smaller ones stay in the cache as they are."""
MOST_BYTES = 128 * 1024
"""Of the first one's weights, which pass by for every row."""


def _bounds(node: Node) -> tuple[float, float] | None:
    """What an activation cuts to."""
    if node.op.name == "relu":
        return 0.0, math.inf
    if node.op.name != "clip":
        return None
    low, high = map(number, node.inputs[1:])
    return None if low is None or high is None or math.isnan(low) or math.isnan(high) else (low, high)


def _is_plain(node: Node) -> bool:
    """Does each window see the pixel in its place alone?"""
    attrs = node.attrs
    if attrs["kernel"] != (1, 1) or attrs["stride"] != (1, 1) or attrs["groups"] != 1:
        return False
    out, before = windows(node.inputs[0].dims[1:3], (1, 1), (1, 1), attrs["padding"], (1, 1))
    return attrs["data_format"] == "NHWC" and before == (0, 0) and out == node.inputs[0].dims[1:3]


class _Activated(NamedTuple):
    """What a convolution's bias and bounds make of it."""

    source: Node
    bias: Value
    bounds: tuple[float, float]
    inside: tuple[Node, ...]


class _Expand:
    def __init__(self, region: Region, target: Target) -> None:
        self.table = region.table
        self.target = target
        self.alone = Alone(region)
        self.made_alone: set[Node] = set()
        """Nodes of ``depthwise`` in the place of ones that are alone."""

    def is_alone(self, node: Node) -> bool:
        return node in self.made_alone or node in self.alone

    def activated(self, value: Value, source: str) -> _Activated | None:
        """``value`` as bounds of a bias, one of each channel, and the result of ``source``; all read here alone."""
        inside = []
        bounds = _bounds(value.node)
        if bounds is not None:
            inside.append(value.node)
            value = value.node.inputs[0]
        added = value.node
        if added.op.name != "add":
            return None
        product, bias = added.inputs
        if product.node.op.name != source:
            product, bias = bias, product
        channels = value.dims[-1]
        if product.node.op.name != source or bias.dims[-1:] != (channels,) or dims.product(bias.dims) != channels:
            return None
        inside += [added, product.node]
        if product.dtype is not value.dtype or not all(map(self.is_alone, inside)):
            return None
        return _Activated(product.node, bias, bounds or (-math.inf, math.inf), tuple(inside))

    def made(self, op: str, found: _Activated, node: Node, **attrs: Any) -> Value | None:
        """``op`` in the place of what was found and of the convolution ``node`` that reads it, if they suit it."""
        also_from(found.inside)
        definition = OPS[op]
        bias = shown("reshape", found.bias, shape=found.bias.dims[-1:])
        inputs = (*found.source.inputs, bias, node.inputs[1])
        if any(value.dtype not in definition.kinds["T"] for value in inputs):
            return None
        made = self.table.make(definition, inputs, attrs)
        return made.outputs[0] if self.target.place(made) == self.target.device else None

    def depthwise(self, node: Node) -> Value | None:
        wide, channels = node.inputs[0], node.attrs["channels"]
        if node.attrs["data_format"] != "NHWC" or not is_depthwise(node) or channels % PANEL:
            return None
        size = dims.hint_of(dims.product(wide.dims[1:]))
        if size is None or size * wide.dtype.itemsize < LEAST_BYTES:
            return None
        found = self.activated(wide, "conv2d_packed")
        if found is None:
            return None
        first = found.source.attrs
        weights = dims.hint_of(dims.product(found.source.inputs[1].dims))
        if first["data_format"] != "NHWC" or first["groups"] != 1 or first["pool"] != 1:
            return None
        if weights is None or weights * wide.dtype.itemsize > MOST_BYTES:
            return None
        made = self.made(
            "expand_depthwise",
            found,
            node,
            low=found.bounds[0],
            high=found.bounds[1],
            **{f"expand_{name}": first[name] for name in ("kernel", "stride", "padding", "dilation")},
            **{name: node.attrs[name] for name in DEPTHWISE},
        )
        if made is not None and node in self.alone:
            self.made_alone.add(made.node)
        return made

    def project(self, node: Node) -> Value | None:
        if not _is_plain(node) or node.attrs["pool"] != 1:
            return None
        found = self.activated(node.inputs[0], "expand_depthwise")
        if found is None:
            return None
        return self.made(
            "expand_depthwise_project",
            found,
            node,
            next_low=found.bounds[0],
            next_high=found.bounds[1],
            outputs=node.attrs["channels"],
            **found.source.attrs,
        )


def expand(region: Region, target: Target) -> Region:
    """``region`` with the convolutions around large depthwise ones as one op each."""
    if not any(node.op.name == "conv2d_packed" and node.attrs["groups"] != 1 for node in region.nodes()):
        return region
    rules = _Expand(region, target)
    why = "what lies between stays in the cache"
    return rewrite(
        region,
        (
            Rule("depthwise", ("conv2d_packed",), rules.depthwise, why=why),
            Rule("project", ("conv2d_packed",), rules.project, why=why),
        ),
        target.numerics,
    )
