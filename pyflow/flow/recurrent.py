"""Recurrent layers: a step per row of a scan, as ONNX defines RNN, GRU and LSTM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from pyflow import dims, dtypes
from pyflow.apply import convert
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.flow.loops import scan
from pyflow.graph import Value
from pyflow.opdef import call
from pyflow.ops.sizes import differ

__all__ = ["gru", "lstm", "rnn"]

Activation = Callable[[Value], Value]


def _scaled_tanh(x: Value, alpha: float, beta: float) -> Value:
    result: Value = call("tanh", x * beta) * alpha
    return result


ACTIVATIONS: dict[str, tuple[Callable[..., Any], tuple[float, ...]]] = {
    "relu": (lambda x: call("relu", x), ()),
    "tanh": (lambda x: call("tanh", x), ()),
    "sigmoid": (lambda x: call("sigmoid", x), ()),
    "softsign": (lambda x: call("softsign", x), ()),
    "softplus": (lambda x: call("softplus", x), ()),
    "affine": (lambda x, alpha, beta: x * alpha + beta, (1.0, 0.0)),
    "leakyrelu": (lambda x, alpha: call("leaky_relu", x, alpha), (0.01,)),
    "thresholdedrelu": (lambda x, alpha: call("thresholded_relu", x, alpha), (1.0,)),
    "scaledtanh": (_scaled_tanh, (1.0, 1.0)),
    "hardsigmoid": (lambda x, alpha, beta: call("hardsigmoid", x, alpha, beta), (0.2, 0.5)),
    "elu": (lambda x, alpha: call("elu", x, alpha), (1.0,)),
}
"""By name: the function, and its numbers where none are given."""

DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
"""Whether each pass over the rows goes from the last to the first."""


def _refuse(op: str, what: str) -> InvalidArgumentError:
    return InvalidArgumentError(message(op, what, user_origin()))


def _activations(
    op: str, names: Sequence[str], alphas: Sequence[float], betas: Sequence[float], clip: float | None
) -> list[Activation]:
    """The functions of ``names``; numbers are taken in turn by those that have any."""
    given = (list(alphas), list(betas))
    made: list[Activation] = []
    for name in names:
        if name.lower() not in ACTIVATIONS:
            raise _refuse(op, f"unknown activation {name!r}; expected one of {', '.join(ACTIVATIONS)}")
        function, defaults = ACTIVATIONS[name.lower()]
        numbers = [row.pop(0) if row else default for row, default in zip(given, defaults, strict=False)]

        def activation(x: Value, function: Any = function, numbers: Any = numbers) -> Value:
            kept = x if clip is None else call("clip", x, -clip, clip)
            result: Value = function(kept, *numbers)
            return result

        made.append(cast(Activation, activation))
    return made


def _turned(x: Value, lengths: Value) -> Value:
    """The rows of ``x`` [S, B, ...] of each sequence back to front; those after its end stay."""
    size, batch = x.dims[0], x.dims[1]
    at = call("reshape", call("iota", size), (-1, 1))
    source = call("where", at < lengths, lengths - 1 - at, at)
    number = call("sizes", (batch,), scalar=True)
    flat = call("reshape", x, (-1, *x.dims[2:]))
    result: Value = call("gather", flat, source * number + call("iota", batch), 0)
    return result


def _pass(
    x: Value, state: tuple[Value, ...], lengths: Value | None, backwards: bool, step: Callable[..., tuple[Value, ...]]
) -> tuple[Value, tuple[Value, ...]]:
    """One direction: (the first of the states after each row, the last states)."""
    rows = _turned(x, lengths) if lengths is not None and backwards else x

    def turn(before: Any, row: Any) -> Any:
        if lengths is None:
            after = step(row, *before)
            return after, after[0]
        taken, at = row
        active = call("expand_dims", at < lengths, (1,))
        after = tuple(call("where", active, new, old) for new, old in zip(step(taken, *before), before, strict=True))
        return after, call("where", active, after[0], 0)

    taken = rows if lengths is None else (rows, call("iota", rows.dims[0]))
    last, ys = scan(turn, state, taken, reverse=backwards and lengths is None)
    return (_turned(ys, lengths) if lengths is not None and backwards else ys), last


def _check_sizes(op: str, x: Value, w: Value, r: Value, b: Value | None, gates: int) -> None:
    """Raises InvalidArgumentError where sizes are known not to fit each other."""
    turns, rows = w.dims[0], dims.mul(r.dims[2], gates)
    pairs = [(w.dims[1], rows), (w.dims[2], x.dims[2]), (r.dims[0], turns), (r.dims[1], rows)]
    wanted = f"w [{turns}, {gates} * H, I] and r [{turns}, {gates} * H, H]"
    got = f"w: {w.type}, r: {r.type}"
    if b is not None:
        wanted, got = f"{wanted}, b [{turns}, {2 * gates} * H]", f"{got}, b: {b.type}"
        pairs += list(zip(b.dims, (turns, dims.mul(rows, 2)), strict=False)) if b.ndim == 2 else [(0, 1)]
    if any(differ(size, other) for size, other in pairs):
        raise _refuse(op, f"expected {wanted} for I = {x.dims[2]}, the last axis of x: {x.type}; got {got}")


def _layer(
    op: str,
    x: Any,
    w: Any,
    r: Any,
    b: Any,
    lengths: Any,
    initial: Sequence[Any],
    gates: int,
    direction: str,
    layout: int,
    step_of: Callable[[int, Value, Value], Callable[..., tuple[Value, ...]]],
) -> tuple[Value, ...]:
    """(Y, the last states) in all directions. ``step_of(direction, r transposed, bias of r)`` gives the step, which
    takes a row of ``x w`` and the states."""
    value, weights, recurrent = convert(x), convert(w), convert(r)
    if direction not in DIRECTIONS or layout not in (0, 1):
        raise _refuse(
            op, f"expected a direction of {', '.join(DIRECTIONS)} and layout 0 or 1, got {direction!r}, {layout}"
        )
    turns = DIRECTIONS[direction]
    shown = f"x: {value.type}, w: {weights.type}, r: {recurrent.type}"
    if value.ndim != 3 or weights.ndim != 3 or recurrent.ndim != 3 or weights.dims[0] != len(turns):
        raise _refuse(op, f"expected x, w and r of 3 axes, w and r of {len(turns)} directions; got {shown}")
    if layout:
        value = call("transpose", value, (1, 0, 2))
    hidden, batch = recurrent.dims[2], value.dims[1]
    bias = None if b is None else convert(b)
    _check_sizes(op, value, weights, recurrent, bias, gates)
    many = None if lengths is None else call("cast", convert(lengths), dtypes.int64)
    outputs, ends = [], []
    for i, backwards in enumerate(turns):
        first = call("matmul", value, call("transpose", weights[i], (1, 0)))
        half = gates * hidden
        w_bias = bias[i, :half] if bias is not None else None
        zeros = call("broadcast_to", call("constant", 0.0, value.dtype), (half,))
        first = first if w_bias is None else first + w_bias
        step = step_of(i, call("transpose", recurrent[i], (1, 0)), zeros if bias is None else bias[i, half:])
        state = tuple(_first_state(given, i, batch, hidden, layout, value) for given in initial)
        ys, last = _pass(first, state, many, backwards, step)
        outputs.append(ys)
        ends.append(last)
    y = call("stack", *outputs, axis=1)
    states = [call("stack", *parts, axis=0) for parts in zip(*ends, strict=True)]
    if layout:
        y = call("transpose", y, (2, 0, 1, 3))
        states = [call("transpose", state, (1, 0, 2)) for state in states]
    return (y, *states)


def _first_state(given: Any, i: int, batch: Any, hidden: Any, layout: int, like: Value) -> Value:
    if given is None:
        result: Value = call("broadcast_to", call("constant", np.zeros((), like.dtype.numpy)), (batch, hidden))
        return result
    value = convert(given)
    return value[:, i] if layout else value[i]


def _split(x: Value, count: int) -> list[Value]:
    return list(call("split", x, count, x.ndim - 1))


def _gate_order(op: str, given: str, known: str) -> list[int]:
    """Where each gate of ``known`` stands in ``given``."""
    if sorted(given) != sorted(known) or (known[-1] == "h" and given[-1] != "h"):
        raise _refuse(op, f"expected gates in an order of {known!r}{', h last' * (op == 'gru')}, got {given!r}")
    return [given.index(gate) for gate in known]


_SHARED = """x: floating [S, B, I], or [B, S, I] with ``layout=1``, which also puts the batch of the states and results
        first. w: [D, gates * H, I], r: [D, gates * H, H], b: [D, 2 * gates * H] (of w, then of r) or None, for D = 2
        directions if ``direction`` is "bidirectional", else 1 ("forward", "reverse").
    sequence_lens: [B], how many rows of each sequence count, or None; results after them are 0. initial_h (and
        initial_c): [D, B, H], default zeros.
    activations: ONNX's names, for all directions in turn, with activation_alpha and activation_beta. clip: what the
        activations get is kept between -clip and clip."""


def rnn(
    x: Any,
    w: Any,
    r: Any,
    b: Any = None,
    sequence_lens: Any = None,
    initial_h: Any = None,
    *,
    direction: str = "forward",
    activations: Sequence[str] = (),
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    clip: float | None = None,
    layout: int = 0,
) -> tuple[Value, Value]:
    names = list(activations) or ["tanh"] * 2
    functions = _activations("rnn", names, activation_alpha, activation_beta, clip)

    def step_of(i: int, recurrent: Value, bias: Value) -> Callable[..., tuple[Value, ...]]:
        f = functions[i]
        return lambda row, h: (f(row + call("matmul", h, recurrent) + bias),)

    y, h = _layer("rnn", x, w, r, b, sequence_lens, [initial_h], 1, direction, layout, step_of)
    return y, h


def gru(
    x: Any,
    w: Any,
    r: Any,
    b: Any = None,
    sequence_lens: Any = None,
    initial_h: Any = None,
    *,
    direction: str = "forward",
    activations: Sequence[str] = (),
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    clip: float | None = None,
    linear_before_reset: bool = False,
    layout: int = 0,
    gates: str = "zrh",
) -> tuple[Value, Value]:
    order = _gate_order("gru", gates, "zrh")
    names = list(activations) or ["sigmoid", "tanh"] * 2
    functions = _activations("gru", names, activation_alpha, activation_beta, clip)

    def step_of(i: int, recurrent: Value, bias: Value) -> Callable[..., tuple[Value, ...]]:
        f, g = functions[2 * i : 2 * i + 2]
        hidden = recurrent.dims[0]
        both, last = recurrent[:, : 2 * hidden], recurrent[:, 2 * hidden :]
        both_bias, last_bias = bias[: 2 * hidden], bias[2 * hidden :]

        def step(row: Value, h: Value) -> tuple[Value, ...]:
            opened = _split(f(row[:, : 2 * hidden] + call("matmul", h, both) + both_bias), 2)
            update, reset = opened[order[0]], opened[order[1]]
            if linear_before_reset:
                inner = reset * (call("matmul", h, last) + last_bias)
            else:
                inner = call("matmul", reset * h, last) + last_bias
            return ((1 - update) * g(row[:, 2 * hidden :] + inner) + update * h,)

        return step

    y, h = _layer("gru", x, w, r, b, sequence_lens, [initial_h], 3, direction, layout, step_of)
    return y, h


def lstm(
    x: Any,
    w: Any,
    r: Any,
    b: Any = None,
    sequence_lens: Any = None,
    initial_h: Any = None,
    initial_c: Any = None,
    p: Any = None,
    *,
    direction: str = "forward",
    activations: Sequence[str] = (),
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    clip: float | None = None,
    input_forget: bool = False,
    layout: int = 0,
    gates: str = "iofc",
) -> tuple[Value, Value, Value]:
    order = _gate_order("lstm", gates, "iofc")
    names = list(activations) or ["sigmoid", "tanh", "tanh"] * 2
    functions = _activations("lstm", names, activation_alpha, activation_beta, clip)
    peepholes = None if p is None else convert(p)

    def step_of(i: int, recurrent: Value, bias: Value) -> Callable[..., tuple[Value, ...]]:
        f, g, h_of = functions[3 * i : 3 * i + 3]
        holes = None if peepholes is None else _split(peepholes[i], 3)

        def step(row: Value, h: Value, c: Value) -> tuple[Value, ...]:
            parts = _split(row + call("matmul", h, recurrent) + bias, 4)
            into, out, forget, new = (parts[place] for place in order)
            if holes is not None:
                into, forget = into + holes[0] * c, forget + holes[2] * c
            opened = f(into)
            kept = 1 - opened if input_forget else f(forget)
            cell = kept * c + opened * g(new)
            if holes is not None:
                out = out + holes[1] * cell
            return f(out) * h_of(cell), cell

        return step

    y, h, c = _layer("lstm", x, w, r, b, sequence_lens, [initial_h, initial_c], 4, direction, layout, step_of)
    return y, h, c


rnn.__doc__ = f"""A simple recurrent layer, ``h = f(x w + h r + b)``: ``(Y [S, D, B, H], the last h [D, B, H])``.

    {_SHARED} Default: "Tanh".
    """
gru.__doc__ = f"""A gated recurrent layer (Cho et al. 2014): ``(Y [S, D, B, H], the last h [D, B, H])``.

    {_SHARED} Default: "Sigmoid", "Tanh". gates: the order in which they stand in w, r and b: update z, reset
    r, new h; PyTorch's is "rzh".
    linear_before_reset: the reset gate acts after the product with r, as in PyTorch.
    """
lstm.__doc__ = f"""A long short-term memory layer: ``(Y [S, D, B, H], the last h [D, B, H], the last c [D, B, H])``.

    {_SHARED} Default: "Sigmoid", "Tanh", "Tanh". gates: the order in which they stand in w, r and b: input i,
    output o, forget f, cell c; PyTorch's is "ifco".
    p: [D, 3 * H], what the cell adds to the input, output and forget gates, or None. input_forget: the forget gate is
        1 minus the input gate. S. Hochreiter, J. Schmidhuber: Long short-term memory, 1997.
    """
