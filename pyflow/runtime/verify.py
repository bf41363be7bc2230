"""Finds where answers part: the first pass, or node, whose result differs from NumPy's on the declared graph."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from pyflow import dims, dtypes, interpret
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Graph
from pyflow.passes.pipeline import compile_region
from pyflow.region import Region, capture
from pyflow.runtime import feeds as feeding
from pyflow.runtime.config import SessionConfig
from pyflow.runtime.session import Session
from pyflow.runtime.state import State


@dataclass(frozen=True)
class Difference:
    """How far two arrays are apart."""

    absolute: float
    relative: float
    """To the largest magnitude of the reference."""
    ulp: float

    def __str__(self) -> str:
        return f"max abs {self.absolute:.3g}, rel {self.relative:.3g}, {self.ulp:.3g} ulp"


@dataclass(frozen=True)
class Report:
    """``where`` is "" if all agree; else the pass or node, and ``detail`` says how much they differ."""

    agrees: bool
    where: str
    detail: str
    rows: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        lines = [f"{name:<16} {text}" for name, text in self.rows]
        end = "all agree" if self.agrees else f"first difference: {self.where}\n    {self.detail}"
        return "\n".join([*lines, end])


NOWHERE = Difference(np.inf, np.inf, np.inf)


def difference(have: np.ndarray, want: np.ndarray) -> Difference:
    """``have`` against the reference ``want``; NaN and inf must match, or everything is infinitely apart."""
    if have.shape != want.shape or have.dtype != want.dtype:
        return NOWHERE
    kind = dtypes.as_dtype(want.dtype).kind
    if kind not in "fc":
        if np.array_equal(have, want):
            return Difference(0.0, 0.0, 0.0)
        if kind not in "biu":
            return NOWHERE
        apart = float(np.abs(have.astype(np.float64) - want.astype(np.float64)).max())
        return Difference(max(apart, 1.0), np.inf, max(apart, 1.0))
    limits = ml_dtypes.finfo(want.dtype)
    wide = np.complex128 if kind == "c" else np.float64
    have, want = have.astype(wide), want.astype(wide)
    finite = np.isfinite(want)
    if not np.array_equal(have[~finite], want[~finite], equal_nan=True) or not np.isfinite(have[finite]).all():
        return NOWHERE
    magnitude = np.abs(want[finite])
    apart = np.abs(have[finite] - want[finite])
    scale = float(magnitude.max(initial=0.0))
    spacing = np.exp2(np.floor(np.log2(np.maximum(magnitude, float(limits.tiny))))) * float(limits.eps)
    largest = float(apart.max(initial=0.0))
    return Difference(largest, largest / scale if scale else largest, float((apart / spacing).max(initial=0.0)))


MOST_RANDOM = 2**30
"""How many random numbers a value is made of at most."""


def random_feeds(
    graph: Graph, sizes: Mapping[str, int], seed: int = 0, known: Mapping[str, Any] | None = None
) -> dict[str, np.ndarray]:
    """An array per placeholder: normal numbers, small non-negative integers; sizes not given are their hint or 2.

    ``known``: arrays of placeholders that need none, by name; sizes that they tell are the others' too.
    """
    random = np.random.default_rng(seed)
    known = known or {}
    sizes = {**_sizes_of(graph, known), **sizes}
    result = {}
    for value in graph.inputs:
        if value.node.name in known:
            continue
        symbols = [symbol for size in value.dims for symbol in dims.symbols_of(size)]
        numbers = {s.name: sizes.get(s.name, s.hint if s.hint is not None else max(2, s.min)) for s in symbols}
        shape = [dims.evaluate(size, numbers) for size in value.dims]
        if math.prod(shape) > MOST_RANDOM:
            what = f"{value.node.name} would be {value.dtype}{shape}: more than {MOST_RANDOM} random numbers"
            raise InvalidArgumentError(message("verify", what, value.node.origin, "give it a value, or smaller sizes"))
        if value.dtype is dtypes.variant:
            what = f"{value.node.name} is a sequence or an optional, of which no random value is made"
            raise InvalidArgumentError(message("verify", what, value.node.origin, "give it a value"))
        if value.dtype.kind in "fc":
            array: np.ndarray = random.standard_normal(shape)
        else:
            array = random.integers(0, 2, size=shape)
        result[value.node.name] = np.asarray(array).astype(str if value.dtype.is_object else value.dtype.numpy)
    return result


def _sizes_of(graph: Graph, known: Mapping[str, Any]) -> dict[str, int]:
    """What symbols are, as the shapes of arrays tell."""
    found: dict[str, int] = {}
    for value in graph.inputs:
        shape = np.shape(known[value.node.name]) if value.node.name in known else ()
        for size, number in zip(value.dims, shape, strict=False):
            solved = dims.solve(size)
            if solved is not None:
                found.setdefault(solved[0], (number - solved[2]) // solved[1])
    return found


def verify_graph(
    graph: Graph, feed: Mapping[str, Any], state: State | None = None, tolerance: float = 1e-4, device: str = "cpu"
) -> Report:
    """Runs ``graph.outputs`` as declared, after each pass, and compiled, and compares.

    ``feed``: arrays by name. A difference is one over ``tolerance``, relative to the largest magnitude.
    """
    if not graph.outputs:
        raise InvalidArgumentError(message("verify", "the graph has no outputs", user_origin(), "set graph.outputs"))
    session = Session(graph, SessionConfig(device=device, seed=0, auto_init=True), state)
    keys = feeding.resolve(graph, list(feed))
    arrays = {key: feeding.coerce(key, array) for key, array in zip(keys, feed.values(), strict=True)}
    run = session.make_callable(list(graph.outputs), keys)
    region = capture(graph, list(graph.outputs), keys)
    values = [*arrays.values(), *(session.state.get(name) for name in region.variables)]
    compiled = run(*arrays.values())
    count = len(graph.outputs)
    want = interpret.evaluate(region, values)[:count]
    stages = compile_region(region, session.target, keep_stages=True).stages
    rows = [("as declared", f"{len(region.nodes())} nodes by NumPy")]
    for name, stage in stages[1:]:
        worst = _worst(interpret.evaluate(stage, values)[:count], want)
        rows.append((name, str(worst)))
        if worst.relative > tolerance:
            return Report(False, f"pass {name}", str(worst), tuple(rows))
    worst = _worst(compiled, want)
    rows.append((device, str(worst)))
    if worst.relative <= tolerance:
        return Report(True, "", "", tuple(rows))
    where, detail = _first_node(region, values, session, tolerance)
    return Report(False, where, detail or str(worst), tuple(rows))


def _worst(have: list[np.ndarray], want: list[np.ndarray]) -> Difference:
    return max((difference(a, b) for a, b in zip(have, want, strict=True)), key=lambda d: d.relative)


def _first_node(region: Region, values: Sequence[np.ndarray], session: Session, tolerance: float) -> tuple[str, str]:
    """The first node in program order whose kernel, on the inputs that NumPy computed, gives something else."""
    known = dict(zip(region.inputs, values, strict=True))
    sizes: dict[str, int] = {}
    for value, array in known.items():
        for size, number in zip(value.dims, array.shape, strict=True):
            solved = dims.solve(size)
            if solved is not None:
                sizes[solved[0]] = (number - solved[2]) // solved[1]
    for node in region.nodes():
        if node.outputs and node.outputs[0] in known:
            continue
        inputs = [known[value] for value in node.inputs]
        want = interpret.evaluate_node(node, inputs, sizes)
        known.update(zip(node.outputs, want, strict=True))
        attrs = {name: interpret.substituted(attr, sizes) for name, attr in node.attrs.items()}
        have = session.target.evaluate(region.table.make(node.op, node.inputs, attrs), inputs)
        if have is None:
            continue
        worst = _worst(list(have), list(want))
        if worst.relative > tolerance:
            origin = ", ".join(f"{o.name} ({o})" for o in region.table.origins.get(node, ()))
            return f"node {origin or node.op.name}: {node.op.name}", str(worst)
    return "the compiled plan", ""
