"""``transfer``: a value in another backend's memory. Made by the place pass, never by users."""

from __future__ import annotations

from pyflow.opdef import EVERY, TEXT, Lowering, define

transfer = define(
    "transfer",
    "x:T",
    attrs={"to": TEXT},
    kinds={"T": EVERY},
    infer=lambda x, to: x.type,
    content=lambda x, to: x.content,
    ref=lambda x, to: x,
    lower=lambda node, inputs, outputs: Lowering("transfer", inputs, outputs),
    vjp=lambda node, gradient: (gradient,),
    doc="``x``, in the memory of the backend ``to``.",
)
