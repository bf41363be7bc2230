"""pack: weights that stay the same from run to run are packed as the kernels read them, once.

A convolution is packed in the format that it has: what packs its weights reads them as they lie.
"""

from __future__ import annotations

from pyflow.graph import Node, Value
from pyflow.opdef import OPS, call
from pyflow.ops.internal.packed import PANEL
from pyflow.ops.internal.winograd_tiles import Tiles, growth_of
from pyflow.ops.layers.windows import WEIGHT_TO_LAST
from pyflow.region import Lasting, Region
from pyflow.rewrite import Rule, rewrite
from pyflow.target import Target


class _Pack:
    def __init__(self, region: Region, target: Target) -> None:
        self.table = region.table
        self.target = target
        self.lasting = Lasting(region)
        self.tiles = Tiles(region, self.lasting, target.weight_growth)

    def matmul(self, node: Node) -> Value | None:
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

    def conv2d(self, node: Node) -> Value | None:
        x, w = node.inputs
        if w not in self.lasting or x in self.lasting:
            return None
        attrs = dict(node.attrs)
        height, width, inner, channels = (w.dims[axis] for axis in WEIGHT_TO_LAST[attrs["data_format"]])
        depthwise = inner == 1 and channels == attrs["groups"]
        groups = 1 if depthwise else attrs["groups"]
        panels = self.placed("conv2d_pack", (w,), {"groups": groups, "data_format": attrs["data_format"]})
        more = {"kernel": (height, width), "channels": channels, **attrs, "pool": 1}
        return None if panels is None else self.placed("conv2d_packed", (x, panels), more)

    def winograd(self, node: Node) -> Value | None:
        tile = self.tiles.of(node)
        if tile is None:
            return None
        x, w = node.inputs
        kept = {name: node.attrs[name] for name in ("padding", "data_format")}
        outer = w.dims[WEIGHT_TO_LAST[kept["data_format"]][3]]
        panels = self.placed("winograd_pack", (w,), {"tile": tile, "data_format": kept["data_format"]})
        more = {"tile": tile, "channels": outer, **kept, "pool": 1}
        made = None if panels is None else self.placed("conv2d_winograd", (x, panels), more)
        if made is not None:
            self.table.notes.append(
                f"pack: conv2d {w.type}: tiles of {tile} x {tile}, weights {growth_of(tile):.1f} times as large"
            )
        return made

    def placed(self, op: str, inputs: tuple[Value, ...], attrs: dict[str, object]) -> Value | None:
        """The op's value, of all its attributes in declared order, if the target has a kernel for it."""
        definition = OPS.get(op)
        if definition is None or any(value.dtype not in definition.kinds["T"] for value in inputs):
            return None
        node = self.table.make(definition, inputs, attrs)
        return node.outputs[0] if self.target.place(node) == self.target.device else None


def pack(region: Region, target: Target) -> Region:
    """``region`` with the weights of products and convolutions packed where they last."""
    rules = _Pack(region, target)
    made = rewrite(
        region,
        (
            Rule("pack_matmul", ("matmul",), rules.matmul, why="packed once, read many times"),
            Rule("winograd", ("conv2d",), rules.winograd, False, "fewer products, tile by tile"),
            Rule("pack_conv2d", ("conv2d",), rules.conv2d, why="packed once, read many times"),
        ),
        target.numerics,
    )
    region.table.notes += rules.tiles.notes()
    return made
