"""Dropout."""

from __future__ import annotations

from typing import Any

import pyflow as pf
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.nn.module import Module

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d"]


class Dropout(Module):
    """While training each element is 0 with probability ``p``, the others times ``1 / (1 - p)``.

    Numbers come from the generator of what runs it: ``pf.eager.seed``, or a graph's seed.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        if not 0 <= p <= 1:
            what = f"expected a probability p from 0 to 1, got {p}"
            raise InvalidArgumentError(message(type(self).__name__, what, user_origin()))
        self.p = float(p)

    def forward(self, x: Any) -> Any:
        if not self.training or self.p == 0:
            return x
        return x * 0 if self.p == 1 else self._dropped(x)

    def _dropped(self, x: Any) -> Any:
        return pf.dropout(x, self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class _Planes(Dropout):
    count = 0

    def _dropped(self, x: Any) -> Any:
        first = (..., *(slice(0, 1),) * self.count)
        ones = pf.ones_like(x[first])
        return x * pf.dropout(ones, self.p)


class Dropout1d(_Planes):
    """:class:`Dropout` of whole channels of x [N, C, L] or [C, L]."""

    count = 1


class Dropout2d(_Planes):
    """:class:`Dropout` of whole channels of x [N, C, H, W] or [C, H, W]."""

    count = 2


class Dropout3d(_Planes):
    """:class:`Dropout` of whole channels of x [N, C, D, H, W] or [C, D, H, W]."""

    count = 3


class AlphaDropout(Dropout):
    """Dropout that keeps the mean and variance of what goes through SELU. G. Klambauer et al., 2017."""

    def _dropped(self, x: Any) -> Any:
        low = -1.0507009873554805 * 1.6732632423543772
        a = ((1 - self.p) * (1 + self.p * low * low)) ** -0.5
        b = -a * self.p * low
        kept = pf.dropout(pf.ones_like(x), self.p) > 0
        return pf.where(kept, x, low) * a + b
