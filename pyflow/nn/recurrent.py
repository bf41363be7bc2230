"""Recurrent layers and their cells, with PyTorch's weights."""

from __future__ import annotations

import math
from typing import Any

import pyflow as pf
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.nn import init
from pyflow.nn.linear import empty, positive
from pyflow.nn.module import Module

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"]


class _Recurrent(Module):
    """Layers over a sequence. Weights of layer k: weight_ih_lk [gates * H, inputs], weight_hh_lk [gates * H, H],
    bias_ih_lk and bias_hh_lk [gates * H]; those of the way back end in ``_reverse``."""

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = None,
    ) -> None:
        positive(self, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        if not 0 <= dropout <= 1:
            what = f"expected a probability dropout from 0 to 1, got {dropout}"
            raise InvalidArgumentError(message(type(self).__name__, what, user_origin()))
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        rows = self.gates * hidden_size
        for layer in range(num_layers):
            inputs = input_size if layer == 0 else hidden_size * (2 if bidirectional else 1)
            for suffix in self._suffixes(layer):
                self.register_parameter(f"weight_ih{suffix}", empty(rows, inputs, dtype=dtype))
                self.register_parameter(f"weight_hh{suffix}", empty(rows, hidden_size, dtype=dtype))
                if bias:
                    self.register_parameter(f"bias_ih{suffix}", empty(rows, dtype=dtype))
                    self.register_parameter(f"bias_hh{suffix}", empty(rows, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all anew: evenly within ``1 / sqrt(hidden_size)`` of 0."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _suffixes(self, layer: int) -> tuple[str, ...]:
        return (f"_l{layer}", f"_l{layer}_reverse") if self.bidirectional else (f"_l{layer}",)

    def _weights(self, layer: int) -> tuple[Any, Any, Any]:
        """(w, r, b) of a layer, as pf.lstm takes them: an axis of directions first."""
        suffixes = self._suffixes(layer)
        w, r = (
            pf.stack([getattr(self, f"{name}{suffix}") for suffix in suffixes]) for name in ("weight_ih", "weight_hh")
        )
        if not self.bias:
            return w, r, None
        parts = [getattr(self, f"{name}{suffix}") for suffix in suffixes for name in ("bias_ih", "bias_hh")]
        return w, r, pf.reshape(pf.concatenate(parts), (len(suffixes), -1))

    def _layer(self, x: Any, weights: tuple[Any, Any, Any], lengths: Any, states: list[Any]) -> tuple[Any, ...]:
        """(y [L, directions, N, H], the last states [directions, N, H])."""
        raise NotImplementedError

    @property
    def _direction(self) -> str:
        return "bidirectional" if self.bidirectional else "forward"

    def _run_layers(self, x: Any, states: tuple[Any, ...], lengths: Any, count: int) -> tuple[Any, tuple[Any, ...]]:
        name = type(self).__name__
        ndim, turns = len(x.shape), 2 if self.bidirectional else 1
        features = x.shape[-1] if ndim in (2, 3) else None
        if ndim not in (2, 3) or (isinstance(features, int) and features != self.input_size):
            order = "[N, L, {}]" if self.batch_first else "[L, N, {}]"
            what = f"expected x {order.format(self.input_size)} or [L, {self.input_size}], got {x.type}"
            raise InvalidArgumentError(message(name, what, user_origin()))
        single = ndim == 2
        if single:
            x = pf.expand_dims(x, 1)
            states = tuple(pf.expand_dims(state, 1) for state in states)
        elif self.batch_first:
            x = pf.transpose(x, (1, 0, 2))
        for state in states:
            self._check_state(state, x, turns)
        ends: list[list[Any]] = [[] for _ in range(count)]
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                x = pf.dropout(x, self.dropout)
            own = [state[layer * turns : (layer + 1) * turns] for state in states]
            y, *last = self._layer(x, self._weights(layer), lengths, own)
            for end, state in zip(ends, last, strict=True):
                end.append(state)
            y = pf.transpose(y, (0, 2, 1, 3))
            x = pf.reshape(y, (y.shape[0], y.shape[1], turns * self.hidden_size))
        final = tuple(pf.concatenate(end) if len(end) > 1 else end[0] for end in ends)
        if single:
            return pf.squeeze(x, 1), tuple(pf.squeeze(state, 1) for state in final)
        return pf.transpose(x, (1, 0, 2)) if self.batch_first else x, final

    def _check_state(self, state: Any, x: Any, turns: int) -> None:
        wanted = (self.num_layers * turns, x.shape[1], self.hidden_size)
        given = tuple(state.shape)
        known = [(a, b) for a, b in zip(given, wanted, strict=False) if isinstance(a, int) and isinstance(b, int)]
        if len(given) != 3 or any(a != b for a, b in known):
            what = f"expected states [{', '.join(map(str, wanted))}], got {state.type}"
            raise InvalidArgumentError(message(type(self).__name__, what, user_origin()))

    def extra_repr(self) -> str:
        shown = f"{self.input_size}, {self.hidden_size}"
        defaults: dict[str, Any] = {
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
        }
        return shown + "".join(
            f", {name}={getattr(self, name)}" for name, value in defaults.items() if getattr(self, name) != value
        )


_DOC = """

    x: [L, N, input_size], with ``batch_first`` [N, L, input_size], or one sequence [L, input_size]. The states are
    [num_layers * directions, N, hidden_size]; default: zeros. lengths: integers [N]: how many rows of each sequence
    count; results after them are 0. dropout: of what goes from layer to layer, while training.
    """


class RNN(_Recurrent):
    __doc__ = f"""``h = tanh(x W + b + h R + c)`` over a sequence: gives (y [L, N, directions * H], the last h).{_DOC}
    nonlinearity: "tanh" or "relu".
    """

    def __init__(self, *args: Any, nonlinearity: str = "tanh", **kwargs: Any) -> None:
        if nonlinearity not in ("tanh", "relu"):
            what = f"expected nonlinearity 'tanh' or 'relu', got {nonlinearity!r}"
            raise InvalidArgumentError(message("RNN", what, user_origin()))
        self.nonlinearity = nonlinearity
        super().__init__(*args, **kwargs)

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        y, last = self._run_layers(x, () if state is None else (state,), lengths, 1)
        return y, last[0]

    def _layer(self, x: Any, weights: tuple[Any, Any, Any], lengths: Any, states: list[Any]) -> tuple[Any, ...]:
        names = [self.nonlinearity] * (2 if self.bidirectional else 1)
        made: tuple[Any, ...] = pf.rnn(x, *weights, lengths, *states, direction=self._direction, activations=names)
        return made


class GRU(_Recurrent):
    __doc__ = f"""A gated recurrent layer (Cho et al., 2014): gives (y [L, N, directions * H], the last h).{_DOC}"""

    gates = 3

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        y, last = self._run_layers(x, () if state is None else (state,), lengths, 1)
        return y, last[0]

    def _layer(self, x: Any, weights: tuple[Any, Any, Any], lengths: Any, states: list[Any]) -> tuple[Any, ...]:
        made: tuple[Any, ...] = pf.gru(
            x, *weights, lengths, *states, direction=self._direction, linear_before_reset=True, gates="rzh"
        )
        return made


class LSTM(_Recurrent):
    __doc__ = f"""A long short-term memory layer (Hochreiter and Schmidhuber, 1997): gives
    (y [L, N, directions * H], (the last h, the last c)).{_DOC}"""

    gates = 4

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Any, tuple[Any, Any]]:
        y, last = self._run_layers(x, () if state is None else tuple(state), lengths, 2)
        return y, (last[0], last[1])

    def _layer(self, x: Any, weights: tuple[Any, Any, Any], lengths: Any, states: list[Any]) -> tuple[Any, ...]:
        made: tuple[Any, ...] = pf.lstm(x, *weights, lengths, *states, direction=self._direction, gates="ifco")
        return made


class _Cell(Module):
    """One step: x [N, input_size] or [input_size]."""

    gates = 1

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, dtype: Any = None) -> None:
        positive(self, input_size=input_size, hidden_size=hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.weight_ih = empty(self.gates * hidden_size, input_size, dtype=dtype)
        self.weight_hh = empty(self.gates * hidden_size, hidden_size, dtype=dtype)
        self.register_parameter("bias_ih", empty(self.gates * hidden_size, dtype=dtype) if bias else None)
        self.register_parameter("bias_hh", empty(self.gates * hidden_size, dtype=dtype) if bias else None)
        bound = 1 / math.sqrt(hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _start(self, x: Any, state: Any) -> Any:
        if state is not None:
            return state
        return pf.broadcast_to(pf.zeros_like(x[..., :1]), (*x.shape[:-1], self.hidden_size))

    def _products(self, x: Any, h: Any) -> tuple[Any, Any]:
        return pf.linear(x, self.weight_ih, self.bias_ih), pf.linear(h, self.weight_hh, self.bias_hh)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + (", bias=False" if self.bias_ih is None else "")


class RNNCell(_Cell):
    """One step of :class:`RNN`: ``cell(x, h)`` gives the next h [N, hidden_size]; h: default zeros."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, dtype)
        if nonlinearity not in ("tanh", "relu"):
            what = f"expected nonlinearity 'tanh' or 'relu', got {nonlinearity!r}"
            raise InvalidArgumentError(message("RNNCell", what, user_origin()))
        self.nonlinearity = nonlinearity

    def forward(self, x: Any, state: Any = None) -> Any:
        first, second = self._products(x, self._start(x, state))
        return pf.tanh(first + second) if self.nonlinearity == "tanh" else pf.relu(first + second)


class GRUCell(_Cell):
    """One step of :class:`GRU`: ``cell(x, h)`` gives the next h [N, hidden_size]; h: default zeros."""

    gates = 3

    def forward(self, x: Any, state: Any = None) -> Any:
        h = self._start(x, state)
        first, second = (pf.split(part, 3, axis=-1) for part in self._products(x, h))
        reset, update = pf.sigmoid(first[0] + second[0]), pf.sigmoid(first[1] + second[1])
        new = pf.tanh(first[2] + reset * second[2])
        return (1 - update) * new + update * h


class LSTMCell(_Cell):
    """One step of :class:`LSTM`: ``cell(x, (h, c))`` gives the next (h, c), [N, hidden_size]; default zeros."""

    gates = 4

    def forward(self, x: Any, state: Any = None) -> tuple[Any, Any]:
        h, c = (self._start(x, part) for part in ((None, None) if state is None else state))
        first, second = self._products(x, h)
        into, forget, new, out = pf.split(first + second, 4, axis=-1)
        cell = pf.sigmoid(forget) * c + pf.sigmoid(into) * pf.tanh(new)
        return pf.sigmoid(out) * pf.tanh(cell), cell
