"""Losses as modules, with PyTorch's names and arguments."""

from __future__ import annotations

from typing import Any

import pyflow as pf
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.nn.module import Module

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CTCLoss",
    "CosineEmbeddingLoss",
    "CosineSimilarity",
    "CrossEntropyLoss",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "MSELoss",
    "MarginRankingLoss",
    "NLLLoss",
    "PairwiseDistance",
    "PoissonNLLLoss",
    "SmoothL1Loss",
    "TripletMarginLoss",
]


class _Loss(Module):
    """reduction: "mean", "sum" or "none"."""

    def __init__(self, reduction: str = "mean") -> None:
        known = ("mean", "sum", "none", "batchmean") if isinstance(self, KLDivLoss) else ("mean", "sum", "none")
        if reduction not in known:
            what = f"expected reduction of {', '.join(known)}, got {reduction!r}"
            raise InvalidArgumentError(message(type(self).__name__, what, user_origin()))
        self.reduction = reduction

    def _keep(self, name: str, value: Any) -> None:
        """A weight, which is part of the state."""
        self.register_buffer(name, None if value is None else pf.tensor(value))

    def extra_repr(self) -> str:
        return "" if self.reduction == "mean" else f"reduction={self.reduction!r}"


class L1Loss(_Loss):
    """``abs(x - target)``."""

    def forward(self, x: Any, target: Any) -> Any:
        return pf.l1_loss(x, target, self.reduction)


class MSELoss(_Loss):
    """``(x - target)**2``."""

    def forward(self, x: Any, target: Any) -> Any:
        return pf.mse_loss(x, target, self.reduction)


class SmoothL1Loss(_Loss):
    """``d**2 / (2 * beta)`` for a difference d below ``beta``, ``d - beta / 2`` beyond."""

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = float(beta)

    def forward(self, x: Any, target: Any) -> Any:
        return pf.smooth_l1_loss(x, target, self.reduction, self.beta)


class HuberLoss(_Loss):
    """``d**2 / 2`` for a difference d of at most ``delta``, ``delta * (d - delta / 2)`` beyond."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = float(delta)

    def forward(self, x: Any, target: Any) -> Any:
        return pf.huber_loss(x, target, self.reduction, self.delta)


class CrossEntropyLoss(_Loss):
    """How far ``softmax(x)`` is from ``target``: integers, or probabilities of x's shape.

    x: [N, C, ...], target [N, ...]; or [C], one integer. weight: [C]. ignore_index: integers that do not count.
    """

    def __init__(
        self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ) -> None:
        super().__init__(reduction)
        self._keep("weight", weight)
        self.ignore_index = ignore_index
        self.label_smoothing = float(label_smoothing)

    def forward(self, x: Any, target: Any) -> Any:
        return pf.softmax_cross_entropy(x, target, self.weight, self.ignore_index, self.label_smoothing, self.reduction)


class NLLLoss(_Loss):
    """``-weight[target] * x[target]`` of log probabilities x [N, C, ...] and integers [N, ...]."""

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self._keep("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, x: Any, target: Any) -> Any:
        return pf.nll_loss(x, target, self.weight, self.ignore_index, self.reduction)


class BCELoss(_Loss):
    """``-(t * log(x) + (1 - t) * log(1 - x))`` of probabilities."""

    def __init__(self, weight: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self._keep("weight", weight)

    def forward(self, x: Any, target: Any) -> Any:
        return pf.binary_cross_entropy(x, target, self.weight, self.reduction)


class BCEWithLogitsLoss(_Loss):
    """:class:`BCELoss` of ``sigmoid(x)``; does not overflow. pos_weight: of positive targets."""

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self._keep("weight", weight)
        self._keep("pos_weight", pos_weight)

    def forward(self, x: Any, target: Any) -> Any:
        return pf.binary_cross_entropy_with_logits(x, target, self.weight, self.reduction, self.pos_weight)


class KLDivLoss(_Loss):
    """``target * (log(target) - x)``; with ``log_target`` of ``exp(target)``. reduction: also "batchmean"."""

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, x: Any, target: Any) -> Any:
        return pf.kl_div(x, target, self.reduction, self.log_target)


class HingeEmbeddingLoss(_Loss):
    """``x`` for targets of 1, ``max(0, margin - x)`` for targets of -1."""

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = float(margin)

    def forward(self, x: Any, target: Any) -> Any:
        return pf.hinge_embedding_loss(x, target, self.margin, self.reduction)


class MarginRankingLoss(_Loss):
    """``max(0, margin - target * (x - y))``."""

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = float(margin)

    def forward(self, x: Any, y: Any, target: Any) -> Any:
        return pf.margin_ranking_loss(x, y, target, self.margin, self.reduction)


class CosineEmbeddingLoss(_Loss):
    """``1 - cos(x, y)`` for targets of 1, ``max(0, cos(x, y) - margin)`` for targets of -1."""

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = float(margin)

    def forward(self, x: Any, y: Any, target: Any) -> Any:
        return pf.cosine_embedding_loss(x, y, target, self.margin, self.reduction)


class TripletMarginLoss(_Loss):
    """``max(0, d(anchor, positive) - d(anchor, negative) + margin)`` with the p-norm of the difference plus eps."""

    def __init__(
        self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.margin = float(margin)
        self.p = float(p)
        self.eps = eps
        self.swap = swap

    def forward(self, anchor: Any, positive: Any, negative: Any) -> Any:
        rest = (self.margin, self.p, self.eps, self.swap, self.reduction)
        return pf.triplet_margin_loss(anchor, positive, negative, *rest)


class PoissonNLLLoss(_Loss):
    """``exp(x) - target * x``, or without ``log_input`` ``x - target * log(x + eps)``."""

    def __init__(self, log_input: bool = True, eps: float = 1e-8, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.log_input = log_input
        self.eps = eps

    def forward(self, x: Any, target: Any) -> Any:
        return pf.poisson_nll_loss(x, target, self.log_input, self.eps, self.reduction)


class CTCLoss(_Loss):
    """The negative logarithm of the probability of ``targets`` [N, S] over all alignments with log probabilities
    [T, N, C]; see :func:`pyflow.ctc_loss`."""

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def forward(self, x: Any, targets: Any, input_lengths: Any, target_lengths: Any) -> Any:
        rest = (self.blank, self.reduction, self.zero_infinity)
        return pf.ctc_loss(x, targets, input_lengths, target_lengths, *rest)


class CosineSimilarity(Module):
    """The cosine of the angle between x and y along ``dim``."""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        self.dim = dim
        self.eps = eps

    def forward(self, x: Any, y: Any) -> Any:
        return pf.cosine_similarity(x, y, self.dim, self.eps)


class PairwiseDistance(Module):
    """The p-norm of ``x - y + eps`` along the last axis."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        self.p = float(p)
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x: Any, y: Any) -> Any:
        return pf.norm(x - y + self.eps, self.p, axis=-1, keepdims=self.keepdim)
