"""Runs a region with NumPy, node by node, through OpDef.ref: what every stage of the pipeline must agree with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from pyflow import dims, dtypes
from pyflow.dims import Dim, Size
from pyflow.dtypes import DType
from pyflow.errors import InternalError, InvalidArgumentError, message
from pyflow.graph import Graph, Node, Value
from pyflow.objects import as_objects
from pyflow.opdef import STORED, WHOLE, TensorType
from pyflow.region import Region, capture

NONE: frozenset[DType] = frozenset()

Feeds: TypeAlias = Mapping[Value, Any] | Sequence[Any]


def evaluate(region: Region, feeds: Feeds, symbols: Mapping[str, int] | None = None) -> list[np.ndarray]:
    """The arrays of ``region.outputs``, then those of ``region.commits``.

    ``feeds``: arrays by input, or in the order of ``region.inputs``. ``symbols`` gives sizes that no feed tells.
    Effects run in order. Raises what the refs raise, and InvalidArgumentError for feeds that do not fit.
    """
    arrays = [feeds[value] for value in region.inputs] if isinstance(feeds, Mapping) else list(feeds)
    if len(arrays) != len(region.inputs):
        raise InvalidArgumentError(message("evaluate", f"expected {len(region.inputs)} feeds, got {len(arrays)}"))
    sizes = dict(symbols or {})
    known: dict[Value, np.ndarray] = {}
    for value, array in zip(region.inputs, arrays, strict=True):
        is_object = value.dtype.is_object
        known[value] = array = as_objects(array, value.dtype) if is_object else np.asarray(array, value.dtype.numpy)
        _bind(value.type, array, sizes, value.node)
    for value in region.inputs:
        _agree(value.type, known[value], sizes, value.node)
    roots = region.roots()
    order = region.nodes()
    uses = _uses(order, roots)
    for node in order:
        if not all(value in known for value in node.outputs) or not node.outputs:
            results = evaluate_node(node, [known[value] for value in node.inputs], sizes)
            for value, array in zip(node.outputs, results, strict=True):
                known[value] = array
        for value in node.inputs:
            uses[value] -= 1
            if not uses[value]:
                del known[value]
    return [known[value] for value in (*region.outputs, *(value for _, value in region.commits))]


def evaluate_node(
    node: Node, arrays: Sequence[np.ndarray], sizes: dict[str, int] | None = None
) -> tuple[np.ndarray, ...]:
    """One node through its ref, or its body; late symbols that it defines get their numbers in ``sizes``."""
    sizes = {} if sizes is None else sizes
    for name in node.defines:
        sizes.pop(name, None)
    body = next((attr for attr in node.attrs.values() if isinstance(attr, Region)), None)
    if node.op.flow is not None:
        results: Any = tuple(_run_flow(node, arrays, sizes))
    elif body is not None:
        results = tuple(evaluate(body, arrays, sizes))
    elif node.op.ref is None:
        raise InternalError(message(node.op.name, "has no ref and was not fed"))
    else:
        attrs = {name: substituted(attr, sizes) for name, attr in node.attrs.items()}
        wide = widens(node) and any(narrow(value.dtype) for value in (*node.inputs, *node.outputs))
        if wide:
            arrays = [dtypes.converted(array, _wide(dtypes.as_dtype(array.dtype))) for array in arrays]
            attrs = {name: _wide(attr) if isinstance(attr, DType) else attr for name, attr in attrs.items()}
        results = node.op.ref(*arrays, **attrs)
        if results is None:
            results = ()
        elif not node.op.multiple:
            results = (results,)
        if wide:
            pairs = zip(node.types, results, strict=False)
            results = tuple(dtypes.converted(np.asarray(result), type.dtype) for type, result in pairs)
    wrong = InvalidArgumentError if node.op.host else InternalError
    if len(results) != len(node.types):
        raise wrong(message(node.op.name, f"ref gave {len(results)} results, expected {len(node.types)}"))
    made = tuple(np.asarray(result) for result in results)
    for type, array, result in zip(node.types, made, results, strict=True):
        if array.dtype != type.dtype.numpy or array.ndim != type.ndim:
            raise wrong(message(node.op.name, f"expected {type}, got {_shown(result, array)}"))
        _bind(type, array, sizes, node)
        _agree(type, array, sizes, node)
    if node.op.defines is not None:
        for content, array in zip(node.contents, made, strict=True):
            _define(content, array, sizes, node)
    return made


def _shown(result: Any, array: np.ndarray) -> str:
    """What a function gave: a dtype and a shape, or what it is that is no array."""
    if array.dtype == object and not isinstance(result, np.ndarray):
        return f"{result!r:.40}"
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"


def widens(node: Node) -> bool:
    """Does the op compute, so that its operands may be widened? What moves elements takes stored dtypes too."""
    kinds = [entry.kind for entry in node.op.inputs]
    if kinds and all(kind == "*" for kind in kinds):
        return False
    return not any(node.op.kinds.get(kind, NONE) >= moved for kind in kinds for moved in (STORED, WHOLE))


def narrow(dtype: DType) -> bool:
    """Floats that NumPy does not compute in, or only in few bits."""
    return dtype.is_floating and dtypes.compute_dtype(dtype) is not dtype


def _wide(dtype: DType) -> DType:
    return dtypes.compute_dtype(dtype) if narrow(dtype) else dtype


def _run_flow(node: Node, arrays: Sequence[np.ndarray], sizes: Mapping[str, int]) -> Sequence[np.ndarray]:
    flow = node.op.flow
    assert flow is not None

    def zeros(index: int) -> np.ndarray:
        type = node.types[index]
        return np.zeros([dims.evaluate(size, sizes) for size in type.dims], type.dtype.numpy)

    attrs = {name: substituted(attr, sizes) for name, attr in node.attrs.items()}
    return flow.run(attrs, arrays, lambda body, given: evaluate(body, given, sizes), zeros)


def substituted(attr: Any, sizes: Mapping[str, Size]) -> Any:
    """An attribute value with numbers for the sizes in it."""
    if isinstance(attr, Dim):
        return dims.substitute(attr, sizes)
    if isinstance(attr, tuple):
        return tuple(substituted(entry, sizes) for entry in attr)
    return attr


def evaluate_graph(
    graph: Graph,
    fetches: Sequence[Value | Node],
    feed_dict: Mapping[Value, Any] | None = None,
    variables: dict[str, Any] | None = None,
) -> list[np.ndarray]:
    """The fetched values of a declared graph. ``variables`` holds values by name; what the run writes is put there."""
    feed_dict = feed_dict or {}
    variables = {} if variables is None else variables
    region = capture(graph, list(fetches), list(feed_dict))
    feeds = dict(zip(region.inputs, feed_dict.values(), strict=False))
    for name, value in region.variables.items():
        if name not in variables:
            raise InvalidArgumentError(message("evaluate", f"the variable {name!r} has no value"))
        feeds[value] = variables[name]
    results = evaluate(region, feeds)
    count = len(region.outputs)
    for (name, _), array in zip(region.commits, results[count:], strict=True):
        variables[name] = array
    return results[:count]


def _uses(order: Iterable[Node], roots: Iterable[Value]) -> dict[Value, int]:
    uses: dict[Value, int] = {}
    for value in (value for node in order for value in node.inputs):
        uses[value] = uses.get(value, 0) + 1
    for value in roots:
        uses[value] = uses.get(value, 0) + 1
    return uses


def _bind(type: TensorType, array: np.ndarray, sizes: dict[str, int], node: Node) -> None:
    if array.ndim != type.ndim:
        raise InvalidArgumentError(message(node.op.name, f"expected {type}, got {array.dtype}{list(array.shape)}"))
    for size, number in zip(type.dims, array.shape, strict=True):
        solved = dims.solve(size)
        if solved is not None and solved[0] not in sizes:
            name, scale, shift = solved
            sizes[name] = (number - shift) // scale


def _define(content: Any, array: np.ndarray, sizes: dict[str, int], node: Node) -> None:
    """Late symbols that are the ``content`` of a result take their numbers from it."""
    entries = content if isinstance(content, tuple) else () if content is None else (content,)
    for size, number in zip(entries, array.reshape(-1).tolist(), strict=bool(entries)):
        for symbol in dims.symbols_of(size):
            if symbol.name not in node.defines:
                continue
            limit = dims.substitute(symbol.max, sizes) if symbol.max is not None else None
            if number < symbol.min or (isinstance(limit, int) and number > limit):
                most = f" to {limit}" if isinstance(limit, int) else " or more"
                what = f"the size {symbol.name!r} came out as {number}; expected {symbol.min}{most}"
                raise InvalidArgumentError(message(node.op.name, what, node.origin))
            sizes[symbol.name] = number


def _agree(type: TensorType, array: np.ndarray, sizes: Mapping[str, int], node: Node) -> None:
    for size, number in zip(type.dims, array.shape, strict=True):
        wanted = dims.substitute(size, sizes)
        if isinstance(wanted, int) and wanted != number:
            got = _shown(array, array)
            raise InvalidArgumentError(message(node.op.name, f"expected {type} ({size} is {wanted}), got {got}"))
