"""Tables that are looked up by number."""

from __future__ import annotations

from typing import Any

import pyflow as pf
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.nn import init
from pyflow.nn.linear import empty, positive
from pyflow.nn.module import Module
from pyflow.nn.parameter import Parameter

__all__ = ["Embedding", "EmbeddingBag"]


class _Table(Module):
    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None, dtype: Any) -> None:
        positive(self, num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            what = f"padding_idx {padding_idx} is no row of {num_embeddings}"
            raise InvalidArgumentError(message(type(self).__name__, what, user_origin()))
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx + num_embeddings if padding_idx is not None and padding_idx < 0 else padding_idx
        self.weight = empty(num_embeddings, embedding_dim, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all anew from the normal distribution; the row of ``padding_idx`` is 0."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with pf.no_grad():
                self.weight[self.padding_idx] = 0

    @classmethod
    def from_pretrained(cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None) -> Any:
        """A table of ``embeddings`` [rows, size]; freeze: no gradient flows to it."""
        given = pf.tensor(embeddings)
        if given.ndim != 2:
            what = f"expected embeddings [rows, size], got {given.type}"
            raise InvalidArgumentError(message(cls.__name__, what, user_origin()))
        rows, size = given.shape
        made: Any = cls(rows, size, padding_idx=padding_idx)  # type: ignore[call-arg]
        made.weight = Parameter(given, not freeze)
        return made

    def extra_repr(self) -> str:
        padding = f", padding_idx={self.padding_idx}" if self.padding_idx is not None else ""
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class Embedding(_Table):
    """The rows of ``weight`` [num_embeddings, embedding_dim] at integers of any shape.

    padding_idx: a row to which no gradient flows.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, dtype: Any = None
    ) -> None:
        super().__init__(num_embeddings, embedding_dim, padding_idx, dtype)

    def forward(self, indices: Any) -> Any:
        return pf.embedding(indices, self.weight, self.padding_idx)


class EmbeddingBag(_Table):
    """The "sum", "mean" or "max" of the rows at each bag of indices [bags, length], or [count] with ``offsets``."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        mode: str = "mean",
        padding_idx: int | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(num_embeddings, embedding_dim, padding_idx, dtype)
        self.mode = mode

    def forward(self, indices: Any, offsets: Any = None, per_sample_weights: Any = None) -> Any:
        return pf.embedding_bag(indices, self.weight, offsets, self.mode, per_sample_weights, self.padding_idx)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mode={self.mode!r}"
