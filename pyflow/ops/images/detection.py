"""Boxes: which of those that overlap are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.dims import Dim, Size
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Value
from pyflow.opdef import BOOLEAN, FLOATS, SIZE, TensorType, define
from pyflow.ops.common import no_gradient
from pyflow.ops.sizes import differ

__all__ = ["non_max_suppression"]


def _canonical(
    boxes: Value, scores: Value, *limits: Value, center_point: bool, count: Size | None
) -> Mapping[str, Any]:
    if boxes.ndim != 3 or scores.ndim != 3 or differ(boxes.dims[2], 4):
        raise InvalidArgumentError(f"expected boxes [B, N, 4] and scores [B, C, N], got {boxes.type} and {scores.type}")
    if differ(boxes.dims[0], scores.dims[0]) or differ(boxes.dims[1], scores.dims[2]):
        raise InvalidArgumentError(f"boxes: {boxes.type} and scores: {scores.type} differ in B or N")
    if any(limit.ndim for limit in limits):
        raise InvalidArgumentError(
            f"expected limits of one number, got {', '.join(str(limit.type) for limit in limits)}"
        )
    if count is None:
        return {"count": dims.fresh_late_symbol("kept", dims.product(scores.dims))}
    if not isinstance(count, Dim) or not dims.late_in(count):
        raise InvalidArgumentError(f"the run finds out count, got {count}; leave it out")
    return {}


def _corners(boxes: np.ndarray, center_point: bool) -> tuple[np.ndarray, np.ndarray]:
    """(the low corners, the high corners): [N, 2] each."""
    if center_point:
        half = boxes[:, 2:] / 2
        return boxes[:, :2] - half, boxes[:, :2] + half
    return np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])


def _overlaps(low: np.ndarray, high: np.ndarray, chosen: int, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box with others; 0 where either is empty."""
    shared = np.minimum(high[chosen], high[others]) - np.maximum(low[chosen], low[others])
    both = np.where((shared > 0).all(1), shared.prod(1), 0)
    area, areas = (high[chosen] - low[chosen]).prod(), (high[others] - low[others]).prod(1)
    union = area + areas - both
    some = (both > 0) & (area > 0) & (areas > 0) & (union > 0)
    return np.where(some, both / np.where(some, union, 1), 0)


def _ref(
    boxes: np.ndarray,
    scores: np.ndarray,
    most: np.ndarray,
    overlap: np.ndarray,
    least: np.ndarray,
    *,
    center_point: bool,
    count: Any = None,
) -> np.ndarray:
    kept: list[tuple[int, int, int]] = []
    for b in range(boxes.shape[0]):
        low, high = _corners(boxes[b], center_point)
        for c in range(scores.shape[1]):
            row = scores[b, c]
            order = np.argsort(-row, kind="stable")
            left = order[(row[order] > least) | np.isneginf(least)]
            taken = 0
            while len(left) and taken < int(most):
                chosen, left = int(left[0]), left[1:]
                kept.append((b, c, chosen))
                taken += 1
                left = left[_overlaps(low, high, chosen, left) <= overlap]
    return np.array(kept, np.int64).reshape(-1, 3)


_suppression = define(
    "non_max_suppression",
    "boxes:T, scores:T, most:int64, overlap:T, least:T",
    attrs={"center_point": BOOLEAN, "count": SIZE.optional()},
    defaults={"center_point": False, "count": None},
    kinds={"T": FLOATS},
    canonical=_canonical,
    infer=lambda *values, center_point, count: TensorType(dtypes.int64, (count, 3)),
    ref=_ref,
    defines=lambda node: dims.late_names(node.attrs["count"]),
    host=True,
    vjp=no_gradient,
    onnx="NonMaxSuppression",
    doc="The boxes that are kept, by falling score; see :func:`pyflow.non_max_suppression`.",
)


def non_max_suppression(
    boxes: Any,
    scores: Any,
    max_output_boxes_per_class: Any = 0,
    iou_threshold: Any = 0.0,
    score_threshold: Any = None,
    center_point_box: bool = False,
    *,
    name: str | None = None,
) -> Value:
    """Boxes by falling score, without those that overlap a better one of their class: int64 [kept, 3].

    boxes: floating [B, N, 4]: two opposite corners y, x, y, x, or with ``center_point_box`` x, y of the centre, width
        and height. scores: [B, C, N]. A row of the result is the batch, the class and the box.
    max_output_boxes_per_class, iou_threshold, score_threshold: numbers, or values of one. A box goes if its
        intersection over union with a kept one is above iou_threshold, and stays out if its score is not above
        score_threshold (None: all may come in).
    The number of boxes that are kept is a size that the run finds out. Runs on the host; no gradient flows.
    """
    least = float("-inf") if score_threshold is None else score_threshold
    result: Value = _suppression(
        boxes, scores, max_output_boxes_per_class, iou_threshold, least, center_point=center_point_box, name=name
    )
    return result
