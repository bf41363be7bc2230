"""What runs in Python, through OpDef.ref: everything on the ``ref`` backend, and the steps of host ops on ``host``."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from pyflow import _core, dims
from pyflow.dims import Dim
from pyflow.errors import InternalError, message
from pyflow.graph import Node, Value
from pyflow.interpret import evaluate_node
from pyflow.opdef import Lowering
from pyflow.passes.lowering import TAKE
from pyflow.plan import View
from pyflow.runtime.handles import table

REF, HOST = "ref", "host"
IN_PYTHON = (REF, HOST)
COPY = "copy"
"""The one step that stands for no node: it moves a value within a memory."""


@dataclass(eq=False)
class Held:
    """A node that a plan's step stands for; kept alive by what runs the plan."""

    node: Node
    symbols: tuple[str, ...]
    defines: tuple[str, ...]
    __weakref__: Any = None


class _Stash(threading.local):
    """Results by token whose sizes had to be known before they had memory: from a step to its :data:`TAKE`."""

    def __init__(self) -> None:
        self.results: dict[str, tuple[np.ndarray, ...]] = {}


_stash = _Stash()
_held: WeakValueDictionary[str, Held] = WeakValueDictionary()
_tokens = itertools.count()


def hold(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> tuple[Lowering, Held]:
    """The step that runs ``node`` through its ref. Steps of this kind live as long as the process, not in files."""
    sizes = [size for value in (*node.inputs, *node.outputs) for size in value.dims]
    sizes += [size for attr in node.attrs.values() for size in _sizes(attr)]
    found = {symbol.name: symbol for size in sizes for symbol in dims.symbols_of(size)}
    defines = node.defines
    symbols = tuple(name for name in found if name not in defines)
    held = Held(node, symbols, defines)
    token = str(next(_tokens))
    _held[token] = held
    ints = tuple(dims._from_symbol(found[name]) for name in symbols)
    return Lowering(node.op.name, inputs, outputs, ints, text=token, defines=defines), held


def _sizes(attr: Any) -> list[Dim]:
    if isinstance(attr, Dim):
        return [attr]
    return [size for entry in attr for size in _sizes(entry)] if isinstance(attr, tuple) else []


def _run_ref(
    kernel: str,
    text: str,
    inputs: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
    ints: Sequence[int],
    floats: Sequence[float],
    programs: Sequence[Any],
) -> list[int]:
    if kernel == COPY:
        outputs[0][...] = inputs[0]
        return []
    if kernel == TAKE:
        for target, result in zip(outputs, _stash.results.pop(text), strict=True):
            target[...] = result
        return []
    held = _held.get(text)
    if held is None:
        raise InternalError(message(kernel, "the step stands for no op of this process"))
    sizes = dict(zip(held.symbols, ints, strict=True))
    with np.errstate(all="ignore"):
        made = evaluate_node(held.node, _taken(held.node.inputs, inputs), sizes)
    results = _given(held.node.outputs, made)
    if results and not outputs:
        _stash.results[text] = results
    for target, result in zip(outputs, results, strict=bool(outputs)):
        if target.shape == result.shape:
            target[...] = result
        else:
            target.reshape(-1)[: result.size] = result.reshape(-1)
    return [sizes[name] for name in held.defines]


def _taken(values: Sequence[Value], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Copies of a step's operands as refs know them: objects for handles."""
    pairs = zip(values, arrays, strict=True)
    return [table().get(a, v.dtype) if v.dtype.is_object else np.array(a) for v, a in pairs]


def _given(values: Sequence[Value], arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """What a ref gave as memory holds it: handles for objects."""
    return tuple(table().put(a, v.dtype) if v.dtype.is_object else a for v, a in zip(values, arrays, strict=True))


def has_objects(held: Held) -> bool:
    """Does the step read or make objects?"""
    return any(value.dtype.is_object for value in (*held.node.inputs, *held.node.outputs))


def try_now(node: Node, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...] | None:
    """What the node's ref gives; None if it raises."""
    try:
        with np.errstate(all="ignore"):
            return evaluate_node(node, [np.array(array) for array in arrays])
    except InternalError:
        raise
    except Exception:
        return None


def register() -> None:
    """Makes both known to the native registry; once per process."""
    for name in IN_PYTHON:
        _core.register_host_backend(name, lambda *step: (True, ""), _run_ref)
