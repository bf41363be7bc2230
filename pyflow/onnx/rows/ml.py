"""Classical machine learning."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

import pyflow as pf
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Value
from pyflow.onnx.node import OnnxNode
from pyflow.onnx.table import onnx_op

DOMAIN = "ai.onnx.ml"


@onnx_op("ArrayFeatureExtractor", domain=DOMAIN)
def array_feature_extractor(node: OnnxNode, x: Value, places: Value) -> Value:
    rows = pf.expand_dims(x, 0) if x.ndim == 1 else x
    return pf.gather(rows, pf.reshape(places, [-1]), -1)


@onnx_op("Binarizer", domain=DOMAIN)
def binarizer(node: OnnxNode, x: Value) -> Value:
    return pf.cast(pf.greater(x, pf.constant(np.asarray(node["threshold"], x.dtype.numpy))), x.dtype)


_COMPARE = (pf.less_equal, pf.less, pf.greater_equal, pf.greater, pf.equal, pf.not_equal)
MEMBER = len(_COMPARE)
SUM, AVERAGE = 1, 0
_EXTREMES = {2: (pf.min, np.inf), 3: (pf.max, -np.inf)}


class _Trees:
    """The nodes and leaves of an ensemble, checked, in one numbering: leaf i is number ``nodes + i``."""

    def __init__(self, node: OnnxNode) -> None:
        self.modes = np.asarray(node["nodes_modes"], np.int64).reshape(-1)
        self.splits = np.asarray(node["nodes_splits"]).reshape(-1)
        self.features = np.asarray(node["nodes_featureids"], np.int64)
        self.weights = np.asarray(node["leaf_weights"]).reshape(-1)
        self.targets = np.asarray(node["leaf_targetids"], np.int64)
        self.missing = np.asarray(node.get("nodes_missing_value_tracks_true") or [0] * len(self.modes), bool)
        self.roots = np.asarray(node["tree_roots"], np.int64)
        self.count = len(self.modes)
        self.next = [self._numbered(node, side) for side in ("true", "false")]
        lengths = {len(each) for each in (self.splits, self.features, self.missing, *self.next)}
        if lengths != {self.count} or len(self.weights) != len(self.targets):
            raise InvalidArgumentError("the attributes of nodes, or those of leaves, are not of one length")
        if ((self.modes < 0) | (self.modes > MEMBER)).any() or ((self.roots < 0) | (self.roots >= self.count)).any():
            raise InvalidArgumentError("a mode or a root is out of range")
        self.members = self._members(node.get("membership_values"))
        self.depth = self._depth()

    def _numbered(self, node: OnnxNode, side: str) -> np.ndarray:
        ids = np.asarray(node[f"nodes_{side}nodeids"], np.int64)
        leaves = np.asarray(node[f"nodes_{side}leafs"], bool)
        limit = np.where(leaves, len(self.weights), self.count)
        if ids.shape != leaves.shape or ((ids < 0) | (ids >= limit)).any():
            raise InvalidArgumentError(f"a node's {side} branch is out of range")
        return np.where(leaves, ids + self.count, ids)

    def _members(self, values: np.ndarray | None) -> np.ndarray | None:
        """[nodes, most]: what each node's set holds, NaN elsewhere."""
        places = np.flatnonzero(self.modes == MEMBER)
        if not len(places):
            return None
        flat = np.zeros(0) if values is None else np.asarray(values).reshape(-1)
        ends = np.flatnonzero(np.isnan(flat))
        if len(ends) != len(places):
            raise InvalidArgumentError(f"{len(places)} nodes ask for a set, membership_values holds {len(ends)}")
        sets = [flat[begin:end] for begin, end in zip([0, *(ends[:-1] + 1)], ends, strict=True)]
        table = np.full((self.count, max(map(len, sets))), np.nan, self.splits.dtype)
        for place, entries in zip(places, sets, strict=True):
            table[place, : len(entries)] = entries
        return table

    def _depth(self) -> int:
        """Steps from a root to the farthest leaf."""
        level, depth = set(self.roots.tolist()), 0
        while level:
            if depth > self.count:
                raise InvalidArgumentError("a node of a tree is above itself")
            both = {int(side[place]) for place in level for side in self.next}
            level, depth = {place for place in both if place < self.count}, depth + 1
        return depth


@onnx_op("TreeEnsemble", domain=DOMAIN, since=5)
def tree_ensemble(node: OnnxNode, x: Value) -> Value:
    """Every row walks all trees at once, one step per turn of a scan."""
    trees = _Trees(node)
    targets, how = node["n_targets"], node["aggregate_function"]
    if x.ndim != 2 or (trees.targets < 0).any() or (trees.targets >= targets).any():
        raise InvalidArgumentError(f"expected x of 2 axes and targets below {targets}, got {x.type}")
    if node["post_transform"]:
        raise InvalidArgumentError(f"expected the post_transform 0 (none), got {node['post_transform']}")
    tables = [
        pf.constant(np.concatenate([side, np.arange(trees.count, trees.count + len(trees.weights))]))
        for side in trees.next
    ]
    nodes = [
        pf.constant(array) for array in (trees.modes, trees.splits.astype(x.dtype.numpy), trees.features, trees.missing)
    ]

    def step(at: Value, _: None) -> tuple[Value, list[Value]]:
        inner = pf.minimum(at, trees.count - 1)
        mode, split, feature, missing = (pf.gather(table, inner) for table in nodes)
        found = pf.gather_elements(x, feature, 1)
        taken = pf.where(_holds(mode, found, split, inner, trees, x), True, pf.logical_and(missing, pf.isnan(found)))
        return pf.where(taken, pf.gather(tables[0], at), pf.gather(tables[1], at)), []

    rows = x.dims[0]
    start = pf.broadcast_to(pf.constant(trees.roots), [rows, len(trees.roots)])
    leaf = pf.subtract(pf.scan(step, start, None, length=trees.depth)[0], trees.count)
    weights = pf.gather(pf.constant(trees.weights.astype(x.dtype.numpy)), leaf)
    hits = pf.equal(pf.expand_dims(pf.gather(pf.constant(trees.targets), leaf), 2), pf.arange(targets))
    if how in (SUM, AVERAGE):
        total = pf.sum(pf.multiply(pf.expand_dims(weights, 2), pf.cast(hits, x.dtype)), 1)
        return total if how == SUM else pf.divide(total, float(len(trees.roots)))
    function, other = _EXTREMES[how]
    return function(pf.where(hits, pf.expand_dims(weights, 2), pf.constant(np.asarray(other, x.dtype.numpy))), 1)


def _holds(mode: Value, found: Value, split: Value, place: Value, trees: _Trees, x: Value) -> Value:
    tests: Sequence[Value] = [compare(found, split) for compare in _COMPARE]
    if trees.members is not None:
        members = pf.gather(pf.constant(trees.members.astype(x.dtype.numpy)), place)
        tests = [*tests, pf.any(pf.equal(pf.expand_dims(found, 2), members), 2)]
    numbered = list(enumerate(tests))
    return reduce(
        lambda other, entry: pf.where(pf.equal(mode, entry[0]), entry[1], other), numbered, pf.constant(False)
    )
