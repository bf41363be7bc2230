"""The layers of the transformer, with PyTorch's weights. A. Vaswani et al.: Attention is all you need, 2017."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pyflow as pf
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.nn.attention import MultiheadAttention
from pyflow.nn.containers import ModuleList
from pyflow.nn.dropout import Dropout
from pyflow.nn.linear import Linear
from pyflow.nn.module import Module
from pyflow.nn.norm import LayerNorm

__all__ = [
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
]

Activation = Callable[[Any], Any]


class _Layer(Module):
    """What the layers of encoder and decoder share."""

    def _build(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int,
        dropout: float,
        activation: str | Activation,
        layer_norm_eps: float,
        batch_first: bool,
        norm_first: bool,
        bias: bool,
        dtype: Any,
        attentions: tuple[str, ...],
    ) -> None:
        if isinstance(activation, str) and activation not in ("relu", "gelu"):
            what = f"expected activation 'relu', 'gelu' or a function, got {activation!r}"
            raise InvalidArgumentError(message(type(self).__name__, what, user_origin()))
        self.activation = activation
        self.norm_first = norm_first
        for name in attentions:
            attention = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype)
            self.add_module(name, attention)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype)
        for number in range(1, len(attentions) + 2):
            self.add_module(f"norm{number}", LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype))
        for number in range(1, len(attentions) + 2):
            self.add_module(f"dropout{number}", Dropout(dropout))

    def _activated(self, x: Any) -> Any:
        if callable(self.activation):
            return self.activation(x)
        return pf.relu(x) if self.activation == "relu" else pf.gelu(x)

    def _fed(self, x: Any) -> Any:
        return self.linear2(self.dropout(self._activated(self.linear1(x))))

    def _added(self, x: Any, number: int, block: Activation) -> Any:
        """``x`` plus what ``block`` makes of it, normalised before or after."""
        norm, dropout = getattr(self, f"norm{number}"), getattr(self, f"dropout{number}")
        if self.norm_first:
            return x + dropout(block(norm(x)))
        return norm(x + dropout(block(x)))


class TransformerEncoderLayer(_Layer):
    """Self-attention and two linear layers, each added to what it gets and normalised (``norm_first``: before it).

    src: [L, N, d_model], with ``batch_first`` [N, L, d_model], or [L, d_model]. Masks: as for
    :class:`MultiheadAttention`. activation: "relu", "gelu" or a function.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        rest = (activation, layer_norm_eps, batch_first, norm_first, bias, dtype)
        self._build(d_model, nhead, dim_feedforward, dropout, *rest, attentions=("self_attn",))

    def forward(self, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False) -> Any:
        def attended(x: Any) -> Any:
            return self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)[0]

        return self._added(self._added(src, 1, attended), 2, self._fed)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to ``memory`` and two linear layers, each added to what it gets and normalised.

    tgt: as src of :class:`TransformerEncoderLayer`; memory: what the encoder gave, of d_model too.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        rest = (activation, layer_norm_eps, batch_first, norm_first, bias, dtype)
        self._build(d_model, nhead, dim_feedforward, dropout, *rest, attentions=("self_attn", "multihead_attn"))

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Any:
        def attended(x: Any) -> Any:
            return self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)[0]

        def looked(x: Any) -> Any:
            given = (x, memory, memory, memory_key_padding_mask, False, memory_mask)
            return self.multihead_attn(*given, is_causal=memory_is_causal)[0]

        x = self._added(self._added(tgt, 1, attended), 2, looked)
        return self._added(x, 3, self._fed)


class _Stack(Module):
    def __init__(self, layer: Module, num_layers: int, norm: Module | None = None) -> None:
        self.layers = ModuleList(copy.deepcopy(layer) for _ in range(num_layers))
        self.num_layers = num_layers
        self.add_module("norm", norm)


class TransformerEncoder(_Stack):
    """``num_layers`` copies of an encoder layer in a row, and ``norm`` at the end if one is given.

    The copies start from the same values, as in PyTorch.
    """

    def forward(self, src: Any, mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False) -> Any:
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, is_causal)
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(_Stack):
    """``num_layers`` copies of a decoder layer in a row, and ``norm`` at the end if one is given."""

    def forward(self, tgt: Any, memory: Any, tgt_mask: Any = None, memory_mask: Any = None, **masks: Any) -> Any:
        for layer in self.layers:
            tgt = layer(tgt, memory, tgt_mask, memory_mask, **masks)
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """An encoder and a decoder: ``model(src, tgt)`` gives [T, N, d_model], N first with ``batch_first``."""

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Activation = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        dtype: Any = None,
    ) -> None:
        rest = (dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, dtype)
        encoder, decoder = (kind(d_model, nhead, *rest) for kind in (TransformerEncoderLayer, TransformerDecoderLayer))
        first, second = (LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype) for _ in range(2))
        self.encoder = TransformerEncoder(encoder, num_encoder_layers, first)
        self.decoder = TransformerDecoder(decoder, num_decoder_layers, second)

    def forward(
        self,
        src: Any,
        tgt: Any,
        src_mask: Any = None,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        src_key_padding_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
    ) -> Any:
        memory = self.encoder(src, src_mask, src_key_padding_mask)
        return self.decoder(
            tgt,
            memory,
            tgt_mask,
            memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
        )
