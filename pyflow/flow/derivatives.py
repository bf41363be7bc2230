"""Gradients of control flow."""

from __future__ import annotations

from pyflow.graph import Node, Value


def cond(node: Node, *gradients: Value | None) -> tuple[Value | None, ...]:
    raise NotImplementedError


while_loop = scan = cond
