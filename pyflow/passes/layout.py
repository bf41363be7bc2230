"""layout: channels last where the kernels want it.

An op on images in NCHW becomes one in NHWC, and so does what follows it element by element, joins it or pads it: a
network's images stay channels last from its first to its last, and are seen as NCHW only where something else reads
them. Kernels see the same logical order either way, so all of this is exact. Attention gives its result in the order of
axes that its one reader asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pyflow.dims import Size
from pyflow.graph import Node, Value, building
from pyflow.ops.layers.windows import FROM_LAST, TO_LAST, WEIGHT_FROM_LAST, WEIGHT_TO_LAST
from pyflow.region import Alone, Region
from pyflow.rewrite import Rule, Tally, rebuilt, rewrite, shown
from pyflow.target import Target

IMAGE = (TO_LAST["NCHW"], FROM_LAST["NCHW"])
WEIGHT = (WEIGHT_TO_LAST["NCHW"], WEIGHT_FROM_LAST["NCHW"])
PANELS = ((0, 1, 2, 3), (0, 1, 2, 3))
"""How an operand goes from the NCHW family of formats to channels last, and back."""

FORMATS = {
    "conv2d": ((IMAGE, WEIGHT), IMAGE),
    "conv2d_input_grad": ((IMAGE, WEIGHT), IMAGE),
    "conv2d_filter_grad": ((IMAGE, IMAGE), WEIGHT),
    "conv2d_packed": ((IMAGE, PANELS), IMAGE),
    "conv2d_winograd": ((IMAGE, PANELS), IMAGE),
    "max_pool2d": ((IMAGE,), IMAGE),
    "max_pool2d_grad": ((IMAGE, IMAGE), IMAGE),
    "avg_pool2d": ((IMAGE,), IMAGE),
    "avg_pool2d_grad": ((IMAGE,), IMAGE),
}
"""What the operands and the result of ops with a ``data_format`` are."""
AS_NCHW = FROM_LAST["NCHW"]
"""How an image that is channels last is seen as NCHW."""
RULE = "channels_last"
"""What the nodes that are made channels last are counted as."""


def permuted(value: Value, axes: Sequence[int]) -> Value:
    """``value`` transposed; transposes of transposes are composed, and vanish if nothing is left."""
    axes = tuple(axes)
    if value.node.op.name == "transpose":
        below = value.node.attrs["axes"]
        axes = tuple([below[axis] for axis in axes])
        value = value.node.inputs[0]
    if axes == tuple(range(len(axes))):
        return value
    return shown("transpose", value, axes=axes)


class _ChannelsLast:
    """One walk over a region, from operands to users."""

    def __init__(self, region: Region, target: Target) -> None:
        self.region = region
        self.table = region.table
        self.target = target
        self.tally = Tally(region.table)
        self.rules = {"concat": self.join, "pad": self.pad, "transpose": self.transpose}
        self.rules.update(dict.fromkeys(FORMATS, self.image_op))
        self.made: dict[Value, Value] = {}
        """What stands for a value."""
        self.last: dict[Value, Value] = {}
        """Of images: the same with channels last, which is how their node gives them."""

    def walked(self) -> Region:
        region = self.region
        copies: dict[Node, Node] = {}
        with building(self.table):
            for node in region.nodes():
                self.table.current = self.table.origins.get(node, ())
                if self.tally.left != 0 and self.takes(node):
                    continue
                copy = rebuilt(self.table, node, tuple([self.first(value) for value in node.inputs]))
                self.made.update(zip(node.outputs, copy.outputs, strict=True))
                copies[node] = copy
            self.table.current = ()
            return replace(
                region,
                outputs=tuple([self.first(value) for value in region.outputs]),
                commits=tuple([(name, self.first(value)) for name, value in region.commits]),
                effects=tuple([copies[node] for node in region.effects]),
            )

    def first(self, value: Value) -> Value:
        """What stands for a value in the order of axes that it was declared in."""
        found = self.made.get(value)
        if found is None:
            current, self.table.current = self.table.current, self.table.origins.get(value.node, ())
            found = self.made[value] = permuted(self.last[value], AS_NCHW)
            self.table.current = current
        return found

    def seen(self, value: Value, axes: Sequence[int]) -> Value:
        """What stands for ``value``, transposed."""
        last = self.last.get(value)
        if last is None:
            return permuted(self.first(value), axes)
        return permuted(last, [AS_NCHW[axis] for axis in axes])

    def takes(self, node: Node) -> bool:
        """Gives ``node`` channels last, if it is one for that."""
        rule = self.elementwise if node.op.scalar else self.rules.get(node.op.name)
        fired = rule is not None and rule(node)
        if fired:
            self.tally.add(RULE)
        return fired

    def image_op(self, node: Node) -> bool:
        if not _wants(node, self.target):
            return False
        operands, (_, back) = FORMATS[node.op.name]
        inputs = tuple([self.seen(value, to) for value, (to, _) in zip(node.inputs, operands, strict=True)])
        made = self.table.make(node.op, inputs, {**node.attrs, "data_format": "NHWC"}).outputs[0]
        if back == AS_NCHW:
            self.last[node.outputs[0]] = made
        else:
            self.made[node.outputs[0]] = permuted(made, back)
        return True

    def elementwise(self, node: Node) -> bool:
        if node.types[0].ndim != 4 or not any([value in self.last for value in node.inputs]):
            return False
        inputs = tuple([self.below(value) for value in node.inputs])
        self.last[node.outputs[0]] = self.table.make(node.op, inputs, node.attrs).outputs[0]
        return True

    def below(self, value: Value) -> Value:
        """``value`` with channels last, as it broadcasts to four axes."""
        if value in self.last:
            return self.last[value]
        found = self.first(value)
        if found.ndim == 4:
            return permuted(found, TO_LAST["NCHW"])
        shape: tuple[Size, ...] = (*(1,) * (4 - found.ndim), *found.dims)
        wide = sum([size != 1 for size in shape])
        if wide == 0:
            return found
        if wide == 1:
            return shown("reshape", found, shape=tuple([shape[axis] for axis in TO_LAST["NCHW"]]))
        return permuted(shown("reshape", found, shape=shape), TO_LAST["NCHW"])

    def join(self, node: Node) -> bool:
        if node.types[0].ndim != 4 or not all([value in self.last for value in node.inputs]):
            return False
        attrs = {**node.attrs, "axis": AS_NCHW[node.attrs["axis"]]}
        inputs = tuple([self.last[value] for value in node.inputs])
        self.last[node.outputs[0]] = self.table.make(node.op, inputs, attrs).outputs[0]
        return True

    def pad(self, node: Node) -> bool:
        x, value = node.inputs
        if x not in self.last:
            return False
        attrs = {name: tuple([node.attrs[name][axis] for axis in TO_LAST["NCHW"]]) for name in ("before", "after")}
        inputs = (self.last[x], self.first(value))
        self.last[node.outputs[0]] = self.table.make(node.op, inputs, {**node.attrs, **attrs}).outputs[0]
        return True

    def transpose(self, node: Node) -> bool:
        (value,), axes = node.inputs, node.attrs["axes"]
        if value in self.last:
            self.made[node.outputs[0]] = self.seen(value, axes)
        elif axes == AS_NCHW:
            self.last[node.outputs[0]] = self.first(value)
        else:
            return False
        return True


def _wants(node: Node, target: Target) -> bool:
    """Is it an op on images in NCHW that ``target`` prefers to have in NHWC?"""
    name = node.op.name
    return name in FORMATS and node.attrs["data_format"] == "NCHW" and target.preferred_format(name) == "NHWC"


def _in_order(region: Region, numerics: str) -> Region:
    """``region`` with attention that gives its result in the order of axes that its one reader asks for."""
    alone = Alone(region)

    def attend_in_order(node: Node) -> Value | None:
        before = node.inputs[0].node
        if before.op.name != "attend" or before not in alone:
            return None
        axes, order = node.attrs["axes"], before.attrs["order"]
        order = tuple([order[axis] for axis in axes]) if order else axes
        return region.table.make(before.op, before.inputs, {**before.attrs, "order": order}).outputs[0]

    rule = Rule("attend_in_order", ("transpose",), attend_in_order, why="heads side by side, without a copy")
    return rewrite(region, (rule,), numerics)


def layout(region: Region, target: Target) -> Region:
    """``region`` with images channels last where ``target`` prefers it, and attention's heads as they are read."""
    nodes = region.nodes()
    made = _ChannelsLast(region, target).walked() if any(_wants(node, target) for node in nodes) else region
    return _in_order(made, target.numerics) if any(node.op.name == "attend" for node in nodes) else made
