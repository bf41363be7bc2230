"""Rows of non-maximum suppression, and of signals: windows, frames, mel filters."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyflow as pf
from cases.case import Case, normal, referred, uniform

_CORNERS = uniform(0, 1, 2, 9, 4)
_CENTRES = uniform(0.1, 0.9, 2, 9, 4)
_SCORES = normal(2, 3, 9)


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    both = np.prod(np.maximum(high - low, 0))
    return both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both)


def _kept(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float, center_point_box: bool, **_: Any) -> np.ndarray:
    """One box at a time, each against all that are kept."""
    if center_point_box:
        boxes = np.concatenate([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)
    else:
        pairs = boxes.reshape(*boxes.shape[:2], 2, 2)
        boxes = np.concatenate([pairs.min(2), pairs.max(2)], -1)
    rows = []
    for b, c in np.ndindex(*scores.shape[:2]):
        chosen: list[int] = []
        for i in np.argsort(-scores[b, c]):
            near = [_overlap(boxes[b, i], boxes[b, j]) for j in chosen]
            if scores[b, c, i] > -0.5 and len(chosen) < 3 and not any(entry > iou_threshold for entry in near):
                chosen.append(i)
        rows += [(b, c, i) for i in chosen]
    return np.array(rows)


def _hann(size: int, periodic: bool) -> np.ndarray:
    return np.hanning(size + 1)[:-1] if periodic else np.hanning(size)


def _mel(results: list[np.ndarray], inputs: Any) -> None:
    weights = results[0]
    assert weights.shape == (9, 4)
    assert ((weights >= 0) & (weights <= 1)).all()
    assert (weights.max(0) == 1).all()


def _frames(x: np.ndarray, window: np.ndarray, **_: Any) -> np.ndarray:
    return np.stack([np.fft.rfft(x[:, i : i + 6] * window) for i in range(0, x.shape[1] - 5, 2)], axis=1)


CASES = [
    Case(
        pf.stft,
        (normal(2, 11),),
        {"frame_length": 6, "frame_step": 2, "window": uniform(0, 1, 6)},
        _frames,
        rtol=1e-4,
        atol=1e-5,
        gradient=False,
        symbolic=False,
    ),
    *(
        Case(
            pf.non_max_suppression,
            (boxes, _SCORES),
            {
                "max_output_boxes_per_class": 3,
                "iou_threshold": 0.2,
                "score_threshold": -0.5,
                "center_point_box": centred,
            },
            _kept,
            gradient=False,
        )
        for boxes, centred in ((_CORNERS, False), (_CENTRES, True))
    ),
    Case(pf.non_max_suppression, (_CORNERS, _SCORES), {}, lambda *_: np.zeros((0, 3)), gradient=False, label="none"),
    *(
        Case(pf.hann_window, (), {"size": 9, "periodic": periodic}, _hann, rtol=1e-5, atol=1e-6)
        for periodic in (False, True)
    ),
    Case(pf.blackman_window, (), {"size": 7, "periodic": False}, lambda size, **_: np.blackman(size), atol=1e-6),
    referred(pf.hamming_window, size=8, dtype="float64"),
    referred(pf.hann_window, size=1, periodic=False),
    Case(lambda: pf.mel_weight_matrix(4, 16, 8000, 0.0, 4000.0), (), {}, check=_mel, label="mel"),
]
