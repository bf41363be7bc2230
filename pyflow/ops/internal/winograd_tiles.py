"""Which 3 x 3 convolutions are computed tile by tile, and by which tiles: from sizes, and a bound on what they take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pyflow import dims
from pyflow.dims import hint_of
from pyflow.graph import Node, Value
from pyflow.ops.internal.winograd import POINTS
from pyflow.ops.layers.windows import TO_LAST, WEIGHT_TO_LAST
from pyflow.region import Lasting, Region

LEAST_CHANNELS = 16
"""Fewer on either side are not worth a transform."""
WORTHWHILE = 0.84

Sizes = tuple[int, int, int, int, int]
"""Batch, height and width of the result, channels in and out."""


def growth_of(tile: int) -> float:
    """How many times as large as the weights their transform is."""
    return (tile + 2) ** 2 / 9


@dataclass(frozen=True)
class Option:
    """A layer by tiles of one size."""

    tile: int
    saved: float
    """Multiplications, of those of the direct sum."""
    extra: float
    """Bytes of weights."""


def options(sizes: Sizes) -> list[Option]:
    """The tiles by which a layer takes less time, the best first, from its sizes alone.

    Counted in multiplications: a number that is transformed stands for 6, a weight that is read for 12.
    """
    batch, height, width, inner, outer = sizes
    if min(inner, outer) < LEAST_CHANNELS:
        return []
    direct = 9.0 * (batch * height * width + 12)
    found = []
    for tile in POINTS:
        tiles = batch * -(-height // tile) * -(-width // tile)
        cost = (tile + 2) ** 2 * (max(tiles, 4) + 6 * tiles * (1 / inner + 1 / outer) + 12)
        if cost < WORTHWHILE * direct:
            weights = 36 * inner * outer
            found.append(Option(tile, (direct - cost) * inner * outer, (growth_of(tile) - 1) * weights))
    return sorted(found, key=lambda option: -option.saved)


class Tiles:
    """The choice for a region. ``growth``: the bound on what its weights take, those transformed with them, as a
    multiple of what they take now; the layers that save most per byte come first."""

    def __init__(self, region: Region, lasting: Lasting, growth: float) -> None:
        self._lasting = lasting
        self._growth = growth
        self._left: dict[Sizes, Counter[int]] = {}
        """By sizes: how many layers are to take each tile; layers of equal sizes are alike."""
        nodes = region.nodes()
        layers = [sizes for node in nodes if node.op.name == "conv2d" and (sizes := self._sizes(node)) is not None]
        chosen = {index: found[0] for index, sizes in enumerate(layers) if (found := options(sizes))}
        self._weights = _weight_bytes(nodes) if chosen else 0.0
        self._room = (growth - 1) * self._weights
        self._wanted = sum(option.extra for option in chosen.values())
        if self._wanted > self._room:
            chosen = self._best(layers)
        self._taken = sum(option.extra for option in chosen.values())
        for index, option in chosen.items():
            self._left.setdefault(layers[index], Counter())[option.tile] += 1

    def _sizes(self, node: Node) -> Sizes | None:
        x, w = node.inputs
        attrs = node.attrs
        if node.types[0].dtype.name != "float32":
            return None
        height, width, inner, outer = (w.dims[axis] for axis in WEIGHT_TO_LAST[attrs["data_format"]])
        if (height, width) != (3, 3) or {*attrs["stride"], *attrs["dilation"], attrs["groups"]} != {1}:
            return None
        if w not in self._lasting or x in self._lasting:
            return None
        batch, rows, columns, _ = (node.types[0].dims[axis] for axis in TO_LAST[attrs["data_format"]])
        found = [size for each in (batch, rows, columns, inner, outer) if (size := hint_of(each)) is not None]
        return (found[0], found[1], found[2], found[3], found[4]) if len(found) == 5 else None

    def _best(self, layers: list[Sizes]) -> dict[int, Option]:
        """What fits, by what is saved per byte; smaller tiles become larger ones while there is room."""
        every = [(index, option) for index, sizes in enumerate(layers) for option in options(sizes)]
        every.sort(key=lambda each: (-each[1].saved / each[1].extra, each[0]))
        chosen: dict[int, Option] = {}
        room = self._room
        for index, option in every:
            known = chosen.get(index)
            more = option.extra - (known.extra if known else 0)
            if more <= room and (known is None or option.saved > known.saved):
                chosen[index] = option
                room -= more
        return chosen

    def of(self, node: Node) -> int | None:
        """The tile that the layer is to take; None: it is computed directly."""
        sizes = self._sizes(node)
        left = self._left.get(sizes) if sizes is not None else None
        if not left:
            return None
        tile = max(left)
        left[tile] -= 1
        if not left[tile]:
            del left[tile]
        return tile

    def notes(self) -> list[str]:
        """What weights take through this, in one line."""
        if not self._wanted:
            return []
        now, then = self._weights / 2**20, (self._weights + self._taken) / 2**20
        text = f"pack: weights take {then:.1f} MiB with those transformed for tiles, {now:.1f} MiB without"
        if self._taken < self._wanted:
            most = (self._weights + self._wanted) / 2**20
            text += f"; weight_growth={self._growth:g} kept them from {most:.1f} MiB: some layers are computed directly"
        return [text]


def _weight_bytes(nodes: Sequence[Node]) -> float:
    """Of constants, each once, and of variables."""
    held = {node.attrs["value"] for node in nodes if node.op.name == "constant"}
    variables: list[Value] = [
        node.outputs[0] for node in nodes if node.op.name == "input" and node.attrs["label"].startswith("variable:")
    ]
    sizes = [hint_of(dims.product(value.dims)) or 0 for value in variables]
    return float(sum(each.nbytes for each in held)) + sum(
        size * value.dtype.itemsize for size, value in zip(sizes, variables, strict=True)
    )
