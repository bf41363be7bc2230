"""attend: a softmax between two products becomes attention, which keeps no matrix of scores.

Found after ``recognise``, so that softmax is one node and scales of queries and keys stand behind the product. Only
where nothing else reads the scores: a graph that asks for the weights, or trains, keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pyflow.algebra import is_op, number
from pyflow.dims import Size
from pyflow.graph import Node, Value
from pyflow.opdef import call
from pyflow.ops.common import transposed
from pyflow.region import Lasting, Region
from pyflow.rewrite import Rule, also_from, rewrite
from pyflow.target import Target


@dataclass
class _Found:
    """softmax(q k * scale + bias) v; ``inside`` are the nodes that this takes beside the last."""

    q: Value
    k: Value
    """Transposed: [..., D, N]."""
    v: Value
    bias: Value | None = None
    scale: float = 1.0
    nothing: str = "nan"
    inside: list[Node] = field(default_factory=list)


def _scores_of(value: Value, found: _Found) -> Value | None:
    """The product under scales and at most one addition in ``value``, which are taken into ``found``."""
    ndim = value.ndim
    while not is_op(value, "matmul"):
        node = value.node
        if value.ndim != ndim or node.op.name not in ("add", "multiply", "divide"):
            return None
        found.inside.append(node)
        left, right = node.inputs
        if node.op.name == "add":
            if found.bias is not None or found.scale != 1.0:
                return None
            value, found.bias = (left, right) if _is_scaled_product(left) else (right, left)
            continue
        if node.op.name == "multiply" and number(left) is not None:
            left, right = right, left
        factor = number(right)
        if not factor:
            return None
        found.scale = found.scale * factor if node.op.name == "multiply" else found.scale / factor
        value = left
    return value if value.ndim == ndim else None


def _is_scaled_product(value: Value) -> bool:
    while is_op(value, "multiply", "divide"):
        left, right = value.node.inputs
        value = right if is_op(value, "multiply") and number(left) is not None else left
    return is_op(value, "matmul")


def _find(node: Node) -> _Found | None:
    weights, v = node.inputs
    inside, nothing = [], "nan"
    if is_op(weights, "where"):
        inside = [weights.node, weights.node.inputs[0].node]
        nothing, weights = "zero", weights.node.inputs[2]
        if inside[1].op.name != "isnan" or inside[1].inputs[0] is not weights or number(inside[0].inputs[1]) != 0:
            return None
    if not is_op(weights, "softmax") or weights.ndim < 3 or weights.node.attrs["axis"] != weights.ndim - 1:
        return None
    found = _Found(weights, weights, v, inside=[*inside, weights.node], nothing=nothing)
    product = _scores_of(weights.node.inputs[0], found)
    if product is None:
        return None
    found.inside.append(product.node)
    found.q, found.k = product.node.inputs
    ranks = {value.ndim for value in (found.q, found.k, v)}
    if len(ranks) > 1 or (found.bias is not None and found.bias.ndim > v.ndim):
        return None
    return found


HIDDEN = -1e30
"""What is added to a score to hide a key, at most."""


def _hidden_by_place(bias: Node) -> int | None:
    """``offset`` if a mask hides the keys behind i + offset from query i, and nothing else."""
    mask = bias.attrs["value"].array
    rows, keys = mask.shape[-2:]
    if mask.size != rows * keys or mask.size == 0:
        return None
    mask = mask.reshape(rows, keys)
    seen = mask == 0
    offset = int(seen[0].sum()) - 1
    if offset < 0 or not (seen == np.tri(rows, keys, offset, np.bool_)).all():
        return None
    return offset if (mask[~seen] <= HIDDEN).all() else None


class _Attention:
    def __init__(self, region: Region, candidates: dict[Node, _Found]) -> None:
        self.table = region.table
        self._offsets: dict[Node, int | None] = {}
        lasting = Lasting(region)
        users, roots = region.users(), set(region.roots())
        self.sites: set[Node] = set()
        for node, found in candidates.items():
            if found.k in lasting or found.v in lasting:
                continue  # weights that last are better packed
            group = {node, *found.inside}
            inner = [value for each in found.inside for value in each.outputs]
            if all(value not in roots and group.issuperset(users.get(value, ())) for value in inner):
                self.sites.add(node)

    def attention(self, node: Node) -> Value | None:
        found = _find(node) if self.table.was.get(node, node) in self.sites else None
        if found is None:
            return None
        also_from(found.inside)
        k = transposed(found.k)
        attrs: dict[str, object] = {"scale": found.scale, "nothing": found.nothing, "given": ()}
        more: tuple[Value, ...] = ()
        if found.bias is not None:
            offset = self.offset(found.bias, (found.q.dims[-2], k.dims[-2]))
            if offset is not None:
                attrs |= {"is_causal": True, "offset": offset}
            else:
                more, attrs["given"] = (found.bias,), ("bias",)
        made: Value = call("attend", found.q, k, found.v, *more, **attrs)
        return made

    def offset(self, bias: Value, shape: tuple[Size, Size]) -> int | None:
        """As :func:`_hidden_by_place`, of scores of that shape."""
        node = bias.node
        if node.op.name != "constant" or bias.dims[-2:] != shape:
            return None
        if node not in self._offsets:
            self._offsets[node] = _hidden_by_place(node)
        return self._offsets[node]


def attend(region: Region, target: Target) -> Region:
    """``region`` with attention as one node each."""
    products = (node for node in region.nodes() if node.op.name == "matmul")
    candidates = {node: found for node in products if (found := _find(node)) is not None}
    if not candidates:
        return region
    finder = _Attention(region, candidates)
    rule = Rule("attention", ("matmul",), finder.attention, False, "softmax(q k * scale + bias) v")
    return rewrite(region, (rule,), target.numerics)
