"""layout: channels last where the kernels want it, and weights packed where they stay from run to run.

An op on images in NCHW becomes one in NHWC between two transposes; transposes sink through element-wise ops, joins and
padding until they meet another and cancel, so that a network's images stay NHWC from its first to its last. Kernels
see the same logical order either way, so every rule here is exact but for ``winograd``.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyflow.dims import Size
from pyflow.graph import Node, Value
from pyflow.opdef import OPS, call
from pyflow.ops.internal.packed import PANEL
from pyflow.ops.internal.winograd_tiles import Tiles, growth_of
from pyflow.ops.layers.windows import FROM_LAST, TO_LAST, WEIGHT_FROM_LAST, WEIGHT_TO_LAST
from pyflow.region import Alone, Lasting, Region, Table
from pyflow.rewrite import Rule, rewrite, shown
from pyflow.target import Target

IMAGE = (TO_LAST["NCHW"], FROM_LAST["NCHW"])
WEIGHT = (WEIGHT_TO_LAST["NCHW"], WEIGHT_FROM_LAST["NCHW"])
"""How an operand goes from the NCHW family of formats to channels last, and back."""

FORMATS = {
    "conv2d": ((IMAGE, WEIGHT), IMAGE),
    "conv2d_input_grad": ((IMAGE, WEIGHT), IMAGE),
    "conv2d_filter_grad": ((IMAGE, IMAGE), WEIGHT),
    "max_pool2d": ((IMAGE,), IMAGE),
    "max_pool2d_grad": ((IMAGE, IMAGE), IMAGE),
    "avg_pool2d": ((IMAGE,), IMAGE),
    "avg_pool2d_grad": ((IMAGE,), IMAGE),
}
"""What the operands and the result of ops with a ``data_format`` are."""

SUNK = FROM_LAST["NCHW"]
"""The transpose that sinks: channels last seen as channels first."""


def permuted(value: Value, axes: Sequence[int]) -> Value:
    """``value`` transposed; transposes of transposes are composed, and vanish if nothing is left."""
    axes = tuple(axes)
    if value.node.op.name == "transpose":
        below = value.node.attrs["axes"]
        axes = tuple(below[axis] for axis in axes)
        value = value.node.inputs[0]
    if axes == tuple(range(len(axes))):
        return value
    return shown("transpose", value, axes=axes)


def _is_sunk(value: Value) -> bool:
    return value.node.op.name == "transpose" and value.node.attrs["axes"] == SUNK


class _Layout:
    def __init__(self, region: Region, target: Target) -> None:
        self.table: Table = region.table
        self.target = target
        self.lasting = Lasting(region)
        self.alone = Alone(region)
        self.tiles = Tiles(region, self.lasting, target.weight_growth)

    def channels_last(self, node: Node) -> Value | None:
        if node.attrs["data_format"] != "NCHW" or self.target.preferred_format(node.op.name) != "NHWC":
            return None
        operands, result = FORMATS[node.op.name]
        inputs = tuple(permuted(value, to) for value, (to, _) in zip(node.inputs, operands, strict=True))
        made = self.table.make(node.op, inputs, {**node.attrs, "data_format": "NHWC"})
        return permuted(made.outputs[0], result[1])

    def sink_elementwise(self, node: Node) -> Value | None:
        if node.types[0].ndim != 4 or not any(map(_is_sunk, node.inputs)):
            return None
        inputs = tuple(self.below(value) for value in node.inputs)
        return permuted(self.table.make(node.op, inputs, node.attrs).outputs[0], SUNK)

    def below(self, value: Value) -> Value:
        """``value`` with channels last, as it broadcasts to four axes."""
        shape: tuple[Size, ...] = (*(1,) * (4 - value.ndim), *value.dims)
        wide = sum(size != 1 for size in shape)
        if value.ndim < 4 and wide == 0:
            return value
        if value.ndim < 4 and wide == 1:
            return shown("reshape", value, shape=tuple(shape[axis] for axis in TO_LAST["NCHW"]))
        return permuted(value if value.ndim == 4 else shown("reshape", value, shape=shape), TO_LAST["NCHW"])

    def sink_join(self, node: Node) -> Value | None:
        if len(node.types[0].dims) != 4 or not all(map(_is_sunk, node.inputs)):
            return None
        attrs = {**node.attrs, "axis": SUNK[node.attrs["axis"]]}
        return permuted(self.table.make(node.op, tuple(v.node.inputs[0] for v in node.inputs), attrs).outputs[0], SUNK)

    def sink_pad(self, node: Node) -> Value | None:
        x, value = node.inputs
        if x.ndim != 4 or not _is_sunk(x):
            return None
        attrs = {name: tuple(node.attrs[name][axis] for axis in TO_LAST["NCHW"]) for name in ("before", "after")}
        return permuted(self.table.make(node.op, (x.node.inputs[0], value), attrs).outputs[0], SUNK)

    def pack_matmul(self, node: Node) -> Value | None:
        a, b = node.inputs
        if a.ndim < 2 or b.ndim < 2 or b not in self.lasting or a in self.lasting:
            return None
        panels = self.panels_of(b)
        return None if panels is None else self.placed("matmul_packed", (a, panels), {"columns": b.dims[-1]})

    def panels_of(self, b: Value) -> Value | None:
        """``b`` packed; what is laid side by side in whole panels is packed piece by piece."""
        node = b.node
        if node.op.name != "concat" or node.attrs["axis"] != b.ndim - 1:
            return self.placed("matmul_pack", (b,), {})
        if any(not isinstance(part.dims[-1], int) or part.dims[-1] % PANEL for part in node.inputs):
            return self.placed("matmul_pack", (b,), {})
        pieces = [self.placed("matmul_pack", (part,), {}) for part in node.inputs]
        if any(piece is None for piece in pieces):
            return None
        result: Value = call("concat", *pieces, axis=b.ndim - 2)
        return result

    def attend_in_order(self, node: Node) -> Value | None:
        before = node.inputs[0].node
        if before.op.name != "attend" or before not in self.alone:
            return None
        axes, order = node.attrs["axes"], before.attrs["order"]
        order = tuple(order[axis] for axis in axes) if order else axes
        return self.table.make(before.op, before.inputs, {**before.attrs, "order": order}).outputs[0]

    def pack_conv2d(self, node: Node) -> Value | None:
        x, w = node.inputs
        if w not in self.lasting or x in self.lasting:
            return None
        attrs = dict(node.attrs)
        height, width, inner, channels = (w.dims[axis] for axis in WEIGHT_TO_LAST[attrs["data_format"]])
        depthwise = inner == 1 and channels == attrs["groups"]
        groups = 1 if depthwise else attrs["groups"]
        panels = self.placed("conv2d_pack", (w,), {"groups": groups, "data_format": attrs["data_format"]})
        more = {"kernel": (height, width), "channels": channels, **attrs}
        return None if panels is None else self.placed("conv2d_packed", (x, panels), more)

    def winograd(self, node: Node) -> Value | None:
        tile = self.tiles.of(node)
        if tile is None:
            return None
        x, w = node.inputs
        attrs = node.attrs
        outer = w.dims[WEIGHT_TO_LAST[attrs["data_format"]][3]]
        panels = self.placed("winograd_pack", (w,), {"tile": tile, "data_format": attrs["data_format"]})
        more = {"tile": tile, "channels": outer, "padding": attrs["padding"], "data_format": attrs["data_format"]}
        made = None if panels is None else self.placed("conv2d_winograd", (x, panels), more)
        if made is not None:
            self.table.notes.append(
                f"layout: conv2d {w.type}: tiles of {tile} x {tile}, weights {growth_of(tile):.1f} times as large"
            )
        return made

    def placed(self, op: str, inputs: tuple[Value, ...], attrs: dict[str, object]) -> Value | None:
        """The op's value, if the target has a kernel for it."""
        definition = OPS.get(op)
        if definition is None or any(value.dtype not in definition.kinds["T"] for value in inputs):
            return None
        node = self.table.make(definition, inputs, definition.normalise(attrs))
        return node.outputs[0] if self.target.place(node) == self.target.device else None


def layout(region: Region, target: Target) -> Region:
    """``region`` with images channels last where ``target`` prefers it, and lasting weights packed."""
    rules = _Layout(region, target)
    made = rewrite(
        region,
        (
            Rule("channels_last", tuple(FORMATS), rules.channels_last, why="the kernels run along channels"),
            Rule(
                "sink_elementwise",
                lambda op: op.scalar,
                rules.sink_elementwise,
                why="a transpose meets the next one below",
            ),
            Rule("sink_join", ("concat",), rules.sink_join, why="a transpose meets the next one below"),
            Rule("sink_pad", ("pad",), rules.sink_pad, why="a transpose meets the next one below"),
            Rule("pack_matmul", ("matmul",), rules.pack_matmul, why="packed once, read many times"),
            Rule("attend_in_order", ("transpose",), rules.attend_in_order, why="heads side by side, without a copy"),
            Rule("winograd", ("conv2d",), rules.winograd, False, "fewer products, tile by tile"),
            Rule("pack_conv2d", ("conv2d",), rules.pack_conv2d, why="packed once, read many times"),
        ),
        target.numerics,
    )
    region.table.notes += rules.tiles.notes()
    return made
