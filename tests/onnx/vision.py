"""torchvision, also where its native library does not fit torch (a CPU-only torch beside the package from PyPI).

Its models need none of the native ops, but the package is not imported without two of them being declared.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch


def _native_ops_load() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'torchvision'", name="torchvision")
    try:
        torch.ops.load_library(Path(spec.origin).with_name("_C.so"))
    except OSError:
        return False
    return True


def _nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Indices of the boxes that remain, best first; none overlaps a better one by more than ``threshold``."""
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept: list[int] = []
    for index in scores.argsort(descending=True, stable=True).tolist():
        others = boxes[kept]
        low, high = others[:, :2].maximum(boxes[index, :2]), others[:, 2:].minimum(boxes[index, 2:])
        shared = (high - low).clamp(min=0).prod(1)
        if not (shared / (area[kept] + area[index] - shared) > threshold).any():
            kept.append(index)
    return torch.tensor(kept, dtype=torch.int64)


if not _native_ops_load():
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.impl("nms", _nms, "CPU")

import torchvision as torchvision  # noqa: E402
